import copy
import dataclasses
import re
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.datasets import load_images
from brainscore_lite.learning_rules import FeedbackAlignment, Phase, UnsupportedNetworkError
from brainscore_lite.networks import Area, ConvNet, Dense, Model, Pixels, Pool, WrappedModel, wrap
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator
from brainscore_lite.stimuli import Preprocessing
from brainscore_lite.storage import StorageError
from brainscore_lite.training import (
    Augmentation,
    TrainedModel,
    TrainingConfig,
    TrainingDivergedError,
    fit,
    loop,
)
from brainscore_lite.training.minibatches import Minibatches

CONFIG = TrainingConfig(
    epochs=4,
    batch_size=40,
    lr=0.02,
    augmentation=Augmentation(flip=False, shift=1),
    validation_fraction=0.1,
    checkpoint_epochs=(0, 2),
)


def weights(model: TrainedModel) -> dict[str, Tensor]:
    return model.estimator.state_dict()


def same(one: TrainedModel, other: TrainedModel) -> bool:
    first, second = weights(one), weights(other)
    return set(first) == set(second) and all(torch.equal(first[k], second[k]) for k in first)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int, error: BaseException) -> None:
    """Let training fail at the second step of an epoch."""
    step = loop.TrainingLoop._train_step

    def failing(self: Any, now: Any, batch: Any, index: int) -> Any:
        if (now.number, index) == (epoch, 1):
            raise error
        return step(self, now, batch, index)

    monkeypatch.setattr(loop.TrainingLoop, "_train_step", failing)


def test_learns_and_reports(tiny: ConvNet, images: Any) -> None:
    model = fit(tiny, "backprop", images=images, config=CONFIG)
    assert set(model.accuracies) == {"train", "validation", "test"}
    assert model.accuracies["test"] > 0.95
    assert set(model.weight_change) == {"V1", "IT", "readout"}
    assert all(change > 0 for change in model.weight_change.values())
    table = model.history.table
    assert set(table["epoch"]) == {0, 1, 2, 3, 4}
    assert set(table[table["split"] == "test"]["epoch"]) == {0, 2, 4}
    assert (model.history.alignment() > 0.999).all(axis=None)


def test_a_trained_model_can_be_recorded(tiny: ConvNet, images: Any) -> None:
    model = fit(tiny, "backprop", images=images, config=CONFIG)
    assert isinstance(model, Model)
    assert model.name == "tiny_backprop"
    assert model.layer_names == ("V1", "IT", "readout")
    assert (model.n_steps, model.image_size, model.field_degrees) == (1, 8, None)
    assert model.preprocessing == tiny.eye
    pixels = torch.from_numpy(model.preprocessing.batch(images.test_images))
    (step,) = model.respond(pixels, ["readout"])
    assert torch.equal(step.activations["readout"], model.predict(pixels))
    assert not model.network.training


@pytest.mark.parametrize("rule", ["backprop", "busy"])
def test_same_seed_same_weights(rule: str, tiny: ConvNet, images: Any, busy: Any) -> None:
    chosen = busy if rule == "busy" else rule
    first, second = (fit(tiny, chosen, images=images, config=CONFIG) for _ in range(2))
    assert same(first, second)
    other = dataclasses.replace(CONFIG, seed=1)
    assert not same(first, fit(tiny, chosen, images=images, config=other))


def test_torch_is_left_as_it_was(tiny: ConvNet, images: Any) -> None:
    def settings() -> tuple[object, ...]:
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.get_rng_state().tolist(),
        )

    before = settings()
    fit(tiny, "backprop", images=images, config=dataclasses.replace(CONFIG, n_threads=2))
    assert settings() == before


def test_rules_of_one_seed_start_from_the_same_weights(
    tiny: ConvNet, images: Any, tmp_path: Path
) -> None:
    untrained = fit(tiny, "untrained", images=images, config=CONFIG)
    assert untrained.epoch == 0
    assert set(untrained.weight_change.values()) == {0.0}
    fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path)
    start = TrainedModel.load(tmp_path, epoch=0)
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            start.network.state_dict().values(),
            untrained.network.state_dict().values(),
            strict=True,
        )
    )
    assert start.accuracies == pytest.approx(untrained.accuracies)


def test_adam_and_float64_train(tiny: ConvNet, images: Any) -> None:
    network = tiny.build(torch.Generator().manual_seed(0)).double()
    config = dataclasses.replace(CONFIG, optimizer="adam", lr=0.005)
    model = fit(network, "backprop", images=images, config=config)
    assert {tensor.dtype for tensor in model.network.parameters()} == {torch.float64}
    assert model.accuracies["test"] > 0.9


def test_a_given_module_stays_as_it_is(tiny: ConvNet, images: Any, tmp_path: Path) -> None:
    network = tiny.build(torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    model = fit(network, "backprop", images=images, config=CONFIG, folder=tmp_path)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    with pytest.raises(ContractError, match=r"TrainedModel\.load\(folder, network=module\)"):
        TrainedModel.load(tmp_path)
    assert same(TrainedModel.load(tmp_path, network=network), model)
    assert same(fit(network, "backprop", images=images, config=CONFIG, folder=tmp_path), model)


def test_dropout_in_a_foreign_module_repeats(tiny: ConvNet, images: Any) -> None:
    network = tiny.build(torch.Generator().manual_seed(0))
    network.areas["IT"] = nn.Sequential(network.areas["IT"], nn.Dropout(0.5))
    first, second = (fit(network, "backprop", images=images, config=CONFIG) for _ in range(2))
    assert same(first, second)
    clocks = ["seconds", "cpu_seconds"]
    assert first.history.table.drop(columns=clocks).equals(
        second.history.table.drop(columns=clocks)
    )
    assert (first.history.alignment() > 0.999).all(axis=None)


def described_otherwise(network: Any, field: str) -> None:
    """Change one thing that decides the training of a module and is not in its state."""
    if field == "repr":
        network.connections["image->V1"].op.padding = 0
    elif field == "preprocessing":
        network.preprocessing = dataclasses.replace(network.preprocessing, scale=255.0)
    elif field == "layer_names":
        network.areas = nn.ModuleDict(dict(reversed(network.areas.items())))
    elif field == "n_steps":
        network.n_steps = 2
    elif field == "trainable":
        network.areas["IT"].requires_grad_(False)


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "interrupted"])
@pytest.mark.parametrize("field", ["repr", "preprocessing", "layer_names", "n_steps", "trainable"])
def test_refuses_a_module_described_otherwise(
    field: str,
    finished: bool,
    tiny: ConvNet,
    images: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = tiny.build(torch.Generator().manual_seed(0))
    config = dataclasses.replace(CONFIG, epochs=2)
    if finished:
        fit(network, "backprop", images=images, config=config, folder=tmp_path)
    else:
        with monkeypatch.context() as patch:
            interrupt_at(patch, 2, RuntimeError("power cut"))
            with pytest.raises(RuntimeError, match="power cut"):
                fit(network, "backprop", images=images, config=config, folder=tmp_path)
    described_otherwise(network, field)
    with pytest.raises(ContractError, match=rf"another training run: module\.{field}"):
        fit(network, "backprop", images=images, config=config, folder=tmp_path)
    with pytest.raises(
        ContractError, match=rf"the network given is not the one that .* module\.{field}"
    ):
        TrainedModel.load(tmp_path, epoch=0, network=network)


@pytest.mark.parametrize("changes", [{"tau": 2.0}, {"readout": "cumulative"}, {"combine": "gain"}])
def test_refuses_a_module_of_other_dynamics(
    tiny: ConvNet, images: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    blt = dataclasses.replace(tiny, lateral=True, feedback=True, n_steps=2)
    first = torch.Generator().manual_seed(0)
    fit(blt.build(first), "backprop", images=images, config=CONFIG, folder=tmp_path)
    other = dataclasses.replace(blt, **changes).build(torch.Generator().manual_seed(0))
    with pytest.raises(ContractError, match=r"the network given is not the one that .* module\.re"):
        TrainedModel.load(tmp_path, network=other)


def test_refuses_a_lesioned_module_where_an_intact_one_was_trained(
    tiny: ConvNet, images: Any, tmp_path: Path
) -> None:
    network = dataclasses.replace(tiny, lateral=True, n_steps=2).build(torch.Generator())
    fit(network, "backprop", images=images, config=CONFIG, folder=tmp_path)
    network.lesion(dict.fromkeys(network.lateral, 0.0))
    with pytest.raises(ContractError, match=r"gains=\{'IT->IT': 0\.0, 'V1->V1': 0\.0\}"):
        TrainedModel.load(tmp_path, network=network)


def test_a_recurrent_run_with_norms_of_steps_resumes_to_the_same_bytes(
    tiny: ConvNet, images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = tuple(dataclasses.replace(area, norm="batch_per_step") for area in tiny.areas)
    names = [area.name for area in areas]
    blt = dataclasses.replace(
        tiny, areas=areas, lateral=True, feedback=((names[-1], names[0]),), n_steps=3, tau=1.5
    )
    whole = fit(blt, "bptt", images=images, config=CONFIG, folder=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, RuntimeError("power cut"))
        with pytest.raises(RuntimeError, match="power cut"):
            fit(blt, "bptt", images=images, config=CONFIG, folder=tmp_path / "cut")
    assert same(fit(blt, "bptt", images=images, config=CONFIG, folder=tmp_path / "cut"), whole)
    assert same(TrainedModel.load(tmp_path / "whole"), whole)
    assert set(whole.card.weight_change) == {*names, "readout"}


def test_refuses_a_module_of_other_weights(tiny: ConvNet, images: Any, tmp_path: Path) -> None:
    network = tiny.build(torch.Generator().manual_seed(0))
    model = fit(network, "backprop", images=images, config=CONFIG, folder=tmp_path)
    with pytest.raises(ContractError, match=r"state_before_training_sha256 .* before training\.$"):
        TrainedModel.load(tmp_path, network=model.network)
    with pytest.raises(ContractError, match="another training run: state_before_training_sha256"):
        fit(model.network, "backprop", images=images, config=CONFIG, folder=tmp_path)


def test_finished_runs_of_another_torch_are_read_and_others_not_resumed(
    tiny: ConvNet, images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        model = fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path / "done")
        interrupt_at(patch, 2, RuntimeError("power cut"))
        with pytest.raises(RuntimeError, match="power cut"):
            fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path / "half")
    again = fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path / "done")
    assert same(again, model)
    with pytest.raises(
        ContractError, match=r"begun with other software: versions\.torch is '1\.0'"
    ):
        fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path / "half")


def test_a_rule_of_one_s_own_is_read_back(
    tiny: ConvNet, images: Any, tmp_path: Path, busy: Any
) -> None:
    model = fit(tiny, busy, images=images, config=CONFIG, folder=tmp_path)
    assert same(fit(tiny, busy, images=images, config=CONFIG, folder=tmp_path), model)
    assert same(TrainedModel.load(tmp_path, rule=busy, network=tiny), model)
    with pytest.raises(
        ContractError,
        match=r"trained by the rule 'Busy', which is not in LEARNING_RULES\. Give it: "
        r"TrainedModel\.load\(folder, rule=Busy\(\.\.\.\)\)",
    ):
        TrainedModel.load(tmp_path)
    with pytest.raises(ContractError, match=r"the rule given is not .* rule\.noise is 0\.01 there"):
        TrainedModel.load(tmp_path, rule=dataclasses.replace(busy, noise=0.5))
    larger = dataclasses.replace(tiny, n_classes=3)
    with pytest.raises(ContractError, match=r"the network given is not .* network\.n_classes is 2"):
        TrainedModel.load(tmp_path, rule=busy, network=larger)


def test_settings_that_do_not_fit_claim_no_folder(
    tiny: ConvNet, images: Any, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, checkpoint_epochs=(7,))
    with pytest.raises(ContractError, match="checkpoint_epochs name epoch 7"):
        fit(tiny, "backprop", images=images, config=config, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_reads_a_finished_run_back(tiny: ConvNet, images: Any, tmp_path: Path) -> None:
    model = fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path)
    again = fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path)
    loaded = TrainedModel.load(tmp_path)
    for other in (again, loaded):
        assert same(other, model)
        assert other.accuracies == model.accuracies
        assert other.weight_change == model.weight_change
        assert other.config == CONFIG
        assert other.rule == model.rule
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "card.json",
        "config.json",
        "history.csv",
        "weights.safetensors",
        "checkpoints/epoch_000.safetensors",
        "checkpoints/epoch_002.safetensors",
    }


@pytest.mark.parametrize("rule", ["backprop", "busy"])
@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_resumes_to_the_same_weights(
    rule: str,
    epoch: int,
    optimizer: Any,
    tiny: ConvNet,
    images: Any,
    tmp_path: Path,
    busy: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = busy if rule == "busy" else rule
    config = dataclasses.replace(CONFIG, optimizer=optimizer, epochs=4 if rule != "busy" else 2)
    whole = fit(tiny, chosen, images=images, config=config)
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch, RuntimeError("power cut"))
        with pytest.raises(RuntimeError, match="power cut"):
            fit(tiny, chosen, images=images, config=config, folder=tmp_path)
    resumed = fit(tiny, chosen, images=images, config=config, folder=tmp_path)
    assert same(whole, resumed)
    columns = ["epoch", "phase", "split", "loss", "accuracy"]
    assert resumed.history.table[columns].equals(whole.history.table[columns])


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from conftest import toy_images
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.training import TrainingConfig, fit
network = ConvNet(areas=(Area("V1", 4), Dense("IT", 8)), n_classes=2, image_size=8, name="tiny")
config = TrainingConfig(epochs=300, batch_size=40, lr=0.001)
fit(network, "backprop", images=toy_images(), config=config, folder=sys.argv[1])
"""


@pytest.mark.slow
def test_resumes_after_kills_to_the_same_weights(
    tiny: ConvNet, images: Any, tmp_path: Path
) -> None:
    config = TrainingConfig(epochs=300, batch_size=40, lr=0.001)
    here = str(Path(__file__).parent)
    for _ in range(3):
        killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), here])
        while not (tmp_path / "progress.safetensors").exists() and killed.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    resumed = fit(tiny, "backprop", images=images, config=config, folder=tmp_path)
    assert same(resumed, fit(tiny, "backprop", images=images, config=config))
    assert not list(tmp_path.rglob(".*"))


def test_an_interruption_says_how_to_go_on(
    tiny: ConvNet, images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt) as caught:
            fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path)
    (note,) = caught.value.__notes__
    assert note == (
        "Training was interrupted after epoch 2 of 4. Call fit with the same arguments, "
        f"folder='{tmp_path}' among them, to go on from there."
    )
    with pytest.raises(StorageError, match=r"its training has not finished; epochs kept: \[0, 2\]"):
        TrainedModel.load(tmp_path)
    assert TrainedModel.load(tmp_path, epoch=2).epoch == 2
    with pytest.raises(StorageError, match=r"no epoch 1; epochs kept: \[0, 2\]"):
        TrainedModel.load(tmp_path, epoch=1)


def test_an_interruption_without_a_folder_says_so(
    tiny: ConvNet, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(tiny, "backprop", images=images, config=CONFIG)
    assert "nothing kept. Give fit a folder to resume from" in caught.value.__notes__[0]


def test_refuses_to_resume_another_run(tiny: ConvNet, images: Any, tmp_path: Path) -> None:
    fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path)
    sentence = (
        f"the folder {tmp_path} holds another training run: training.lr is 0.02 there, 0.5 here."
    )
    other = dataclasses.replace(CONFIG, lr=0.5)
    with pytest.raises(ContractError, match=re.escape(sentence)):
        fit(tiny, "backprop", images=images, config=other, folder=tmp_path)
    with pytest.raises(ContractError, match=r"rule\.\w+ is 'Backprop' there, 'Untrained' here"):
        fit(tiny, "untrained", images=images, config=CONFIG, folder=tmp_path)
    fewer = dataclasses.replace(images, test_images=images.test_images[::-1])
    with pytest.raises(ContractError, match=r"images\.sha256 is"):
        fit(tiny, "backprop", images=fewer, config=CONFIG, folder=tmp_path)


def test_stops_at_the_target_accuracy(tiny: ConvNet, images: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=50, target_accuracy=0.9, schedule="constant")
    model = fit(tiny, "backprop", images=images, config=config, folder=tmp_path)
    assert 0 < model.epoch < 50
    table = model.history.table
    validation = table[table["split"] == "validation"].set_index("epoch")["accuracy"]
    assert validation[model.epoch] >= 0.9
    assert (validation[1 : model.epoch - 1] < 0.9).all()
    assert model.accuracies["test"] > 0.5
    assert TrainedModel.load(tmp_path).epoch == model.epoch


def test_divergence_keeps_the_last_good_state(tiny: ConvNet, images: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, lr=1e30, warmup_epochs=0.0)
    sentence = (
        r"training diverged in epoch 1 \(phase 'training'\): the loss is (nan|inf) at step \d, "
        r"so lower the learning rate \(lr=1e\+30\) or lengthen the warm-up \(warmup_epochs=0\), "
        rf"in a new folder; the state after epoch 0 is kept in {tmp_path}\.$"
    )
    with pytest.raises(TrainingDivergedError, match=sentence):
        fit(tiny, "backprop", images=images, config=config, folder=tmp_path)
    assert TrainedModel.load(tmp_path, epoch=0).weight_change["V1"] == 0


def test_refuses_a_network_that_the_rule_cannot_train(tiny: ConvNet, images: Any) -> None:
    network = tiny.build(torch.Generator()).requires_grad_(False)
    with pytest.raises(UnsupportedNetworkError, match="none of its weights can be trained"):
        fit(network, "backprop", images=images, config=CONFIG)


def foreign(*, last: nn.Module) -> WrappedModel:
    parts = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), last)
    names = ("first", "norm", "hidden", "flat", "last")
    module = nn.Sequential(OrderedDict(zip(names, parts, strict=True)))
    return wrap(module, ["hidden", "last"], Preprocessing(size=8), name="foreign")


def test_a_foreign_module_is_trained_and_read_back(images: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = foreign(last=nn.Linear(144, 2))
    before = copy.deepcopy(network.state_dict())
    model = fit(network, "backprop", images=images, config=CONFIG, folder=tmp_path)
    assert model.accuracies["test"] > 0.95
    assert model.layer_names == ("hidden", "last")
    assert {"first", "last"} <= {name.split(".")[-1] for name in model.weight_change}
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())
    assert same(TrainedModel.load(tmp_path, network=network), model)


def test_refuses_a_foreign_module_without_scores(images: Any) -> None:
    sentence = (
        r"answers an image with \(1, 4, 6, 6\), expected one score for each class: .* End the"
    )
    with pytest.raises(ContractError, match=sentence):
        fit(foreign(last=nn.Unflatten(1, (4, 6, 6))), "backprop", images=images, config=CONFIG)


@pytest.mark.parametrize("network", [nn.Linear(2, 2), Pixels()], ids=["module", "model"])
def test_refuses_what_is_no_trainable_model(network: Any, images: Any) -> None:
    sentence = (
        rf"cannot train a {type(network).__name__}: expected an architecture \(ConvNet\) or a "
        r"torch module with layers to record, such as wrap\(module, "
    )
    with pytest.raises(ContractError, match=sentence):
        fit(network, "backprop", images=images, config=CONFIG)


def test_digits_are_learned_and_read_back(tmp_path: Path) -> None:
    network = ConvNet(
        areas=(Area("V1", 16), Area("IT", 32, pool_in=Pool("max", 2))),
        n_classes=10,
        image_size=8,
        name="digits_net",
    )
    config = TrainingConfig(epochs=4, batch_size=32, lr=0.02, augmentation=Augmentation(shift=1))
    digits = load_images("digits")
    model = fit(network, "backprop", images=digits, config=config, folder=tmp_path)
    assert model.accuracies["test"] > 0.93
    assert same(TrainedModel.load(tmp_path), model)


@pytest.mark.slow
def test_cifar10_is_learned(mirror: Path, tmp_path: Path) -> None:
    whole = load_images("cifar10_jpeg")
    some = dataclasses.replace(
        whole,
        train_images=whole.train_images[::20],
        train_labels=whole.train_labels[::20],
        test_images=whole.test_images[::20],
        test_labels=whole.test_labels[::20],
    )
    config = TrainingConfig(epochs=3, batch_size=64, lr=0.02, warmup_epochs=0.5)
    model = fit("small_cnn", "backprop", images=some, config=config, folder=tmp_path)
    assert model.accuracies["test"] > 0.3
    assert same(TrainedModel.load(tmp_path), model)


def test_refuses_more_classes_than_the_readout_has(
    tiny: ConvNet, images: Any, tmp_path: Path
) -> None:
    many = dataclasses.replace(images, train_labels=images.train_labels + 3)
    with pytest.raises(
        ContractError, match="have labels up to 4, but the network's readout has 2 classes"
    ):
        fit(tiny, "backprop", images=many, config=CONFIG, folder=tmp_path)
    assert fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path).epoch == 4


def test_preparing_does_not_move_running_means(tiny: ConvNet, images: Any, tmp_path: Path) -> None:
    normed = dataclasses.replace(tiny, areas=(Area("V1", 4, norm="batch"),))
    fresh = normed.build(torch_generator(CONFIG.seed, "network")).state_dict()
    untrained = fit(normed, "untrained", images=images, config=CONFIG).network.state_dict()
    fit(normed, "backprop", images=images, config=CONFIG, folder=tmp_path)
    start = TrainedModel.load(tmp_path, epoch=0).network.state_dict()
    assert any(name.endswith("running_mean") for name in fresh)
    for name, each in fresh.items():
        assert torch.equal(untrained[name], each), name
        assert torch.equal(start[name], each), name


def test_dense_areas_with_batch_norm_are_trained(tiny: ConvNet, images: Any) -> None:
    normed = dataclasses.replace(tiny, areas=(Dense("IT", 8, norm="batch"),))
    assert fit(normed, "backprop", images=images, config=CONFIG).accuracies["test"] > 0.9


#: 120 images in batches of 7 leave one over.
SINGLE = dataclasses.replace(
    CONFIG, epochs=1, batch_size=7, validation_fraction=0.0, checkpoint_epochs=()
)


@pytest.mark.parametrize("batch_size", [1, 7, 119])
@pytest.mark.parametrize(
    ("rule", "norm", "phase", "why"),
    [
        ("simclr", "none", "views", "simclr: a batch of one image has nothing to be told"),
        ("vicreg", "none", "views", "vicreg: a batch of one image has nothing to be told"),
        ("backprop", "batch", "training", "Expected more than 1 value per channel"),
    ],
)
def test_refuses_a_batch_of_one_image_where_it_could_not_be_learned_from(
    tiny: ConvNet,
    images: Any,
    tmp_path: Path,
    rule: str,
    norm: Any,
    phase: str,
    why: str,
    batch_size: int,
) -> None:
    """Before the first epoch, with a batch size that works."""
    normed = dataclasses.replace(tiny, areas=(Area("V1", 4), Dense("IT", 8, norm=norm)))
    config = dataclasses.replace(SINGLE, lr=1e-3, batch_size=batch_size)
    works = {1: 2, 7: 8, 119: 120}[batch_size]
    sentence = (
        rf"phase '{phase}' cannot learn from a batch of one image, which 120 training images in "
        rf"batches of {batch_size} leave over: {why}.*\. Choose batch_size={works}\.$"
    )
    with pytest.raises(ContractError, match=sentence):
        fit(normed, rule, images=images, config=config, folder=tmp_path)
    assert not (tmp_path / "history.csv").exists()
    working = dataclasses.replace(config, batch_size=works)
    assert fit(normed, rule, images=images, config=working, folder=tmp_path).epoch > 0


def test_trying_a_single_image_leaves_no_trace(
    tiny: ConvNet, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one image stay where they can be learned from, with the same weights."""
    normed = dataclasses.replace(tiny, areas=(Area("V1", 4, norm="batch"), Dense("IT", 8)))
    for network, rule in ((normed, "backprop"), (tiny, "node_perturbation"), (normed, "untrained")):
        found = fit(network, rule, images=images, config=SINGLE)
        with monkeypatch.context() as patch:
            patch.setattr(Minibatches, "leaves_one", False)
            assert same(fit(network, rule, images=images, config=SINGLE), found)


def test_what_no_batch_can_be_learned_from_is_not_blamed_on_a_single_image(
    tiny: ConvNet, images: Any, busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Any, batch: Any, step: Any) -> Any:
        raise ValueError("no batch will do")

    estimator = type(busy.bind(tiny.build(torch.Generator()), torch.Generator()))
    monkeypatch.setattr(estimator, "forward", failing)
    monkeypatch.setattr(estimator, "phases", lambda self: (Phase(name="learning"),))
    with pytest.raises(ValueError, match=r"^no batch will do$"):
        fit(tiny, busy, images=images, config=SINGLE)


@pytest.mark.parametrize(
    ("network", "rule", "sentence"),
    [
        ("resnet9000", "backprop", "no architecture is called 'resnet9000'; there are: small_cnn"),
        ("small_cnn", "magic", "no learning rule is called 'magic'; there are: backprop, "),
    ],
)
def test_refuses_unknown_names(network: str, rule: str, sentence: str, images: Any) -> None:
    with pytest.raises(ContractError, match=sentence):
        fit(network, rule, images=images, config=CONFIG)


def test_says_what_a_rule_or_a_set_of_images_lacks(tiny: ConvNet, images: Any) -> None:
    class Nameless:
        bind = supports = None

    lacks = r"the rule given \(Nameless\) has no name, family, citation, exactness, ngrad, requires"
    with pytest.raises(ContractError, match=lacks):
        fit(tiny, Nameless(), images=images, config=CONFIG)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=r"\(FeedbackAlignment\) is a class, not an object"):
        fit(tiny, FeedbackAlignment, images=images, config=CONFIG)  # type: ignore[arg-type]
    with pytest.raises(
        ContractError, match=r"\(str\) has no name, train_images.*load_images\('digits'\)"
    ):
        fit(tiny, "backprop", images="digits", config=CONFIG)  # type: ignore[arg-type]


def test_shows_progress_on_request(
    tiny: ConvNet, images: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, checkpoint_epochs=())
    fit(tiny, "backprop", images=images, config=config)
    assert capfd.readouterr() == ("", "")
    fit(tiny, "backprop", images=images, config=config, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "training 1/1: loss" in err

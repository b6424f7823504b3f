import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from brainscore_lite.learning_rules import (
    EquilibriumPropagation,
    Estimator,
    FixedPredictionCoding,
    IncrementalPredictiveCoding,
    KolenPollack,
    LearningRule,
    ParameterGroup,
    Phase,
    PredictiveCoding,
    SoftHebb,
)
from brainscore_lite.networks import ConvNet, Dense, ElmanNetwork
from brainscore_lite.stimuli import Preprocessing
from brainscore_lite.training import Augmentation, CardWarning, TrainedModel, TrainingConfig, fit
from brainscore_lite.training.card import (
    LEAST_WEIGHT_CHANGE,
    MOST_SETTLING_RESIDUAL,
    Card,
    _optimizers,
)

CONFIG = TrainingConfig(epochs=3, batch_size=40, lr=0.02, checkpoint_epochs=(0, 1))


@pytest.fixture
def model(tiny: ConvNet, images: Any, tmp_path: Path) -> TrainedModel:
    return fit(tiny, "backprop", images=images, config=CONFIG, folder=tmp_path / "run")


def test_says_what_was_trained_and_at_what_cost(model: TrainedModel, images: Any) -> None:
    card = model.card
    n_images = len(images.train_labels)
    assert (card.rule, card.exactness, card.seed, card.epoch) == ("backprop", "bp", 0, 3)
    assert card.accuracy == model.accuracies
    assert card.weight_change == model.weight_change
    assert card.norms == {"V1": "none, none", "IT": "none, none", "readout": "none, none"}
    assert card.budget["images"] == 3 * n_images
    assert card.budget["updates"] == 3 * -(-n_images // 40)
    assert card.budget["cpu_seconds"] > 0
    assert card.settling_residual is None
    assert set(card.alignment) == {"start", "middle", "end"}
    assert list(card.alignment["end"]) == ["V1", "IT", "readout"]
    assert min(card.alignment["end"].values()) > 0.999
    assert card.optimizer["training"].startswith("sgd, lr 0.02 cosine")


def test_is_kept_in_the_folder_and_printed_in_full(model: TrainedModel, tmp_path: Path) -> None:
    kept = json.loads((tmp_path / "run" / "card.json").read_text())
    assert kept == json.loads(json.dumps(model.card.to_dict()))
    assert TrainedModel.load(tmp_path / "run").card == model.card
    for fact in ("backprop", "weight change", "V1", "alignment, end", "updates", "nothing settles"):
        assert fact in str(model.card)


def test_a_checkpoint_has_the_card_of_its_epoch(model: TrainedModel, tmp_path: Path) -> None:
    early = TrainedModel.load(tmp_path / "run", epoch=1).card
    assert early.budget["images"] * 3 == model.card.budget["images"]
    assert early.weight_change != model.card.weight_change


def test_warns_of_layers_that_hardly_moved(tiny: ConvNet, images: Any) -> None:
    slow = dataclasses.replace(CONFIG, lr=1e-6)
    with pytest.warns(UserWarning, match=r"tiny_backprop: effectively untrained: .* V1, IT"):
        still = fit(tiny, "backprop", images=images, config=slow)
    assert max(still.weight_change[layer] for layer in ("V1", "IT")) < LEAST_WEIGHT_CHANGE
    assert "WARNING: effectively untrained" in str(still.card)


@pytest.mark.parametrize(("residual", "warned"), [(None, 0), (0.002, 0), (0.1, 0), (0.58, 1)])
def test_warns_of_states_that_did_not_settle(
    model: TrainedModel, residual: float | None, warned: int
) -> None:
    moved = dict.fromkeys(model.card.weight_change, 1.0)
    card = dataclasses.replace(
        model.card, weight_change=moved, settling_residual=residual, exactness="bp_limit"
    )
    warnings = card.warnings
    assert len(warnings) == warned
    for warning in warnings:
        assert warning.startswith("not settled: the settling residual is 0.58, above 0.1, so")
        assert warning.endswith("or smaller ones (step_size)")


@pytest.mark.parametrize(("n_steps", "settles"), [(5, False), (100, True)])
def test_the_steps_of_inference_decide_whether_it_warns(
    tiny: ConvNet, images: Any, recwarn: pytest.WarningsRecorder, n_steps: int, settles: bool
) -> None:
    smooth = dataclasses.replace(tiny, areas=(Dense("IT", 8, activation="tanh"),))
    config = dataclasses.replace(CONFIG, epochs=1, checkpoint_epochs=())
    card = fit(smooth, PredictiveCoding(n_steps=n_steps), images=images, config=config).card
    assert any(each.startswith("not settled") for each in card.warnings) is not settles
    told = [each for each in recwarn if "not settled" in str(each.message)]
    assert [each.category for each in told] == [CardWarning] * (not settles)


@pytest.mark.parametrize(("cosine", "warned"), [(1.0, 0), (0.9, 1)])
def test_states_need_not_settle_where_updates_have_the_direction_of_the_gradient(
    model: TrainedModel, cosine: float, warned: int
) -> None:
    """Unless the measurement says that on this network they do not."""
    card = dataclasses.replace(
        model.card,
        weight_change=dict.fromkeys(model.card.weight_change, 1.0),
        alignment={"end": {"V1": cosine, "IT": 1.0}},
        settling_residual=0.58,
    )
    assert card.exactness == "bp"
    assert len(card.warnings) == warned


@pytest.mark.parametrize(("n_steps", "reached"), [(20, True), (1, False)])
def test_frozen_predictions_are_exact_once_errors_have_reached_all_layers(
    tiny: ConvNet, images: Any, n_steps: int, reached: bool
) -> None:
    rule = FixedPredictionCoding(n_steps=n_steps)
    card = fit(tiny, rule, images=images, config=CONFIG).card
    assert card.settling_residual > MOST_SETTLING_RESIDUAL
    assert (card.exactness == "bp") is reached
    assert any(each.startswith("not settled") for each in card.warnings) is not reached


@pytest.mark.parametrize(
    ("rule", "measure"),
    [
        (PredictiveCoding(n_steps=100), r"\S+ \(share of the feedback that is not balanced\)"),
        (
            EquilibriumPropagation(),
            r"\S+ \(root mean square change of all units in their last update\)",
        ),
        (IncrementalPredictiveCoding(), "nothing settles"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_says_in_what_measure_a_family_settles(
    tiny: ConvNet, images: Any, rule: LearningRule, measure: str
) -> None:
    areas = (Dense("IT", 8, activation="clipped_relu"),)
    config = dataclasses.replace(CONFIG, epochs=1, checkpoint_epochs=())
    card = fit(dataclasses.replace(tiny, areas=areas), rule, images=images, config=config).card
    assert (card.settling_residual is None) == (measure == "nothing settles")
    assert re.search(rf"^  settling residual  {measure}$", str(card), flags=re.MULTILINE)


def test_names_the_steps_of_each_group_of_parameters(tiny: ConvNet, images: Any, busy: Any) -> None:
    config = dataclasses.replace(
        CONFIG, epochs=1, weight_decay=0.001, augmentation=Augmentation(shift=1)
    )

    def steps(rule: LearningRule, config: TrainingConfig = config) -> dict[str, str]:
        return fit(tiny, rule, images=images, config=config).card.optimizer

    assert steps(KolenPollack(decay=0.1)) == {
        "training": "sgd, cosine, momentum 0.9, batches of 40; "
        "lr 0.02, weight decay 0.1: V1 weight, IT weight, readout weight, feedback; "
        "lr 0.02, weight decay 0.001: V1 bias, IT bias, readout bias"
    }
    assert steps(SoftHebb(lrs=(0.08, 0.02), biases="prior")) == {
        "softhebb": "sgd, cosine, momentum 0, batches of 40; "
        "lr 0.08, weight decay 0: V1 weight, V1 bias; lr 0.02, weight decay 0: IT weight, IT bias",
        "readout": "adam, lr 0.002 cosine, weight decay 0.001, batches of 40",
    }
    adam = dataclasses.replace(config, optimizer="adam", schedule="constant")
    assert steps(busy, adam) == {
        "decoder": "sgd, lr 0.01 constant, momentum 0.9, weight decay 0.001, batches of 40",
        "learning": "adam, lr 0.02 constant, weight decay 0.001, batches of 40",
    }


def test_names_parameters_of_networks_without_areas_and_phases_without_any(images: Any) -> None:
    eye = Preprocessing(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    elman = ElmanNetwork(6, 2, generator=torch.Generator().manual_seed(0), preprocessing=eye)
    two = (ParameterGroup((elman.bias, elman.readout.bias), weight_decay=0.5),)
    rest = tuple(each for name, each in elman.named_parameters() if "bias" not in name)

    class Estimating(Estimator):
        def parameter_groups(self) -> list[ParameterGroup]:
            named = self.phase is not None and self.phase.name == "training"
            return [*two, ParameterGroup(rest)] if named else []

        def phases(self) -> tuple[Phase, ...]:
            return (*super().phases(), Phase(name="rest"))

    assert _optimizers(Estimating(elman, torch.Generator()), CONFIG) == {
        "training": "sgd, cosine, momentum 0.9, batches of 40; "
        "lr 0.02, weight decay 0.5: bias, readout bias; "
        "lr 0.02, weight decay 0: recurrent, input, readout weight",
        "rest": "sgd, cosine, momentum 0.9, batches of 40; nothing to step",
    }


def test_warns_of_layers_that_were_carried_away(model: TrainedModel) -> None:
    far = {"V1": 0.5, "IT": 200.0, "readout": float("inf")}  # weights that began at 0: infinite
    (warning,) = dataclasses.replace(model.card, weight_change=far).warnings
    assert warning.startswith("carried away: the weights of IT moved by more than 100 times")


def test_a_layer_that_learns_in_an_early_phase_has_an_alignment_to_its_end(
    tiny: ConvNet, images: Any
) -> None:
    model = fit(tiny, "oja", images=images, config=CONFIG)
    course = model.history.alignment()["V1"].dropna()
    assert course.index.max() < model.epoch
    assert model.card.alignment["end"]["V1"] == course.iloc[-1]
    assert model.card.alignment["end"]["readout"] > 0.999


def test_says_what_no_phase_trains_without_calling_it_hardly_trained(
    tiny: ConvNet, images: Any
) -> None:
    config = dataclasses.replace(CONFIG, epochs=20, batch_size=10)
    card = fit(tiny, "random_features", images=images, config=config).card
    assert card.never_trained == ("V1", "IT")
    assert card.weight_change["readout"] > LEAST_WEIGHT_CHANGE
    assert card.warnings == ()
    assert "never trained      V1, IT\n" in str(card)
    slow = dataclasses.replace(CONFIG, lr=1e-3)
    judged_by_goodness = fit(tiny, "forward_forward", images=images, config=slow).card
    assert judged_by_goodness.never_trained == ("readout",)
    assert not any("readout" in each for each in judged_by_goodness.warnings)


def test_a_frozen_layer_is_never_trained(tiny: ConvNet, images: Any) -> None:
    network = tiny.build(torch.Generator().manual_seed(0))
    for name, parameter in network.named_parameters():
        parameter.requires_grad = "V1" not in name.split("->")[-1]
    card = fit(network, "backprop", images=images, config=CONFIG).card
    assert card.never_trained == ("V1",)
    assert not any("V1" in each for each in card.warnings)


def test_telling_what_is_trained_leaves_the_phase(tiny: ConvNet, images: Any) -> None:
    model = fit(tiny, "oja", images=images, config=CONFIG)
    model.estimator.begin(model.estimator.phases()[0])
    assert model.card.never_trained == ()
    assert model.estimator.phase == model.estimator.phases()[0]


def test_does_not_warn_of_a_network_that_was_not_to_be_trained(
    tiny: ConvNet, images: Any, recwarn: pytest.WarningsRecorder
) -> None:
    card = fit(tiny, "untrained", images=images, config=CONFIG).card
    assert isinstance(card, Card)
    assert card.warnings == ()
    assert card.never_trained == ("V1", "IT", "readout")
    assert card.budget["images"] == 0
    assert card.alignment == {}
    assert not [each for each in recwarn if "untrained" in str(each.message)]

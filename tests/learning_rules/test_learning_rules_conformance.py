"""Laws that every learning rule keeps, as far as its declared properties imply them."""

import copy
import dataclasses
import math
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.configuration import from_json, to_json
from brainscore_lite.learning_rules import (
    LEARNING_RULES,
    LOCALITIES,
    REQUIREMENTS,
    Batch,
    Estimator,
    LearningRule,
    Phase,
    StepInfo,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.learning_rule import Exactness
from brainscore_lite.learning_rules.linear_readout import READOUT_PHASE
from brainscore_lite.networks.architectures import MATCHED_CNN, MATCHED_MLP
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.black_box import put_black_box
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.elman import ElmanNetwork
from brainscore_lite.networks.network import Network
from brainscore_lite.networks.pixels import Pixels
from brainscore_lite.networks.wrapping import wrap
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing
from brainscore_lite.training import Augmentation, TrainedModel, TrainingConfig, fit
from brainscore_lite.training.loop import TrainingLoop
from brainscore_lite.training.measurement import alignment, layer_of


def those(holds: Callable[[LearningRule], bool]) -> pytest.MarkDecorator:
    """Parametrise a law over the rules that owe it."""
    chosen = [rule for rule in LEARNING_RULES.values() if holds(rule)]
    return pytest.mark.parametrize("rule", chosen, ids=[rule.name for rule in chosen])


each_rule = those(lambda rule: True)
each_training_rule = those(lambda rule: rule.name != "untrained")


def elman(generator: torch.Generator) -> nn.Module:
    """Make the network of the rules that are online in time."""
    eye = Preprocessing(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    return ElmanNetwork(6, 2, generator=generator, preprocessing=eye, tau=2.0)


#: What can be run on complex numbers.
ANALYTIC = ConvNet(
    areas=(
        Area("V1", 4, pool_out=Pool("average", 2), activation="tanh"),
        Dense("IT", 8, activation="tanh"),
    ),
    n_classes=2,
    image_size=8,
    name="analytic",
)

MACHINE = ConvNet(
    areas=(Dense("V1", 12, activation="sigmoid"), Dense("IT", 8, activation="sigmoid")),
    n_classes=2,
    image_size=8,
    name="machine",
)

#: Rules that cannot train the convolutional network `tiny` name here what they are tried on
#: instead: settings for the 8 x 8 images and 2 classes of `toy`, or what makes the network.
NETWORK_OF: dict[str, ConvNet | Callable[[torch.Generator], nn.Module]] = {
    "equilibrium_propagation_holomorphic": ANALYTIC,
    "rtrl": elman,
    "snap1": elman,
    "e_prop": elman,
    "rflo": elman,
    "restricted_boltzmann_machine": MACHINE,
    "restricted_boltzmann_machine_persistent": MACHINE,
}

#: Over several steps, which tell the settings of a rule in time apart.
UNROLLED = ConvNet(
    areas=(Area("V1", 4, activation="tanh"), Dense("IT", 8, activation="tanh")),
    n_classes=2,
    image_size=8,
    lateral=True,
    n_steps=3,
    name="unrolled",
)

#: Steps in each phase and learning rate with which a rule learns the toy, if not 60 and 0.1.
TOY_TRAINING: dict[str, tuple[int, float]] = {
    "random_features": (300, 0.3),
    "direct_difference_target_propagation": (100, 0.05),
    "direct_random_target_projection": (200, 0.1),
    "forward_forward_unsupervised": (200, 0.03),
    "simclr": (60, 0.3),
    "vicreg": (150, 0.03),
}

#: Rules that need not learn the toy, and why.
NEED_NOT_LEARN: dict[str, str] = {"untrained": "it trains nothing"}


Given = Callable[[Phase, Batch], Batch]


@pytest.fixture
def network(rule: LearningRule, tiny: nn.Module) -> nn.Module:
    """What a rule is tried on, in float64."""
    if rule.name not in NETWORK_OF:
        return tiny
    own = NETWORK_OF[rule.name]
    make = own.build if isinstance(own, ConvNet) else own
    return make(torch.Generator().manual_seed(1)).double()


def bound(rule: LearningRule, network: nn.Module, *, seed: int = 0) -> Estimator:
    estimator = rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(seed))
    estimator.begin(estimator.phases()[0])
    return estimator


def update(estimator: Estimator, batch: Batch) -> dict[str, Tensor]:
    """What the rule writes in its current phase, inside the batch and at its end."""
    total: dict[str, Tensor] = {}

    def collect() -> None:
        for name, parameter in estimator.named_parameters():
            if parameter.grad is not None:
                total[name] = total.get(name, 0) + parameter.grad
        estimator.zero_grad(set_to_none=True)

    estimator(batch, collect)
    collect()
    return total


@each_rule
def test_is_a_frozen_dataclass_with_declared_properties(rule: LearningRule) -> None:
    assert isinstance(rule, LearningRule)
    assert rule.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert LEARNING_RULES[rule.name] is rule
    assert rule.exactness in typing.get_args(Exactness)
    assert isinstance(rule.ngrad, bool)
    assert rule.requires <= REQUIREMENTS
    assert rule.makes_local <= LOCALITIES
    assert rule.family
    assert rule.citation


@each_rule
def test_settings_round_trip_through_json(rule: LearningRule) -> None:
    assert from_json(to_json(rule), types=(type(rule),)) == rule
    assert dataclasses.is_dataclass(rule)


@each_rule
def test_refuses_a_choice_that_there_is_not(rule: LearningRule) -> None:
    """Every setting whose type is a list of words."""
    hints = typing.get_type_hints(type(rule))
    words = [
        f.name for f in dataclasses.fields(rule) if typing.get_origin(hints[f.name]) is Literal
    ]
    for setting in words:
        with pytest.raises(ContractError, match=f"{setting} is 'swirl', which is unknown"):
            dataclasses.replace(rule, **{setting: "swirl"})


@each_rule
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_refuses_what_is_no_number(rule: LearningRule, value: float) -> None:
    """Every setting that is a number of one kind."""
    hints = typing.get_type_hints(type(rule))
    kinds = {f.name: hints[f.name] for f in dataclasses.fields(rule)}
    for setting in (name for name, kind in kinds.items() if kind in (float, int)):
        with pytest.raises(ContractError, match=f"{setting} "):
            dataclasses.replace(rule, **{setting: value})


@each_rule
@pytest.mark.parametrize("value", ["swirl", math.nan, -1])
def test_refuses_settings_of_another_kind(rule: LearningRule, value: object) -> None:
    """Every setting, whatever its type; none may be a word of no list, no number, or below 0."""
    for setting in (f.name for f in dataclasses.fields(rule)):
        with pytest.raises(ContractError, match=f"{setting} "):
            dataclasses.replace(rule, **{setting: value})


@each_rule
def test_refuses_a_flag_as_a_number(rule: LearningRule) -> None:
    """True is 1 to Python, and no number of steps to a reader."""
    hints = typing.get_type_hints(type(rule))
    for setting in (f.name for f in dataclasses.fields(rule) if hints[f.name] is not bool):
        with pytest.raises(ContractError, match=f"{setting} "):
            dataclasses.replace(rule, **{setting: True})


@each_rule
def test_asks_for_labels_where_its_features_learn_from_them(
    rule: LearningRule, network: nn.Module
) -> None:
    """The readout, which every rule without labels trains at the end, does not count."""
    phases = bound(rule, network).phases()
    features = [phase for phase in phases if phase.name != "readout" and phase.epochs != 0]
    if rule.name not in ("untrained", "random_features"):
        assert ("labels" in rule.requires) == any(phase.labels for phase in features)


@each_rule
def test_supports_the_network_that_it_is_tried_on(rule: LearningRule, network: nn.Module) -> None:
    assert rule.supports(network).ok, "give the rule an entry in NETWORK_OF"


@each_rule
def test_refuses_in_the_words_of_supports(rule: LearningRule, tiny: nn.Module) -> None:
    tried = (tiny, copy.deepcopy(tiny).requires_grad_(False))
    refused = [network for network in tried if not rule.supports(network).ok]
    if not refused:
        pytest.skip(f"{rule.name} supports every network tried")
    for network in refused:
        reason = rule.supports(network).reason
        assert reason
        with pytest.raises(UnsupportedNetworkError, match=f": {re.escape(reason)}$"):
            rule.bind(network, torch.Generator())


@each_rule
def test_trains_a_foreign_module_or_says_what_to_do(rule: LearningRule, toy: Batch) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    eye = Preprocessing(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    network = wrap(module, ["2", "3"], eye, name="foreign")
    if not rule.supports(network).ok:
        with pytest.raises(UnsupportedNetworkError, match=r"a WrappedModel.* train it"):
            rule.bind(network, torch.Generator())
        return
    estimator = bound(rule, network)
    trained = {id(p) for group in estimator.parameter_groups() for p in group.parameters}
    assert len(trained) == (0 if rule.name == "untrained" else 4)
    written = update(estimator, toy)
    assert len(written) == len(trained)
    assert all(gradient.abs().sum() > 0 for gradient in written.values())
    assert estimator.predict(toy.images).shape == (len(toy.images), 2)


@pytest.mark.parametrize("given", [None, "small_cnn", Pixels(image_size=8)], ids=repr)
def test_supports_nothing_without_weights(given: object) -> None:
    for name in LEARNING_RULES.keys() - {"untrained"}:
        found = LEARNING_RULES[name].supports(given)
        assert not found.ok
        assert re.search(rf"(a|this is a) {type(given).__name__} ?.*(Give|Use) an", found.reason)


@each_training_rule
def test_updates_are_finite_and_shaped_like_the_weights(
    rule: LearningRule,
    network: nn.Module,
    toy: Batch,
    given: Given,
) -> None:
    estimator = bound(rule, network)
    parameters = dict(estimator.named_parameters())
    for phase in estimator.phases():
        estimator.begin(phase)
        for name, gradient in update(estimator, given(phase, toy)).items():
            assert gradient.shape == parameters[name].shape
            assert torch.isfinite(gradient).all()


@each_rule
def test_what_is_trained_gets_an_update_and_nothing_else(
    rule: LearningRule,
    network: nn.Module,
    toy: Batch,
    given: Given,
) -> None:
    estimator = bound(rule, network)
    names = {id(p): name for name, p in estimator.named_parameters()}
    for phase in estimator.phases():
        estimator.begin(phase)
        trained = {names[id(p)] for group in estimator.parameter_groups() for p in group.parameters}
        assert set(update(estimator, given(phase, toy))) == trained


@each_training_rule
def test_same_seed_same_update(
    rule: LearningRule,
    network: nn.Module,
    toy: Batch,
    given: Given,
) -> None:
    pair = [bound(rule, network, seed=3) for _ in range(2)]
    first, second = (update(each, given(each.phase, toy)) for each in pair)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@each_rule
def test_global_random_numbers_have_no_say(
    rule: LearningRule,
    network: nn.Module,
    toy: Batch,
    given: Given,
) -> None:
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        estimator = bound(rule, network)
        update(estimator, given(estimator.phase, toy))
        assert torch.equal(torch.get_rng_state(), before)


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_device_are_kept(
    rule: LearningRule,
    dtype: torch.dtype,
    network: nn.Module,
    toy: Batch,
    given: Given,
) -> None:
    estimator = bound(rule, network.to(dtype))
    images = toy.images.to(dtype)
    gradients = update(estimator, given(estimator.phase, Batch(images, toy.labels))).values()
    assert {(g.dtype, g.device) for g in gradients} <= {(dtype, images.device)}
    assert estimator.predict(images).dtype == dtype


@each_rule
def test_state_round_trips(
    rule: LearningRule,
    network: nn.Module,
    toy: Batch,
    trained_on_toy: Callable[..., list[float]],
    given: Given,
) -> None:
    trained = bound(rule, network, seed=1)
    trained_on_toy(trained, 2)
    trained.begin(trained.phases()[0])
    fresh = bound(rule, network, seed=2)
    fresh.load_state_dict({k: v.clone() for k, v in trained.state_dict().items()})
    assert torch.equal(fresh.predict(toy.images), trained.predict(toy.images))
    first, second = (update(each, given(each.phase, toy)) for each in (fresh, trained))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in second)


@each_rule
def test_entering_a_phase_changes_no_state(rule: LearningRule, network: nn.Module) -> None:
    estimator = bound(rule, network)
    before = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    for phase in estimator.phases():
        estimator.begin(phase)
    after = estimator.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@each_rule
def test_predicts_every_class_and_responds_with_every_layer(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, network)
    assert estimator.predict(toy.images).shape == (len(toy.images), 2)
    steps = list(estimator.respond(toy.images))
    assert [step.index for step in steps] == list(range(estimator.model.n_steps))
    assert set(steps[-1].activations) == set(estimator.model.layer_names)


@each_rule
def test_probes_the_dynamics_that_it_predicts_from(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, network)
    estimator.begin(estimator.phases()[-1])
    *_, step = estimator.respond(toy.images, ["readout"])
    assert torch.equal(step.activations["readout"], estimator.predict(toy.images))


#: Rules of a restricted Boltzmann machine sample; dual propagation sweeps once.
DO_NOT_SETTLE = (
    "restricted_boltzmann_machine", "restricted_boltzmann_machine_persistent", "dual_propagation",
)  # fmt: skip


@those(lambda rule: rule.family == "energy" and rule.name not in DO_NOT_SETTLE)
def test_says_how_far_the_free_phase_settled(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    """Wherever it is probed or trained."""
    estimator = bound(rule, network)
    (step,) = estimator.respond(toy.images)
    info = estimator(toy, lambda: None)
    assert step.residual is not None
    assert info.settling_residual == pytest.approx(step.residual, rel=1e-6, abs=1e-14)
    assert 0 < step.residual < 0.01


def test_errors_are_differences_of_activity_where_the_review_says_so() -> None:
    """Lillicrap et al. 2020: in bursts, in two phases, in predictions and in targets."""
    families = ("energy", "predictive_coding", "target")
    of_family = {name for name, rule in LEARNING_RULES.items() if rule.family in families}
    no_error = {"restricted_boltzmann_machine", "restricted_boltzmann_machine_persistent"}
    own_wire = {"almeida_pineda"}  # errors settle in a network of their own
    expected = (of_family | {"burstprop"}) - no_error - own_wire
    assert {name for name, rule in LEARNING_RULES.items() if rule.ngrad} == expected


@those(lambda rule: rule.name not in NEED_NOT_LEARN)
def test_learns_two_classes_where_it_should(
    rule: LearningRule,
    network: nn.Module,
    toy: Batch,
    trained_on_toy: Callable[..., list[float]],
    given: Given,
) -> None:
    estimator = bound(rule, network)
    n_steps, lr = TOY_TRAINING.get(rule.name, (60, 0.1))
    losses = trained_on_toy(estimator, n_steps, lr)
    assert losses[-1] < losses[0]
    correct = estimator.predict(toy.images).argmax(dim=1) == toy.labels
    assert correct.double().mean() > 0.95


def layer_updates(
    rule: LearningRule, network: nn.Module, batch: Batch, given: Given
) -> dict[str, Tensor]:
    """What the rule writes for the weights of the network in its first phase, by name."""
    estimator = bound(rule, network)
    written = update(estimator, given(estimator.phase, batch))
    inside = {name.removeprefix("network."): g for name, g in written.items()}
    return {name: inside[name] for name, _ in network.named_parameters() if name in inside}


@those(lambda rule: "update_locking" in rule.makes_local)
def test_layers_do_not_wait_for_those_above_where_claimed(
    rule: LearningRule, network: nn.Module, toy: Batch, given: Given
) -> None:
    """Other weights in the readout and the highest area leave the updates below as they were."""
    if not isinstance(network, Network):
        pytest.skip(f"{rule.name} is tried on a network without areas; its own test shows it")
    names = list(network.areas)
    before = layer_updates(rule, network, toy, given)
    for height in range(1, len(names)):
        changed = copy.deepcopy(network)
        above = [n for n, _ in changed.named_parameters() if layer_of(n, names) in names[height:]]
        noise = torch.Generator().manual_seed(6)
        with torch.no_grad():
            for name in above:
                weight = changed.get_parameter(name)
                weight += torch.randn(weight.shape, generator=noise, dtype=weight.dtype)
        after = layer_updates(rule, changed, toy, given)
        for name in set(before) - set(above):
            assert torch.equal(before[name], after[name]), name


#: Rules that try their noise out on the forward weights, and send nothing back through them.
TRY_NOISE_OUT = (
    "weight_perturbation", "node_perturbation", "forward_gradient", "reward_modulated_hebb",
)  # fmt: skip


@those(lambda rule: "weight_transport" in rule.makes_local and rule.name not in TRY_NOISE_OUT)
def test_feedback_does_not_read_the_forward_weights_where_claimed(
    rule: LearningRule, network: nn.Module, toy: Batch, given: Given
) -> None:
    """A change of the readout that no activity of the batch can see leaves the updates below.

    With fewer images than units below the readout, D with D h = 0 for every image exists: W + D
    gives the same scores and the same error, but another W^T e.
    """
    if not isinstance(network, Network):
        pytest.skip(f"{rule.name} is tried on a network without areas; its own test shows it")
    few = Batch(toy.images[:3], toy.labels[:3])
    estimator = bound(rule, network)
    (step,) = [*estimator.respond(few.images)][-1:]
    seen = step.activations[list(network.areas)[-2]].flatten(1)
    unseen = torch.eye(seen.shape[1], dtype=seen.dtype) - torch.linalg.pinv(seen) @ seen
    before = layer_updates(rule, network, few, given)
    changed = copy.deepcopy(network)
    (name,) = [n for n, _ in changed.named_parameters() if n.endswith("->readout.op.weight")]
    weight = changed.get_parameter(name)
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(7), dtype=seen.dtype)
    with torch.no_grad():
        weight += noise @ unseen
    after = layer_updates(rule, changed, few, given)
    for below in before:
        if "readout" not in below:
            assert torch.allclose(before[below], after[below], rtol=1e-9, atol=1e-12), below


def test_backprop_does_read_them(tiny: Network, toy: Batch, given: Given) -> None:
    """The law above can fail: the updates of backprop move."""
    few = Batch(toy.images[:3], toy.labels[:3])
    seen = next(tiny.respond(few.images)).activations["IT"]
    unseen = torch.eye(8, dtype=seen.dtype) - torch.linalg.pinv(seen) @ seen
    before = layer_updates(LEARNING_RULES["backprop"], tiny, few, given)
    changed = copy.deepcopy(tiny)
    with torch.no_grad():
        changed.get_parameter("connections.IT->readout.op.weight").add_(unseen[:2])
    after = layer_updates(LEARNING_RULES["backprop"], changed, few, given)
    name = "connections.V1->IT.op.weight"
    assert not torch.allclose(before[name], after[name], rtol=1e-3)


def boxed(network: Network) -> Network:
    """Scramble what the lowest area sends on in a stage of unknown function."""
    below = next(iter(network.areas))
    return put_black_box(copy.deepcopy(network), below, lambda sent: sent.flip(1))


#: Nothing below the readout is trained, so no derivative is needed there.
LEAVE_AREAS_ALONE = ("random_features", "untrained")


@those(lambda rule: not ("derivatives" in rule.makes_local or rule.name in LEAVE_AREAS_ALONE))
def test_needs_derivatives_throughout_where_not_claimed_otherwise(
    rule: LearningRule, network: nn.Module
) -> None:
    if not isinstance(network, Network):
        pytest.skip(f"{rule.name} is tried on a network without areas")
    with pytest.raises(UnsupportedNetworkError, match="black box, through which no derivative"):
        rule.bind(boxed(network), torch.Generator())


@those(lambda rule: "derivatives" in rule.makes_local)
def test_learns_through_a_black_box_where_it_does_without_derivatives(
    rule: LearningRule,
    network: Network,
    toy: Batch,
    trained_on_toy: Callable[..., list[float]],
) -> None:
    """Unless it needs to know the stage for another reason, such as an energy."""
    through = boxed(network)
    if not rule.supports(through).ok:
        assert "is a black box" in rule.supports(through).reason
        return
    estimator = bound(rule, through)
    below = estimator.network.get_parameter("connections.image->V1.op.weight")
    before = below.detach().clone()
    trained_on_toy(estimator, *TOY_TRAINING.get(rule.name, (60, 0.1)))
    assert not torch.equal(below, before)
    correct = estimator.predict(toy.images).argmax(dim=1) == toy.labels
    assert correct.double().mean() > 0.9


@those(lambda rule: rule.exactness == "bp")
def test_points_along_the_gradient_in_every_layer_where_it_is_said_to_be_backprop(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    found = alignment(bound(rule, network), toy)
    assert len(found) >= len(network.layer_names)
    assert all(cosine == pytest.approx(1, abs=1e-12) for cosine in found.values())


@those(lambda rule: rule.exactness == "bp")
def test_other_settings_are_backprop_only_where_they_are_said_to_be(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    """Every choice of every setting, one at a time, and a single step of inference."""
    if rule.name == "bptt":
        network = UNROLLED.build(torch.Generator().manual_seed(1)).double()
    hints = typing.get_type_hints(type(rule))
    settings = [f.name for f in dataclasses.fields(rule)]
    choices = {name: typing.get_args(hints[name]) for name in settings}
    choices = {name: c for name, c in choices.items() if typing.get_origin(hints[name]) is Literal}
    if "n_steps" in settings:
        choices["n_steps"] = (1, 20)
    parameters = [name for name, _ in network.named_parameters()]
    for name, value in ((name, value) for name, values in choices.items() for value in values):
        variant = dataclasses.replace(rule, **{name: value})
        written = layer_updates(variant, network, toy, lambda phase, batch: batch)
        loss = nn.functional.cross_entropy(network(toy.images), toy.labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        products: dict[str, Tensor] = {}
        for parameter, g in zip(parameters, gradients, strict=True):
            u, layer = written[parameter], layer_of(parameter, network.layer_names)
            terms = torch.stack([(u * g).sum(), (u * u).sum(), (g * g).sum()])
            products[layer] = products.get(layer, 0) + terms
        along = all(ug > (1 - 1e-12) * (uu * gg).sqrt() > 0 for ug, uu, gg in products.values())
        assert along == (variant.exactness == "bp"), variant


def test_other_rules_do_not(tiny: Network, toy: Batch) -> None:
    """The law above can fail."""
    for name in ("feedback_alignment", "predictive_coding", "dual_propagation"):
        assert min(alignment(bound(LEARNING_RULES[name], tiny), toy).values()) < 1 - 1e-6


@each_training_rule
def test_angles_to_the_gradient_are_measured_and_leave_no_trace(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    """In the last phase, which has labels for every rule."""
    estimator = bound(rule, network)
    estimator.begin(estimator.phases()[-1])
    state = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    found = alignment(estimator, toy)
    assert found
    assert all(abs(cosine) <= 1 + 1e-12 for cosine in found.values())
    assert all(torch.equal(tensor, state[n]) for n, tensor in estimator.state_dict().items())
    assert all(p.grad is None for p in estimator.parameters())


@those(lambda rule: "labels" not in rule.requires and rule.name != "untrained")
def test_ends_with_a_readout_of_features_that_it_leaves_alone(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    """The network's own readout alone, or one of the rule's own beside it, in the last phase."""
    estimator = bound(rule, network)
    last = estimator.phases()[-1]
    assert last == READOUT_PHASE
    estimator.begin(last)
    written = update(estimator, toy)
    assert {name for name in written if name.startswith("network.") and "readout" in name}
    assert all("readout" in name for name in written)


@those(lambda rule: rule.family in ("energy", "predictive_coding") and "labels" in rule.requires)
def test_settles_each_example_on_its_own_loss(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    """The same images twice give the same update: a mean loss would halve what settling sees."""
    once, twice = (bound(rule, network) for _ in range(2))
    doubled = Batch(toy.images.repeat(2, 1, 1, 1), toy.labels.repeat(2))
    expected, found = update(once, toy), update(twice, doubled)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-9, atol=1e-12), name


#: Rules that train another kind of network, or demand another activation.
OWN_NETWORK = NETWORK_OF.keys()


@each_rule
@pytest.mark.parametrize("architecture", [MATCHED_MLP, MATCHED_CNN], ids=lambda each: each.name)
def test_trains_the_matched_networks_if_it_can_train_such_a_network(
    rule: LearningRule, architecture: ConvNet
) -> None:
    support = rule.supports(architecture)
    assert support.ok == (rule.name not in OWN_NETWORK)
    assert support.ok or re.search(r"Use |Choose |Set ", support.reason)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    train = TrainingLoop._train_step

    def failing(self: TrainingLoop, now: typing.Any, batch: Batch, index: int) -> StepInfo:
        if (now.number, index) == (epoch, 1):
            raise RuntimeError("power cut")
        return train(self, now, batch, index)

    monkeypatch.setattr(TrainingLoop, "_train_step", failing)


@dataclasses.dataclass(frozen=True, eq=False)
class FewImages:
    """Noise that is brighter on the left or on the right half."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    name: str = "few"


@pytest.fixture(scope="module")
def few_images() -> FewImages:
    labels = np.arange(32) % 2
    images = np.random.default_rng(0).integers(0, 150, (32, 8, 8, 3))
    images[labels == 0, :, :4] += 60
    images[labels == 1, :, 4:] += 60
    pixels = images.astype(np.uint8)
    return FewImages(pixels[:24], labels[:24], pixels[24:], labels[24:])


@each_rule
def test_resumes_to_the_same_bytes(
    rule: LearningRule,
    network: nn.Module,
    few_images: FewImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cut off twice, in the first phase and in the last; what was read back is the same, too."""
    if rule.name.startswith("restricted_boltzmann"):
        rule = dataclasses.replace(rule, epochs=2)
    config = TrainingConfig(
        epochs=2, batch_size=12, lr=0.01, optimizer="adam", augmentation=Augmentation(shift=1)
    )
    given = {"images": few_images, "config": config}
    whole = fit(network, rule, **given)
    for epoch in sorted({2, whole.epoch}) if whole.epoch else ():
        with monkeypatch.context() as patch:
            interrupt_at(patch, epoch)
            with pytest.raises(RuntimeError, match="power cut"):
                fit(network, rule, **given, folder=tmp_path)
    resumed = fit(network, rule, **given, folder=tmp_path)
    read = TrainedModel.load(tmp_path, network=network)
    expected = whole.estimator.state_dict()
    for model in (resumed, read):
        found = model.estimator.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    first, second = (model.history.table for model in (whole, resumed))
    known = [column for column in first if "seconds" not in column]
    assert first[known].equals(second[known])

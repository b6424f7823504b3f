"""The readout that rules without labels train last: what is trained, and on which features."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    LEARNING_RULES,
    Batch,
    Estimator,
    ForwardForward,
    LearningRule,
    Phase,
    UnsupervisedForwardForward,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.linear_readout import READOUT_PHASE, FeaturesThenReadout
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.training.measurement import alignment

#: Every rule can train these areas.
DENSE = ConvNet(
    areas=(Dense("V1", 12, activation="sigmoid"), Dense("IT", 8, activation="sigmoid")),
    n_classes=2,
    image_size=8,
    name="dense",
)
#: Areas whose norms know the batch.
NORMED = ConvNet(
    areas=(
        Area("V1", 4, norm="batch", pool_out=Pool("average", 2)),
        Dense("IT", 8, norm="batch"),
    ),
    n_classes=2,
    image_size=8,
    name="normed",
)


def built(settings: ConvNet) -> Network:
    return settings.build(torch.Generator().manual_seed(1)).double()


END_WITH_READOUT = [
    rule
    for name, rule in LEARNING_RULES.items()
    if name == "random_features" or not (name == "untrained" or "labels" in rule.requires)
]
NORMED_TOO = [rule for rule in END_WITH_READOUT if rule.supports(NORMED).ok]
each_rule = pytest.mark.parametrize("rule", END_WITH_READOUT, ids=lambda rule: rule.name)
each_with_batch_norm = pytest.mark.parametrize("rule", NORMED_TOO, ids=lambda rule: rule.name)

WEIGHT, BIAS = "connections.IT->readout.op.weight", "areas.readout.bias"


def bound(rule: LearningRule, network: Network) -> Estimator:
    return rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(2))


def updates(
    estimator: Estimator, toy: Batch, given: Callable[[Phase, Batch], Batch]
) -> dict[str, dict[str, Tensor]]:
    """What the rule writes, by phase and name; it is what the groups of the phase list."""
    found = {}
    for phase in estimator.phases():
        estimator.begin(phase)
        estimator.zero_grad(set_to_none=True)
        estimator(given(phase, toy), lambda: None)
        parameters = dict(estimator.named_parameters())
        found[phase.name] = {n: p.grad for n, p in parameters.items() if p.grad is not None}
        listed = {id(p) for group in estimator.parameter_groups() for p in group.parameters}
        assert {n for n, p in parameters.items() if id(p) in listed} == set(found[phase.name])
    return found


def test_there_are_such_rules() -> None:
    assert len(END_WITH_READOUT) >= 13
    assert len(NORMED_TOO) >= 9


@each_rule
def test_is_of_one_kind(rule: LearningRule) -> None:
    estimator = bound(rule, built(DENSE))
    assert isinstance(estimator, FeaturesThenReadout)
    assert estimator.phases() == (*estimator.feature_phases, READOUT_PHASE)
    assert not any(phase.labels for phase in estimator.feature_phases)


@each_rule
def test_refuses_a_frozen_readout_before_anything_is_trained(rule: LearningRule) -> None:
    network = built(DENSE)
    for name in (WEIGHT, BIAS):
        network.get_parameter(name).requires_grad_(False)
    with pytest.raises(UnsupportedNetworkError, match=r"its readout is frozen.*Set requires_grad"):
        rule.bind(network, torch.Generator())
    network.get_parameter(BIAS).requires_grad_(True)
    assert rule.supports(network).ok


@each_rule
@pytest.mark.parametrize("frozen", [WEIGHT, BIAS])
def test_trains_what_is_left_of_a_readout_that_is_half_frozen(
    rule: LearningRule, frozen: str, toy: Batch, given: Callable[[Phase, Batch], Batch]
) -> None:
    toy = Batch(toy.images.clamp(0, 1), toy.labels)
    network = built(DENSE)
    expected = updates(bound(rule, network), toy, given)["readout"]
    network.get_parameter(frozen).requires_grad_(False)
    written = updates(bound(rule, network), toy, given)["readout"]
    assert set(written) == set(expected) - {f"network.{frozen}"}
    assert all(torch.equal(gradient, expected[name]) for name, gradient in written.items())


@each_rule
def test_trains_the_readout_where_the_features_are_frozen(
    rule: LearningRule, toy: Batch, given: Callable[[Phase, Batch], Batch]
) -> None:
    network = built(DENSE)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in (WEIGHT, BIAS))
    *_, written = updates(bound(rule, network), toy, given).values()
    assert {f"network.{WEIGHT}", f"network.{BIAS}"} <= set(written)


def test_weights_of_the_rule_s_own_are_a_readout(
    toy: Batch, given: Callable[[Phase, Batch], Batch]
) -> None:
    """Between the first and the last layer, beside the network's own."""
    three = ConvNet(areas=tuple(Dense(n, 8) for n in ("V1", "V2", "IT")), n_classes=2, image_size=8)
    network = built(three)
    for name in (WEIGHT, BIAS):
        network.get_parameter(name).requires_grad_(False)
    written = updates(bound(UnsupervisedForwardForward(), network), toy, given)["readout"]
    assert set(written) == {"readout.between.0.weight"}
    both = updates(bound(ForwardForward(prediction="readout"), network), toy, given)["training"]
    assert {name for name in both if "readout" in name} == {"readout.between.0.weight"}


def test_forward_forward_says_what_is_frozen() -> None:
    """With labels, too: only settings that need a readout ask for one."""
    network = built(DENSE)
    for name in (WEIGHT, BIAS):
        network.get_parameter(name).requires_grad_(False)
    assert ForwardForward().supports(network).ok
    for rule in (ForwardForward(prediction="readout"), ForwardForward(negatives="hard")):
        with pytest.raises(UnsupportedNetworkError, match="its readout is frozen"):
            rule.bind(network, torch.Generator())
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in (WEIGHT, BIAS))
    with pytest.raises(UnsupportedNetworkError, match="all of its weights below the readout are f"):
        ForwardForward().bind(network, torch.Generator())
    assert ForwardForward(prediction="readout").supports(network).ok


def reading_out(rule: LearningRule, toy: Batch) -> Estimator:
    """At the readout phase of a normed network that has seen images, in training mode."""
    estimator = bound(rule, built(NORMED))
    estimator.train()
    with torch.no_grad():
        for _ in range(3):
            estimator.network(2 * toy.images + 1)
    estimator.begin(READOUT_PHASE)
    return estimator


@each_with_batch_norm
def test_reads_out_features_as_they_are_probed_and_leaves_them_alone(
    rule: LearningRule, toy: Batch
) -> None:
    """Statistics that norms have gathered are used and kept, and training mode is restored."""
    estimator = reading_out(rule, toy)
    before = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    probed = copy.deepcopy(estimator.network).eval()
    modules: dict[str, nn.Module] = dict(estimator.named_modules())
    info = estimator(toy, lambda: None)
    assert all(module.training for module in modules.values())
    after = estimator.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    loss = functional.cross_entropy(probed(toy.images), toy.labels)
    assert info.loss == pytest.approx(loss.item(), rel=1e-12)
    expected = torch.autograd.grad(loss, [probed.get_parameter(name) for name in (WEIGHT, BIAS)])
    for name, gradient in zip((WEIGHT, BIAS), expected, strict=True):
        found = estimator.network.get_parameter(name).grad
        torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-15)


@each_with_batch_norm
def test_readout_is_aligned_with_the_objective_and_measuring_it_changes_no_mode(
    rule: LearningRule, toy: Batch
) -> None:
    estimator = reading_out(rule, toy)
    assert alignment(estimator, toy)["readout"] == pytest.approx(1, abs=1e-12)
    assert all(module.training for module in estimator.modules())
    evaluated = estimator.eval()
    assert alignment(evaluated, toy)["readout"] == pytest.approx(1, abs=1e-12)
    assert not any(module.training for module in evaluated.modules())

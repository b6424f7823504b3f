"""Direct feedback alignment and direct random target projection."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    Estimator,
    FeedbackAlignment,
    LearningRule,
    UnsupportedNetworkError,
)
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.training.measurement import alignment

Written = Callable[[Estimator, Batch], dict[str, Tensor]]
Gradient = Callable[[nn.Module, Batch], dict[str, Tensor]]
Compare = Callable[[dict[str, Tensor], dict[str, Tensor]], float]

BOTH = (DirectFeedbackAlignment(), DirectRandomTargetProjection())
each_rule = pytest.mark.parametrize("rule", BOTH, ids=[rule.name for rule in BOTH])


def bound(rule: LearningRule, network: nn.Module) -> Estimator:
    return rule.bind(network, torch.Generator().manual_seed(5))


def output_error(network: Network, batch: Batch) -> Tensor:
    scores = network(batch.images).detach()
    return (scores.softmax(1) - functional.one_hot(batch.labels, 3)) / len(batch.labels)


def by_definition(
    network: Network, batch: Batch, error_at: Callable[[str], Tensor]
) -> dict[str, Tensor]:
    """The gradient of <h_l, error_l> by the weights of area l alone, area by area."""
    expected: dict[str, Tensor] = {}
    (activations,) = network.run(batch.images)
    for area, h in activations.items():
        if area == "image":
            continue
        own = {
            name: p
            for name, p in network.named_parameters()
            if f"->{area}." in name or name.startswith(f"areas.{area}.")
        }
        inner = (h * error_at(area)).sum()
        found = torch.autograd.grad(inner, list(own.values()), retain_graph=True)
        expected |= dict(zip(own, found, strict=True))
    return expected


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_every_area_gets_the_broadcast_error_and_no_other(
    name: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    relative_error: Compare,
) -> None:
    """delta_l = phi'(a_l) * (B_l e), to 1e-14, against one gradient for each area."""
    network = make_network(name)
    estimator = bound(DirectFeedbackAlignment(), network)
    e = output_error(network, few)

    def error_at(area: str) -> Tensor:
        if area == "readout":
            return e
        weight = estimator.feedback.get_buffer(area)  # (classes, ..., channels)
        return torch.einsum("bk,k...c->bc...", e, weight)

    expected = by_definition(network, few, error_at)
    assert relative_error(written(estimator, few), expected) < 1e-14


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_every_area_gets_the_broadcast_target(
    name: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    relative_error: Compare,
) -> None:
    """delta_l = -phi'(a_l) * (B_l y) below the readout, and e in the readout, to 1e-14."""
    network = make_network(name)
    estimator = bound(DirectRandomTargetProjection(), network)
    e = output_error(network, few)
    y = functional.one_hot(few.labels, 3).double()

    def error_at(area: str) -> Tensor:
        if area == "readout":
            return e
        sent = torch.einsum("bk,k...c->bc...", y, estimator.feedback.get_buffer(area))
        return -sent / len(few.labels)

    expected = by_definition(network, few, error_at)
    assert relative_error(written(estimator, few), expected) < 1e-14


def test_is_feedback_alignment_at_depth_two(
    few: Batch, written: Written, relative_error: Compare
) -> None:
    network = ConvNet(areas=(Dense("IT", 7, activation="tanh"),), n_classes=3, image_size=8).build(
        torch.Generator().manual_seed(0)
    )
    network.double()
    direct = bound(DirectFeedbackAlignment(), network)
    layered = bound(FeedbackAlignment(), network)
    shared = layered.feedback(network.connections["IT->readout"])
    with torch.no_grad():
        direct.feedback.get_buffer("IT").copy_(shared)
    assert relative_error(written(direct, few), written(layered, few)) < 1e-15


@each_rule
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_readout_learns_by_its_gradient(
    rule: LearningRule,
    name: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
) -> None:
    """Its angle to backprop is 0, to rounding."""
    network = make_network(name)
    found, expected = written(bound(rule, network), few), gradient(network, few)
    (readout,) = [n for n in expected if n.endswith("->readout.op.weight")]
    assert (found[readout] - expected[readout]).norm() < 1e-14 * expected[readout].norm()


def test_areas_align_with_the_gradient(descend: Callable[..., None]) -> None:
    """From around 90 degrees to below 75 in every hidden area within 100 steps."""
    areas = tuple(Dense(name, 40, activation="tanh") for name in ("V4", "IT"))
    network = ConvNet(areas=areas, n_classes=10, image_size=4, in_channels=1).build(
        torch.Generator().manual_seed(0)
    )
    network.double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(200, 1, 4, 4, generator=generator, dtype=torch.float64)
    teacher = torch.randn(16, 10, generator=generator, dtype=torch.float64)
    batch = Batch(images, (images.flatten(1) @ teacher).argmax(dim=1))
    with torch.no_grad():
        for connection in network.connections.values():
            connection.op.weight *= 0.3
    estimator = bound(DirectFeedbackAlignment(), network)
    before = alignment(estimator, batch)
    descend(estimator, batch, n_steps=100, lr=0.2)
    after = alignment(estimator, batch)
    assert max(before[area] for area in ("V4", "IT")) < math.cos(math.radians(80))
    assert min(after[area] for area in ("V4", "IT")) > math.cos(math.radians(75))
    assert after["readout"] == pytest.approx(1, abs=1e-12)


def test_targets_reach_hidden_areas_whatever_comes_out(
    make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    """A readout of NaN changes no bit below it, which it does where the error is broadcast."""
    network = make_network("cnn")
    before = {rule.name: written(bound(rule, network), few) for rule in BOTH}
    with torch.no_grad():
        network.connections["IT->readout"].op.weight.fill_(torch.nan)
    for rule in BOTH:
        after = written(bound(rule, network), few)
        below = [name for name in after if "readout" not in name]
        same = [torch.equal(after[name], before[rule.name][name]) for name in below]
        assert all(same) if rule.name == "direct_random_target_projection" else not any(same)


@each_rule
def test_feedback_keeps_the_length_of_the_error(
    rule: LearningRule, make_network: Callable[..., Network]
) -> None:
    """E |B_l e|^2 = |e|^2 in an area of any size, and scale multiplies it."""
    network = make_network("cnn")
    plain = bound(rule, network).feedback.get_buffer("V1")
    scaled = bound(type(rule)(scale=3.0), network).feedback.get_buffer("V1")
    assert plain.shape == (3, 7, 7, 4)  # classes, rows, columns, channels
    assert plain.square().sum(dim=(1, 2, 3)).mean().item() == pytest.approx(1, abs=0.4)
    torch.testing.assert_close(scaled, 3 * plain)


@each_rule
def test_areas_that_are_not_trained_get_nothing(
    rule: LearningRule, make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    network = make_network("mlp")
    whole = written(bound(rule, network), few)
    for frozen in (*network.connections.values(), *network.areas.values()):
        if "V4" in frozen.name or "readout" in frozen.name:
            frozen.requires_grad_(False)
    part = written(bound(rule, network), few)
    assert set(part) == {n for n in whole if n.startswith(("areas.V1", "areas.IT"))} | {
        "connections.image->V1.op.weight"
    }
    assert all(torch.equal(part[name], whole[name]) for name in part)


@each_rule
def test_binding_leaves_running_statistics_alone(rule: LearningRule) -> None:
    areas = (Dense("IT", 4, norm="batch"),)
    network = ConvNet(areas=areas, n_classes=3, image_size=8).build(torch.Generator())
    before = {name: each.clone() for name, each in network.state_dict().items()}
    bound(rule, network)
    assert network.training
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())


@each_rule
def test_refuses_what_is_no_graph_of_areas(rule: LearningRule) -> None:
    with pytest.raises(UnsupportedNetworkError, match="a Linear is no graph of areas"):
        bound(rule, nn.Linear(3, 2))


@each_rule
def test_refuses_a_scale_that_is_not_positive(rule: LearningRule) -> None:
    with pytest.raises(
        ContractError, match=rf"^{rule.name}: scale is 0, expected a number above 0"
    ):
        type(rule)(scale=0)


@each_rule
def test_refuses_a_batch_without_labels(
    rule: LearningRule, make_network: Callable[..., Network], few: Batch
) -> None:
    with pytest.raises(ContractError, match=rf"^{rule.name}: the batch has no labels"):
        bound(rule, make_network("mlp"))(Batch(few.images), lambda: None)

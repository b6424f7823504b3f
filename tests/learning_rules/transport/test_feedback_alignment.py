"""Feedback alignment, and the engine that sends errors back through other weights."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Backprop,
    Batch,
    Estimator,
    FeedbackAlignment,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.transport.transported_errors import crossed
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

Written = Callable[[Estimator, Batch], dict[str, Tensor]]
Gradient = Callable[[nn.Module, Batch], dict[str, Tensor]]
Compare = Callable[[dict[str, Tensor], dict[str, Tensor]], float]


def bound(network: Network, **settings: float) -> Estimator:
    return FeedbackAlignment(**settings).bind(network, torch.Generator().manual_seed(5))


def through_transposed_weights(network: Network) -> Estimator:
    """Feedback alignment with B := W^T."""
    estimator = bound(network)
    with torch.no_grad():
        for weight, feedback in estimator.feedback.pairs(network):
            feedback.copy_(weight)
    return estimator


@pytest.mark.parametrize("name", ["mlp", "cnn", "windows", "recurrent"])
def test_is_backprop_with_transposed_weights(
    name: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
    relative_error: Compare,
) -> None:
    """Through time as well, and where connections share a weight."""
    network = make_network(name)
    estimator = through_transposed_weights(network)
    assert relative_error(written(estimator, few), gradient(network, few)) < 1e-15


def test_is_not_backprop_with_its_own(
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
    relative_error: Compare,
) -> None:
    network = make_network("cnn")
    assert relative_error(written(bound(network), few), gradient(network, few)) > 0.3


def test_lesions_scale_the_error_as_they_scale_activity(
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
    relative_error: Compare,
) -> None:
    network = make_network("cnn")
    estimator = through_transposed_weights(network)
    with network.lesioned({"V1->V2": 0.3}):
        assert relative_error(written(estimator, few), gradient(network, few)) < 1e-15


def test_equals_errors_sent_back_by_hand(
    make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    """delta_l = phi'(a_l) * (B_{l+1} delta_{l+1}) and dW_l = delta_l h_{l-1}^T, to 1e-14."""
    network = make_network("mlp")
    estimator = bound(network)
    found = written(estimator, few)
    state = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    names = ["image", *network.areas]
    h = [few.images.flatten(1)]
    for below, area in pairwise(names):
        a = h[-1] @ state[f"connections.{below}->{area}.op.weight"].T + state[f"areas.{area}.bias"]
        h.append(a if area == "readout" else a.tanh())
    delta = (h[-1].softmax(1) - functional.one_hot(few.labels, 3)) / len(few.labels)
    for layer in range(4, 0, -1):
        name = f"{names[layer - 1]}->{names[layer]}"
        expected = delta.T @ h[layer - 1]
        error = (found[f"connections.{name}.op.weight"] - expected).norm() / expected.norm()
        assert error < 1e-14
        if layer > 1:
            feedback = estimator.feedback(network.connections[name])
            delta = (1 - h[layer - 1] ** 2) * (delta @ feedback)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_readout_learns_by_its_gradient(
    name: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
) -> None:
    """No feedback weight lies between the error and the readout: its angle is 0."""
    network = make_network(name)
    found, expected = written(bound(network), few), gradient(network, few)
    (readout,) = [n for n in expected if n.endswith("->readout.op.weight")]
    assert (found[readout] - expected[readout]).norm() < 1e-15 * expected[readout].norm()


def test_forward_weights_align_with_feedback_in_a_linear_network(
    descend: Callable[..., None],
) -> None:
    """The angle between B e and W^T e starts near 90 degrees and falls below 40 in 200 steps.

    Measured while the error is large: where it vanishes the angle is noise.
    """
    settings = ConvNet(
        areas=(Dense("IT", 40, activation="identity"),), n_classes=10, image_size=4, in_channels=1
    )
    network = settings.build(torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(100, 1, 4, 4, generator=generator, dtype=torch.float64)
    teacher = torch.randn(16, 10, generator=generator, dtype=torch.float64)
    batch = Batch(images, (images.flatten(1) @ teacher).argmax(dim=1))
    with torch.no_grad():
        for connection in network.connections.values():
            connection.op.weight *= 0.3
    estimator = bound(network)
    readout = network.connections["IT->readout"]

    def angle() -> float:
        with torch.no_grad():
            e = network(images).softmax(1) - functional.one_hot(batch.labels, 10)
            cosine = functional.cosine_similarity(
                e @ estimator.feedback(readout), e @ readout.op.weight
            )
        assert e.norm(dim=1).mean() > 0.1
        return math.degrees(torch.arccos(cosine).mean().item())

    angles = [angle()]
    for _ in range(4):
        descend(estimator, batch, n_steps=50, lr=0.2)
        angles.append(angle())
    assert 75 < angles[0] < 105
    assert all(later < earlier for earlier, later in pairwise(angles))
    assert angles[-1] < 40


def test_feedback_is_drawn_as_the_weights_are_and_stays(
    descend: Callable[..., None], few: Batch
) -> None:
    areas = (Dense("V4", 300), Dense("IT", 300, activation="tanh"))
    network = ConvNet(areas=areas, n_classes=3, image_size=8).build(torch.Generator())
    network.double()
    estimator = bound(network, scale=2.0)
    feedback = {each.name: estimator.feedback(each) for each in crossed(network)}
    assert set(feedback) == {"V4->IT", "IT->readout"}
    assert feedback["V4->IT"].std().item() == pytest.approx(2 / math.sqrt(300), rel=0.02)
    assert feedback["V4->IT"].mean().abs() < 1e-3
    before = {name: each.clone() for name, each in feedback.items()}
    descend(estimator, few, n_steps=2, lr=0.1)
    assert all(torch.equal(each, before[name]) for name, each in feedback.items())
    assert {f"feedback.{name}" for name in before} <= set(estimator.state_dict())


def test_feedback_is_as_strong_whatever_the_initial_gain() -> None:
    areas = (Dense("V4", 30), Dense("IT", 20, activation="tanh"))
    drawn = []
    for gain in (1.0, 0.5):
        settings = ConvNet(areas=areas, n_classes=3, image_size=8, initial_gain=gain)
        estimator = bound(settings.build(torch.Generator()))
        drawn.append([estimator.feedback(each) for each in crossed(estimator.network)])
    assert all(torch.equal(one, other) for one, other in zip(*drawn, strict=True))


def test_connections_of_one_weight_share_its_feedback(
    make_network: Callable[..., Network],
) -> None:
    network = make_network("recurrent")
    estimator = bound(network)
    one, other = (estimator.feedback(network.connections[n]) for n in ("V1->V1", "IT->V1"))
    assert one is other
    assert len(estimator.feedback.pairs(network)) == 3


def test_errors_pass_weights_that_are_not_trained(
    make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    network = make_network("cnn")
    whole = written(bound(network), few)
    network.connections["V1->V2"].requires_grad_(False)
    part = written(bound(network), few)
    assert set(whole) - set(part) == {"connections.V1->V2.op.weight"}
    assert all(torch.equal(part[name], whole[name]) for name in part)


def test_loss_and_correct_images_are_those_of_backprop(
    make_network: Callable[..., Network], few: Batch
) -> None:
    network = make_network("cnn")
    info = bound(network)(few, lambda: None)
    network.zero_grad()
    assert info == Backprop().bind(network, torch.Generator())(few, lambda: None)


def test_refuses_what_is_no_graph_of_areas(few: Batch) -> None:
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"^feedback_alignment cannot train this network: a Linear is no graph of areas .* "
        r"Build it as a ConvNet, or train it with 'backprop'\.$",
    ):
        bound(nn.Linear(3, 2))


def test_refuses_a_batch_without_labels(make_network: Callable[..., Network], few: Batch) -> None:
    with pytest.raises(
        ContractError, match=r"^feedback_alignment: the batch has no labels\. Give it labelled"
    ):
        bound(make_network("mlp"))(Batch(few.images), lambda: None)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_refuses_a_scale_that_is_not_positive(scale: float) -> None:
    with pytest.raises(
        ContractError, match=r"^feedback_alignment: scale is .*, expected a number above 0\.$"
    ):
        FeedbackAlignment(scale=scale)

"""Recurrent forward-forward: synchronous iterations between an image and a clamped label."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import Batch, Estimator, UnsupportedNetworkError
from brainscore_lite.learning_rules.local import RecurrentForwardForward
from brainscore_lite.learning_rules.local.forward_forward_goodness import normalised
from brainscore_lite.learning_rules.local.forward_forward_labels import wrong_labels
from brainscore_lite.learning_rules.local.forward_forward_recurrent import adjoint
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import (
    Connection,
    Convolution,
    FullyConnected,
    LocallyConnected,
    Pool,
)
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.schema import ContractError

DENSE = ConvNet(
    areas=(Dense("hidden1", 16), Dense("hidden2", 12)), n_classes=2, image_size=8, name="dense"
)
CONVOLUTIONAL = ConvNet(
    areas=(Area("V1", 3, pool_out=Pool("average", 2)), Dense("IT", 6)),
    n_classes=2,
    image_size=8,
    name="convolutional",
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bound(rule: RecurrentForwardForward | None = None, architecture: ConvNet = DENSE) -> Estimator:
    network = architecture.build(generator(1)).double()
    return (rule or RecurrentForwardForward()).bind(network, generator(2))


def iterated(
    estimator: Estimator, images: Tensor, top: Tensor, n: int, *, apart: bool = False
) -> list[list[Tensor]]:
    """States of a dense network after each iteration, written out; `apart` cuts every graph."""
    w1, w2 = (stage.connection.op.weight for stage in estimator.hidden)
    b1, b2 = (stage.area.bias for stage in estimator.hidden)
    u1, u2 = estimator.down["hidden2"], estimator.down["readout"]
    x = normalised(images).flatten(1)
    h1 = functional.relu(x @ w1.T + b1)
    h2 = functional.relu(normalised(h1) @ w2.T + b2)
    found = []
    for _ in range(n):
        if apart:
            h1, h2 = h1.detach(), h2.detach()
        new1 = functional.relu(x @ w1.T + normalised(h2) @ u1 + b1)
        new2 = functional.relu(normalised(h1) @ w2.T + top @ u2 + b2)
        h1, h2 = 0.3 * h1 + 0.7 * new1, 0.3 * h2 + 0.7 * new2
        found.append([h1, h2])
    return found


def test_layers_settle_together_with_three_tenths_of_what_they_were(toy: Batch) -> None:
    estimator = bound(RecurrentForwardForward(probed="raw"))
    neutral = torch.full((32, 2), 2**0.5 / 2, dtype=torch.float64)
    states = iterated(estimator, toy.images, neutral, 8)
    (step,) = estimator.respond(toy.images)
    for name, expected, before in zip(("hidden1", "hidden2"), states[-1], states[-2], strict=True):
        torch.testing.assert_close(step.activations[name], expected)
        assert step.residual >= (expected - before).abs().max().item() - 1e-12


def test_prediction_is_the_mean_goodness_of_iterations_three_to_five(toy: Batch) -> None:
    estimator = bound()
    expected = []
    for label in range(2):
        top = 2**0.5 * functional.one_hot(torch.full((32,), label), 2).double()
        counted = iterated(estimator, toy.images, top, 5)[2:]
        expected.append(sum(h.square().mean(dim=1) for states in counted for h in states) / 3)
    torch.testing.assert_close(estimator.predict(toy.images), torch.stack(expected, dim=1))


def test_gradient_is_that_of_each_layer_and_iteration_alone(toy: Batch) -> None:
    estimator = bound()
    clone = torch.Generator()
    clone.set_state(copy.deepcopy(estimator.generator.get_state()))
    wrong = wrong_labels(toy.labels, 2, generator=clone)
    losses = []
    tops = [2**0.5 * functional.one_hot(each, 2).double() for each in (toy.labels, wrong)]
    real, false = (iterated(estimator, toy.images, top, 5, apart=True)[2:] for top in tops)
    for states in zip(real, false, strict=True):
        for h_real, h_false in zip(*states, strict=True):
            theta = h_real.shape[1] * estimator.goodness.threshold
            above = [h.square().sum(dim=1) - theta for h in (h_real, h_false)]
            losses.append(-functional.logsigmoid(torch.cat([above[0], -above[1]])).mean() / 3)
    info = estimator(toy, lambda: None)
    assert info.loss == pytest.approx(sum(losses).item(), rel=1e-12)
    trained = estimator.parameter_groups()[0].parameters
    assert len(trained) == 6
    for parameter, expected in zip(trained, torch.autograd.grad(sum(losses), trained), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-10, atol=1e-14)


def test_without_the_label_prediction_is_at_chance(toy: Batch) -> None:
    estimator = bound(RecurrentForwardForward(temperature=None))
    optimizer = torch.optim.SGD(estimator.parameter_groups()[0].parameters, lr=0.1)
    for _ in range(60):
        estimator(toy, lambda: None)
        optimizer.step()
    correct = estimator.predict(toy.images).argmax(dim=1) == toy.labels
    assert correct.double().mean() > 0.95
    with torch.no_grad():
        estimator.down["readout"].zero_()
    scores = estimator.predict(toy.images)
    torch.testing.assert_close(scores[:, 0], scores[:, 1], rtol=0, atol=0)
    guessed = scores.argmax(dim=1) == toy.labels
    assert guessed.double().mean() == 0.5


@pytest.mark.parametrize("kind", ["dense", "convolution", "pooled", "local"])
def test_top_down_connection_is_the_adjoint(kind: str) -> None:
    """<adjoint(above), below> = <above, connection(below)>."""
    connection = {
        "dense": Connection("a", "b", op=FullyConnected((5, 48))),
        "convolution": Connection(
            "a", "b", op=Convolution((4, 3, 3, 3), padding=1), pool_out=Pool("average", 2)
        ),
        "pooled": Connection("a", "b", op=FullyConnected((5, 12)), pool_in=Pool("average", 2)),
        "local": Connection("a", "b", op=LocallyConnected((4, 4), (2, 3, 3, 3), padding=1)),
    }[kind].double()
    below = torch.randn(2, 3, 4, 4, generator=generator(3), dtype=torch.float64)
    shape = connection.op.weight.shape
    weight = torch.randn(shape, generator=generator(4), dtype=torch.float64).requires_grad_()
    through = connection(below, weight=weight)
    above = torch.randn(through.shape, generator=generator(5), dtype=torch.float64)
    down = adjoint(connection, above, weight, like=below)
    assert down.shape == below.shape
    torch.testing.assert_close((down * below).sum(), (through * above).sum())
    pair = [
        torch.autograd.grad(each, weight)[0]
        for each in ((down * below).sum(), (through * above).sum())
    ]
    torch.testing.assert_close(*pair)


def test_trains_convolutions(toy: Batch) -> None:
    estimator = bound(architecture=CONVOLUTIONAL)
    estimator(toy, lambda: None)
    assert all(p.grad.isfinite().all() for p in estimator.parameter_groups()[0].parameters)


def test_refuses_what_has_no_adjoint() -> None:
    areas = (Area("V1", 3, pool_out=Pool("max", 2)), Dense("IT", 6))
    network = ConvNet(areas=areas, n_classes=2, image_size=8).build(generator())
    with pytest.raises(UnsupportedNetworkError, match=r"a maximum has no adjoint.*Use Pool"):
        RecurrentForwardForward().bind(network, generator())


def test_refuses_iterations_that_do_not_run() -> None:
    with pytest.raises(ContractError, match="iterations 3 to 9 cannot count out of 8"):
        RecurrentForwardForward(last_counted=9)


def test_needs_labels(toy: Batch) -> None:
    with pytest.raises(ContractError, match="forward_forward_recurrent: the batch has no labels"):
        bound()(Batch(toy.images), lambda: None)

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    ContrastiveHebbian,
    GeneRec,
    UnsupportedNetworkError,
)
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

Build = Callable[..., Network]
GENERATOR = torch.Generator()
SETTLED = {"free_steps": 60, "clamped_steps": 60}


def backprop(network: Network, batch: Batch) -> dict[torch.nn.Parameter, torch.Tensor]:
    """Gradient of half the squared error of the feedforward network."""
    error = network(batch.images) - functional.one_hot(batch.labels, 3)
    parameters = list(network.parameters())
    loss = 0.5 * (error * error).sum() / len(error)
    return dict(zip(parameters, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("rule", [ContrastiveHebbian, GeneRec])
def test_is_backprop_where_feedback_vanishes(
    settling: Build, few: Batch, defined: SimpleNamespace, rule: type
) -> None:
    network = settling()
    true = backprop(network, few)
    errors = [
        defined.distance(
            defined.written(rule(gamma=gamma, **SETTLED).bind(network, GENERATOR), few), true
        )
        for gamma in (0.1, 0.01, 0.001)
    ]
    for error, bound in zip(errors, (0.34, 0.027, 0.0026), strict=True):
        assert error < bound
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("gamma", [1.0, 0.3, 0.05])
def test_generec_symmetric_at_the_midpoint_is_contrastive_hebbian(
    settling: Build, few: Batch, defined: SimpleNamespace, gamma: float
) -> None:
    network = settling("clipped_relu", scale=1.0)
    hebbian = defined.written(ContrastiveHebbian(gamma=gamma).bind(network, GENERATOR), few)
    rule = GeneRec(gamma=gamma, symmetric=True, midpoint=True)
    assert defined.distance(defined.written(rule.bind(network, GENERATOR), few), hebbian) < 1e-12
    for settings in ({}, {"symmetric": True}, {"midpoint": True}):
        other = GeneRec(gamma=gamma, **settings)
        found = defined.written(other.bind(network, GENERATOR), few)
        assert defined.distance(found, hebbian) > 1e-4


def test_follows_its_equation(few: Batch) -> None:
    """Two dense areas by hand: feedback gamma W^T, outer products, gamma^(k - L)."""
    gamma, n_classes = 0.2, 3
    network = ConvNet(
        areas=(Dense("A", 6, activation="sigmoid"), Dense("B", 5, activation="sigmoid")),
        n_classes=n_classes,
        image_size=8,
    ).build(torch.Generator().manual_seed(2))
    network = network.double()
    W1, W2, W3 = (each.op.weight.detach() for each in network.connections.values())
    x, y = few.images.flatten(1), functional.one_hot(few.labels, n_classes).double()

    def settled(clamped: bool) -> list[torch.Tensor]:
        a, b, o = (torch.zeros(6, n).double() for n in (6, 5, n_classes))
        for _ in range(60):
            a = torch.sigmoid(x @ W1.t() + gamma * b @ W2)
            o = y if clamped else b @ W3.t()
            b = torch.sigmoid(a @ W2.t() + gamma * o @ W3)
        return [x, a, b, y if clamped else b @ W3.t()]

    minus, plus = settled(clamped=False), settled(clamped=True)
    ContrastiveHebbian(gamma=gamma, **SETTLED).bind(network, GENERATOR)(few, lambda: None)
    for k, connection in enumerate(network.connections.values(), start=1):
        correlations = (s[k].t() @ s[k - 1] / 6 for s in (plus, minus))
        learnt = gamma ** (k - 3) * (next(correlations) - next(correlations))
        assert torch.allclose(connection.op.weight.grad, -learnt, rtol=1e-9, atol=1e-12)
    GeneRec(gamma=gamma, **SETTLED).bind(network, GENERATOR)(few, lambda: None)
    for k, connection in enumerate(network.connections.values(), start=1):
        learnt = gamma ** (k - 3) * (plus[k] - minus[k]).t() @ minus[k - 1] / 6
        assert torch.allclose(connection.op.weight.grad, -learnt, rtol=1e-9, atol=1e-12)


def test_objective_is_that_of_the_network_with_weak_feedback(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling()
    estimator = ContrastiveHebbian(gamma=0.3, **SETTLED).bind(network, GENERATOR)
    loss = estimator.loss(few)
    assert estimator(few, lambda: None).loss == pytest.approx(loss.item(), rel=1e-12)
    parameters = list(network.parameters())
    true = dict(zip(parameters, torch.autograd.grad(loss, parameters), strict=True))
    weights = [p for p in parameters if p.ndim == 2]
    step, one = 1e-6, weights[0]
    for index in ((0, 0), (3, 2)):
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                one[index] += sign * step
                losses.append(estimator(few, lambda: None).loss)
                one[index] -= sign * step
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(true[one][index].item(), rel=1e-5, abs=1e-9)


def test_refuses_what_is_no_chain_and_settings_out_of_range() -> None:
    recurrent = ConvNet(
        areas=(Dense("A", 4, activation="tanh"),), n_classes=2, image_size=8, n_steps=2
    )
    for rule in (ContrastiveHebbian(), GeneRec()):
        assert "the rule needs a chain of areas" in rule.supports(recurrent).reason
        relu = ConvNet(areas=(Dense("A", 4),), n_classes=2, image_size=8).build(GENERATOR)
        with pytest.raises(UnsupportedNetworkError, match="activation='relu', but feedback"):
            rule.bind(relu, GENERATOR)
    with pytest.raises(ContractError, match=r"gamma is 0\.0, expected a number above 0"):
        ContrastiveHebbian(gamma=0.0)
    with pytest.raises(ContractError, match="clamped_steps is 0, expected a whole number"):
        GeneRec(clamped_steps=0)

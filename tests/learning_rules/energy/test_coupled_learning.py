from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    CoupledLearning,
    EquilibriumPropagation,
    UnsupportedNetworkError,
)
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

Build = Callable[..., Network]
GENERATOR = torch.Generator()
SETTLED = {"free_steps": 80, "clamped_steps": 60}


def stiffened(
    network: Network, batch: Batch, defined: SimpleNamespace
) -> dict[torch.nn.Parameter, torch.Tensor]:
    """Gradient of <o(theta), H (o - y)>, the force held; H = I - d drive / do at the readout."""
    names = list(network.areas)
    free = defined.from_zero(network, batch.images, names, 80)
    error = free["readout"].detach() - functional.one_hot(batch.labels, 3)

    def given_up(output: torch.Tensor) -> torch.Tensor:
        states = {n: s.detach() for n, s in free.items()}
        for _ in range(60):
            states["readout"] = output
            states = {n: s if s.requires_grad else s.requires_grad_() for n, s in states.items()}
            after = defined.synchronous_step(network, batch.images, states)
            states = {n: s.detach() for n, s in after.items()}
        return states["readout"]

    step = 1e-5
    above, below = (
        given_up((free["readout"] + sign * step * error).detach().requires_grad_())
        for sign in (1, -1)
    )
    force = error - (above - below) / (2 * step)
    states = free
    for _ in range(60):
        states = defined.synchronous_step(network, batch.images, states)
    pulled = (states["readout"] * force).sum() / len(error)
    parameters = list(network.parameters())
    return dict(zip(parameters, torch.autograd.grad(pulled, parameters), strict=True))


def test_is_the_gradient_with_a_stiffened_force(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling()
    true = stiffened(network, few, defined)
    for variant, rate in (("centered", 100), ("positive", 10), ("negative", 10)):
        errors = [
            defined.distance(
                defined.written(
                    CoupledLearning(variant=variant, beta=beta, **SETTLED).bind(network, GENERATOR),
                    few,
                ),
                true,
            )
            for beta in (0.1, 0.01)
        ]
        assert errors[1] < (2e-4 if rate == 100 else 2e-2)
        assert errors[0] / errors[1] == pytest.approx(rate, rel=0.25)


def test_is_equilibrium_propagation_where_feedback_from_the_readout_is_weak(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    """A readout weight of size w moves the readout's stiffness from 1 by w^2."""
    distances = []
    for factor in (1.0, 0.1, 0.01):
        network = settling()
        with torch.no_grad():
            network.connections["IT->readout"].op.weight.mul_(factor)
        coupled = CoupledLearning(beta=1e-3, **SETTLED).bind(network, GENERATOR)
        nudged = EquilibriumPropagation(
            beta=1e-3, objective="squared_error", free_steps=80, nudged_steps=60
        ).bind(network, GENERATOR)
        distances.append(
            defined.distance(defined.written(coupled, few), defined.written(nudged, few))
        )
    assert distances[0] > 0.05
    assert distances[1] / distances[2] == pytest.approx(100, rel=0.1)
    assert distances[2] < 1e-4


def test_holds_the_readout(settling: Build, few: Batch, defined: SimpleNamespace) -> None:
    """A readout that is held at its free state changes nothing: no error, no update."""
    network = settling()
    estimator = CoupledLearning(**SETTLED).bind(network, GENERATOR)
    free = estimator.free_phase(few.images)
    with torch.no_grad():
        gradients = estimator.gradients(free, free.states["readout"])
    assert all(gradient.abs().max() < 1e-12 for gradient in gradients.values())


def test_variants_have_names_and_the_centered_is_their_mean(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling("clipped_relu", scale=1.0)
    names = ("centered", "positive", "negative")
    rules = {name: CoupledLearning(variant=name) for name in names}
    assert [rules[name].name for name in names] == [
        "coupled_learning",
        "coupled_learning_positive",
        "coupled_learning_negative",
    ]
    found = {n: defined.written(r.bind(network, GENERATOR), few) for n, r in rules.items()}
    mean = {p: (found["positive"][p] + found["negative"][p]) / 2 for p in network.parameters()}
    assert defined.distance(mean, found["centered"]) < 1e-12


def test_refuses() -> None:
    relu = ConvNet(areas=(Dense("A", 4),), n_classes=2, image_size=8).build(GENERATOR)
    with pytest.raises(UnsupportedNetworkError, match="activation='relu', but feedback"):
        CoupledLearning().bind(relu, GENERATOR)
    with pytest.raises(ContractError, match="variant is 'both', which is unknown"):
        CoupledLearning(variant="both")
    for beta in (-0.1, 0, 1.01):
        sentence = rf"beta is {beta}, expected a number above 0 and at most 1\."
        with pytest.raises(ContractError, match=sentence):
            CoupledLearning(beta=beta)
    assert CoupledLearning(beta=1).beta == 1

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from brainscore_lite.learning_rules import (
    AlmeidaPineda,
    Batch,
    EquilibriumPropagation,
    UnsupportedNetworkError,
)
from brainscore_lite.networks.areas import Area
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

Build = Callable[..., Network]
each_objective = pytest.mark.parametrize("objective", ["cross_entropy", "squared_error"])
GENERATOR = torch.Generator()


@each_objective
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "clipped_relu"])
def test_is_bptt_through_endless_time(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str, activation: str
) -> None:
    network = settling(activation)
    rule = AlmeidaPineda(free_steps=80, error_steps=60, objective=objective)
    found = defined.written(rule.bind(network, GENERATOR), few)
    true = defined.bptt(network, few, objective, 60)
    assert defined.distance(found, true) < 1e-10


def test_errors_settle_through_local_receptive_fields(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling(windows=True)
    rule = AlmeidaPineda(free_steps=80, error_steps=60)
    found = defined.written(rule.bind(network, GENERATOR), few)
    assert defined.distance(found, defined.bptt(network, few, "cross_entropy", 60)) < 1e-10


@each_objective
@pytest.mark.parametrize("n_steps", [4, 7])
def test_each_step_of_the_errors_is_a_step_of_bptt(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str, n_steps: int
) -> None:
    network = settling()
    rule = AlmeidaPineda(free_steps=80, error_steps=n_steps, objective=objective)
    found = defined.written(rule.bind(network, GENERATOR), few)
    assert defined.distance(found, defined.bptt(network, few, objective, n_steps)) < 1e-12


@each_objective
def test_is_equilibrium_propagation_with_a_vanishing_nudge(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str
) -> None:
    network = settling()
    rule = AlmeidaPineda(free_steps=80, error_steps=60, objective=objective)
    exact = defined.written(rule.bind(network, GENERATOR), few)
    errors = []
    for beta in (1e-2, 1e-3, 1e-4):
        nudged = EquilibriumPropagation(
            beta=beta, free_steps=80, nudged_steps=60, objective=objective
        )
        found = defined.written(nudged.bind(network, GENERATOR), few)
        errors.append(defined.distance(found, exact))
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)
    assert errors[2] < 1e-7


def test_refuses() -> None:
    pooled = ConvNet(
        areas=(Area("V1", 4, pool_out=Pool("max", 2), activation="tanh"),),
        n_classes=2,
        image_size=8,
    )
    with pytest.raises(UnsupportedNetworkError, match=r"linear. Use Pool\('average'"):
        AlmeidaPineda().bind(pooled.build(GENERATOR), GENERATOR)
    reason = AlmeidaPineda(error_steps=1).supports(pooled).reason
    assert reason.startswith("1 steps of settling are too few to pass its 2 areas")
    with pytest.raises(ContractError, match="objective is 'hinge', which is unknown"):
        AlmeidaPineda(objective="hinge")

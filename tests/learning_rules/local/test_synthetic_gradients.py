"""Synthetic gradients: backprop where the guess is right, nothing where it is 0."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Backprop,
    Batch,
    SyntheticGradients,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.local.synthetic_gradients import (
    GradientModel,
    SyntheticGradientEstimator,
)
from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.connections import (
    IMAGE,
    Connection,
    Convolution,
    FullyConnected,
    Pool,
    initialise,
)
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

DEEP = ConvNet(
    areas=(
        Area("V1", 3, activation="tanh", pool_out=Pool("max", 2)),
        Area("V4", 4, activation="tanh"),
        Dense("IT", 5, activation="tanh"),
    ),
    n_classes=2,
    image_size=8,
)


def nothing() -> None:
    pass


def deep() -> Network:
    return DEEP.build(torch.Generator().manual_seed(4)).double()


def skipping() -> Network:
    """V1 and IT, with a way past IT."""
    generator = torch.Generator().manual_seed(3)
    connections = [
        Connection(IMAGE, "V1", op=Convolution((4, 3, 3, 3), padding=1)),
        Connection("V1", "IT", op=FullyConnected((6, 256))),
        Connection("IT", READOUT, op=FullyConnected((2, 6))),
        Connection("V1", READOUT, op=FullyConnected((2, 256))),
    ]
    for connection in connections:
        initialise(connection.op, generator, gain=1.0)
    settings = (
        Area("V1", 4, activation="tanh"),
        Dense("IT", 6, activation="tanh"),
        Dense(READOUT, 2, activation="identity"),
    )
    areas = [AreaModule(each) for each in settings]
    preprocessing = Preprocessing(size=8)
    return Network("skip", areas, connections=connections, preprocessing=preprocessing).double()


def bound(network: nn.Module, rule: SyntheticGradients | None = None) -> SyntheticGradientEstimator:
    rule = rule or SyntheticGradients()
    estimator = rule.bind(network, torch.Generator().manual_seed(0))
    assert isinstance(estimator, SyntheticGradientEstimator)
    return estimator


class Oracle(nn.Module):
    """Knows the gradient."""

    def __init__(self, gradient: Tensor) -> None:
        super().__init__()
        self.gradient = nn.Parameter(gradient)

    def forward(self, activations: Tensor, labels: Tensor) -> Tensor:
        return self.gradient.clone()


def true_gradients(network: Network, batch: Batch) -> dict[str, Tensor]:
    """Of each example's loss, at each area's activations."""
    (activations,) = network.run(batch.images)
    loss = functional.cross_entropy(activations[READOUT], batch.labels, reduction="sum")
    below = [name for name in network.areas if name != READOUT]
    found = torch.autograd.grad(loss, [activations[name] for name in below])
    return dict(zip(below, found, strict=True))


def written(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("build", [deep, skipping])
def test_equals_backprop_where_the_guess_is_right(build: type, toy: Batch) -> None:
    """d = delta at every area: the gradient, to 1e-12, and the guess has nothing to learn."""
    network = build()
    estimator = bound(network)
    for name, gradient in true_gradients(network, toy).items():
        estimator.models[name] = Oracle(gradient)
    estimator(toy, nothing)
    found = written(network)
    network.zero_grad()
    Backprop().bind(network, torch.Generator())(toy, nothing)
    for name, gradient in written(network).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-15)
    for model in estimator.models.values():
        assert model.gradient.grad.abs().max() < 1e-15


def test_a_wrong_guess_is_not_backprop(toy: Batch) -> None:
    """The proof above can fail."""
    network = deep()
    estimator = bound(network)
    for name, gradient in true_gradients(network, toy).items():
        estimator.models[name] = Oracle(1.1 * gradient)
    estimator(toy, nothing)
    found = written(network)["connections.image->V1.op.weight"]
    network.zero_grad()
    Backprop().bind(network, torch.Generator())(toy, nothing)
    torch.testing.assert_close(
        found, 1.1 * written(network)["connections.image->V1.op.weight"], rtol=1e-12, atol=1e-15
    )


def test_before_the_guess_has_learnt_nothing_below_the_readout_moves(toy: Batch) -> None:
    """M = 0: no update; only the readout learns, by its true gradient, and so do the guesses."""
    network = deep()
    estimator = bound(network)
    assert all(not p.any() for p in estimator.models.parameters())
    estimator(toy, nothing)
    found = written(network)
    assert all(not gradient.any() for name, gradient in found.items() if "readout" not in name)
    network.zero_grad()
    Backprop().bind(network, torch.Generator())(toy, nothing)
    for name, gradient in written(network).items():
        if "readout" in name:
            torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-15)
    assert estimator.models["IT"].from_class.grad.any()
    assert not estimator.models["V4"].from_class.grad.any()  # what arrives there is still 0


def test_a_guess_learns_from_the_guess_above(toy: Batch) -> None:
    """t_l is d_{l+1} sent back through area l+1; d|d - t|^2/dM is the mean over the batch."""
    network = deep()
    estimator = bound(network)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in estimator.models.parameters():
            parameter.normal_(generator=generator)
    estimator(toy, nothing)
    (activations,) = network.run(toy.images)
    below = ("V1", "V4", "IT")
    fixed = {name: activations[name].detach() for name in below}
    guess = {name: estimator.models[name](fixed[name], toy.labels) for name in below}
    loss = functional.cross_entropy(activations[READOUT], toy.labels, reduction="sum")
    target = {
        "V1": torch.autograd.grad(
            activations["V4"], activations["V1"], guess["V4"].detach(), retain_graph=True
        )[0],
        "V4": torch.autograd.grad(
            activations["IT"], activations["V4"], guess["IT"].detach(), retain_graph=True
        )[0],
        "IT": torch.autograd.grad(loss, activations["IT"])[0],
    }
    for name in below:
        wrong = (guess[name] - target[name]).square().flatten(1).sum(dim=1).mean()
        parameters = [*estimator.models[name].parameters()]
        expected = torch.autograd.grad(wrong, parameters)
        for parameter, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-11, atol=1e-14)


def test_a_linear_network_has_a_linear_model_without_error() -> None:
    """Squared error behind linear layers: delta = V^T (V h - y) is linear in (h, y), so an M with
    A = V^T V and C = -V^T guesses it to 1e-12, and gradient steps on |d - delta|^2 find it."""
    generator = torch.Generator().manual_seed(0)
    above = torch.randn(3, 4, generator=generator, dtype=torch.float64) / 2
    h = torch.randn(64, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(64) % 3
    delta = (h @ above.T - functional.one_hot(labels, 3).double()) @ above
    optimal, learning = (GradientModel((4,), 3, kernel=1).double() for _ in range(2))
    with torch.no_grad():
        optimal.from_activations.weight.copy_(above.T @ above)
        optimal.from_class.copy_(-above)
    assert (optimal(h, labels) - delta).abs().max() < 1e-12

    def wrong(model: GradientModel) -> Tensor:
        return (model(h, labels) - delta).square().sum(dim=1).mean()

    start = wrong(learning).item()
    for _ in range(1000):
        gradients = torch.autograd.grad(wrong(learning), [*learning.parameters()])
        with torch.no_grad():
            for parameter, gradient in zip(learning.parameters(), gradients, strict=True):
                parameter -= 0.2 * gradient
    assert wrong(learning).item() < 1e-10 * start


def parameters_above(network: Network, area: str) -> Mapping[str, nn.Parameter]:
    names = list(network.areas)
    above = names[names.index(area) + 1 :]
    return {
        name: p for name, p in network.named_parameters() if any(f"{n}." in name for n in above)
    }


def test_no_area_waits_for_those_above(toy: Batch) -> None:
    """With guesses that are not 0, other weights above leave the updates of V1 as they were."""
    updates = []
    for moved in (False, True):
        network = deep()
        estimator = bound(network)
        generator = torch.Generator().manual_seed(6)
        with torch.no_grad():
            for parameter in estimator.models.parameters():
                parameter.normal_(generator=generator)
            if moved:
                for parameter in parameters_above(network, "V1").values():
                    parameter += 1
        estimator(toy, nothing)
        updates.append(network.connections["image->V1"].op.weight.grad)
    assert updates[0].abs().max() > 0
    assert torch.equal(*updates)


def test_a_guess_without_labels_does_not_know_them(toy: Batch) -> None:
    estimator = bound(deep(), SyntheticGradients(labels=False))
    model = estimator.models["IT"]
    assert model.from_class.shape == (1, 5)
    with torch.no_grad():
        model.from_class += 1
    h = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(h, torch.zeros(4).long()), model(h, torch.ones(4).long()))
    estimator(toy, nothing)
    assert torch.isfinite(model.from_class.grad).all()


def test_refusals(tiny: nn.Module, toy: Batch) -> None:
    with pytest.raises(ContractError, match="synthetic_gradients: the batch has no labels"):
        bound(tiny)(Batch(toy.images), nothing)
    with pytest.raises(ContractError, match="kernel is 4, expected an odd number of pixels"):
        SyntheticGradients(kernel=4)
    recurrent = deep()
    recurrent.n_steps = 3
    with pytest.raises(UnsupportedNetworkError, match="it is recurrent, and the rule guesses the"):
        bound(recurrent)
    with pytest.raises(UnsupportedNetworkError, match="a Linear is no graph of areas"):
        SyntheticGradients().bind(nn.Linear(2, 2), torch.Generator())

"""Small networks that settle, and the definitions that the rules are held against."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import Batch, Estimator
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import IMAGE, Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network

States = dict[str, Tensor]


@pytest.fixture
def settling() -> Callable[..., Network]:
    """Build a convolutional and two other areas whose feedback is weak enough to converge fast.

    The second is dense, or has windows with weights of their own.
    """

    def build(activation: str = "tanh", *, scale: float = 0.3, windows: bool = False) -> Network:
        settings = ConvNet(
            areas=(
                Area("V1", 4, pool_out=Pool("average", 2), activation=activation),
                Area("V4", 3, stride=2, shared=False, activation=activation)
                if windows
                else Dense("V4", 8, activation=activation),
                Dense("IT", 8, activation=activation),
            ),
            n_classes=3,
            image_size=8,
        )
        network = settings.build(torch.Generator().manual_seed(0)).double()
        noise = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0.0, 0.1, generator=noise)
                else:
                    parameter.mul_(scale)
        return network

    return build


@pytest.fixture
def few() -> Batch:
    """Six images of noise in three classes."""
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(3)).double()
    return Batch(images, torch.arange(6) % 3)


def phi(network: Network, states: States) -> Tensor:
    """Sum of <s_target, c(s_source)> and <s, b> over whatever has a state."""
    total = torch.zeros((), dtype=torch.float64)
    for each in network.connections.values():
        if each.target in states:
            total = total + (states[each.target] * each(states[each.source])).sum()
    for name, area in network.areas.items():
        if name in states:
            spread = area.bias.view(-1, *(1,) * (states[name].ndim - 2))
            total = total + (states[name] * spread).sum()
    return total


def synchronous_step(network: Network, image: Tensor, states: States) -> States:
    """s <- rho(dPhi/ds), all areas at once."""
    slopes = torch.autograd.grad(
        phi(network, {IMAGE: image, **states}), list(states.values()), create_graph=True
    )
    return {n: network.areas[n].activation(s) for n, s in zip(states, slopes, strict=True)}


def from_zero(network: Network, image: Tensor, names: list[str], n_steps: int) -> States:
    """Take synchronous steps from states of 0."""
    *_, forward = network.run(image)
    states = {name: torch.zeros_like(forward[name]).requires_grad_() for name in names}
    for _ in range(n_steps):
        after = synchronous_step(network, image, states)
        states = {name: state.detach().requires_grad_() for name, state in after.items()}
    return states


def loss_at(network: Network, states: States, batch: Batch) -> Tensor:
    """Cross-entropy of a readout without a state, or half the squared error of its state."""
    if "readout" in states:
        error = states["readout"] - functional.one_hot(batch.labels, 3)
        return 0.5 * (error * error).sum() / len(batch.labels)
    readout = network.areas["readout"]
    (into,) = [each for each in network.connections.values() if each.target == "readout"]
    return functional.cross_entropy(readout([into(states[into.source])]), batch.labels)


def bptt(
    network: Network, batch: Batch, objective: str, n_steps: int
) -> dict[nn.Parameter, Tensor]:
    """Gradient of the loss through the last steps of a network that had converged before."""
    names = list(network.areas)[: None if objective == "squared_error" else -1]
    states = from_zero(network, batch.images, names, 80)
    for _ in range(n_steps):
        states = synchronous_step(network, batch.images, states)
    loss = loss_at(network, states, batch)
    parameters = list(network.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def written(estimator: Estimator, batch: Batch) -> dict[nn.Parameter, Tensor]:
    """What a rule writes for one batch."""
    estimator.zero_grad(set_to_none=True)
    estimator(batch, lambda: None)
    return {parameter: parameter.grad.clone() for parameter in estimator.network.parameters()}


def distance(found: dict[nn.Parameter, Tensor], true: dict[nn.Parameter, Tensor]) -> float:
    """Relative norm of the difference, over all parameters."""
    wrong = sum((found[p] - true[p]).square().sum() for p in true)
    return float((wrong / sum(g.square().sum() for g in true.values())).sqrt())


def cosine(found: dict[nn.Parameter, Tensor], true: dict[nn.Parameter, Tensor]) -> float:
    """Cosine over all parameters."""
    a, b = (torch.cat([g[p].flatten() for p in true]) for g in (found, true))
    return float(functional.cosine_similarity(a, b, dim=0))


@pytest.fixture
def defined() -> SimpleNamespace:
    """The definitions above."""
    return SimpleNamespace(
        phi=phi,
        from_zero=from_zero,
        synchronous_step=synchronous_step,
        bptt=bptt,
        written=written,
        distance=distance,
        cosine=cosine,
    )

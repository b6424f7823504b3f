"""Networks and batches on which errors are transported."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import Batch, Estimator
from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.connections import (
    Connection,
    Convolution,
    FullyConnected,
    Pool,
    initialise,
)
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.stimuli import Preprocessing

N_CLASSES = 3
IMAGE_SIZE = 8


def mlp(activation: str = "tanh") -> Network:
    """Three hidden areas."""
    areas = tuple(Dense(n, u, activation=activation) for n, u in (("V1", 9), ("V4", 8), ("IT", 7)))
    return ConvNet(areas=areas, n_classes=N_CLASSES, image_size=IMAGE_SIZE).build(
        torch.Generator().manual_seed(0)
    )


def cnn(activation: str = "clipped_relu") -> Network:
    """Strides, norms and both ways of pooling, on both sides of an operation."""
    return ConvNet(
        areas=(
            Area("V1", 4, pool_out=Pool("max", 2, 1), activation=activation),
            Area("V2", 6, stride=2, norm="group", activation=activation),
            Area("V4", 5, depth=2, pool_in=Pool("average", 2, 1), activation=activation),
            Dense("IT", 7, activation=activation, norm="layer"),
        ),
        n_classes=N_CLASSES,
        image_size=IMAGE_SIZE,
    ).build(torch.Generator().manual_seed(0))


def windows(activation: str = "tanh") -> Network:
    """Local receptive fields that errors cross, with stride, padding and pooling."""
    return ConvNet(
        areas=(
            Area("V1", 4, activation=activation),
            Area("V2", 5, stride=2, shared=False, activation=activation),
            Area("V4", 3, pool_in=Pool("average", 2), shared=False, activation=activation),
        ),
        n_classes=N_CLASSES,
        image_size=IMAGE_SIZE,
    ).build(torch.Generator().manual_seed(0))


def recurrent(activation: str = "tanh") -> Network:
    """Lateral and feedback connections over three steps, two connections with one weight."""
    generator = torch.Generator().manual_seed(0)
    lateral = Convolution((4, 4, 3, 3), padding=1)
    ops = {
        "image->V1": Convolution((4, 3, 3, 3), padding=1),
        "V1->V1": lateral,
        "V1->IT": Convolution((4, 4, 3, 3), padding=1),
        "IT->V1": Convolution((4, 4, 3, 3), padding=1, tied_to=lateral.weight),
        "IT->readout": FullyConnected((N_CLASSES, 4 * IMAGE_SIZE**2)),
    }
    for name in ("image->V1", "V1->V1", "V1->IT", "IT->readout"):
        initialise(ops[name], generator, gain=0.7)
    delays = {"V1->V1": 1, "IT->V1": 1}
    connections = [
        Connection(*name.split("->"), op=op, delay=delays.get(name, 0)) for name, op in ops.items()
    ]
    areas = [
        AreaModule(Area("V1", 4, activation=activation)),
        AreaModule(Area("IT", 4, activation=activation)),
        AreaModule(Dense("readout", N_CLASSES, activation="identity")),
    ]
    eye = Preprocessing(size=IMAGE_SIZE)
    return Network("recurrent", areas, connections=connections, preprocessing=eye, n_steps=3)


NETWORKS = {"mlp": mlp, "cnn": cnn, "windows": windows, "recurrent": recurrent}


@pytest.fixture
def make_network() -> Callable[..., Network]:
    """Build "mlp", "cnn", "windows" or "recurrent" in float64, its biases away from 0."""

    def make(name: str, *activation: str) -> Network:
        network = NETWORKS[name](*activation).double()
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for area in network.areas.values():
                if area.bias is not None:
                    area.bias.normal_(0.0, 0.1, generator=generator)
        return network

    return make


@pytest.fixture
def few() -> Batch:
    """Six images of noise in three classes."""
    generator = torch.Generator().manual_seed(1)
    shape = (6, 3, IMAGE_SIZE, IMAGE_SIZE)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(6) % N_CLASSES)


@pytest.fixture
def written() -> Callable[[Estimator, Batch], dict[str, Tensor]]:
    """Return what a rule writes for the network, by name of the parameter."""

    def write(estimator: Estimator, batch: Batch) -> dict[str, Tensor]:
        estimator.zero_grad(set_to_none=True)
        estimator(batch, lambda: None)
        found = {
            name: p.grad.clone()
            for name, p in estimator.network.named_parameters()
            if p.grad is not None
        }
        estimator.zero_grad(set_to_none=True)
        return found

    return write


@pytest.fixture
def gradient() -> Callable[[nn.Module, Batch], dict[str, Tensor]]:
    """Return the gradient of the mean cross-entropy, by name of the parameter."""

    def differentiate(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        names, parameters = zip(*network.named_parameters(), strict=True)
        loss = functional.cross_entropy(network(batch.images), batch.labels)
        return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))

    return differentiate


@pytest.fixture
def relative_error() -> Callable[[dict[str, Tensor], dict[str, Tensor]], float]:
    """Return |found - expected| / |expected| over all parameters together."""

    def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
        assert found.keys() == expected.keys()
        difference = sum(float(((found[n] - expected[n]) ** 2).sum()) for n in expected)
        return (difference / sum(float((g**2).sum()) for g in expected.values())) ** 0.5

    return compare


@pytest.fixture
def descend() -> Callable[..., None]:
    """Let an estimator take plain gradient steps on one batch."""

    def take(estimator: Estimator, batch: Batch, *, n_steps: int, lr: float) -> None:
        for _ in range(n_steps):
            estimator(batch, lambda: None)
            with torch.no_grad():
                for group in estimator.parameter_groups():
                    for parameter in group.parameters:
                        parameter -= lr * parameter.grad
            estimator.zero_grad(set_to_none=True)
            estimator.after_step(lr)

    return take

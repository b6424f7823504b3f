"""Small networks in float64, and what theory says of estimates made by noise."""

from collections.abc import Callable, Sequence

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

CHAIN = ConvNet(
    areas=(Dense("V4", 6, activation="tanh"), Dense("IT", 5, activation="tanh")),
    n_classes=3,
    image_size=3,
)
CONVOLUTIONAL = ConvNet(
    areas=(
        Area("V1", 2, pool_out=Pool("max", 2), activation="softplus"),
        Area("V2", 3, pool_in=Pool("average", 2), activation="tanh", post_norm="local_response"),
        Dense("IT", 3, activation="sigmoid"),
    ),
    n_classes=2,
    image_size=8,
)


def recurrent() -> Network:
    """Two convolutional areas with lateral and feedback connections, and a readout, in 3 steps."""
    ops = {
        "image->V1": Convolution((2, 3, 3, 3), padding=1),
        "V1->V1": Convolution((2, 2, 3, 3), padding=1),
        "V1->IT": Convolution((2, 2, 3, 3), padding=1),
        "IT->V1": Convolution((2, 2, 3, 3), padding=1),
        "IT->readout": FullyConnected((2, 18)),
    }
    delays = {"V1->V1": 1, "IT->V1": 1}
    generator = torch.Generator().manual_seed(0)
    for op in ops.values():
        initialise(op, generator, gain=0.7)
    areas = [
        AreaModule(Area("V1", 2, activation="tanh")),
        AreaModule(Area("IT", 2, activation="softplus")),
        AreaModule(Dense("readout", 2, activation="identity")),
    ]
    connections = [
        Connection(*name.split("->"), op=op, delay=delays.get(name, 0)) for name, op in ops.items()
    ]
    eye = Preprocessing(size=3)
    return Network("recurrent", areas, connections=connections, preprocessing=eye, n_steps=3)


NETWORKS: dict[str, Callable[[], Network]] = {
    "chain": lambda: CHAIN.build(torch.Generator().manual_seed(0)),
    "convolutional": lambda: CONVOLUTIONAL.build(torch.Generator().manual_seed(0)),
    "recurrent": recurrent,
}


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> Network:
    """A chain of dense areas, a convolutional network, and a recurrent one."""
    return NETWORKS[request.param]().double()


@pytest.fixture
def chain() -> Network:
    return NETWORKS["chain"]().double()


@pytest.fixture
def batch_for() -> Callable[..., Batch]:
    """Images for a network, with labels in turn."""

    def make(network: Network, n: int = 6) -> Batch:
        size, channels = network.image_size, network.preprocessing.n_channels
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(n, channels, size, size, generator=generator, dtype=torch.float64)
        return Batch(images, torch.arange(n) % network.areas["readout"].settings.units)

    return make


@pytest.fixture
def gradient() -> Callable[[nn.Module, Batch], Tensor]:
    """The gradient of the mean cross-entropy, all weights in one vector."""

    def find(network: nn.Module, batch: Batch) -> Tensor:
        loss = functional.cross_entropy(network(batch.images), batch.labels)
        parameters = [p for p in network.parameters() if p.requires_grad]
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])

    return find


@pytest.fixture
def estimate() -> Callable[[Estimator, Batch], Tensor]:
    """What a rule writes for a batch, all weights in one vector."""

    def find(estimator: Estimator, batch: Batch) -> Tensor:
        estimator(batch, lambda: None)
        written: Sequence[Tensor] = [
            p.grad for p in estimator.network.parameters() if p.requires_grad
        ]
        return torch.cat([g.flatten() for g in written])

    return find

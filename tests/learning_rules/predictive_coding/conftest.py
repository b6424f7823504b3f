"""Small networks, from a chain to unrolled recurrence, and what updates are compared by."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules import Backprop, Batch, LearningRule
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
from brainscore_lite.networks.network import Network
from brainscore_lite.stimuli import Preprocessing

Gradients = dict[str, Tensor]
PIXELS = 4
CLASSES = 3


def dense_chain(*, activation: str = "tanh", hidden: int = 3, seed: int = 1) -> Network:
    areas = tuple(Dense(f"h{i}", 9 - i, activation=activation) for i in range(1, hidden + 1))
    settings = ConvNet(areas=areas, n_classes=CLASSES, image_size=PIXELS, in_channels=1)
    return settings.build(torch.Generator().manual_seed(seed)).double()


def convolutional_chain() -> Network:
    settings = ConvNet(
        areas=(
            Area("c1", 3, pool_out=Pool("max", 2), activation="tanh"),
            Area("c2", 4, activation="softplus"),
            Dense("h3", 6, activation="tanh"),
        ),
        n_classes=CLASSES,
        image_size=PIXELS,
        in_channels=1,
    )
    return settings.build(torch.Generator().manual_seed(3)).double()


def wired(sizes: dict[str, int], joins: list[tuple[str, str, int]], *, n_steps: int = 1) -> Network:
    """Join dense areas as named: (source, target, delay)."""
    generator = torch.Generator().manual_seed(5)
    inputs = {IMAGE: PIXELS**2, **sizes}
    areas = [
        AreaModule(Dense(name, n, activation="identity" if name == "readout" else "tanh"))
        for name, n in sizes.items()
    ]
    connections = []
    for source, target, delay in joins:
        op = FullyConnected((sizes[target], inputs[source]))
        initialise(op, generator, gain=0.3)
        connections.append(Connection(source, target, op=op, delay=delay))
    eye = Preprocessing(size=PIXELS, mean=(0.5,), std=(0.25,), channels="L")
    network = Network("wired", areas, connections=connections, preprocessing=eye, n_steps=n_steps)
    with torch.no_grad():
        for area in areas:
            if area.bias is not None:
                area.bias.normal_(0.0, 0.1, generator=generator)
    return network.double()


def skipping() -> Network:
    """Paths of unequal length: each area drives all above it."""
    names = [IMAGE, "a", "b", "c", "readout"]
    joins = [(s, t, 0) for i, s in enumerate(names) for t in names[i + 1 :]]
    return wired({"a": 7, "b": 6, "c": 5, "readout": CLASSES}, joins)


def recurrent() -> Network:
    """Lateral and feedback connections over five steps, the same weights at each."""
    joins = [
        (IMAGE, "a", 0),
        ("a", "b", 0),
        ("b", "readout", 0),
        ("a", "a", 1),
        ("b", "b", 1),
        ("b", "a", 1),
        ("readout", "b", 1),
    ]
    return wired({"a": 7, "b": 6, "readout": CLASSES}, joins, n_steps=5)


def delayed_recurrent() -> Network:
    """Every connection takes a step, so that all paths between two nodes are equally long."""
    joins = [
        (IMAGE, "a", 1),
        ("a", "b", 1),
        ("b", "readout", 1),
        ("a", "a", 1),
        ("b", "a", 1),
    ]
    return wired({"a": 7, "b": 6, "readout": CLASSES}, joins, n_steps=6)


def recurrent_maps() -> Network:
    """A convolutional area with lateral weights, and a second readout of the maps by a skip."""
    generator = torch.Generator().manual_seed(8)
    ops = {
        (IMAGE, "c", 0): Convolution((3, 1, 3, 3), padding=1),
        ("c", "c", 1): Convolution((3, 3, 3, 3), padding=1),
        ("c", "h", 0): FullyConnected((5, 3 * PIXELS**2 // 4)),
        ("h", "readout", 0): FullyConnected((CLASSES, 5)),
        ("c", "readout", 1): FullyConnected((CLASSES, 3 * PIXELS**2)),
    }
    connections = []
    for (source, target, delay), op in ops.items():
        initialise(op, generator, gain=1.0)
        pool = Pool("average", 2) if target == "h" else None
        connections.append(Connection(source, target, op=op, delay=delay, pool_in=pool))
    areas = [
        AreaModule(Area("c", 3, activation="tanh")),
        AreaModule(Dense("h", 5, activation="tanh")),
        AreaModule(Dense("readout", CLASSES, activation="identity")),
    ]
    eye = Preprocessing(size=PIXELS, mean=(0.5,), std=(0.25,), channels="L")
    return Network("maps", areas, connections=connections, preprocessing=eye, n_steps=4).double()


NETWORKS: dict[str, Callable[[], Network]] = {
    "dense_chain": dense_chain,
    "convolutional_chain": convolutional_chain,
    "skipping": skipping,
    "recurrent": recurrent,
    "delayed_recurrent": delayed_recurrent,
    "recurrent_maps": recurrent_maps,
}


@pytest.fixture
def network_called() -> Callable[[str], Network]:
    """Make one of the small networks."""
    return lambda name: NETWORKS[name]()


@pytest.fixture
def chain() -> Callable[..., Network]:
    """Make a chain of dense areas with chosen activation and depth."""
    return dense_chain


@pytest.fixture
def images() -> Batch:
    """Labelled noise."""
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(6, 1, PIXELS, PIXELS, generator=generator, dtype=torch.float64)
    return Batch(pixels, torch.arange(6) % CLASSES)


@pytest.fixture
def update_of() -> Callable[[LearningRule, nn.Module, Batch], Gradients]:
    """Sum what a rule writes for a batch, with the weights held."""

    def update(rule: LearningRule, network: nn.Module, batch: Batch) -> Gradients:
        total: Gradients = {}
        network.zero_grad(set_to_none=True)

        def collect() -> None:
            for name, parameter in network.named_parameters():
                if parameter.grad is not None:
                    total[name] = total.get(name, 0) + parameter.grad
            network.zero_grad(set_to_none=True)

        rule.bind(network, torch.Generator())(batch, collect)
        collect()
        return total

    return update


@pytest.fixture
def backprop_of(
    update_of: Callable[[LearningRule, nn.Module, Batch], Gradients],
) -> Callable[[nn.Module, Batch], Gradients]:
    """Take the gradient of the mean cross-entropy, through time where there is time."""
    return lambda network, batch: update_of(Backprop(), network, batch)


@pytest.fixture
def relative_error() -> Callable[[Gradients, Gradients], float]:
    """Return |found - expected| / |expected|, over all weights."""

    def error(found: Gradients, expected: Gradients) -> float:
        assert found.keys() == expected.keys()
        apart = sum((found[name] - expected[name]).square().sum() for name in expected)
        size = sum(each.square().sum() for each in expected.values())
        return float((apart / size) ** 0.5)

    return error

"""The engine of the settling rules against its definition, Phi."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from brainscore_lite.learning_rules.energy.hopfield import RESPONSES, HopfieldEnergy
from brainscore_lite.learning_rules.energy.settling import settle
from brainscore_lite.learning_rules.slopes import SLOPES
from brainscore_lite.networks.areas import ACTIVATIONS, Area, AreaModule, Dense
from brainscore_lite.networks.connections import IMAGE, Connection, FullyConnected, Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network

CHAINS = {
    "folded": (Area("A", 4), Area("B", 5, pool_out=Pool("average", 2)), Dense("C", 6)),
    "overlapping": (Area("A", 4), Area("B", 5, kernel=5, pool_out=Pool("average", 3, 2))),
    "strided": (Area("A", 4), Area("B", 5, stride=2, pool_out=Pool("average", 2))),
    "unpadded": (Area("A", 4), Area("B", 5, padding=0, stride=2)),
    "pooled_before": (Area("A", 4), Area("B", 5, pool_in=Pool("average", 2))),
    "maximum": (Area("A", 4), Area("B", 5, pool_out=Pool("max", 3, 2))),
    "whole_map": (Area("A", 4), Dense("B", 5, pool_in=Pool("average", None))),
    "no_bias": (Area("A", 4, bias=False), Dense("B", 5, bias=False)),
}


@pytest.fixture(params=CHAINS)
def network(request: pytest.FixtureRequest) -> Network:
    areas = CHAINS[request.param]
    settings = ConvNet(areas=areas, n_classes=3, image_size=9)
    return settings.build(torch.Generator().manual_seed(0)).double()


@pytest.fixture
def triangle() -> Network:
    """A chain of dense areas with a connection that skips one."""
    pairs = [(IMAGE, "A", 48), ("A", "B", 5), ("B", "readout", 4), ("A", "readout", 5)]
    areas = [Dense("A", 5), Dense("B", 4), Dense("readout", 3, activation="identity")]
    sizes = {area.name: area.units for area in areas}
    built = Network(
        "triangle",
        [AreaModule(area) for area in areas],
        connections=[
            Connection(source, target, op=FullyConnected((sizes[target], fan_in)))
            for source, target, fan_in in pairs
        ],
        preprocessing=ConvNet(areas=(Dense("A", 5),), n_classes=3, image_size=4).eye,
    ).double()
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(0.0, 0.2, generator=noise)
    return built


def random_states(network: Network, images: torch.Tensor) -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    *_, forward = network.run(images)
    shapes = {name: state.shape for name, state in forward.items() if name != IMAGE}
    draw = {n: torch.randn(s, generator=noise, dtype=torch.float64) for n, s in shapes.items()}
    return {name: state.requires_grad_() for name, state in draw.items()}


def energy_of(network: Network, images: torch.Tensor) -> HopfieldEnergy:
    energy, _ = HopfieldEnergy.of(network, images, areas=network.layer_names)
    return energy


def check_against_phi(network: Network, defined: SimpleNamespace) -> None:
    size = network.image_size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2)).double()
    states = random_states(network, images)
    total = (
        defined.phi(network, {IMAGE: images, **states})
        if all(area.bias is not None for area in network.areas.values())
        else sum(
            (states[each.target] * each({IMAGE: images, **states}[each.source])).sum()
            for each in network.connections.values()
        )
        + (states["readout"] * network.areas["readout"].bias).sum()
    )
    slopes = torch.autograd.grad(total, list(states.values()), retain_graph=True)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(total, parameters)
    settled = {name: state.detach() for name, state in states.items()}
    with torch.no_grad():
        energy = energy_of(network, images)
        for (name, _), slope in zip(states.items(), slopes, strict=True):
            assert torch.allclose(energy.drive(name, settled), slope, rtol=1e-12, atol=1e-12), name
        found = energy.gradient(settled, settled, settled)
        twice = energy.repeated(2)
        doubled = {name: torch.cat([state, state]) for name, state in settled.items()}
        for name in states:
            again = twice.drive(name, doubled)
            assert torch.allclose(again[2:], energy.drive(name, settled), rtol=0, atol=1e-12)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert torch.allclose(found[parameter], gradient, rtol=1e-12, atol=1e-12)


def test_drives_and_gradients_are_those_of_phi(network: Network, defined: SimpleNamespace) -> None:
    check_against_phi(network, defined)


def test_graphs_with_skipping_connections_too(triangle: Network, defined: SimpleNamespace) -> None:
    check_against_phi(triangle, defined)


def test_areas_in_a_triangle_settle_all_at_once(triangle: Network) -> None:
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    steps: list[str] = []

    def answer(name: str, drive: torch.Tensor, before: dict) -> torch.Tensor:
        steps.append(name)
        return drive.tanh()

    states: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        energy = energy_of(triangle, images)
        residual = settle(energy, states, answer, n_steps=100, first=energy.fed)
        assert steps[:6] == ["A", "A", "B", "readout", "A", "B"]
        assert residual < 1e-14
        for name, state in states.items():
            expected = energy.drive(name, states).tanh()
            assert torch.allclose(state, expected, rtol=0, atol=1e-13)


def test_areas_of_a_chain_take_turns() -> None:
    network = ConvNet(
        areas=(Dense("A", 5), Dense("B", 4), Dense("C", 4)), n_classes=3, image_size=4
    ).build(torch.Generator().manual_seed(0))
    turns: list[str] = []

    def answer(name: str, drive: torch.Tensor, before: dict) -> torch.Tensor:
        turns.append(name)
        return drive.tanh()

    with torch.no_grad():
        energy = energy_of(network, torch.randn(2, 3, 4, 4))
        settle(energy, {}, answer, n_steps=5, first=energy.fed)
    assert turns == ["A", "B", "A", "C", "B", "readout", "A", "C"]


def test_each_turn_lowers_the_energy_of_a_chain() -> None:
    """Where the activation is clipped, E = 1/2 |s|^2 - Phi within the bounds."""
    network = ConvNet(
        areas=(
            Dense("A", 20, activation="clipped_relu"),
            Dense("B", 20, activation="clipped_relu"),
        ),
        n_classes=3,
        image_size=4,
    ).build(torch.Generator().manual_seed(0))
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # strong enough that synchronous steps would not come to rest
    images = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    energies = []
    with torch.no_grad():
        energy = energy_of(network, images)
        names = ("A", "B")
        for n_steps in range(3, 40):
            states: dict[str, torch.Tensor] = {}
            inside, _ = HopfieldEnergy.of(network, images, areas=names)
            settle(inside, states, lambda n, d, s: d.clamp_(0, 1), n_steps=n_steps, first=("A",))
            drives = {"A": energy.constant["A"], "B": inside.drive("B", states)}
            phi = sum((states[name] * drives[name]).sum() for name in names)
            square = sum(state.square().sum() for state in states.values())
            energies.append((0.5 * square - phi).item())
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(energies))
    assert energies[-1] < energies[0]


@pytest.mark.parametrize("activation", list(RESPONSES))
def test_responses_are_those_of_the_activations_and_have_slopes(activation: str) -> None:
    drive = torch.linspace(-3, 3, 50, dtype=torch.float64)
    module: nn.Module = ACTIVATIONS[activation]()
    found = RESPONSES[activation](drive.clone())
    assert torch.allclose(found, module(drive), rtol=0, atol=1e-15)
    assert activation in SLOPES

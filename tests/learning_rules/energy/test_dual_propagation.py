"""Dual propagation: the naive definition, the limits, and what it refuses."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import Backprop, Batch, LearningRule, UnsupportedNetworkError
from brainscore_lite.learning_rules.energy import DualPropagation
from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.connections import Connection, FullyConnected, Pool, initialise
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

MLP = ConvNet(
    areas=(Dense("V4", 7, activation="tanh"), Dense("IT", 5, activation="tanh")),
    n_classes=3,
    image_size=4,
)
CNN = ConvNet(
    areas=(
        Area("V1", 4, pool_out=Pool("average", 2), activation="tanh"),
        Area("V2", 5, pool_in=Pool("max", 2), stride=2, activation="sigmoid"),
        Dense("IT", 6, activation="softplus"),
    ),
    n_classes=3,
    image_size=12,
)
WINDOWS = ConvNet(
    areas=(
        Area("V1", 4, shared=False, pool_out=Pool("average", 2), activation="tanh"),
        Area("V2", 3, shared=False, stride=2, activation="tanh"),
    ),
    n_classes=3,
    image_size=8,
)
ARCHITECTURES = {"mlp": MLP, "cnn": CNN, "windows": WINDOWS}


def built(architecture: ConvNet) -> Network:
    return architecture.build(torch.Generator().manual_seed(1)).double()


def batch_for(network: Network) -> Batch:
    size = network.image_size
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(6, 3, size, size, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(6) % 3)


def update(rule: LearningRule, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    estimator = rule.bind(copy.deepcopy(network), torch.Generator())
    estimator(batch, lambda: None)
    return {name: p.grad for name, p in estimator.network.named_parameters() if p.grad is not None}


def relative_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    wrong = sum(((found[name] - expected[name]) ** 2).sum() for name in expected)
    return math.sqrt(wrong / sum((each**2).sum() for each in expected.values()))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_equals_the_definition_written_out(alpha: float) -> None:
    """States, means and products of the docstring's equations, layer by layer, to 1e-13."""
    network, beta = built(MLP), 0.7
    batch = batch_for(network)
    found = update(DualPropagation(alpha=alpha, beta=beta), network, batch)
    parameters = dict(network.named_parameters())
    weights = [p.detach() for name, p in parameters.items() if name.endswith("weight")]
    biases = [p.detach() for name, p in parameters.items() if name.endswith("bias")]
    bars = [batch.images.flatten(1)]
    for weight, bias in zip(weights[:2], biases[:2], strict=True):
        bars.append(torch.tanh(bars[-1] @ weight.T + bias))
    scores = bars[-1] @ weights[2].T + biases[2]
    gap = -beta * (scores.softmax(1) - functional.one_hot(batch.labels, 3))
    gaps = [gap]
    for layer in (1, 0):
        drive = bars[layer] @ weights[layer].T + biases[layer]
        plus = torch.tanh(drive + (1 - alpha) * gaps[0] @ weights[layer + 1])
        minus = torch.tanh(drive - alpha * gaps[0] @ weights[layer + 1])
        gaps.insert(0, plus - minus)
        bars[layer + 1] = alpha * plus + (1 - alpha) * minus
    names = [name for name in parameters if name.endswith("weight")]
    for name, gap, bar in zip(names, gaps, bars, strict=True):
        expected = -gap.T @ bar / (beta * 6)
        assert torch.allclose(found[name], expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equal_shares_tend_to_the_gradient_with_the_square_of_the_nudge(name: str) -> None:
    """alpha = 1/2: the error is of order beta^2 (100 times smaller for a tenth of the nudge)."""
    network = built(ARCHITECTURES[name])
    batch = batch_for(network)
    gradient = update(Backprop(), network, batch)
    errors = [
        relative_error(update(DualPropagation(beta=beta), network, batch), gradient)
        for beta in (1.0, 0.1, 0.01)
    ]
    assert errors[0] < 0.19
    assert errors[1] < 2.8e-3
    assert errors[2] < 2.8e-5
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_sided_shares_tend_to_the_gradient_with_the_nudge(name: str, alpha: float) -> None:
    network = built(ARCHITECTURES[name])
    batch = batch_for(network)
    gradient = update(Backprop(), network, batch)
    errors = [
        relative_error(update(DualPropagation(alpha=alpha, beta=beta), network, batch), gradient)
        for beta in (0.1, 0.01, 0.001)
    ]
    assert errors[0] < 0.07
    assert errors[1] < 0.0071
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.05)
    equal = relative_error(update(DualPropagation(beta=0.1), network, batch), gradient)
    assert equal < errors[0] / 5


def test_the_mean_moves_in_second_order_only() -> None:
    """Why one sweep suffices: what the sweep changes below is of order beta^2 for any alpha."""
    network = built(MLP)
    batch = batch_for(network)
    activations = next(network.run(batch.images))

    def moved(beta: float, alpha: float) -> float:
        """How far the readout's update implies a mean below other than the forward pass's."""
        found = update(DualPropagation(alpha=alpha, beta=beta), network, batch)
        error = activations["readout"].softmax(1) - functional.one_hot(batch.labels, 3)
        forward = error.T @ activations["IT"] / 6
        name = next(n for n in found if n.endswith("->readout.op.weight"))
        return (found[name] - forward).norm().item()

    for alpha in (0.2, 0.5):
        assert moved(0.1, alpha) / moved(0.01, alpha) == pytest.approx(100, rel=0.15)
    for alpha in (0.0, 1.0):
        assert moved(1.0, alpha) < 1e-15


def test_the_update_does_not_depend_on_the_size_of_the_batch() -> None:
    """Nudges are on each example's own loss: the same images twice give the same mean update."""
    network = built(CNN)
    once = batch_for(network)
    twice = Batch(once.images.repeat(2, 1, 1, 1), once.labels.repeat(2))
    rule = DualPropagation(beta=1.0)
    assert relative_error(update(rule, network, twice), update(rule, network, once)) < 1e-14


def recurrent() -> Network:
    """An area with a lateral connection, run for four steps."""
    generator = torch.Generator().manual_seed(5)
    areas = [
        AreaModule(Dense("IT", 6, activation="tanh")),
        AreaModule(Dense("readout", 3, activation="identity")),
    ]
    connections = [
        Connection("image", "IT", op=FullyConnected((6, 48))),
        Connection("IT", "IT", op=FullyConnected((6, 6)), delay=1),
        Connection("IT", "readout", op=FullyConnected((3, 6))),
    ]
    for connection in connections:
        initialise(connection.op, generator, gain=1.0)
    eye = Preprocessing(size=4, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Network(
        "recurrent", areas, connections=connections, preprocessing=eye, n_steps=4
    ).double()


def test_tends_to_backprop_through_time_on_a_recurrent_network() -> None:
    network = recurrent()
    batch = batch_for(network)
    gradient = update(Backprop(), network, batch)
    found = update(DualPropagation(beta=1e-3), network, batch)
    assert relative_error(found, gradient) < 1e-6


def test_lesioned_connections_carry_as_little_back() -> None:
    network = recurrent()
    batch = batch_for(network)
    with network.lesioned({"IT->IT": 0.5}):
        gradient = update(Backprop(), network, batch)
        found = update(DualPropagation(beta=1e-3), network, batch)
    assert relative_error(found, gradient) < 1e-6


def test_frozen_weights_get_no_update(tiny: nn.Module, toy: Batch) -> None:
    tiny.get_parameter("connections.image->V1.op.weight").requires_grad_(False)
    found = update(DualPropagation(), tiny, toy)
    assert found.keys() == update(Backprop(), tiny, toy).keys()


def test_trains_the_toy_as_backprop_does(
    tiny: nn.Module, trained_on_toy: Callable[..., list[float]]
) -> None:
    losses = [
        trained_on_toy(rule.bind(copy.deepcopy(tiny), torch.Generator()), 30)[-1]
        for rule in (Backprop(), DualPropagation(beta=0.01))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("norm", ["layer", "batch", "group"])
def test_refuses_normalisation(norm: str) -> None:
    network = ConvNet(areas=(Area("V1", 4, norm=norm),), n_classes=2, image_size=4)
    with pytest.raises(
        UnsupportedNetworkError,
        match=rf"^dual_propagation cannot train this network: area 'V1' has norm='{norm}', but a "
        r"difference of states is the error of its own neuron only where .* Set norm='none'\.$",
    ):
        DualPropagation().bind(network.build(torch.Generator()), torch.Generator())


def test_refuses_activations_that_join_neurons() -> None:
    network = ConvNet(areas=(Area("V1", 4, activation="triangle"),), n_classes=2, image_size=4)
    reason = DualPropagation().supports(network).reason
    assert reason.startswith("area 'V1' has activation='triangle', but a difference of states is")
    assert reason.endswith(
        "Choose one of: clipped_relu, elu, hard_tanh, identity, relu, sigmoid, silu, softplus, "
        "tanh."
    )


def test_refuses_what_is_no_graph_of_areas() -> None:
    reason = DualPropagation().supports(nn.Linear(2, 2)).reason
    assert reason.startswith("a Linear is no graph of areas")
    assert "train it with 'backprop'" in reason


def test_refuses_settings_without_a_meaning(tiny: nn.Module, toy: Batch) -> None:
    with pytest.raises(ContractError, match=r"alpha is 1\.5, expected a number from 0 to 1"):
        DualPropagation(alpha=1.5)
    with pytest.raises(ContractError, match=r"beta is 0, expected a number above 0"):
        DualPropagation(beta=0)
    with pytest.raises(ContractError, match=r"the batch has no labels\. Give it labelled images"):
        update(DualPropagation(), tiny, Batch(toy.images))

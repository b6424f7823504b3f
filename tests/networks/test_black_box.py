"""A stage of unknown function: what passes, and who refuses it."""

import copy

import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules import (
    CLAPP,
    Backprop,
    Batch,
    ForwardForward,
    GreedyInfoMax,
    LearningRule,
    LocalLosses,
    UnsupervisedForwardForward,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.support import black_box
from brainscore_lite.networks import BlackBox, ConvNet, Dense, Network, put_black_box
from brainscore_lite.schema import ContractError


@pytest.fixture
def network() -> Network:
    settings = ConvNet(areas=(Dense("V4", 5), Dense("IT", 4)), n_classes=2, image_size=2)
    return settings.build(torch.Generator().manual_seed(0))


IMAGES = torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(1))


class Table(nn.Module):
    """A function with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(2.0))

    def forward(self, activations: Tensor) -> Tensor:
        return self.factor * activations


def test_passes_on_what_the_function_makes(network: Network) -> None:
    before = next(network.respond(IMAGES)).activations["V4"]
    put_black_box(network, "V4", lambda activations: activations.round().flip(1))
    after = next(network.respond(IMAGES)).activations
    assert torch.equal(after["V4"], before.round().flip(1))
    assert before.max() > 0.5  # so that rounding leaves something to pass on


def test_a_function_that_leaves_torch_will_do(network: Network) -> None:
    """NumPy, another program, a piece of hardware: autograd has no say in it."""
    put_black_box(network, "V4", lambda activations: torch.from_numpy(activations.numpy() ** 2))
    assert torch.isfinite(network(IMAGES)).all()


def test_no_derivative_passes(network: Network) -> None:
    put_black_box(network, "V4", lambda activations: 3 * activations)
    below = network.connections["image->V4"].op.weight
    above = network.connections["V4->IT"].op.weight
    gradients = torch.autograd.grad(network(IMAGES).sum(), [below, above], allow_unused=True)
    assert gradients[0] is None
    assert gradients[1].norm() > 0


def test_its_buffers_are_part_of_the_network(network: Network) -> None:
    put_black_box(network, "IT", Table())
    assert "areas.IT.post_norm.1.function.factor" in network.state_dict()
    copied = copy.deepcopy(network)
    assert torch.equal(copied(IMAGES), network(IMAGES))


def test_refuses_an_area_that_is_not_there(network: Network) -> None:
    with pytest.raises(
        ContractError, match=r"has no area 'V5' to put a black box on\. Its areas are: V4, IT, read"
    ):
        put_black_box(network, "V5", torch.sign)


def test_backprop_refuses_it(network: Network) -> None:
    assert black_box(network) == ""
    assert Backprop().supports(network).ok
    put_black_box(network, "V4", torch.sign)
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"^backprop cannot train this network: 'areas\.V4\.post_norm\.1' is a black box, "
        r"through which no derivative passes\. Use 'node_perturbation' or 'weight_perturbation', "
        r"which need none, or a rule that learns area by area, such as 'forward_forward'\.$",
    ):
        Backprop().bind(network, torch.Generator())


AREA_BY_AREA = (
    ForwardForward(),
    UnsupervisedForwardForward(),
    LocalLosses(),
    GreedyInfoMax(),
    CLAPP(),
)


@pytest.mark.parametrize("rule", AREA_BY_AREA, ids=lambda rule: rule.name)
def test_rules_that_learn_area_by_area_need_derivatives_of_what_they_train_alone(
    rule: LearningRule, network: Network
) -> None:
    put_black_box(network, "V4", torch.sign)
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"area 'V4' is to be trained and ends in a black box, through which no derivative "
        r"passes\. Set requires_grad=False on its weights, or use 'node_perturbation'",
    ):
        rule.bind(network, torch.Generator())
    for part in (network.areas["V4"], network.connections["image->V4"]):
        part.requires_grad_(False)
    assert rule.supports(network).ok
    assert rule.supports(nn.Linear(2, 2)).reason.startswith("a Linear is no graph of areas")


def test_finds_one_in_any_module() -> None:
    assert black_box(nn.Sequential(nn.Linear(2, 2), BlackBox(torch.sign))).startswith("'1' is a ")
    assert black_box(nn.Linear(2, 2)) == ""
    assert black_box(ConvNet(areas=(Dense("IT", 4),), n_classes=2, image_size=2)) == ""


def test_learning_through_it_by_autograd_would_be_silent(network: Network) -> None:
    """Why it must be refused: the weights below get no gradient, and no error is raised."""
    put_black_box(network, "IT", torch.sign)
    batch = Batch(IMAGES, torch.arange(3) % 2)
    torch.nn.functional.cross_entropy(network(batch.images), batch.labels).backward()
    assert network.connections["image->V4"].op.weight.grad is None

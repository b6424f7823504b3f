"""Local receptive fields: windows of a convolution, weights of their own at every place."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.configuration import from_json, to_json
from brainscore_lite.learning_rules import LEARNING_RULES, Batch
from brainscore_lite.learning_rules.learning_rule import LearningRule
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import (
    Connection,
    Convolution,
    LocallyConnected,
    Pool,
    initialise,
)
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

RETINA = ConvNet(
    areas=(
        Area("V1", 4, pool_out=Pool("average", 2), activation="clipped_relu", shared=False),
        Dense("IT", 8, activation="clipped_relu"),
    ),
    n_classes=2,
    image_size=8,
    name="retina",
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 2, *, size: int = 7) -> Tensor:
    return torch.randn(n, 3, size, size, generator=generator(1), dtype=torch.float64)


def operation(stride: int = 1, padding: int = 1) -> LocallyConnected:
    side = (7 + 2 * padding - 3) // stride + 1
    op = LocallyConnected((side, side), (4, 3, 3, 3), stride=stride, padding=padding).double()
    initialise(op, generator(), gain=1.0)
    return op


def shared_kernel(op: LocallyConnected, kernel: Tensor) -> Tensor:
    """Give every place the same kernel, in the order of the operation's weight."""
    return kernel.repeat(op.places[0] * op.places[1], 1, 1, 1)


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 0), (2, 1)])
def test_equal_kernels_make_it_a_convolution(stride: int, padding: int) -> None:
    op = operation(stride, padding)
    kernel = torch.randn(4, 3, 3, 3, generator=generator(2), dtype=torch.float64)
    expected = functional.conv2d(images(), kernel, stride=stride, padding=padding)
    torch.testing.assert_close(op(images(), shared_kernel(op, kernel)), expected)


def test_each_unit_sums_its_window_with_its_own_kernel() -> None:
    op = operation(stride=2, padding=1)
    padded = functional.pad(images(), (1, 1, 1, 1))
    answers = op(images())
    rows, columns = op.places
    for y in range(rows):
        for x in range(columns):
            window = padded[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            for channel in range(4):
                kernel = op.weight[(y * columns + x) * 4 + channel]
                expected = (window * kernel).sum(dim=(1, 2, 3))
                torch.testing.assert_close(answers[:, channel, y, x], expected)


def test_is_linear_in_its_input() -> None:
    op, a, b = operation(), images(), images().flip(0)
    torch.testing.assert_close(op(2 * a - 3 * b), 2 * op(a) - 3 * op(b))
    assert not op(torch.zeros_like(a)).any()


def test_layout_in_memory_does_not_matter() -> None:
    op = operation()
    last = images().contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(op(last), op(images()))


def test_another_weight_replaces_the_own_one_and_gain_scales() -> None:
    op = operation()
    connection = Connection("V1", "V2", op=op)
    other = torch.randn(op.weight.shape, generator=generator(3), dtype=torch.float64)
    torch.testing.assert_close(connection(images(), weight=other), op(images(), other))
    torch.testing.assert_close(connection(images(), gain=0.5), connection(images()) / 2)


def test_gradients_are_those_of_finite_differences() -> None:
    op = operation(stride=2, padding=1)
    inputs = (images(1).requires_grad_(), op.weight.detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda x, weight: op(x, weight), inputs)


def test_weights_are_drawn_by_fan_in_and_can_be_tied() -> None:
    op = LocallyConnected((20, 20), (8, 3, 3, 3), padding=1)
    initialise(op, generator(), gain=2**0.5)
    assert float(op.weight.detach().std()) == pytest.approx((2 / 27) ** 0.5, rel=0.02)
    tied = LocallyConnected((20, 20), (8, 3, 3, 3), padding=1, tied_to=op.weight)
    assert tied.weight is op.weight
    with pytest.raises(ContractError, match="cannot be tied to one of shape"):
        LocallyConnected((19, 20), (8, 3, 3, 3), tied_to=op.weight)


def test_an_area_without_sharing_has_a_kernel_for_each_unit() -> None:
    network = RETINA.build(generator())
    op = network.connections["image->V1"].op
    assert isinstance(op, LocallyConnected)
    assert op.weight.shape == (8 * 8 * 4, 3, 3, 3)
    assert len(network.areas["V1"].bias) == 4
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 2)


def test_areas_share_their_weights_by_default() -> None:
    network = ConvNet(areas=(Area("V1", 4),), n_classes=2, image_size=8).build(generator())
    assert isinstance(network.connections["image->V1"].op, Convolution)


def test_places_follow_pooling_stride_and_depth() -> None:
    area = Area("V1", 4, pool_in=Pool("max", 2), stride=2, depth=2, shared=False)
    network = ConvNet(areas=(area,), n_classes=2, image_size=16).build(generator())
    assert network.connections["image->V1_1"].op.places == (4, 4)
    assert network.connections["V1_1->V1"].op.places == (4, 4)


def test_kernels_larger_than_the_image_are_refused() -> None:
    area = Area("V1", 4, kernel=11, padding=0, shared=False)
    with pytest.raises(ContractError, match="Area 'V1' of network 'convnet' cannot take an input"):
        ConvNet(areas=(area,), n_classes=2, image_size=8).build(generator())


def test_settings_round_trip() -> None:
    assert from_json(to_json(RETINA), types=(ConvNet, Area, Dense, Pool)) == RETINA


@pytest.mark.parametrize("rule", LEARNING_RULES.values(), ids=list(LEARNING_RULES))
def test_rules_train_local_receptive_fields_or_say_why_not(rule: LearningRule) -> None:
    """Two such areas on each other: errors that are sent back cross the upper one."""
    lower, *above = RETINA.areas
    upper = Area("V2", 3, activation="clipped_relu", shared=False)
    network = replace(RETINA, areas=(lower, upper, *above)).build(generator()).double()
    support = rule.supports(network)
    if not support.ok:
        assert support.reason
        return
    estimator = rule.bind(copy.deepcopy(network), generator(4))
    images_of_two_classes = Batch(images(6, size=8), torch.arange(6) % 2)
    for phase in estimator.phases():
        estimator.begin(phase)
        views = images_of_two_classes.images.repeat(phase.views, 1, 1, 1, 1)
        noise = torch.randn(views.shape, generator=generator(5), dtype=views.dtype)
        labels = images_of_two_classes.labels if phase.labels else None
        given = Batch(images_of_two_classes.images, labels, views + noise if phase.views else None)
        estimator(given, lambda: None)
        for group in estimator.parameter_groups():
            for parameter in group.parameters:
                if parameter.grad is not None:
                    assert parameter.grad.shape == parameter.shape
                    assert torch.isfinite(parameter.grad).all()
                    parameter.grad = None


def test_local_receptive_fields_compute_what_a_network_of_convolutions_does() -> None:
    """With equal kernels everywhere, the whole network gives the numbers of the shared one."""
    apart = RETINA.build(generator()).double()
    it = RETINA.areas[1]
    together = ConvNet(
        areas=(Area("V1", 4, pool_out=Pool("average", 2), activation="clipped_relu"), it),
        n_classes=2,
        image_size=8,
    ).build(generator(6))
    together = together.double()
    op = apart.connections["image->V1"].op
    with torch.no_grad():
        _copy_dense(together, apart)
        op.weight.copy_(shared_kernel(op, together.connections["image->V1"].op.weight))
    torch.testing.assert_close(apart(images(size=8)), together(images(size=8)))


def _copy_dense(source: Network, target: Network) -> None:
    for name in ("V1->IT", "IT->readout"):
        target.connections[name].op.weight.copy_(source.connections[name].op.weight)

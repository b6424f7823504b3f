"""Connections: linear, tied, re-weighted, scaled."""

import pytest
import torch
from torch.nn import functional

from brainscore_lite.networks.connections import (
    Connection,
    Convolution,
    FullyConnected,
    Pool,
    initialise,
)
from brainscore_lite.schema import ContractError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def convolution() -> Convolution:
    op = Convolution((4, 3, 3, 3), padding=1)
    initialise(op, generator(), gain=1.0)
    return op


def images(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, generator=generator(1))


def test_connection_pools_then_operates_then_pools() -> None:
    op = convolution()
    pools = {"pool_in": Pool("average", 2), "pool_out": Pool("max", 2)}
    arriving = Connection("V1", "V2", op=op, **pools)(images())
    pooled = functional.avg_pool2d(images(), 2)
    expected = functional.max_pool2d(functional.conv2d(pooled, op.weight, padding=1), 2)
    torch.testing.assert_close(arriving, expected)


@pytest.mark.parametrize("kind", ["convolution", "fully connected"])
def test_operations_are_linear_in_their_input(kind: str) -> None:
    op = convolution() if kind == "convolution" else FullyConnected((5, 192))
    if kind != "convolution":
        initialise(op, generator(), gain=1.0)
    a, b = images(), images().flip(0)
    torch.testing.assert_close(op(2 * a - 3 * b), 2 * op(a) - 3 * op(b), atol=1e-5, rtol=1e-4)
    assert not op(torch.zeros_like(a)).any()


def test_another_weight_replaces_the_own_one() -> None:
    op = convolution()
    connection = Connection("V1", "V2", op=op)
    other = torch.randn(op.weight.shape, generator=generator(2))
    torch.testing.assert_close(
        connection(images(), weight=other), functional.conv2d(images(), other, padding=1)
    )


def test_gain_scales_what_arrives_and_zero_is_a_lesion() -> None:
    connection = Connection("V1", "V2", op=convolution())
    torch.testing.assert_close(connection(images(), gain=0.5), connection(images()) / 2)
    assert not connection(images(), gain=0.0).any()


def test_tied_weights_are_one_parameter() -> None:
    op = convolution()
    tied = Convolution((4, 3, 3, 3), tied_to=op.weight)
    assert tied.weight is op.weight


def test_weights_of_another_shape_cannot_be_tied() -> None:
    with pytest.raises(ContractError, match=r"\(4, 3, 5, 5\) cannot be tied to one of shape"):
        Convolution((4, 3, 5, 5), tied_to=convolution().weight)


def test_initial_weights_have_the_stated_variance() -> None:
    op = FullyConnected((200, 300))
    initialise(op, generator(), gain=2**0.5)
    assert float(op.weight.detach().std()) == pytest.approx((2 / 300) ** 0.5, rel=0.02)


def test_global_pooling_leaves_one_place() -> None:
    assert Pool("average", None).build()(images()).shape == (2, 3, 1, 1)
    assert Pool("max", None).build()(images()).shape == (2, 3, 1, 1)


def test_overlapping_pooling_has_its_own_stride() -> None:
    assert Pool("max", 3, 2).build()(images()).shape == (2, 3, 3, 3)


def test_unknown_pooling_is_refused() -> None:
    with pytest.raises(ContractError, match="Pooling 'median' is unknown"):
        Pool("median")  # type: ignore[arg-type]


def test_connection_is_named_after_its_ends() -> None:
    assert Connection("V1", "V2", op=convolution()).name == "V1->V2"

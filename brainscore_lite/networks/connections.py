"""Connections between areas: ``pool_in -> op (linear in its input) -> pool_out``."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.schema import ContractError

IMAGE = "image"


@dataclass(frozen=True)
class Pool:
    """Settings of a pooling step.

    Parameters
    ----------
    method : {"max", "average"}
    size : int or None
        Side of the pooled square in pixels; None pools over the whole map.
    stride : int or None
        Distance between squares in pixels; None is `size`.
    """

    method: Literal["max", "average"] = "max"
    size: int | None = 2
    stride: int | None = None

    def __post_init__(self) -> None:
        if self.method not in ("max", "average"):
            raise ContractError(f"Pooling '{self.method}' is unknown. Use 'max' or 'average'.")

    def build(self) -> nn.Module:
        """Return the pooling module."""
        if self.size is None:
            return nn.AdaptiveMaxPool2d(1) if self.method == "max" else nn.AdaptiveAvgPool2d(1)
        pool = nn.MaxPool2d if self.method == "max" else nn.AvgPool2d
        return pool(self.size, self.stride or self.size)


@dataclass(frozen=True)
class Spread:
    """Settings of the way from few places to many: the nearest of the source's for each.

    Parameters
    ----------
    rows, columns : int
        Size of the maps that arrive. Units without a place arrive everywhere.
    """

    rows: int
    columns: int

    def build(self) -> nn.Module:
        """Return the module."""
        return SpreadMaps(self.rows, self.columns)


class SpreadMaps(nn.Module):
    """Enlarge maps by repetition of their nearest places; see `Spread`."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.size = (rows, columns)

    def forward(self, activations: Tensor) -> Tensor:
        """Return (batch, channels, rows, columns) for (batch, channels[, ...])."""
        maps = activations if activations.ndim == 4 else activations[:, :, None, None]
        return functional.interpolate(maps, self.size, mode="nearest")

    def extra_repr(self) -> str:
        """Name the size."""
        return f"{self.size}"


def build_pool(pool: Pool | Spread | None) -> nn.Module:
    """Return the module of a pooling step, the identity where there is none."""
    return nn.Identity() if pool is None else pool.build()


class Convolution(nn.Module):
    """Convolve without a bias: linear in its input.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight: (out_channels, in_channels, kernel, kernel).
    stride, padding : int
        In pixels.
    tied_to : Parameter, optional
        Weight of another operation, shared with it.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        tied_to: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.weight = _weight(shape, tied_to)
        self.stride = stride
        self.padding = padding

    def forward(self, activations: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return (batch, out_channels, rows, columns), through `weight` where it is given."""
        kernel = self.weight if weight is None else weight
        return functional.conv2d(activations, kernel, stride=self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        """Say what the weight alone does not."""
        return f"{tuple(self.weight.shape)}, stride={self.stride}, padding={self.padding}"


class FullyConnected(nn.Module):
    """Multiply flattened activations with a matrix, without a bias: linear in its input.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight: (out_units, in_units).
    tied_to : Parameter, optional
        Weight of another operation, shared with it.
    """

    def __init__(self, shape: tuple[int, int], *, tied_to: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight = _weight(shape, tied_to)

    def forward(self, activations: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return (batch, out_units), through `weight` where it is given."""
        matrix = self.weight if weight is None else weight
        return functional.linear(activations.flatten(1), matrix)

    def extra_repr(self) -> str:
        """Name the shape of the weight."""
        return f"{tuple(self.weight.shape)}"


class LocallyConnected(nn.Module):
    """Look through a small window at every place, with a kernel of its own for each unit.

    a_oyx = sum over c, i, j of W_(yxo)cij x_c,(stride y + i),(stride x + j): a convolution whose
    weights are not shared between places, without a bias; linear in its input.

    Parameters
    ----------
    places : tuple of int
        Rows and columns of the output.
    kernel_shape : tuple of int
        (out_channels, in_channels, kernel, kernel), as of a convolution. The weight has the shape
        (rows * columns * out_channels, in_channels, kernel, kernel): one kernel for each unit, in
        the order of rows, columns, channels.
    stride, padding : int
        In pixels.
    tied_to : Parameter, optional
        Weight of another operation, shared with it.
    """

    def __init__(
        self,
        places: tuple[int, int],
        kernel_shape: tuple[int, int, int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        tied_to: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        n_units = places[0] * places[1] * kernel_shape[0]
        self.weight = _weight((n_units, *kernel_shape[1:]), tied_to)
        self.places = places
        self.stride = stride
        self.padding = padding

    def forward(self, activations: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return (batch, out_channels, rows, columns), through `weight` where it is given."""
        kernels = self.weight if weight is None else weight
        size, around = kernels.shape[2], self.padding
        padded = functional.pad(activations, (around, around, around, around))
        windows = padded.unfold(2, size, self.stride).unfold(3, size, self.stride)
        n_places = self.places[0] * self.places[1]
        seen = windows.permute(2, 3, 0, 1, 4, 5).reshape(n_places, len(activations), -1)
        kernels = kernels.reshape(n_places, -1, seen.shape[2])
        answers = torch.bmm(seen, kernels.transpose(1, 2))
        return answers.permute(1, 2, 0).reshape(len(activations), -1, *self.places)

    def extra_repr(self) -> str:
        """Say what the weight alone does not."""
        shape = tuple(self.weight.shape)
        return f"{shape}, places={self.places}, stride={self.stride}, padding={self.padding}"


Operation = Convolution | LocallyConnected | FullyConnected


class Connection(nn.Module):
    """One area's input to another: ``pool_in -> op -> pool_out``, scaled by a run-time gain.

    The bias belongs to the target area, so `op` is linear in its input and a connection with gain
    0 is the same as none.

    Parameters
    ----------
    source, target : str
        Names of the areas; the source "image" is the network's input.
    op : Convolution, LocallyConnected or FullyConnected
    pool_in : Pool, optional
        Before `op`.
    pool_out : Pool or Spread, optional
        After it.
    delay : {0, 1}
        Steps that a signal takes.
    """

    def __init__(
        self,
        source: str,
        target: str,
        *,
        op: Operation,
        pool_in: Pool | None = None,
        pool_out: Pool | Spread | None = None,
        delay: int = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.target = target
        self.delay = delay
        self.pool_in = build_pool(pool_in)
        self.op = op
        self.pool_out = build_pool(pool_out)

    @property
    def name(self) -> str:
        """Name as in ``"V1->V2"``."""
        return f"{self.source}->{self.target}"

    def extra_repr(self) -> str:
        """Say how long a signal takes."""
        return f"delay={self.delay}"

    def forward(
        self, activations: Tensor, *, weight: Tensor | None = None, gain: float = 1.0
    ) -> Tensor:
        """Carry activations to the target area.

        Parameters
        ----------
        activations : Tensor, shape (batch, ...)
            Of the source area.
        weight : Tensor, optional
            Used in place of the connection's own weight.
        gain : float
            Factor on what arrives; 0 is a lesion.

        Returns
        -------
        Tensor, shape (batch, ...)
            Input to the target area, to be summed with its other inputs.
        """
        arriving = self.pool_out(self.op(self.pool_in(activations), weight))
        return arriving if gain == 1.0 else gain * arriving


def initialise(op: Operation, generator: torch.Generator, *, gain: float) -> None:
    """Draw a weight from N(0, gain^2 / fan_in).

    Parameters
    ----------
    op : Convolution, LocallyConnected or FullyConnected
    generator : torch.Generator
        The only source of randomness.
    gain : float
        sqrt(2) keeps the variance through ReLUs.

    References
    ----------
    He, Zhang, Ren & Sun (2015), doi:10.1109/ICCV.2015.123.
    """
    fan_in = math.prod(op.weight.shape[1:])
    with torch.no_grad():
        op.weight.normal_(0.0, gain / math.sqrt(fan_in), generator=generator)


def _weight(shape: tuple[int, ...], tied_to: nn.Parameter | None) -> nn.Parameter:
    if tied_to is None:
        return nn.Parameter(torch.zeros(shape))
    if tuple(tied_to.shape) != tuple(shape):
        raise ContractError(
            f"A weight of shape {tuple(shape)} cannot be tied to one of shape "
            f"{tuple(tied_to.shape)}. Tie connections of equal channels and kernels."
        )
    return tied_to

"""How two areas of a symmetric network act on each other through one connection.

A connection c adds ``<s_target, c(s_source)>`` to the energy. So the target receives c(s_source)
and the source the transpose of c applied to s_target: closed forms where c is linear, a
vector-Jacobian product where it pools by maximum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from brainscore_lite.networks.connections import IMAGE, Connection, Convolution, FullyConnected
from brainscore_lite.networks.network import Network


class Interaction(Protocol):
    """One term of the energy. Weights are read once, so it lives as long as they stay fixed."""

    connection: Connection

    def up(self, source: Tensor, plus: Tensor | None) -> Tensor:
        """Return c(source) + plus, a new tensor of shape (batch, ...)."""

    def down(self, target: Tensor, source: Tensor | None, plus: Tensor | None) -> Tensor:
        """Return feedback * c^T(target) + plus, a new tensor; c may depend on the source."""

    def weight_gradient(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the gradient of <target, c(source)> by the weight, summed over the batch."""


def interactions(
    network: Network, shapes: Mapping[str, tuple[int, ...]], *, feedback: float = 1.0
) -> list[Interaction]:
    """Return one interaction for each connection of a network.

    Parameters
    ----------
    network : Network
    shapes : mapping of str to tuple of int
        Of the activations by area, without the batch.
    feedback : float
        Factor on what areas receive from above.

    Returns
    -------
    list of Interaction
    """
    shapes = {IMAGE: network.image_shape, **shapes}
    joined: list[Interaction] = []
    for connection in cast("list[Connection]", list(network.connections.values())):
        # A lesion weakens both directions of a symmetric connection.
        gain = network.gain(connection.name)
        kind = (
            _FullyConnected
            if _linear_map(connection)
            else _Convolved
            if _foldable(connection)
            else _Traced
        )
        shape = shapes[connection.source]
        joined.append(kind(connection, shape, gain=gain, feedback=feedback))
    return joined


class _FullyConnected:
    """A matrix. It is laid out as maps lie in memory, so that flattening them copies nothing."""

    def __init__(
        self, connection: Connection, shape: tuple[int, ...], *, gain: float, feedback: float
    ) -> None:
        self.connection = connection
        self._shape = shape
        self._gain = gain
        weight = cast(FullyConnected, connection.op).weight.detach()
        if len(shape) == 3:
            weight = weight.view(-1, *shape).permute(0, 2, 3, 1).reshape(len(weight), -1)
        self._up = _scaled(weight, gain)
        self._down = _scaled(weight, gain * feedback)

    def up(self, source: Tensor, plus: Tensor | None) -> Tensor:
        flat = self._flat(source)
        if plus is None:
            return flat @ self._up.t()
        return torch.addmm(plus, flat, self._up.t())

    def down(self, target: Tensor, source: Tensor | None, plus: Tensor | None) -> Tensor:
        if len(self._shape) == 1 and plus is not None:
            return torch.addmm(plus, target, self._down)
        arriving = target @ self._down
        if len(self._shape) == 3:
            channels, rows, columns = self._shape
            arriving = arriving.view(-1, rows, columns, channels).permute(0, 3, 1, 2)
        return arriving if plus is None else arriving.add_(plus)

    def weight_gradient(self, source: Tensor, target: Tensor) -> Tensor:
        gradient = target.t() @ self._flat(source)
        if len(self._shape) == 3:
            channels, rows, columns = self._shape
            gradient = gradient.view(-1, rows, columns, channels).permute(0, 3, 1, 2)
            gradient = gradient.reshape(len(gradient), -1)
        return _scaled(gradient, self._gain)

    def _flat(self, source: Tensor) -> Tensor:
        if len(self._shape) == 3:
            source = source.permute(0, 2, 3, 1)
        return source.reshape(len(source), -1)


class _Convolved:
    """A convolution. Average pooling after it is part of its kernel: one strided convolution."""

    def __init__(
        self, connection: Connection, shape: tuple[int, ...], *, gain: float, feedback: float
    ) -> None:
        self.connection = connection
        self._gain = gain
        op = cast(Convolution, connection.op)
        size, pool_stride = _square(connection.pool_out)
        self._window = op.weight.new_full((1, 1, size, size), 1 / size**2)
        self._dilation = op.stride
        self._stride = op.stride * pool_stride
        self._padding = op.padding
        kernel = self._folded(op.weight.detach())
        self._up = _scaled(kernel, gain)
        self._down = _scaled(kernel, gain * feedback)
        side, padded = kernel.shape[-1], 2 * op.padding
        self._left_over = [(length + padded - side) % self._stride for length in shape[1:]]

    def up(self, source: Tensor, plus: Tensor | None) -> Tensor:
        arriving = functional.conv2d(source, self._up, stride=self._stride, padding=self._padding)
        return arriving if plus is None else arriving.add_(plus)

    def down(self, target: Tensor, source: Tensor | None, plus: Tensor | None) -> Tensor:
        arriving = functional.conv_transpose2d(
            target,
            self._down,
            stride=self._stride,
            padding=self._padding,
            output_padding=self._left_over,
        )
        return arriving if plus is None else arriving.add_(plus)

    def weight_gradient(self, source: Tensor, target: Tensor) -> Tensor:
        gradient = conv2d_weight(
            source, self._up.shape, target, stride=self._stride, padding=self._padding
        )
        if self._window.numel() > 1:
            single = gradient.reshape(-1, 1, *gradient.shape[2:])
            single = functional.conv2d(single, self._window, dilation=self._dilation)
            gradient = single.reshape(*gradient.shape[:2], *single.shape[2:])
        return _scaled(gradient, self._gain)

    def _folded(self, kernel: Tensor) -> Tensor:
        """Return the mean of the kernel shifted to each place of the pooled square."""
        if self._window.numel() > 1:
            single = kernel.reshape(-1, 1, *kernel.shape[2:])
            single = functional.conv_transpose2d(single, self._window, dilation=self._dilation)
            kernel = single.reshape(*kernel.shape[:2], *single.shape[2:])
        return kernel.contiguous(memory_format=torch.channels_last)


class _Traced:
    """Any connection, by automatic differentiation of one pass, kept while the source stays."""

    def __init__(
        self, connection: Connection, shape: tuple[int, ...], *, gain: float, feedback: float
    ) -> None:
        self.connection = connection
        self._shape = shape
        self._gain = gain
        self._feedback = feedback
        self._seen: tuple[Tensor, int] | None = None

    def up(self, source: Tensor, plus: Tensor | None) -> Tensor:
        arriving = self._trace(source).detach()
        return arriving.clone() if plus is None else arriving + plus

    def down(self, target: Tensor, source: Tensor | None, plus: Tensor | None) -> Tensor:
        if source is None:  # an area that nothing has reached is at 0
            source = target.new_zeros(len(target), *self._shape)
        carried = self._trace(source)
        (arriving,) = torch.autograd.grad(carried, self._source, target, retain_graph=True)
        arriving = _scaled(arriving, self._feedback)
        return arriving if plus is None else arriving + plus

    def weight_gradient(self, source: Tensor, target: Tensor) -> Tensor:
        weight = self.connection.op.weight
        with torch.enable_grad():
            carried = self.connection(source, gain=self._gain)
        (gradient,) = torch.autograd.grad(carried, weight, target)
        return gradient

    def _trace(self, source: Tensor) -> Tensor:
        if self._seen is None or self._seen[0] is not source or self._seen[1] != source._version:
            self._source = source.detach().requires_grad_()
            with torch.enable_grad():
                weight = self.connection.op.weight.detach()
                self._carried = self.connection(self._source, weight=weight, gain=self._gain)
            self._seen = (source, source._version)
        return self._carried


def _linear_map(connection: Connection) -> bool:
    pools = (connection.pool_in, connection.pool_out)
    unpooled = all(isinstance(pool, nn.Identity) for pool in pools)
    return unpooled and isinstance(connection.op, FullyConnected)


def _foldable(connection: Connection) -> bool:
    return (
        isinstance(connection.op, Convolution)
        and isinstance(connection.pool_in, nn.Identity)
        and isinstance(connection.pool_out, nn.Identity | nn.AvgPool2d)
    )


def _square(pool: nn.Module) -> tuple[int, int]:
    """Return side and stride of an average pooling, 1 and 1 where there is none."""
    if isinstance(pool, nn.AvgPool2d):
        # torch also allows a pair; `Pool` gives one number.
        return int(pool.kernel_size), int(pool.stride)  # type: ignore[arg-type]
    return 1, 1


def _scaled(tensor: Tensor, factor: float) -> Tensor:
    return tensor if factor == 1.0 else factor * tensor

"""Feedback paths that run a stage backwards, with weights of their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.draws import normal_like
from brainscore_lite.learning_rules.stages import Stage
from brainscore_lite.networks.connections import FullyConnected, LocallyConnected, Operation


class Inverse(nn.Module):
    """A learned way back through the connection of a stage, from the upper area to the lower.

    g(r) = top(unpool_in(op^T(unpool_out(r))) + c)

    The operation is turned round (a fully connected one has its matrix transposed, a convolution
    becomes a transposed convolution, windows of their own give back what they saw) and has its own
    weight, shaped like the forward weight; with that weight in its place g is the adjoint of an
    unpooled linear connection. Pooling is undone by copying each value over its window (nearest
    neighbour), whether it took the average or the maximum.

    Parameters
    ----------
    stage : Stage
        What the path leads back through.
    lower : tuple of int
        Shape of the lower area's activations, without the batch.
    top : Module, optional
        Activation of the lower area, where the path is to land in its range. It comes with a bias
        per unit or channel; without it there is none.
    generator : torch.Generator
        The weight is drawn from N(0, 1 / fan_in), with the fan-in of the way back; without `top`
        with that of the way up, divided by the sizes of the pooled windows, so that the path
        starts as large as the transposed Jacobian of the way up.
    """

    def __init__(
        self,
        stage: Stage,
        lower: tuple[int, ...],
        *,
        top: nn.Module | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        op = stage.connection.op
        self._stage = stage
        pooled, raw, upper = _shapes(stage, lower)
        self._lower, self._pooled, self._raw = lower, pooled, raw
        self._unpools_in = not isinstance(stage.connection.pool_in, nn.Identity)
        self._unpools_out = not isinstance(stage.connection.pool_out, nn.Identity)
        self.top = nn.Identity() if top is None else top
        fan_in = op.weight[0].numel()
        if top is None:
            windows = math.prod(lower) / math.prod(pooled) * math.prod(raw) / math.prod(upper)
            size = windows * math.sqrt(fan_in)
        else:
            size = math.sqrt(fan_in * math.prod(raw) / math.prod(pooled))
        self.weight = nn.Parameter(normal_like(op.weight, generator) / size)
        spread = (lower[0], *(1 for _ in lower[1:]))
        self.bias = None if top is None else nn.Parameter(op.weight.new_zeros(spread))

    def forward(self, activations: Tensor) -> Tensor:
        """Return g(r), of shape (batch, *lower), for r of shape (batch, *upper)."""
        signal = activations
        if self._unpools_out:
            signal = functional.interpolate(signal, size=self._raw[1:], mode="nearest")
        signal = transposed(self._stage.connection.op, signal, self.weight, self._pooled)
        if self._unpools_in:
            signal = functional.interpolate(signal, size=self._lower[1:], mode="nearest")
        return self.top(signal if self.bias is None else signal + self.bias)


def transposed(op: Operation, signal: Tensor, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Send a signal back through an operation turned round, with another weight.

    Parameters
    ----------
    op : Convolution, LocallyConnected or FullyConnected
    signal : Tensor, shape (batch, *what op returns)
    weight : Tensor
        Shaped like that of `op`.
    shape : tuple of int
        What `op` takes, without the batch.

    Returns
    -------
    Tensor, shape (batch, *shape)
    """
    if isinstance(op, FullyConnected):
        return (signal @ weight).unflatten(1, shape)
    size, stride, padding = weight.shape[2], op.stride, op.padding
    if isinstance(op, LocallyConnected):
        n_places = op.places[0] * op.places[1]
        above = signal.flatten(2).permute(2, 0, 1)
        windows = torch.bmm(above, weight.reshape(n_places, signal.shape[1], -1))
        return functional.fold(
            windows.permute(1, 2, 0), shape[1:], size, stride=stride, padding=padding
        )
    reached = [(n - 1) * stride - 2 * padding + size for n in signal.shape[2:]]
    missing = [n - m for n, m in zip(shape[1:], reached, strict=True)]
    return functional.conv_transpose2d(
        signal, weight, stride=stride, padding=padding, output_padding=missing
    )


def _shapes(stage: Stage, lower: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes before and after the operation, and of what arrives."""
    connection = stage.connection
    with torch.no_grad():
        pooled = connection.pool_in(connection.op.weight.new_zeros(1, *lower))
        raw = connection.op(pooled)
        arriving = connection.pool_out(raw)
    return [tuple(each.shape[1:]) for each in (pooled, raw, arriving)]

"""Feedback paths that run a stage backwards, with weights of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.stages import Stage
from brainscore_lite.networks.connections import Operation


class Inverse(nn.Module):
    """A learned way back through the connection of a stage, from the upper area to the lower.

    g(r) = top(unpool_in(op^T(unpool_out(entry(r)))) + c)

    The operation is turned round (a fully connected one has its matrix transposed, a convolution
    becomes a transposed convolution) and has its own weight, shaped like the forward weight; with
    that weight in its place g is the adjoint of an unpooled linear connection. Pooling is undone
    by copying each value over its window (nearest neighbour), whether it took the average or the
    maximum.

    Parameters
    ----------
    stage : Stage
        What the path leads back through.
    lower : tuple of int
        Shape of the lower area's activations, without the batch.
    entry : Module, optional
        Applied to what enters; the identity by default.
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
        entry: nn.Module | None = None,
        top: nn.Module | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        op = cast(Operation, stage.connection.op)
        self._convolves = op.weight.ndim == 4
        self._stride = cast(int, getattr(op, "stride", 1))
        self._padding = cast(int, getattr(op, "padding", 0))
        pooled, raw, upper = _shapes(stage, lower)
        self._lower, self._pooled, self._raw = lower, pooled, raw
        self._unpools_in = not isinstance(stage.connection.pool_in, nn.Identity)
        self._unpools_out = not isinstance(stage.connection.pool_out, nn.Identity)
        self.entry = nn.Identity() if entry is None else entry
        self.top = nn.Identity() if top is None else top
        if top is None:
            windows = math.prod(lower) / math.prod(pooled) * math.prod(raw) / math.prod(upper)
            size = windows * math.sqrt(op.weight[0].numel())
        else:
            size = math.sqrt(op.weight[:, 0].numel()) / self._stride
        self.weight = nn.Parameter(noise_like(op.weight, generator) / size)
        spread = (lower[0], *(1 for _ in lower[1:]))
        self.bias = None if top is None else nn.Parameter(op.weight.new_zeros(spread))

    def carry(self, entered: Tensor) -> Tensor:
        """Take what has passed the entry back to the lower area; linear in it.

        Parameters
        ----------
        entered : Tensor, shape (batch, *upper)

        Returns
        -------
        Tensor, shape (batch, *lower)
        """
        signal = entered
        if self._unpools_out:
            signal = functional.interpolate(signal, size=self._raw[1:], mode="nearest")
        if self._convolves:
            signal = self._deconvolved(signal)
        else:
            signal = (signal @ self.weight).unflatten(1, self._pooled)
        if self._unpools_in:
            signal = functional.interpolate(signal, size=self._lower[1:], mode="nearest")
        return signal

    def forward(self, activations: Tensor) -> Tensor:
        """Return g(r), of shape (batch, *lower), for r of shape (batch, *upper)."""
        back = self.carry(self.entry(activations))
        return self.top(back if self.bias is None else back + self.bias)

    def _deconvolved(self, signal: Tensor) -> Tensor:
        kernel = self.weight.shape[2]
        least = (signal.shape[2] - 1) * self._stride - 2 * self._padding + kernel
        missing = [self._pooled[1] - least, self._pooled[2] - least]
        return functional.conv_transpose2d(
            signal,
            self.weight,
            stride=self._stride,
            padding=self._padding,
            output_padding=missing,
        )


def noise_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from N(0, 1) what has the shape, dtype and device of a tensor."""
    drawn = torch.randn(
        tensor.shape, generator=generator, dtype=tensor.dtype, device=generator.device
    )
    return drawn.to(tensor.device)


def activation_shapes(stages: Sequence[Stage], image: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of the image and of each area's activations, without the batch."""
    shapes = [image]
    with torch.no_grad():
        for stage in stages:
            weight = cast(Operation, stage.connection.op).weight
            arriving = stage.connection(weight.new_zeros(1, *shapes[-1]))
            shapes.append(tuple(arriving.shape[1:]))
    return shapes


def _shapes(stage: Stage, lower: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes before and after the operation, and of what arrives."""
    connection = stage.connection
    op = cast(Operation, connection.op)
    with torch.no_grad():
        pooled = connection.pool_in(op.weight.new_zeros(1, *lower))
        raw = op(pooled)
        arriving = connection.pool_out(raw)
    return [tuple(each.shape[1:]) for each in (pooled, raw, arriving)]

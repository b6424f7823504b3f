"""Areas cut off from each other, and what a loss of their own reads of them."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules.learning_rule import Support
from brainscore_lite.learning_rules.support import (
    no_graph_of_areas,
    support,
    trained_black_box,
    untrainable,
)
from brainscore_lite.networks.connections import Connection


def separate_areas(architecture: Any, *findings: str) -> Support:
    """Accept graphs of areas with weights to train, each with a derivative of its own."""
    return support(
        untrainable(architecture),
        no_graph_of_areas(architecture),
        trained_black_box(architecture),
        *findings,
    )


def detached(connection: Connection, activations: Tensor, gain: float) -> Tensor:
    """Carry activations to an area without a way back: the `carry` of `Network.run`."""
    return connection(activations.detach(), gain=gain)


def pooling(shape: tuple[int, ...], units: int) -> int:
    """Return the side of the smallest squares whose averages are at most so many numbers.

    Parameters
    ----------
    shape : tuple of int
        Of an area: (channels, rows, columns), or (units,), which is never pooled.
    units : int

    Returns
    -------
    int
        In pixels of the map; the whole map where even fewer squares are too many.
    """
    if len(shape) == 1:
        return 1
    channels, rows, columns = shape
    largest = max(rows, columns)
    sides = range(1, largest + 1)
    fits = (k for k in sides if channels * math.ceil(rows / k) * math.ceil(columns / k) <= units)
    return next(fits, largest)


def pooled(activations: Tensor, side: int) -> Tensor:
    """Average maps over squares and flatten: (batch, channels, rows, columns) to (batch, n)."""
    if side > 1:
        activations = functional.avg_pool2d(activations, side, ceil_mode=True)
    return activations.flatten(1)

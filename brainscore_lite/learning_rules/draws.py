"""Normal noise and first weights, drawn like a tensor that is there already."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normal_like(
    tensor: Tensor,
    generator: torch.Generator,
    *,
    shape: Sequence[int] | None = None,
    deviation: float = 1.0,
) -> Tensor:
    """Draw from N(0, deviation^2) what has the dtype and device of a tensor.

    It is drawn where the generator is. Scaling a draw of deviation 1 is the same up to rounding:
    float32 tensors of fewer than 16 numbers are scaled by torch before they are rounded.

    Parameters
    ----------
    tensor : Tensor
    generator : torch.Generator
    shape : sequence of int, optional
        By default that of the tensor.
    deviation : float

    Returns
    -------
    Tensor, of the given shape
    """
    size = tensor.shape if shape is None else tuple(shape)
    drawn = torch.empty(size, dtype=tensor.dtype, device=generator.device)
    return drawn.normal_(0.0, deviation, generator=generator).to(tensor.device)

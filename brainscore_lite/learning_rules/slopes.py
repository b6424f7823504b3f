"""How steep activations are, told from what they return."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: phi'(a) as a function of phi(a). Activations that are no such function are left out.
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "clipped_relu": lambda r: ((r > 0) & (r < 1)).to(r.dtype),
    "elu": lambda r: (1 + r).clamp(max=1),
    "hard_tanh": lambda r: (r.abs() < 1).to(r.dtype),
    "identity": torch.ones_like,
    "relu": lambda r: (r > 0).to(r.dtype),
    "sigmoid": lambda r: r * (1 - r),
    "softplus": lambda r: -torch.expm1(-r),
    "tanh": lambda r: 1 - r * r,
}

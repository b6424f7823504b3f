"""Weights of a module drawn from one generator, and from nothing else."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def drawn(
    make: Callable[[], ModuleType], generator: torch.Generator, *, gain: float = math.sqrt(2.0)
) -> ModuleType:
    """Make a module and draw its weights from N(0, gain^2 / fan_in), its biases 0.

    Convolutions and fully connected layers are drawn, in the order of `modules()`; what else the
    module holds stays as its constructor set it. The global random state is left as it was found.

    Parameters
    ----------
    make : callable
        Takes nothing and returns the module.
    generator : torch.Generator
        The only source of randomness.
    gain : float
        sqrt(2) keeps the variance through ReLUs.

    Returns
    -------
    Module

    References
    ----------
    He, Zhang, Ren & Sun (2015), doi:10.1109/ICCV.2015.123.
    """
    with torch.random.fork_rng(devices=()):  # constructors draw weights, replaced below
        module = make()
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan_in = math.prod(part.weight.shape[1:])
            nn.init.normal_(part.weight, std=gain / math.sqrt(fan_in), generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module

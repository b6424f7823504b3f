"""Steps computed again in the backward pass, as they were computed the first time."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import nn


def once_and_again(
    module: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts in which to compute now, and to compute the same again later.

    Later, each part of the module is in the mode (training or evaluation) it is in now. Afterwards
    modes and running statistics are what they were just before.

    Parameters
    ----------
    module : Module

    Returns
    -------
    tuple of two context managers
        As `torch.utils.checkpoint.checkpoint` takes them from its `context_fn`.
    """
    return nullcontext(), _as_then(module, {part: part.training for part in module.modules()})


@contextmanager
def _as_then(module: nn.Module, then: Mapping[nn.Module, bool]) -> Iterator[None]:
    now = {part: part.training for part in module.modules()}
    statistics = {buffer: buffer.clone() for buffer in module.buffers()}
    _set_modes(then)
    try:
        yield
    finally:
        _set_modes(now)
        for buffer, before in statistics.items():
            buffer.copy_(before)


def _set_modes(modes: Mapping[nn.Module, bool]) -> None:
    for part, training in modes.items():
        part.training = training

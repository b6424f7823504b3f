"""One root seed, any number of named, independent random generators."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def generator(seed: int, *names: str) -> np.random.Generator:
    """Make the NumPy generator of a purpose.

    The stream depends on the seed and on the names only: adding a purpose never shifts the
    random numbers of another.

    Parameters
    ----------
    seed : int
        Root seed, >= 0.
    *names : str
        The purpose, from general to special: ``generator(0, "training", "order")``.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    ValueError
        If the seed is negative or not a whole number.
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, names)))


def torch_generator(seed: int, *names: str) -> torch.Generator:
    """Make the torch CPU generator of a purpose (see :func:`generator`).

    Parameters
    ----------
    seed : int
        Root seed, >= 0.
    *names : str
        The purpose, from general to special.

    Returns
    -------
    torch.Generator
    """
    import torch

    state = int(_sequence(seed, names).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


def _sequence(seed: int, names: tuple[str, ...]) -> np.random.SeedSequence:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed is {seed!r}, expected a whole number of at least 0.")
    purpose = hashlib.sha256("\x1f".join(names).encode()).digest()
    return np.random.SeedSequence([int(seed), *np.frombuffer(purpose, dtype=np.uint32).tolist()])

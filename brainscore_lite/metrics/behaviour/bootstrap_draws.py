"""Intervals and variances of bootstrap draws, some of which may be undefined."""

import numpy as np
from numpy.typing import NDArray

from brainscore_lite.schema import ContractError


def percentile_interval(
    draws: NDArray[np.float64], *, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the quantiles (1 - level) / 2 and (1 + level) / 2 of the defined draws.

    Parameters
    ----------
    draws : ndarray, shape (..., n_draws)
        NaN where the quantity is not defined in a draw.
    level : float
        Between 0 and 1.

    Returns
    -------
    lower, upper : ndarray, shape (...)
        NaN where no draw is defined.

    Raises
    ------
    ContractError
        If the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ContractError(f"level is {level}, expected between 0 and 1.")
    defined, filled = _with_some_defined(draws)
    lower, upper = np.nanquantile(filled, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return np.where(defined, lower, np.nan), np.where(defined, upper, np.nan)


def variance_of_draws(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of the defined draws (divided by their number).

    Parameters
    ----------
    draws : ndarray, shape (..., n_draws)

    Returns
    -------
    ndarray, shape (...)
        NaN where no draw is defined.
    """
    defined, filled = _with_some_defined(draws)
    return np.where(defined, np.nanvar(filled, axis=-1), np.nan)


def _with_some_defined(
    draws: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Say where some draw is defined, and put 0 where none is."""
    defined = np.asarray(np.isfinite(draws).any(axis=-1))
    return defined, np.where(defined[..., None], draws, 0.0)

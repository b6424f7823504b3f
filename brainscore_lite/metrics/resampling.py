"""Bootstrap weights: how often each stimulus was drawn."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.schema import ContractError


def check_weights(weights: ArrayLike, n_stimuli: int) -> NDArray[np.float64]:
    """Check the number of times each stimulus counts in each draw.

    Parameters
    ----------
    weights : array of int, shape (n_draws, n_stimuli)
    n_stimuli : int

    Returns
    -------
    ndarray of float64, shape (n_draws, n_stimuli)

    Raises
    ------
    ContractError
        If the shape differs, or an entry is negative or no whole number.
    """
    counts = np.asarray(weights, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[1] != n_stimuli or counts.shape[0] == 0:
        raise ContractError(
            f"weights have shape {counts.shape}, expected (n_draws, {n_stimuli}): how often each "
            "of the target's stimuli is drawn."
        )
    if (counts < 0).any() or (counts != np.round(counts)).any():
        raise ContractError("weights must be whole numbers of at least 0.")
    return counts


def pair_weights(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often each pair of different stimuli occurs in each draw, c_i c_j.

    Parameters
    ----------
    counts : ndarray, shape (n_draws, n_stimuli)

    Returns
    -------
    ndarray, shape (n_draws, n_stimuli * (n_stimuli - 1) / 2)
        In the order of a condensed dissimilarity matrix.
    """
    first, second = np.triu_indices(counts.shape[1], k=1)
    result: NDArray[np.float64] = counts[:, first] * counts[:, second]
    return result

"""Bootstrap weights: how often each stimulus was drawn."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.schema import ContractError

_CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class DrawnProducts:
    """Inner products of two sets of vectors within each draw.

    Every comparison but those of kernels is such a product, of values, centred values, ranks or
    signs of differences, divided by the norms or by the largest product there can be.

    Parameters
    ----------
    cross : ndarray, shape (n_draws, n_first, n_second)
    first : ndarray, shape (n_draws, n_first)
        Of each vector with itself.
    second : ndarray, shape (n_draws, n_second)
    undefined_first : ndarray of bool, shape (n_draws, n_first)
        Where a vector has no variance, up to rounding, within the draw.
    undefined_second : ndarray of bool, shape (n_draws, n_second)
    """

    cross: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    undefined_first: NDArray[np.bool_]
    undefined_second: NDArray[np.bool_]

    @property
    def undefined(self) -> NDArray[np.bool_]:
        """Where a comparison is not defined, shape (n_draws, n_first, n_second)."""
        either: NDArray[np.bool_] = (
            self.undefined_first[:, :, None] | self.undefined_second[:, None, :]
        )
        return either

    def over_norms(self) -> NDArray[np.float64]:
        """Return the products over both norms; 0 where one has no variance."""
        first = np.where(self.undefined_first, 1.0, self.first)
        second = np.where(self.undefined_second, 1.0, self.second)
        cosine = self.cross / np.sqrt(first)[:, :, None] / np.sqrt(second)[:, None, :]
        return np.where(self.undefined, 0.0, cosine)

    def over_largest(self, largest: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the products over the largest there can be, shape (n_draws,)."""
        scaled = self.cross / np.where(largest > 0, largest, 1.0)[:, None, None]
        return np.where(self.undefined, 0.0, scaled)


def check_weights(
    weights: ArrayLike, n_stimuli: int, *, unit: str = "stimuli"
) -> NDArray[np.float64]:
    """Check the number of times each stimulus counts in each draw.

    Parameters
    ----------
    weights : array of int, shape (n_draws, n_stimuli)
    n_stimuli : int
    unit : str
        What is drawn, for the message.

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
            f"of the target's {unit} is drawn."
        )
    if not ((counts >= 0) & (counts == np.round(counts)) & np.isfinite(counts)).all():
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
    n_stimuli = counts.shape[1]
    result = np.empty((len(counts), n_stimuli * (n_stimuli - 1) // 2))
    start = 0
    for row in range(n_stimuli - 1):
        stop = start + n_stimuli - 1 - row
        np.multiply(counts[:, row : row + 1], counts[:, row + 1 :], out=result[:, start:stop])
        start = stop
    return result


def pairs_within(kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which pairs are of two of the stimuli kept, in the order of a condensed matrix."""
    first, second = np.triu_indices(len(kept), k=1)
    return np.asarray(kept[first] & kept[second])


def chunks_of_draws(n_draws: int, numbers_per_draw: int) -> Iterator[slice]:
    """Yield runs of draws whose numbers fit the memory set aside for them."""
    size = max(1, _CHUNK_BYTES // (8 * numbers_per_draw))
    for start in range(0, n_draws, size):
        yield slice(start, min(start + size, n_draws))

"""Rank statistics in which each value counts a given number of times."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
_LARGEST_BLOCK = 5000
_STRIPE = 512


@dataclass(frozen=True, eq=False)
class RankOrder:
    """A vector sorted once, to be ranked under many weightings.

    Parameters
    ----------
    order : ndarray of int, shape (n,)
        Positions in ascending order of value.
    last : ndarray of int, shape (n_distinct,)
        Where in that order the run of each distinct value ends.
    run : ndarray of int, shape (n,)
        Which distinct value stands at each place of that order.
    """

    order: Positions
    last: Positions
    run: Positions

    @classmethod
    def of(cls, values: Floats) -> "RankOrder":
        """Sort a vector."""
        order = np.argsort(values, kind="stable")
        new = np.diff(values[order]) != 0
        last = np.append(np.flatnonzero(new), len(values) - 1)
        return cls(order=order, last=last, run=np.append(0, np.cumsum(new)))

    def ranks(self, weights: Floats) -> Floats:
        """Return the average ranks that values have when value i occurs ``weights[:, i]`` times.

        Parameters
        ----------
        weights : ndarray, shape (n_draws, n)

        Returns
        -------
        ndarray, shape (n_draws, n)
            Ranks from 1; those of values that do not occur carry no meaning.
        """
        ends = np.cumsum(weights[:, self.order], axis=1)
        if len(self.last) < len(self.order):
            ends = ends[:, self.last]
        mean_ranks = np.empty_like(ends)
        mean_ranks[:, 0] = 0.0
        mean_ranks[:, 1:] = ends[:, :-1]
        mean_ranks += ends
        mean_ranks += 1
        mean_ranks /= 2
        if len(self.last) < len(self.order):
            mean_ranks = mean_ranks[:, self.run]
        result = np.empty_like(mean_ranks)
        result[:, self.order] = mean_ranks
        return result


def kendall_tau_a(a: Floats, b: Floats) -> float:
    """Compute (concordant - discordant pairs) / all pairs, in O(n log n).

    Parameters
    ----------
    a, b : ndarray, shape (n,)

    Returns
    -------
    float
        0 where all values of either are tied.
    """
    n_pairs = len(a) * (len(a) - 1) / 2
    untied = np.sqrt(n_pairs - _tied(a)) * np.sqrt(n_pairs - _tied(b))
    if untied == 0:
        return 0.0
    difference = np.round(float(kendalltau(a, b, method="asymptotic").statistic) * untied)
    return float(difference / n_pairs)


def _tied(values: Floats) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float(np.sum(counts * (counts - 1)) / 2)


@dataclass(frozen=True, eq=False)
class Concordance:
    """Two vectors sorted once, to compute Kendall's tau-a under many weightings.

    Discordant pairs are counted as in merge sort. With positions in ascending order of (a, b), a
    pair is discordant if the earlier has the larger b. Within blocks of a few thousand positions
    all pairs are looked at, as a matrix product over draws. Then neighbouring blocks are merged,
    level by level: a running sum over both in descending order of b counts, for each member of
    the right one, the weight in the left one with larger b.
    """

    order: Positions
    height: Positions
    block_size: int
    levels: tuple[tuple[Positions, Floats, Positions, Positions], ...]
    ties: tuple[RankOrder, RankOrder, RankOrder]

    @classmethod
    def of(cls, a: Floats, b: Floats) -> "Concordance":
        """Sort two vectors of shape (n,)."""
        order = np.lexsort((b, a)).astype(np.int64)
        ranks_a, ranks_b = (np.unique(x, return_inverse=True)[1] for x in (a, b))
        joint = (ranks_a.astype(np.float64) * len(a)) + ranks_b
        height = ranks_b[order].max() - ranks_b[order]
        block_size = len(a)
        while block_size > _LARGEST_BLOCK:
            block_size = -(-block_size // 2)
        levels, size = [], block_size
        while size < len(a):
            levels.append(_merge_level(height, size))
            size *= 2
        ties = (RankOrder.of(a), RankOrder.of(b), RankOrder.of(joint))
        return cls(order, height, block_size, tuple(levels), ties)

    def tau_a(self, weights: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return tau-a when pair i occurs ``weights[:, i]`` times, and where it is not defined.

        Parameters
        ----------
        weights : ndarray, shape (n_draws, n)

        Returns
        -------
        tau : ndarray, shape (n_draws,)
        undefined : ndarray of bool, shape (n_draws,)
            Where every value that occurs is tied; tau is 0 there.
        """
        total = np.sum(weights, axis=1)
        n_pairs = total * (total - 1) / 2
        undefined = (untied_pairs(self.ties[0], weights) <= 0) | (
            untied_pairs(self.ties[1], weights) <= 0
        )
        difference = self.difference(weights)
        return np.where(undefined, 0.0, difference / np.where(n_pairs > 0, n_pairs, 1)), undefined

    def difference(self, weights: Floats) -> Floats:
        """Return concordant minus discordant pairs when i occurs ``weights[:, i]`` times.

        Parameters
        ----------
        weights : ndarray, shape (n_draws, n)

        Returns
        -------
        ndarray, shape (n_draws,)
        """
        untied_a, untied_b, untied_either = (untied_pairs(ties, weights) for ties in self.ties)
        sorted_weights = weights[:, self.order]
        discordant = self._within_blocks(sorted_weights)
        for permutation, is_left, right, block_start in self.levels:
            w = sorted_weights[:, permutation]
            running = np.zeros((len(w), w.shape[1] + 1))
            np.cumsum(w * is_left, axis=1, out=running[:, 1:])
            larger = running[:, right] - running[:, block_start]
            discordant += np.einsum("ij,ij->i", w[:, right], larger)
        result: Floats = untied_a + untied_b - untied_either - 2 * discordant
        return result

    def _within_blocks(self, weights: Floats) -> Floats:
        """Sum the weight of discordant pairs within blocks; exact, for sums below 2^24."""
        total = np.zeros(len(weights))
        single = weights.astype(np.float32)
        for start in range(0, len(self.height), self.block_size):
            stop = min(start + self.block_size, len(self.height))
            for first in range(start, stop, _STRIPE):
                last = min(first + _STRIPE, stop)
                larger = self.height[start:last, None] < self.height[None, first:last]
                larger[first - start :] &= ~np.tri(last - first, dtype=bool)
                found = single[:, start:last] @ larger.astype(np.float32)
                total += np.einsum("ij,ij->i", weights[:, first:last], found)
        return total


def _merge_level(height: Positions, size: int) -> tuple[Positions, Floats, Positions, Positions]:
    """Prepare the merge of halves of `size`: order, left members, right places, block starts.

    `height` is smaller for larger b. Among equal b the right half comes first, so that ties do
    not count.
    """
    n = len(height)
    position = np.arange(n, dtype=np.int64)
    block, in_right = position // (2 * size), (position // size) % 2
    key = (block * (height.max() + 1) + height) * 2 + (1 - in_right)
    permutation = np.argsort(key, kind="stable").astype(np.int64)
    right = np.flatnonzero(in_right[permutation]).astype(np.int64)
    block_start = block[permutation][right] * (2 * size)
    is_left = np.asarray(1 - in_right, dtype=np.float64)[permutation]
    return permutation, is_left, right, np.asarray(block_start, dtype=np.int64)


def untied_pairs(ties: RankOrder, weights: Floats) -> Floats:
    """Count the pairs of different values when value i occurs ``weights[:, i]`` times.

    Parameters
    ----------
    ties : RankOrder
    weights : ndarray, shape (n_draws, n)

    Returns
    -------
    ndarray, shape (n_draws,)
    """
    first = np.append(0, ties.last[:-1] + 1)
    same = np.sum(np.add.reduceat(weights[:, ties.order], first, axis=1) ** 2, axis=1)
    result: Floats = (np.sum(weights, axis=1) ** 2 - same) / 2
    return result

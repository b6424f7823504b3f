"""Weighted rank moments compiled by numba, from the extra `fast`; imported only where it is there.

Equal to the NumPy path of :mod:`brainscore_lite.metrics.comparison`; each draw is summed by one
thread, so the number of threads does not change a number.
"""

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


@njit(parallel=True, cache=True)
def rank_moments(
    counts: Floats, first: Positions, second: Positions, orders: Positions, runs: Positions
) -> Floats:
    """Sum products of centred ranks within drawn pairs.

    Parameters
    ----------
    counts : ndarray, shape (n_draws, n_stimuli)
        How often each stimulus is drawn.
    first, second : ndarray of int, shape (n_pairs,)
        The stimuli of each pair.
    orders, runs : ndarray of int, shape (n_vectors, n_pairs)
        Of each vector: positions in ascending order of value, and which distinct value stands at
        each place of that order. Vector 0 is compared with all.

    Returns
    -------
    ndarray, shape (n_draws, n_vectors, 3)
        Number of drawn pairs; sum of squared centred ranks; sum of products with those of
        vector 0.
    """
    n_draws, (n_vectors, n_pairs) = len(counts), orders.shape
    moments = np.zeros((n_draws, n_vectors, 3))
    for draw in prange(n_draws):
        weights = np.empty(n_pairs)
        total = 0.0
        for pair in range(n_pairs):
            weights[pair] = counts[draw, first[pair]] * counts[draw, second[pair]]
            total += weights[pair]
        middle = (total + 1) / 2
        reference = np.empty(n_pairs)
        for vector in range(n_vectors):
            order, run = orders[vector], runs[vector]
            below, start, squares, products = 0.0, 0, 0.0, 0.0
            while start < n_pairs:
                stop, tied = start, 0.0
                while stop < n_pairs and run[stop] == run[start]:
                    tied += weights[order[stop]]
                    stop += 1
                rank = below + (tied + 1) / 2 - middle
                below += tied
                squares += tied * rank * rank
                for place in range(start, stop):
                    pair = order[place]
                    if vector == 0:
                        reference[pair] = rank
                    products += weights[pair] * rank * reference[pair]
                start = stop
            moments[draw, vector, 0] = total
            moments[draw, vector, 1] = squares
            moments[draw, vector, 2] = products
    return moments

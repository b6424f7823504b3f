"""Comparisons of dissimilarities by rank: Spearman, rho-a, Kendall's tau-a and tau-b.

All are inner products, of centred average ranks or of the signs of differences, over their norms
(Spearman, tau-b) or over the largest product without ties (rho-a, tau-a). NumPy only.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from brainscore_lite.metrics.dissimilarities.rank_statistics import (
    Concordance,
    Floats,
    RankOrder,
    kendall_tau_a,
    untied_pairs,
)
from brainscore_lite.metrics.resampling import DrawnProducts, chunks_of_draws, pair_weights

RANKED = ("spearman", "rho_a")
SIGNED = ("kendall_tau_a", "kendall_tau_b")
RANK_COMPARISONS = (*RANKED, *SIGNED)


def compare_ranks(first: Floats, second: Floats, *, method: str) -> Floats:
    """Compare vectors of shapes (n_first, n_pairs) and (n_second, n_pairs) by rank.

    Returns
    -------
    ndarray, shape (n_first, n_second)
        NaN where tau-b is not defined.
    """
    if method in SIGNED:
        return np.array([[_kendall(x, y, method=method) for y in second] for x in first])
    n_pairs = first.shape[1]
    ranks = [rankdata(vectors, axis=1) - (n_pairs + 1) / 2 for vectors in (first, second)]
    product = ranks[0] @ ranks[1].T
    if method == "rho_a":
        return np.asarray(product / largest_product(np.array([float(n_pairs)]), method=method))
    norms = [np.linalg.norm(one, axis=1) for one in ranks]
    return np.asarray(product / np.maximum(np.outer(*norms), np.finfo(np.float64).tiny))


def drawn_rank_products(
    first: Floats, second: Floats, counts: Floats, *, method: str
) -> tuple[DrawnProducts, Floats]:
    """Compute products of ranks, or of signs, over each draw of stimuli.

    Ranks are those within the drawn pairs, in which the pair of stimuli i and j stands c_i c_j
    times.

    Parameters
    ----------
    first : ndarray, shape (n_first, n_pairs)
    second : ndarray, shape (n_second, n_pairs)
    counts : ndarray, shape (n_draws, n_stimuli)
    method : {"spearman", "rho_a", "kendall_tau_a", "kendall_tau_b"}

    Returns
    -------
    products : DrawnProducts
    n_drawn : ndarray, shape (n_draws,)
        Pairs of each draw.
    """
    ranked = [RankOrder.of(vector) for vector in (*first, *second)]
    if find_spec("numba"):
        cross, squares, n_drawn = _compiled_products(ranked, len(first), counts, method=method)
    elif method in RANKED:
        cross, squares, n_drawn = _rank_products(ranked, len(first), counts)
    else:
        cross, squares, n_drawn = _sign_products(first, second, ranked, counts)
    parts = squares[:, : len(first)], squares[:, len(first) :]
    return DrawnProducts(cross, *parts, *(part <= 0 for part in parts)), n_drawn


def normalised(products: DrawnProducts, n_drawn: Floats, *, method: str) -> Floats:
    """Divide products by norms, or by the largest product of that many pairs."""
    if method in ("spearman", "kendall_tau_b"):
        return products.over_norms()
    return products.over_largest(largest_product(n_drawn, method=method))


def largest_product(n_drawn: Floats, *, method: str) -> Floats:
    """Return the product of n pairs with themselves where none are tied.

    (n^3 - n) / 12 for ranks, n (n - 1) / 2 for signs.
    """
    if method in RANKED:
        return (n_drawn**3 - n_drawn) / 12
    return n_drawn * (n_drawn - 1) / 2


def ranked_arrays(
    ranked: Sequence[RankOrder], n_stimuli: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return stimuli of the pairs, orders and runs, as the compiled functions take them."""
    first, second = np.triu_indices(n_stimuli, k=1)
    orders = np.stack([vector.order for vector in ranked])
    return first, second, orders, np.stack([vector.run for vector in ranked])


def _kendall(a: Floats, b: Floats, *, method: str) -> float:
    if method == "kendall_tau_a":
        return kendall_tau_a(a, b)
    return float(kendalltau(a, b, method="asymptotic").statistic)


def _compiled_products(
    ranked: Sequence[RankOrder], n_first: int, counts: Floats, *, method: str
) -> tuple[Floats, Floats, Floats]:
    compiled = import_module("brainscore_lite.metrics.dissimilarities.compiled_ranks")
    product = compiled.rank_products if method in RANKED else compiled.sign_products
    result: tuple[Floats, Floats, Floats] = product(
        counts, *ranked_arrays(ranked, counts.shape[1]), n_first
    )
    return result


def _rank_products(
    ranked: Sequence[RankOrder], n_first: int, counts: Floats
) -> tuple[Floats, Floats, Floats]:
    """Do the work of ``compiled_ranks.rank_products``."""
    n_draws, n_others = len(counts), len(ranked) - n_first
    cross = np.empty((n_draws, n_first, n_others))
    squares, n_drawn = np.empty((n_draws, len(ranked))), np.empty(n_draws)
    for draws in chunks_of_draws(n_draws, len(ranked[0].order) * (n_others + 2)):
        weights = pair_weights(counts[draws])
        total = weights.sum(axis=1)
        n_drawn[draws] = total
        others: list[Floats] = []
        for place in range(len(ranked) - 1, -1, -1):
            centred = ranked[place].ranks(weights) - (total[:, None] + 1) / 2
            weighted = weights * centred
            squares[draws, place] = np.einsum("dp,dp->d", weighted, centred)
            if place >= n_first:
                others.insert(0, weighted)
                continue
            for column, other in enumerate(others):
                cross[draws, place, column] = np.einsum("dp,dp->d", centred, other)
    return cross, squares, n_drawn


def _sign_products(
    first: Floats, second: Floats, ranked: Sequence[RankOrder], counts: Floats
) -> tuple[Floats, Floats, Floats]:
    """Do the work of ``compiled_ranks.sign_products``."""
    n_draws = len(counts)
    cross = np.empty((n_draws, len(first), len(second)))
    squares, n_drawn = np.empty((n_draws, len(ranked))), np.empty(n_draws)
    for draws in chunks_of_draws(n_draws, first.shape[1]):
        weights = pair_weights(counts[draws])
        n_drawn[draws] = weights.sum(axis=1)
        for place, vector in enumerate(ranked):
            squares[draws, place] = untied_pairs(vector, weights)
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            prepared = Concordance.of(one, other)
            for draws in chunks_of_draws(n_draws, first.shape[1]):
                cross[draws, row, column] = prepared.difference(pair_weights(counts[draws]))
    return cross, squares, n_drawn

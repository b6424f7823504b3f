"""Comparison of dissimilarity matrices, plain and with resampled stimuli."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from brainscore_lite.metrics.correlation import warn_undefined
from brainscore_lite.metrics.rank_statistics import Concordance, Floats, RankOrder, kendall_tau_a
from brainscore_lite.metrics.rdm import n_stimuli_of, square
from brainscore_lite.metrics.resampling import check_weights, pair_weights
from brainscore_lite.schema import ContractError

Comparator = Literal["pearson", "spearman", "kendall_tau_a", "cosine"]
UNITS: dict[str, str] = {
    "pearson": "pearson_r",
    "spearman": "spearman_r",
    "kendall_tau_a": "kendall_tau_a",
    "cosine": "cosine",
}
_CHUNK_BYTES = 32 * 2**20
_NO_VARIANCE = 1e-14
_CONSTANT = "all dissimilarities of one matrix are equal"


def compare_rdms(
    a: ArrayLike, b: ArrayLike, *, method: Comparator = "pearson"
) -> float | NDArray[np.float64]:
    """Compare dissimilarity matrices over their pairs of stimuli.

    pearson: correlation of the dissimilarities; spearman: of their average ranks; kendall_tau_a:
    (concordant - discordant) / all pairs of pairs; cosine: a.b / (|a| |b|).

    Parameters
    ----------
    a : array, shape (n_pairs,) or (n_first, n_pairs)
        Condensed upper triangles.
    b : array, shape (n_pairs,) or (n_second, n_pairs)
    method : {"pearson", "spearman", "kendall_tau_a", "cosine"}

    Returns
    -------
    float, or ndarray of shape (n_first, n_second)
        A float if both are single matrices. 0, with a warning, where all dissimilarities of a
        matrix are equal (cosine: zero).

    Raises
    ------
    ContractError
        If lengths differ, values are not finite, or the method is unknown.

    References
    ----------
    Nili et al. (2014), doi:10.1371/journal.pcbi.1003553.

    Examples
    --------
    >>> round(compare_rdms([1.0, 2.0, 4.0], [2.0, 4.0, 8.0], method="spearman"), 9)
    1.0
    """
    check_comparator(method)
    first, second = _vectors(a, "a"), _vectors(b, "b")
    if first.shape[1] != second.shape[1]:
        raise ContractError(
            f"a has {first.shape[1]} pairs, b has {second.shape[1]}. Both must be the condensed "
            "dissimilarities of the same stimuli in the same order."
        )
    undefined = _constant(first, method)[:, None] | _constant(second, method)[None, :]
    warn_undefined(int(undefined.sum()), undefined.size, what=_CONSTANT)
    if method == "kendall_tau_a":
        values = np.array([[kendall_tau_a(x, y) for y in second] for x in first])
    else:
        values = _directions(first, method) @ _directions(second, method).T
    values = np.where(undefined, 0.0, values)
    return float(values[0, 0]) if np.ndim(a) == 1 and np.ndim(b) == 1 else values


def compare_resampled(
    a: Floats, b: Floats, weights: ArrayLike, *, method: Comparator = "pearson"
) -> Floats:
    """Compare one matrix with others over stimuli drawn with replacement.

    A draw is a weighting of the pairs of different stimuli, c_i c_j: exactly the comparison over
    the drawn stimuli, with pairs of a stimulus and itself left out. Ranks are those within the
    drawn pairs.

    Parameters
    ----------
    a : ndarray, shape (n_pairs,)
    b : ndarray, shape (n_second, n_pairs)
    weights : array of int, shape (n_draws, n_stimuli)
        How often each stimulus is drawn.
    method : {"pearson", "spearman", "kendall_tau_a", "cosine"}

    Returns
    -------
    ndarray, shape (n_draws, n_second)
    """
    check_comparator(method)
    counts = check_weights(weights, n_stimuli_of(len(a)))
    if method in ("pearson", "cosine"):
        values, undefined = _weighted_products(a, b, counts, centre=method == "pearson")
    elif method == "spearman":
        values, undefined = _weighted_spearman(a, b, counts)
    else:
        values, undefined = _weighted_tau(a, b, counts)
    warn_undefined(int(undefined.sum()), undefined.size, what=_CONSTANT)
    return values


def check_comparator(method: str) -> None:
    """Raise if the name of a comparator is unknown."""
    if method not in get_args(Comparator):
        raise ContractError(
            f"unknown comparison '{method}'; expected one of {get_args(Comparator)}."
        )


def _vectors(values: ArrayLike, name: str) -> Floats:
    vectors = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if vectors.ndim != 2 or vectors.shape[1] < 2:
        raise ContractError(
            f"{name} has shape {np.shape(values)}, expected condensed dissimilarities, "
            "(n_pairs,) or (n_matrices, n_pairs), of at least 2 pairs. "
            "Take the upper triangle of a square matrix with numpy.triu_indices(n, k=1)."
        )
    if _is_square_rdm(vectors):
        raise ContractError(
            f"{name} is a square matrix of {len(vectors)} stimuli, expected condensed upper "
            f"triangles. Pass {name}[numpy.triu_indices({len(vectors)}, k=1)]."
        )
    if not np.isfinite(vectors).all():
        raise ContractError(
            f"{name}: {int((~np.isfinite(vectors)).sum())} dissimilarities are not finite. Leave "
            "out the stimuli concerned."
        )
    return vectors


def _is_square_rdm(vectors: Floats) -> bool:
    n_rows, n_columns = vectors.shape
    if n_rows != n_columns:
        return False
    return bool((np.diagonal(vectors) == 0).all() and np.array_equal(vectors, vectors.T))


def _constant(vectors: Floats, method: str) -> NDArray[np.bool_]:
    if method == "cosine":
        return np.asarray(~vectors.any(axis=1))
    size = np.abs(vectors).max(axis=1)
    return np.asarray(np.ptp(vectors, axis=1) <= _NO_VARIANCE * size)


def _directions(vectors: Floats, method: str) -> Floats:
    """Return unit vectors whose products are the comparison."""
    if method == "spearman":
        vectors = rankdata(vectors, axis=1)
    if method != "cosine":
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norm > 0, norm, 1.0)


def _weighted_products(
    a: Floats, b: Floats, counts: Floats, *, centre: bool
) -> tuple[Floats, NDArray[np.bool_]]:
    """Compute weighted Pearson or cosine from quadratic forms c'Mc of the stimulus counts."""
    if centre:
        a, b = a - a.mean(), b - b.mean(axis=1, keepdims=True)

    def weighted_sum(pairs: Floats) -> Floats:
        return np.asarray(np.einsum("di,di->d", counts @ square(pairs), counts) / 2)

    n_drawn = (counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)) / 2
    n_drawn = np.where(n_drawn > 0, n_drawn, 1.0)
    mean_a = weighted_sum(a) / n_drawn if centre else 0.0
    variance_a = weighted_sum(a * a) / n_drawn - mean_a**2
    values, undefined = [], []
    for other in b:
        mean_b = weighted_sum(other) / n_drawn if centre else 0.0
        variance_b = weighted_sum(other * other) / n_drawn - mean_b**2
        product = weighted_sum(a * other) / n_drawn - mean_a * mean_b
        one, missing = _normalised(product, variance_a, variance_b, _scale(a), _scale(other))
        values.append(one)
        undefined.append(missing)
    return np.stack(values, axis=1), np.stack(undefined, axis=1)


def _weighted_spearman(a: Floats, b: Floats, counts: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Correlate average ranks within the drawn pairs."""
    ranked = [RankOrder.of(vector) for vector in (a, *b)]
    moments = (_compiled_moments if find_spec("numba") else _rank_moments)(ranked, counts)
    n_drawn, squares, products = np.moveaxis(moments, -1, 0)
    n_drawn = np.where(n_drawn > 0, n_drawn, 1.0)
    variances, covariances = squares / n_drawn, products / n_drawn
    scale = n_drawn[:, 1:] ** 2
    return _normalised(covariances[:, 1:], variances[:, :1], variances[:, 1:], scale, scale)


def _rank_moments(ranked: Sequence[RankOrder], counts: Floats) -> Floats:
    """Sum squares of centred ranks, and their products with those of the first vector.

    Returns
    -------
    ndarray, shape (n_draws, n_vectors, 3)
        Number of drawn pairs, squares, products.
    """
    moments = np.empty((len(counts), len(ranked), 3))
    for draws in _chunks(counts, len(ranked[0].order)):
        weights = pair_weights(counts[draws])
        total = weights.sum(axis=1, keepdims=True)
        weighted = weights
        for column, vector in enumerate(ranked):
            ranks = vector.ranks(weights) - (total + 1) / 2
            if column == 0:
                weighted = weights * ranks
            moments[draws, column, 2] = np.einsum("dp,dp->d", weighted, ranks)
            ranks *= ranks
            moments[draws, column, 1] = np.einsum("dp,dp->d", weights, ranks)
        moments[draws, :, 0] = total
    return moments


def _compiled_moments(ranked: Sequence[RankOrder], counts: Floats) -> Floats:
    """Do the work of :func:`_rank_moments` in machine code."""
    compiled = import_module("brainscore_lite.metrics.compiled_ranks")
    first, second = np.triu_indices(counts.shape[1], k=1)
    orders = np.stack([vector.order for vector in ranked])
    runs = np.stack([vector.run for vector in ranked])
    moments: Floats = compiled.rank_moments(counts, first, second, orders, runs)
    return moments


def _weighted_tau(a: Floats, b: Floats, counts: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Count concordant and discordant pairs of drawn pairs."""
    prepared = [Concordance.of(a, other) for other in b]
    values = np.empty((len(counts), len(b)))
    undefined = np.empty(values.shape, dtype=bool)
    for draws in _chunks(counts, len(a)):
        weights = pair_weights(counts[draws])
        for column, one in enumerate(prepared):
            values[draws, column], undefined[draws, column] = one.tau_a(weights)
    return values, undefined


def _normalised(
    product: Floats,
    variance_a: Floats,
    variance_b: Floats,
    scale_a: float | Floats,
    scale_b: float | Floats,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Divide a weighted product by both deviations; 0 where one is zero up to rounding."""
    undefined = (variance_a <= _NO_VARIANCE * scale_a) | (variance_b <= _NO_VARIANCE * scale_b)
    norm = np.sqrt(np.where(undefined, 1.0, variance_a) * np.where(undefined, 1.0, variance_b))
    return np.where(undefined, 0.0, product / norm), undefined


def _scale(vector: Floats) -> float:
    """Return the mean square, against which a variance is rounding or not."""
    return float(np.mean(vector**2))


def _chunks(counts: Floats, n_pairs: int) -> Iterator[slice]:
    """Yield runs of draws whose pair weights fit the memory set aside for them."""
    size = max(1, _CHUNK_BYTES // (8 * n_pairs))
    for start in range(0, len(counts), size):
        yield slice(start, start + size)

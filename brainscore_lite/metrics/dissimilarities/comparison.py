"""Comparison of dissimilarity matrices, plain and with resampled stimuli; NumPy only."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.correlation import warn_undefined
from brainscore_lite.metrics.dissimilarities.inner_products import (
    INNER_PRODUCTS,
    check_sigma,
    drawn_products,
    features,
)
from brainscore_lite.metrics.dissimilarities.rank_comparison import (
    RANK_COMPARISONS,
    compare_ranks,
    drawn_rank_products,
    normalised,
)
from brainscore_lite.metrics.dissimilarities.rank_statistics import Floats
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.riemannian import (
    compare_drawn_moments,
    compare_moments,
)
from brainscore_lite.metrics.resampling import check_weights, pairs_within
from brainscore_lite.schema import ContractError

Comparator = Literal[
    "pearson",
    "spearman",
    "kendall_tau_a",
    "kendall_tau_b",
    "rho_a",
    "cosine",
    "whitened_pearson",
    "whitened_cosine",
    "bures",
    "riemannian",
]
UNITS: dict[str, str] = {
    "pearson": "pearson_r",
    "spearman": "spearman_r",
    "kendall_tau_a": "kendall_tau_a",
    "kendall_tau_b": "kendall_tau_b",
    "rho_a": "rho_a",
    "cosine": "cosine",
    "whitened_pearson": "whitened_pearson_r",
    "whitened_cosine": "whitened_cosine",
    "bures": "bures_similarity",
    "riemannian": "negative_riemannian_distance",
}
_NO_VARIANCE = 1e-14
_FEWEST_STIMULI = 3
_CONSTANT = "all dissimilarities of one matrix are equal"
_ZERO_ONLY = ("cosine", "whitened_cosine")


def compare_rdms(
    a: ArrayLike, b: ArrayLike, *, method: Comparator = "pearson", sigma: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """Compare dissimilarity matrices over their pairs of stimuli.

    With N pairs, A and B the double-centred -D/2 (second moments of centred patterns):

    * pearson: correlation of the dissimilarities; spearman: of their average ranks;
    * rho_a: 12 sum (rank_a - mean) (rank_b - mean) / (N^3 - N), spearman expected when ties are
      broken at random;
    * kendall_tau_a: (concordant - discordant) / all pairs of pairs; kendall_tau_b: over
      sqrt(pairs untied in a x pairs untied in b);
    * cosine: a.b / (|a| |b|);
    * whitened_cosine: a'V^-1 b / sqrt(a'V^-1 a  b'V^-1 b), V = (C S C')^2 by elements the
      covariance of dissimilarities whose patterns have the noise covariance S; without `sigma`
      this is sum A_ij B_ij over both norms, linear CKA. whitened_pearson: the same after the
      mean of each vector is subtracted;
    * bures: tr sqrt(sqrt(A) B sqrt(A)) / sqrt(tr A tr B);
    * riemannian: - min_(s,t) ||log eig(e^s G_a + e^t S, G_b)||, G the second moments about the
      first stimulus; 0 is the best value.

    Parameters
    ----------
    a : array, shape (n_pairs,) or (n_first, n_pairs)
        Condensed upper triangles.
    b : array, shape (n_pairs,) or (n_second, n_pairs)
    method : str
        One of the above.
    sigma : array, shape (n_stimuli, n_stimuli) or (n_stimuli,), optional
        Noise covariance S of the patterns, for whitened_* (exact, without a matrix of pairs) and
        riemannian. As a vector in whitened_*, variances that divide A_ij by sqrt(s_i s_j), as in
        rsatoolbox; this is not V^-1, which ``numpy.diag(sigma)`` gives.

    Returns
    -------
    float, or ndarray of shape (n_first, n_second)
        A float if both are single matrices. 0, with a warning, where all dissimilarities of a
        matrix are equal (cosine: zero; bures: zero or negative on average).

    Raises
    ------
    ContractError
        If lengths differ, values are not finite, the method is unknown, or `sigma` does not fit.

    References
    ----------
    Nili et al. (2014), doi:10.1371/journal.pcbi.1003553; Diedrichsen et al. (2021),
    doi:10.51628/001c.27664 (whitening); Schütt et al. (2023), doi:10.7554/eLife.82566 (rho-a);
    Shahbazi et al. (2021), doi:10.1016/j.neuroimage.2021.118271 (Riemannian).

    Examples
    --------
    >>> round(compare_rdms([1.0, 2.0, 4.0], [2.0, 4.0, 8.0], method="spearman"), 9)
    1.0
    """
    check_comparator(method)
    first, second = check_vectors(a, name="a"), check_vectors(b, name="b")
    check_same_pairs(first, second)
    noise = _checked_sigma(sigma, first, method)
    if method in RANK_COMPARISONS:
        values = compare_ranks(first, second, method=method)
    elif method in INNER_PRODUCTS:
        one, other = (features(x, method=method, sigma=noise) for x in (first, second))
        values = _unit(one) @ _unit(other).T
    else:
        values = compare_moments(first, second, method=method, sigma=noise)
    undefined = _constant(first, method)[:, None] | _constant(second, method)[None, :]
    undefined |= np.isnan(values)
    warn_undefined(int(undefined.sum()), undefined.size, what=_CONSTANT)
    values = np.where(undefined, 0.0, values)
    return float(values[0, 0]) if np.ndim(a) == 1 and np.ndim(b) == 1 else values


def compare_resampled(
    a: ArrayLike,
    b: ArrayLike,
    weights: ArrayLike,
    *,
    method: Comparator = "pearson",
    sigma: ArrayLike | None = None,
) -> Floats:
    """Compare matrices with others over stimuli drawn with replacement.

    A draw is a weighting of the pairs of different stimuli, c_i c_j: exactly the comparison over
    the drawn stimuli, with pairs of a stimulus and itself left out. Ranks are those within the
    drawn pairs. whitened_*: patterns of a stimulus drawn twice count as two with independent
    noise, as in rsatoolbox; with a matrix `sigma`, where rsatoolbox has no form, as one whose
    noise covariance is divided by sqrt(c_i c_j). bures: a stimulus drawn twice is at distance
    zero from itself. riemannian: over the distinct stimuli.

    Parameters
    ----------
    a : array, shape (n_pairs,) or (n_first, n_pairs)
    b : array, shape (n_second, n_pairs)
    weights : array of int, shape (n_draws, n_stimuli)
        How often each stimulus is drawn.
    method : str
        As for :func:`compare_rdms`.
    sigma : array, optional
        As for :func:`compare_rdms`.

    Returns
    -------
    ndarray, shape (n_draws, n_second), or (n_draws, n_first, n_second) for several `a`
        NaN where a draw leaves no variance that all stimuli have (riemannian: fewer than three
        stimuli); 0, with a warning, where these have none either.

    Raises
    ------
    ContractError
        As :func:`compare_rdms`; if weights are no counts of the stimuli.
    """
    check_comparator(method)
    first, second = check_vectors(a, name="a"), check_vectors(b, name="b")
    check_same_pairs(first, second)
    noise = _checked_sigma(sigma, first, method)
    counts = check_weights(weights, n_stimuli_of(first.shape[1]))
    values, undefined = _compare_drawn(
        *_on_drawn_stimuli(first, second, counts, noise), method=method
    )
    constant = _constant(first, method)[:, None] | _constant(second, method)[None, :]
    warn_undefined(int(constant.sum()), constant.size, what=_CONSTANT)
    values = np.where(undefined, np.where(constant, 0.0, np.nan), values)
    return values[:, 0] if np.ndim(a) == 1 else values


def _on_drawn_stimuli(
    first: Floats, second: Floats, counts: Floats, sigma: Floats | None
) -> tuple[Floats, Floats, Floats, Floats | None]:
    """Leave out the stimuli of no draw: a fold of a cross-validation tests few of them."""
    kept = np.asarray(counts.any(axis=0))
    if kept.all() or kept.sum() < _FEWEST_STIMULI:
        return first, second, counts, sigma
    pairs = pairs_within(kept)
    if sigma is not None:
        sigma = sigma[np.ix_(*[kept] * sigma.ndim)]
    return first[:, pairs], second[:, pairs], counts[:, kept], sigma


def _compare_drawn(
    first: Floats, second: Floats, counts: Floats, sigma: Floats | None, *, method: Comparator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Compare over each draw, and say where that is not defined."""
    if method in RANK_COMPARISONS:
        ranked, n_drawn = drawn_rank_products(first, second, counts, method=method)
        return normalised(ranked, n_drawn, method=method), ranked.undefined
    if method in INNER_PRODUCTS:
        products = drawn_products(first, second, counts, method=method, sigma=sigma)
        return products.over_norms(), products.undefined
    values = compare_drawn_moments(first, second, counts, method=method, sigma=sigma)
    return values, np.isnan(values)


def check_comparator(method: str) -> None:
    """Raise if the name of a comparator is unknown."""
    if method not in get_args(Comparator):
        raise ContractError(
            f"unknown comparison '{method}'; expected one of {get_args(Comparator)}."
        )


def check_vectors(values: ArrayLike, *, name: str) -> Floats:
    """Check condensed dissimilarities; return them as float64, shape (n_matrices, n_pairs)."""
    try:
        vectors = np.atleast_2d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ContractError(f"{name} is no array of real numbers: {error}") from error
    if vectors.ndim != 2 or vectors.shape[1] < 2 or len(vectors) == 0:
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
    missing = ~np.isfinite(vectors)
    if missing.any():
        row, pair = np.argwhere(missing)[0]
        raise ContractError(
            f"{name}: {int(missing.sum())} dissimilarities are not finite, of {missing.size}; the "
            f"first is pair {pair} of matrix {row}. Leave out the stimuli concerned."
        )
    return vectors


def check_same_pairs(first: Floats, second: Floats) -> None:
    """Raise if two sets of condensed matrices are of different length."""
    if first.shape[1] != second.shape[1]:
        raise ContractError(
            f"a has {first.shape[1]} pairs, b has {second.shape[1]}. Both must be the condensed "
            "dissimilarities of the same stimuli in the same order."
        )


def _checked_sigma(sigma: ArrayLike | None, vectors: Floats, method: str) -> Floats | None:
    if sigma is None:
        return None
    return check_sigma(sigma, n_stimuli_of(vectors.shape[1]), method=method)


def _is_square_rdm(vectors: Floats) -> bool:
    n_rows, n_columns = vectors.shape
    if n_rows != n_columns:
        return False
    return bool((np.diagonal(vectors) == 0).all() and np.array_equal(vectors, vectors.T))


def _constant(vectors: Floats, method: str) -> NDArray[np.bool_]:
    if method == "riemannian":
        return np.zeros(len(vectors), dtype=bool)
    if method == "bures":  # no variance: the trace of A is a multiple of the sum
        return np.asarray(vectors.sum(axis=1) <= 0)
    if method in _ZERO_ONLY:
        return np.asarray(~vectors.any(axis=1))
    size = np.abs(vectors).max(axis=1)
    return np.asarray(np.ptp(vectors, axis=1) <= _NO_VARIANCE * size)


def _unit(vectors: Floats) -> Floats:
    """Scale vectors to unit length."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norm > 0, norm, 1.0))

"""Comparisons of the second-moment matrices behind dissimilarities: Bures and Riemannian.

NumPy only.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigvalsh
from scipy.optimize import minimize

from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of, square
from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
MOMENT_COMPARISONS = ("bures", "riemannian")
_FEWEST_STIMULI = 3
_NO_VARIANCE = 1e-14


def compare_moments(
    first: Floats, second: Floats, *, method: str, sigma: Floats | None = None
) -> Floats:
    """Compare vectors of shapes (n_first, n_pairs) and (n_second, n_pairs).

    Returns
    -------
    ndarray, shape (n_first, n_second)
        NaN for bures where the dissimilarities of a matrix are zero or negative on average.
    """
    counts = np.ones(n_stimuli_of(first.shape[1]))
    return _compare(first, second, counts, method=method, sigma=sigma)


def compare_drawn_moments(
    first: Floats, second: Floats, counts: Floats, *, method: str, sigma: Floats | None = None
) -> Floats:
    """Compare over each draw of stimuli, one after the other.

    bures: of the kernel of all drawn stimuli, a repeated one at distance zero from itself.
    riemannian: of the distinct stimuli of the draw. Repeated ones would make the matrices
    singular; and weighting a stimulus multiplies both matrices from both sides, to which the
    distance is invariant.

    Returns
    -------
    ndarray, shape (n_draws, n_first, n_second)
        NaN for draws of fewer than three distinct stimuli.
    """
    values = np.full((len(counts), len(first), len(second)), np.nan)
    for draw in np.flatnonzero((counts > 0).sum(axis=1) >= _FEWEST_STIMULI):
        values[draw] = _compare(first, second, counts[draw], method=method, sigma=sigma)
    return values


def bures_metric(a: ArrayLike, b: ArrayLike) -> float:
    """Compute the squared Bures distance of two dissimilarity matrices.

    tr A + tr B - 2 tr sqrt(sqrt(A) B sqrt(A)), A and B the double-centred -D/2.

    Parameters
    ----------
    a, b : array, shape (n_pairs,)

    Returns
    -------
    float
        0 for equal matrices; a distance, so that smaller is more similar.

    Raises
    ------
    ContractError
        If they are not finite vectors of the same length.

    References
    ----------
    Bhatia, Jain & Lim (2019), doi:10.1016/j.exmath.2018.01.002.
    """
    vectors = [np.asarray(vector, dtype=np.float64) for vector in (a, b)]
    shapes = [vector.shape for vector in vectors]
    if len(shapes[0]) != 1 or shapes[0] != shapes[1] or not np.isfinite(vectors).all():
        raise ContractError(
            f"a and b have shapes {shapes[0]} and {shapes[1]}, expected finite condensed "
            "dissimilarities of the same stimuli, (n_pairs,) each."
        )
    counts = np.ones(n_stimuli_of(len(vectors[0])))
    roots, traces = zip(*(_root(vector, counts) for vector in vectors), strict=True)
    return float(sum(traces) - 2 * np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum())


def _compare(
    first: Floats, second: Floats, counts: Floats, *, method: str, sigma: Floats | None
) -> Floats:
    if method == "bures":
        return _bures(first, second, counts)
    drawn = np.flatnonzero(counts)
    noise = np.eye(len(drawn)) if sigma is None else sigma
    if sigma is not None:
        noise = np.diag(sigma[drawn]) if sigma.ndim == 1 else sigma[np.ix_(drawn, drawn)]
    contrast = np.hstack([-np.ones((len(drawn) - 1, 1)), np.eye(len(drawn) - 1)])
    noise = contrast @ noise @ contrast.T
    sides = [[_moments(vector, drawn) for vector in side] for side in (first, second)]
    return np.array([[-_distance(one, other, noise) for other in sides[1]] for one in sides[0]])


def _bures(first: Floats, second: Floats, counts: Floats) -> Floats:
    """Compute tr sqrt(sqrt(A) B sqrt(A)) / sqrt(tr A tr B), a sum of singular values."""
    sides = [[_root(vector, counts) for vector in side] for side in (first, second)]
    values = np.full((len(first), len(second)), np.nan)
    for row, (root, trace) in enumerate(sides[0]):
        for column, (other, other_trace) in enumerate(sides[1]):
            if min(trace, other_trace) > 0:
                shared = np.linalg.svd(root @ other, compute_uv=False).sum()
                values[row, column] = shared / np.sqrt(trace * other_trace)
    return values


def _root(vector: Floats, counts: Floats) -> tuple[Floats, float]:
    """Return the symmetric root of the centred kernel of drawn stimuli, and its trace."""
    drawn = np.flatnonzero(counts)
    share = counts[drawn] / counts.sum()
    kernel = -0.5 * square(vector)[np.ix_(drawn, drawn)]
    rows = kernel @ share
    kernel = kernel - rows[:, None] - rows[None, :] + share @ rows
    scale = np.sqrt(counts[drawn])
    kernel = kernel * scale[:, None] * scale[None, :]
    values, vectors = np.linalg.eigh(kernel)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.asarray(root), float(np.trace(kernel))


def _moments(vector: Floats, drawn: NDArray[np.int64]) -> Floats:
    """Return second moments of the patterns less that of the first stimulus."""
    distances = square(vector)[np.ix_(drawn, drawn)]
    to_first = distances[0, 1:]
    moments = 0.5 * (to_first[:, None] + to_first[None, :] - distances[1:, 1:])
    smallest = float(np.linalg.eigvalsh(moments)[0])
    if smallest <= _NO_VARIANCE * np.abs(moments).max():
        raise ContractError(
            f"the Riemannian distance needs squared Euclidean distances of {len(drawn)} linearly "
            f"independent patterns, but the smallest eigenvalue of their second moments is "
            f"{smallest:.3g}. Use more features than stimuli, or compare by 'bures'."
        )
    return np.asarray(moments)


def _distance(one: Floats, other: Floats, noise: Floats) -> float:
    """Minimise ||log eig(e^s G1 + e^t Sigma, G2)|| over s and t by Nelder and Mead's simplex."""

    def distance(scales: Floats) -> float:
        mixture = np.exp(scales[0]) * one + np.exp(scales[1]) * noise
        return float(np.sqrt((np.log(eigvalsh(mixture, other)) ** 2).sum()))

    return float(minimize(distance, (0.0, 0.0), method="Nelder-Mead").fun)

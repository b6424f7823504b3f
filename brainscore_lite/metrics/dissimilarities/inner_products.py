"""Comparisons of dissimilarities that are inner products: cosine, Pearson and their whitened forms.

Drawing stimuli with replacement weights the pair (i, j) by c_i c_j, so that every product within
a draw is a quadratic form of the counts, and all draws together are matrix products. NumPy only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.dissimilarities.drawn_pairs import (
    CENTRED,
    WHITENED,
    DrawnPairs,
    n_pairs_drawn,
)
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of, square
from brainscore_lite.metrics.resampling import DrawnProducts, chunks_of_draws
from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
INNER_PRODUCTS = ("cosine", "pearson", *WHITENED)
_NO_VARIANCE = 1e-14
_ASYMMETRY = 1e-8
_FEWEST_STIMULI = 3


def check_sigma(sigma: ArrayLike | None, n_stimuli: int, *, method: str) -> Floats | None:
    """Check the noise (co)variance of the stimuli's patterns.

    Parameters
    ----------
    sigma : None, or array, shape (n_stimuli,) or (n_stimuli, n_stimuli)
    n_stimuli : int
    method : str

    Raises
    ------
    ContractError
        If the comparison takes none, the shape differs, variances are not positive, or the
        matrix is not symmetric and positive definite.
    """
    if sigma is None:
        return None
    if method not in (*WHITENED, "riemannian"):
        raise ContractError(
            f"'{method}' takes no sigma; it belongs to {(*WHITENED, 'riemannian')}."
        )
    noise = np.asarray(sigma, dtype=np.float64)
    if noise.shape not in ((n_stimuli,), (n_stimuli, n_stimuli)):
        raise ContractError(
            f"sigma has shape {noise.shape}, expected ({n_stimuli},), the noise variance of each "
            f"stimulus's pattern, or ({n_stimuli}, {n_stimuli}), their covariance."
        )
    valid = bool(np.isfinite(noise).all())
    if valid and noise.ndim == 1:
        valid = bool((noise > 0).all())
    elif valid:
        rounding = _ASYMMETRY * np.abs(noise).max()
        symmetric = np.allclose(noise, noise.T, rtol=0, atol=rounding)
        valid = bool(symmetric and np.linalg.eigvalsh(noise)[0] > 0)
    if not valid:
        raise ContractError(
            "sigma must be finite and positive (a matrix symmetric and positive definite). Shrink "
            "an estimate from few residuals towards its diagonal."
        )
    return noise


def features(vectors: Floats, *, method: str, sigma: Floats | None) -> Floats:
    """Return vectors whose plain inner products are those of the comparison.

    Parameters
    ----------
    vectors : ndarray, shape (n_vectors, n_pairs)

    Returns
    -------
    ndarray, shape (n_vectors, n_pairs), whitened (n_vectors, n_stimuli * n_stimuli)
    """
    if method in CENTRED:
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
    if method not in WHITENED:
        return vectors
    n_stimuli = n_stimuli_of(vectors.shape[1])
    whitener = _whitener(sigma, np.ones(n_stimuli))
    return np.stack([whitener.apply(square(one)).ravel() for one in vectors])


@dataclass(frozen=True, eq=False)
class _Whitener:
    """K = L (I - 1 w') (-D/2) (I - w 1') L', whose products tr(K_a K_b) are whitened.

    The dissimilarities are linear in the second-moment matrix G of the patterns, whose noise has
    the covariance S x S. The product under the inverse covariance of the dissimilarities is the
    smallest tr(S^-1 G_a S^-1 G_b) over all G of these dissimilarities: that in which the
    generalised least-squares mean of the patterns, w = S^-1 1 / (1' S^-1 1), is at the origin.
    """

    centre: Floats
    left: Floats

    def apply(self, distances: Floats) -> Floats:
        """Return K, shape (n, n), of squared distances of that shape."""
        kernel = -0.5 * distances
        rows = self.centre @ kernel
        kernel = kernel - rows[None, :] - rows[:, None] + rows @ self.centre
        return np.asarray(self.left @ kernel @ self.left.T)


def _whitener(sigma: Floats | None, counts: Floats) -> _Whitener:
    """Whiten by a covariance in which a stimulus counted c times is c times as precise.

    A vector of variances divides the entries of the plainly centred kernel by
    sqrt(s_i s_j), as in rsatoolbox; only a matrix gives the exact inverse covariance.
    """
    if sigma is None or sigma.ndim == 1:
        left = np.eye(len(counts)) if sigma is None else np.diag(1 / np.sqrt(sigma))
        return _Whitener(centre=counts / counts.sum(), left=left)
    scale = np.sqrt(counts)
    precision = np.linalg.inv(sigma) * np.outer(scale, scale)
    weights = precision.sum(axis=0)
    return _Whitener(centre=weights / weights.sum(), left=np.linalg.cholesky(precision).T)


def drawn_products(
    first: Floats, second: Floats, counts: Floats, *, method: str, sigma: Floats | None = None
) -> DrawnProducts:
    """Compute the products of two sets of dissimilarities over each draw of stimuli.

    cosine: sum_ij P_ij a_ij b_ij with the pair weights P_ij = c_i c_j. pearson: the same after
    subtracting the drawn mean. whitened: of r = -(d_ij + u_i + u_j)/2 with the u that makes the
    rows of the drawn kernel sum to zero, pairs of a stimulus with itself left out as in
    rsatoolbox; with a covariance matrix of the noise, see :func:`_matrix_products`.

    Parameters
    ----------
    first : ndarray, shape (n_first, n_pairs)
    second : ndarray, shape (n_second, n_pairs)
    counts : ndarray, shape (n_draws, n_stimuli)
    method : {"cosine", "pearson", "whitened_cosine", "whitened_pearson"}
    sigma : None, or ndarray, shape (n_stimuli,) or (n_stimuli, n_stimuli)

    Returns
    -------
    DrawnProducts
    """
    constant_first, constant_second = (_constant(x, method) for x in (first, second))
    if method in CENTRED:
        same = second is first
        first = first - first.mean(axis=1, keepdims=True)
        second = first if same else second - second.mean(axis=1, keepdims=True)
    n_draws, n_stimuli = counts.shape
    n_vectors = len(first) + len(second)
    cross = np.empty((n_draws, len(first), len(second)))
    squares = (np.empty((n_draws, len(first))), np.empty((n_draws, len(second))))
    per_draw = first.shape[1] + 3 * n_vectors * n_stimuli
    for draws in chunks_of_draws(n_draws, per_draw):
        if sigma is not None and sigma.ndim == 2:
            parts = _matrix_products(first, second, counts[draws], method=method, sigma=sigma)
        else:
            drawn = DrawnPairs.of(counts[draws], method=method, variances=sigma)
            one = drawn.project(first)
            other = one if second is first else drawn.project(second)
            parts = (drawn.cross(one, other), drawn.squares(one), drawn.squares(other))
        cross[draws], squares[0][draws], squares[1][draws] = parts
    return DrawnProducts(
        cross,
        *squares,
        _without_variance(first, squares[0], counts, method=method) | constant_first,
        _without_variance(second, squares[1], counts, method=method) | constant_second,
    )


def drawn_sums(
    first: Floats, second: Floats, counts: Floats, shares: Floats, *, method: str
) -> Floats:
    """Sum the comparisons with the second vectors, each times its share, over each draw.

    sum_s w_s <a, b_s> / (|a| |b_s|) = <a, sum_s w_s b_s / |b_s|> / |a|; an undefined comparison
    counts as 0.

    Parameters
    ----------
    first : ndarray, shape (n_first, n_pairs)
    second : ndarray, shape (n_second, n_pairs)
    counts : ndarray, shape (n_draws, n_stimuli)
    shares : ndarray, shape (n_draws, n_sums, n_second)
    method : {"cosine", "pearson", "whitened_cosine", "whitened_pearson"}

    Returns
    -------
    ndarray, shape (n_draws, n_sums, n_first)
    """
    constant_first, constant_second = (_constant(x, method) for x in (first, second))
    if method in CENTRED:
        first, second = (x - x.mean(axis=1, keepdims=True) for x in (first, second))
    sums = np.empty((len(counts), shares.shape[1], len(first)))
    n_numbers = first.shape[1] * (1 + shares.shape[1])
    if method in WHITENED:
        n_numbers += 3 * (len(first) + len(second)) * counts.shape[1]
    for draws in chunks_of_draws(len(counts), n_numbers):
        drawn = DrawnPairs.of(counts[draws], method=method)
        one, other = drawn.project(first), drawn.project(second)
        scales = []
        for side, constant in ((one, constant_first), (other, constant_second)):
            squares = drawn.squares(side)
            zero = _without_variance(side.vectors, squares, counts[draws], method=method) | constant
            scales.append(np.where(zero, 0.0, 1 / np.sqrt(np.where(zero, 1.0, squares))))
        cross = drawn.cross_sums(one, other, shares[draws] * scales[1][:, None, :])
        sums[draws] = (cross * scales[0][:, :, None]).transpose(0, 2, 1)
    return sums


def _matrix_products(
    first: Floats, second: Floats, counts: Floats, *, method: str, sigma: Floats
) -> tuple[Floats, Floats, Floats]:
    """Whiten by a noise covariance: a stimulus drawn c times is one whose noise is c times less.

    rsatoolbox has no such form: its covariance of a stimulus drawn twice would be singular.
    """
    cross = np.zeros((len(counts), len(first), len(second)))
    squares = np.zeros((len(counts), len(first))), np.zeros((len(counts), len(second)))
    matrices = [np.stack([square(one) for one in side]) for side in (first, second)]
    for draw, drawn in enumerate(counts):
        found = np.flatnonzero(drawn)
        if len(found) < _FEWEST_STIMULI:
            continue
        whitener = _whitener(sigma[np.ix_(found, found)], drawn[found])
        pairs = np.outer(drawn[found], drawn[found]) - np.diag(drawn[found] ** 2)
        sides = []
        for matrix in matrices:
            distances = matrix[:, found[:, None], found]
            if method in CENTRED:
                mean = (distances * pairs).sum(axis=(1, 2)) / pairs.sum()
                distances = distances - mean[:, None, None] * (1 - np.eye(len(found)))
            sides.append(np.stack([whitener.apply(one).ravel() for one in distances]))
        cross[draw] = sides[0] @ sides[1].T
        for square_sums, side in zip(squares, sides, strict=True):
            square_sums[draw] = (side**2).sum(axis=1)
    return cross, *squares


def _constant(vectors: Floats, method: str) -> NDArray[np.bool_]:
    if method not in CENTRED:
        return np.asarray(~vectors.any(axis=1))
    size = np.abs(vectors).max(axis=1)
    return np.asarray(np.ptp(vectors, axis=1) <= _NO_VARIANCE * size)


def _without_variance(
    vectors: Floats, squares: Floats, counts: Floats, *, method: str
) -> NDArray[np.bool_]:
    """Say where a product of a vector with itself is rounding, beside its mean square."""
    n_drawn = n_pairs_drawn(counts)[:, None]
    scale = np.mean(vectors**2, axis=1)[None, :] * n_drawn
    fewest = _FEWEST_STIMULI if method in WHITENED else 2
    few = (counts > 0).sum(axis=1, keepdims=True) < fewest
    return np.asarray((squares <= _NO_VARIANCE * scale) | few)

"""Representational dissimilarity matrices from patterns and from trials."""

import math

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike

from brainscore_lite.metrics.arrays import (
    Array,
    as_array,
    as_numpy,
    check_matrix_shape,
    like,
)
from brainscore_lite.metrics.dissimilarities.crossnobis import crossnobis_matrix, whitened
from brainscore_lite.metrics.dissimilarities.dissimilarity import (
    CROSS_VALIDATED,
    TAKES_PRECISION,
    Dissimilarity,
    UndefinedDissimilarityError,
    check_dissimilarity,
    pattern_distances,
)
from brainscore_lite.metrics.dissimilarities.poisson import poisson_cv_matrix, poisson_matrix
from brainscore_lite.metrics.gram import Gram, as_gram, column_batches
from brainscore_lite.schema import ContractError

__all__ = [
    "Dissimilarity",
    "UndefinedDissimilarityError",
    "check_dissimilarity",
    "condensed",
    "n_stimuli_of",
    "rdm",
    "square",
]

_CONSTANT_PATTERN = 1e-12


def rdm(
    X: Array | Gram,
    *,
    method: Dissimilarity = "correlation",
    precision: Array | None = None,
    folds: ArrayLike | None = None,
    prior_rate: float = 1.0,
    prior_weight: float = 0.1,
) -> Array:
    """Compute the dissimilarity of every pair of stimuli.

    From one pattern for each stimulus, x_i:

    * correlation: d_ij = 1 - Pearson r of x_i and x_j over features.
    * euclidean: d_ij = ||x_i - x_j||^2 / n_features (squared, as in rsatoolbox).
    * mahalanobis: d_ij = (x_i - x_j)' P (x_i - x_j) / n_features, with P the precision.
    * poisson: d_ij = sum (y_i - y_j) (log y_i - log y_j) / n_features, with
      y = (x + prior_rate prior_weight) / (1 + prior_weight).

    From trials, the two factors of each product from different folds, so that noise adds nothing
    on average:

    * crossnobis: the cross-validated mahalanobis (euclidean, without a precision).
    * poisson_cv: the cross-validated poisson.

    Correlation and euclidean follow from one Gram matrix: features are read once, in batches.
    Nothing larger than the input and some (n_stimuli, n_stimuli) matrices is held.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram (correlation and euclidean)
        For crossnobis and poisson_cv trials instead, shape (n_repetitions, n_stimuli, n_features),
        NaN where one was not recorded; each pair of trials of different folds weighs the same, so
        stimuli may differ in their number of trials.
    method : {"correlation", "euclidean", "mahalanobis", "crossnobis", "poisson", "poisson_cv"}
    precision : array, shape (n_features, n_features) or (n_folds, n_features, n_features)
        Inverse covariance of the noise (see ``noise_precision``): needed for mahalanobis, the
        identity by default for crossnobis, which also takes one for each fold.
    folds : sequence of labels, shape (n_repetitions,), optional
        Which repetitions form a fold; by default each is one.
    prior_rate, prior_weight : float
        Of the Poisson forms.

    Returns
    -------
    array, shape (n_stimuli * (n_stimuli - 1) / 2,)
        Condensed: pairs (0, 1), (0, 2), ..., (1, 2), ...; :func:`square` makes it a matrix.

    Raises
    ------
    UndefinedDissimilarityError
        If a pattern is constant where correlation is asked, or a rate is negative.
    ContractError
        If values are not finite (trials: a stimulus was recorded in one fold only), or an
        argument is given that the method does not take.

    References
    ----------
    Kriegeskorte, Mur & Bandettini (2008), doi:10.3389/neuro.06.004.2008; Walther et al. (2016),
    doi:10.1016/j.neuroimage.2015.12.012.

    Examples
    --------
    >>> import numpy as np
    >>> rdm(np.eye(3), method="euclidean").round(3).tolist()
    [0.667, 0.667, 0.667]
    """
    check_dissimilarity(method)
    _check_arguments(method, precision, folds)
    if method == "crossnobis":
        return condensed(crossnobis_matrix(X, folds=folds, precision=precision))
    if method == "poisson_cv":
        prior = {"prior_rate": prior_rate, "prior_weight": prior_weight}
        return condensed(poisson_cv_matrix(X, folds=folds, **prior))
    X = _checked_patterns(X, method)
    if method == "poisson":
        matrix = poisson_matrix(X, prior_rate=prior_rate, prior_weight=prior_weight)
    elif method == "mahalanobis":
        matrix = _euclidean(as_gram(whitened(X, precision)))
    elif method == "euclidean":
        matrix = _euclidean(as_gram(X))
    else:
        matrix = _correlation_of(X)
    return condensed(matrix)


def condensed(matrix: Array) -> Array:
    """Return the upper triangle without the diagonal, row by row.

    Parameters
    ----------
    matrix : array, shape (n, n)

    Returns
    -------
    array, shape (n * (n - 1) / 2,)
    """
    xp = array_namespace(matrix)
    n = matrix.shape[0]
    result = xp.empty(n * (n - 1) // 2, dtype=matrix.dtype, device=device(matrix))
    start = 0
    for row in range(n - 1):
        stop = start + n - 1 - row
        result[start:stop] = matrix[row, row + 1 :]
        start = stop
    return result


def square(distances: Array) -> Array:
    """Return the symmetric matrix of a condensed one.

    Parameters
    ----------
    distances : array, shape (n * (n - 1) / 2,)

    Returns
    -------
    array, shape (n, n)
        Zero on the diagonal.
    """
    n = n_stimuli_of(int(distances.shape[0]))
    xp = array_namespace(distances)
    matrix = xp.zeros((n, n), dtype=distances.dtype, device=device(distances))
    first, second = (like(index, distances) for index in np.triu_indices(n, k=1))
    matrix[first, second] = distances
    return matrix + matrix.T


def n_stimuli_of(n_pairs: int) -> int:
    """Return the number of stimuli that have `n_pairs` pairs.

    Raises
    ------
    ContractError
        If no number of stimuli has.
    """
    n = (1 + math.isqrt(1 + 8 * n_pairs)) // 2
    if n * (n - 1) // 2 != n_pairs or n_pairs == 0:
        raise ContractError(
            f"{n_pairs} dissimilarities are not those of a whole number of stimuli, "
            "n (n - 1) / 2. Pass the condensed upper triangle."
        )
    return n


def _check_arguments(method: str, precision: Array | None, folds: ArrayLike | None) -> None:
    if method == "mahalanobis" and precision is None:
        raise ContractError(
            "a mahalanobis dissimilarity needs precision=, the inverse covariance of the noise "
            "(noise_precision(trials)). Without one use method='euclidean'."
        )
    if precision is not None and method not in TAKES_PRECISION:
        raise ContractError(f"precision was given, but a {method} dissimilarity takes none.")
    if folds is not None and method not in CROSS_VALIDATED:
        raise ContractError(
            f"folds was given, but a {method} dissimilarity is not cross-validated. Use "
            "method='crossnobis' or 'poisson_cv'."
        )


def _checked_patterns(X: Array | Gram, method: str) -> Array | Gram:
    if isinstance(X, Gram):
        if method in ("poisson", "mahalanobis"):
            raise ContractError(f"method='{method}' needs the patterns, not their Gram matrix.")
        n_stimuli = X.n_stimuli
    else:
        X = as_array(X)
        if X.ndim == 3:
            raise ContractError(
                f"X: shape is {tuple(X.shape)}, expected (n_stimuli, n_features) for method="
                f"'{method}'. Average the repetitions, or use 'crossnobis' or 'poisson_cv'."
            )
        check_matrix_shape(X, name="X")
        n_stimuli = X.shape[0]
    if n_stimuli < 2:
        raise ContractError("one stimulus, expected at least two for a dissimilarity.")
    return X


def _correlation_of(X: Array | Gram) -> Array:
    if isinstance(X, Gram) or X.shape[1] > X.shape[0]:
        return _correlation(as_gram(X))
    return _correlation_of_few(X)


def _euclidean(kernel: Gram) -> Array:
    return pattern_distances(kernel) / kernel.n_features


def _correlation(kernel: Gram) -> Array:
    xp = array_namespace(kernel.centred)
    sums = kernel.row_sums
    raw = kernel.products()
    covariance = raw - sums[:, None] * sums[None, :] / kernel.n_features
    variance = xp.linalg.diagonal(covariance)
    _refuse_constant(variance, xp.linalg.diagonal(raw))
    norm = xp.sqrt(variance)
    return 1 - covariance / (norm[:, None] * norm[None, :])


def _correlation_of_few(X: Array) -> Array:
    """Compute it from the patterns themselves, where these are smaller than a Gram matrix."""
    xp = array_namespace(X)
    patterns = xp.concat(list(column_batches(X)), axis=1)
    sum_of_squares = xp.sum(patterns * patterns, axis=1)
    patterns -= xp.mean(patterns, axis=1, keepdims=True)
    variance = xp.sum(patterns * patterns, axis=1)
    _refuse_constant(variance, sum_of_squares)
    patterns /= xp.sqrt(variance)[:, None]
    similarity = patterns @ patterns.T
    similarity *= -1
    similarity += 1
    return similarity


def _refuse_constant(variance: Array, sum_of_squares: Array) -> None:
    constant = as_numpy(variance <= _CONSTANT_PATTERN * sum_of_squares)
    if constant.any():
        raise UndefinedDissimilarityError(
            f"{int(constant.sum())} of {constant.size} stimuli have the same value in every "
            f"feature (first: position {int(np.argmax(constant))}), so their correlation distance "
            "is not defined. Leave them out, choose another layer, or use method='euclidean'."
        )

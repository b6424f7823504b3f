"""Representational dissimilarity matrices from patterns."""

import math
from typing import Literal, get_args

import numpy as np
from array_api_compat import array_namespace, device

from brainscore_lite.metrics.arrays import (
    Array,
    as_array,
    as_numpy,
    check_matrix_shape,
    like,
)
from brainscore_lite.metrics.gram import Gram, as_gram, column_batches
from brainscore_lite.schema import ContractError

Dissimilarity = Literal["correlation", "euclidean"]
_CONSTANT_PATTERN = 1e-12


class UndefinedDissimilarityError(ContractError):
    """A stimulus has the same value in every feature, so its correlation distance is undefined."""


def rdm(X: Array | Gram, *, method: Dissimilarity = "correlation") -> Array:
    """Compute the dissimilarity of every pair of stimuli.

    correlation: d_ij = 1 - Pearson r of patterns i and j over features. euclidean:
    d_ij = ||x_i - x_j||^2 / n_features (squared, as in rsatoolbox). Both follow from one Gram
    matrix: features are read once, in batches.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
    method : {"correlation", "euclidean"}

    Returns
    -------
    array, shape (n_stimuli * (n_stimuli - 1) / 2,)
        Condensed: pairs (0, 1), (0, 2), ..., (1, 2), ...; :func:`square` makes it a matrix.

    Raises
    ------
    UndefinedDissimilarityError
        If a pattern is constant where correlation is asked.
    ContractError
        If values are not finite.

    References
    ----------
    Kriegeskorte, Mur & Bandettini (2008), doi:10.3389/neuro.06.004.2008.

    Examples
    --------
    >>> import numpy as np
    >>> rdm(np.eye(3), method="euclidean").round(3).tolist()
    [0.667, 0.667, 0.667]
    """
    check_dissimilarity(method)
    if method == "correlation" and not isinstance(X, Gram):
        X = as_array(X)
        check_matrix_shape(X, name="X")
        if X.shape[0] >= 2 and X.shape[1] <= X.shape[0]:
            return condensed(_correlation_of_few(X))
    kernel = as_gram(X)
    if kernel.n_stimuli < 2:
        raise ContractError("one stimulus, expected at least two for a dissimilarity.")
    distances = _correlation(kernel) if method == "correlation" else _euclidean(kernel)
    return condensed(distances)


def check_dissimilarity(method: str) -> None:
    """Raise if the name of a dissimilarity is unknown."""
    if method not in get_args(Dissimilarity):
        raise ContractError(
            f"unknown dissimilarity '{method}'; expected one of {get_args(Dissimilarity)}."
        )


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


def _euclidean(kernel: Gram) -> Array:
    xp = array_namespace(kernel.centred)
    diagonal = xp.linalg.diagonal(kernel.centred)
    squared = diagonal[:, None] + diagonal[None, :] - 2 * kernel.centred
    return xp.where(squared > 0, squared, xp.zeros_like(squared)) / kernel.n_features


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

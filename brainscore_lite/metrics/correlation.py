"""Pearson correlation of matching columns, plain and with weighted stimuli."""

import warnings

import numpy as np
from array_api_compat import array_namespace

from brainscore_lite.metrics.arrays import Array

ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Of the largest value: what a column may vary by and still be constant."""
_ROUNDING_OF_MOMENTS = 1e-12


class UndefinedCorrelationWarning(UserWarning):
    """A correlation with a constant is not defined; it was set to 0."""


def pearson_columns(A: Array, B: Array) -> tuple[Array, Array]:
    """Correlate each column of `A` with the same column of `B`.

    Parameters
    ----------
    A, B : array, shape (n_stimuli, n_units)

    Returns
    -------
    r : array, shape (n_units,)
        0 where a column of either is constant.
    undefined : array of bool, shape (n_units,)
        Where that is so.
    """
    xp = array_namespace(A, B)
    a, constant_a = centred_columns(A)
    b, constant_b = centred_columns(B)
    undefined = constant_a | constant_b
    norm = xp.sqrt(xp.sum(a * a, axis=0) * xp.sum(b * b, axis=0))
    r = xp.sum(a * b, axis=0) / xp.where(undefined, xp.ones_like(norm), norm)
    return xp.where(undefined, xp.zeros_like(r), r), undefined


def weighted_pearson_columns(A: Array, B: Array, weights: Array) -> tuple[Array, Array]:
    """Correlate matching columns with each stimulus counted `weights` times.

    With W = sum_j w_j and m(x) = sum_j w_j x_j / W,
    r = (m(ab) - m(a) m(b)) / sqrt((m(aa) - m(a)^2) (m(bb) - m(b)^2)).

    Parameters
    ----------
    A, B : array, shape (n_stimuli, n_units)
    weights : array, shape (n_draws, n_stimuli)

    Returns
    -------
    r : array, shape (n_draws, n_units)
        0 where the drawn values of either column are constant.
    undefined : array of bool, shape (n_draws, n_units)
    """
    xp = array_namespace(A, B, weights)
    a, constant_a = _scaled(A)
    b, constant_b = _scaled(B)
    total = xp.sum(weights, axis=1, keepdims=True)
    w = weights / xp.where(total > 0, total, xp.ones_like(total))
    mean_a, mean_b = w @ a, w @ b
    variance_a, variance_b = w @ (a * a) - mean_a**2, w @ (b * b) - mean_b**2
    undefined = (variance_a <= _ROUNDING_OF_MOMENTS) | (variance_b <= _ROUNDING_OF_MOMENTS)
    undefined = undefined | constant_a[None, :] | constant_b[None, :]
    one = xp.ones_like(variance_a)
    norm = xp.sqrt(xp.where(undefined, one, variance_a) * xp.where(undefined, one, variance_b))
    r = (w @ (a * b) - mean_a * mean_b) / norm
    return xp.where(undefined, xp.zeros_like(r), r), undefined


def warn_undefined(count: int, total: int, *, what: str) -> None:
    """Say how many correlations were set to 0 because one side was constant."""
    if count:
        warnings.warn(
            f"{count} of {total} correlations are not defined because {what}; they count as 0.",
            UndefinedCorrelationWarning,
            stacklevel=3,
        )


def centred_columns(values: Array) -> tuple[Array, Array]:
    """Subtract the column means; say which columns were constant up to rounding."""
    xp = array_namespace(values)
    centred = values - xp.mean(values, axis=0, keepdims=True)
    size = xp.max(xp.abs(values), axis=0)
    return centred, xp.max(xp.abs(centred), axis=0) <= ROUNDING * size


def _scaled(values: Array) -> tuple[Array, Array]:
    """Centre the columns and divide by their standard deviation, so that moments are of order 1."""
    xp = array_namespace(values)
    centred, constant = centred_columns(values)
    deviation = xp.sqrt(xp.mean(centred * centred, axis=0))
    return centred / xp.where(constant, xp.ones_like(deviation), deviation), constant

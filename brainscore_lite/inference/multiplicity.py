"""p-values of several tests at once: Holm, Benjamini-Hochberg, and the largest statistic."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
_BLOCK = 256


def holm(p: ArrayLike) -> Floats:
    """Adjust p-values so that the chance of any false rejection stays at the level.

    With p_(1) <= ... <= p_(m), the adjusted p_(i) is the largest of (m - k + 1) p_(k), k <= i,
    at most 1. Holds whatever the dependence of the tests.

    Parameters
    ----------
    p : array, shape (n_tests,)

    Returns
    -------
    ndarray, shape (n_tests,)

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6:65-70.
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    multiples = values[order] * np.arange(len(values), 0, -1)
    return _in_place(np.maximum.accumulate(multiples), order)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjust p-values so that the expected share of false rejections stays at the level.

    With p_(1) <= ... <= p_(m), the adjusted p_(i) is the smallest of m p_(k) / k, k >= i, at most
    1. Holds for independent or positively dependent tests.

    Parameters
    ----------
    p : array, shape (n_tests,)

    Returns
    -------
    ndarray, shape (n_tests,)

    References
    ----------
    Benjamini & Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    multiples = values[order] * len(values) / np.arange(1, len(values) + 1)
    return _in_place(np.minimum.accumulate(multiples[::-1])[::-1], order)


def max_t(
    statistics: ArrayLike,
    draws: Floats,
    *,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    two_sided: bool,
) -> Floats:
    """Compare each statistic with the largest that chance gives among all, from joint draws.

    In draw b the null statistic of contrast k is its deviation from the mean of the draws over
    their standard deviation; adjusted p_k = (1 + #{b: largest_b >= z_k}) / (n_draws + 1). Tests
    that depend on each other cost less than Bonferroni makes them cost; no p is below
    1 / (n_draws + 1).

    Parameters
    ----------
    statistics : array, shape (n_contrasts,)
        z: normal scores of the single tests, which may have degrees of freedom of their own.
    draws : ndarray, shape (n_draws, n_quantities)
    first, second : ndarray of int, shape (n_contrasts,)
        Contrast k is quantity ``first[k]`` minus ``second[k]``, or the quantity alone where
        ``second[k]`` is -1.
    two_sided : bool

    Returns
    -------
    ndarray, shape (n_contrasts,)

    References
    ----------
    Westfall & Young (1993), Resampling-based multiple testing.
    """
    observed = np.asarray(statistics, dtype=np.float64)
    if observed.shape != first.shape or first.shape != second.shape:
        raise ContractError(
            f"{observed.size} statistics, {first.size} and {second.size} quantities, expected one "
            "pair of quantities for each statistic."
        )
    largest = np.full(len(draws), -np.inf)
    for start in range(0, len(first), _BLOCK):
        block = slice(start, start + _BLOCK)
        values = contrasts(draws, first[block], second[block])
        deviation = values.std(axis=0)
        values = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
        largest = np.maximum(largest, (np.abs(values) if two_sided else values).max(axis=1))
    ordered = np.sort(largest)
    size = np.abs(observed) if two_sided else observed
    as_large = len(ordered) - np.searchsorted(ordered, size, side="left")
    return np.asarray((1 + as_large) / (len(ordered) + 1), dtype=np.float64)


def contrasts(draws: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Return quantities, or differences of two where ``second`` is not -1; (n_draws, n)."""
    return np.asarray(draws[:, first] - np.where(second >= 0, draws[:, second], 0.0))


def _checked(p: ArrayLike) -> Floats:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ContractError(
            f"p has shape {values.shape} and {int((~((values >= 0) & (values <= 1))).sum())} "
            "entries outside 0 to 1, expected one p-value per test."
        )
    return values


def _in_place(sorted_values: Floats, order: NDArray[np.int64]) -> Floats:
    result = np.empty_like(sorted_values)
    result[order] = np.minimum(sorted_values, 1.0)
    return result

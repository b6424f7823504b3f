"""Variance of a score over several crossed factors, from bootstraps of every set of them."""

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
Factors = frozenset[str]


def corrected_variance(
    both: ArrayLike,
    first_only: ArrayLike,
    second_only: ArrayLike,
    *,
    n_first: float = np.inf,
    n_second: float = np.inf,
) -> Floats:
    """Combine three bootstraps over two crossed factors into one variance.

    Resampling both factors counts the interaction three times. With v0 from draws of both, v1 and
    v2 from draws of one, and S and n entries,

        v = S/(S-1) v1 + n/(n-1) v2 - S n / ((S-1)(n-1)) (v0 - v1 - v2),

    not below max(S/(S-1) v1, n/(n-1) v2) and not above v0.

    Parameters
    ----------
    both, first_only, second_only : array of any one shape
        Variances over the draws, of scores or of their differences.
    n_first, n_second : float
        Entries of each factor; without them they are taken as many, 2 (v1 + v2) - v0.

    Returns
    -------
    ndarray, of that shape

    Raises
    ------
    ContractError
        If shapes differ or a factor has fewer than two entries.

    References
    ----------
    Schütt, Kipnis, Diedrichsen & Kriegeskorte (2023), doi:10.7554/eLife.82566.

    Examples
    --------
    >>> round(float(corrected_variance(3.2, 1.0, 2.0, n_first=11, n_second=21)), 3)
    2.969
    """
    variances = {
        frozenset({"first", "second"}): np.asarray(both, dtype=np.float64),
        frozenset({"first"}): np.asarray(first_only, dtype=np.float64),
        frozenset({"second"}): np.asarray(second_only, dtype=np.float64),
    }
    return crossed_variance(variances, sizes={"first": n_first, "second": n_second})


def crossed_variance(variances: Mapping[Factors, Floats], *, sizes: Mapping[str, float]) -> Floats:
    """Combine bootstraps over every set of crossed factors into one variance.

    In a crossed random-effects model the variance of a mean is the sum over sets S of factors of
    t_S, the variance that belongs to the combination of these factors. Let v_R be the variance
    over draws that resample the factors R together, and

        u_Q = prod_{f in Q} n_f / (n_f - 1)  sum_{R in Q} (-1)^(|Q| - |R|) v_R.

    Then E[u_Q] = sum_{S containing Q} t_S, and by inclusion and exclusion

        v = sum_Q (-1)^(|Q| + 1) u_Q

    is an unbiased estimate of the variance. For one factor it is n/(n-1) v_1, for two the formula
    of :func:`corrected_variance`. For two or more it is kept above max_f u_f, and then, as in
    rsatoolbox, below the variance over draws of all factors; never negative.

    Parameters
    ----------
    variances : mapping of set of factors to ndarray
        For every set but the empty one; arrays of one shape.
    sizes : mapping of factor to float
        Entries of each factor; infinite where draws already have the variance of new entries.

    Returns
    -------
    ndarray, of that shape

    Raises
    ------
    ContractError
        If a set is missing, shapes differ, or a factor has fewer than two entries.
    """
    _check(variances, sizes)
    shrinkage = {factor: 1 - 1 / n for factor, n in sizes.items()}
    total = np.zeros_like(variances[frozenset(sizes)])
    for chosen in subsets(sizes):
        pure = np.zeros_like(total)
        for part in subsets(chosen):
            pure += (-1) ** (len(chosen) - len(part)) * variances[part]
        total += (-1) ** (len(chosen) + 1) * pure / prod(shrinkage[factor] for factor in chosen)
    if len(sizes) == 1:
        return total
    alone = [variances[frozenset({factor})] / shrinkage[factor] for factor in sizes]
    bounded = np.minimum(np.maximum(total, np.max(alone, axis=0)), variances[frozenset(sizes)])
    return np.asarray(bounded, dtype=np.float64)


def subsets(factors: Collection[str]) -> Iterator[Factors]:
    """Yield every non-empty set of factors, small ones first."""
    ordered = sorted(factors)
    for size in range(1, len(ordered) + 1):
        yield from (frozenset(chosen) for chosen in combinations(ordered, size))


def _check(variances: Mapping[Factors, Floats], sizes: Mapping[str, float]) -> None:
    few = {factor: n for factor, n in sizes.items() if not n >= 2}
    if few or not sizes:
        raise ContractError(
            f"factors have the sizes {dict(sizes)}, expected at least two entries of each: the "
            "variance over one entry is not known."
        )
    missing = [sorted(chosen) for chosen in subsets(sizes) if chosen not in variances]
    if missing:
        raise ContractError(f"no draws that resample {missing[0]}; expected every set of factors.")
    shapes = {np.shape(values) for values in variances.values()}
    if len(shapes) > 1:
        raise ContractError(f"variances have the shapes {sorted(shapes)}, expected one.")

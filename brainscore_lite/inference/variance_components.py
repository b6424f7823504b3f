"""Variance components and intraclass correlation of scores over crossed factors."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import f as fisher

from brainscore_lite.schema import ContractError

Form = Literal["one-way", "agreement", "consistency"]
Floats = NDArray[np.float64]


def variance_components(scores: xr.DataArray, *, fixed: Sequence[str] = ()) -> pd.DataFrame:
    """Split the variance of scores into those of its crossed factors and their interactions.

    Every cell of a fully crossed design is the sum of an effect of each set of factors. The mean
    square of set A estimates

        E MS_A = sum over B containing A of s2_B * (product of the levels outside B),

    the sum over those B that add only random factors to A; solving for s2 gives the unbiased
    estimates (analysis of variance, method of moments). They may be negative, and are reported as
    they are. The interaction of all factors holds the residual, since each cell has one value.

    Parameters
    ----------
    scores : DataArray
        One dim for each factor, such as (model, seed, animal); every cell finite.
    fixed : sequence of str
        Factors whose levels are all there are (the models compared): their s2 is the mean square
        of the effects, sum of squares / (levels - 1). The others' s2 are those of the mean over
        these levels, with the noise of the single cells that is left in it.

    Returns
    -------
    DataFrame
        One row for each set of factors: ``component`` ("model", "model:seed", ...), ``variance``,
        ``share`` (of the sum of the positive ones), ``dof``, ``mean_square``.

    Raises
    ------
    ContractError
        If a factor has one level, a cell is missing, or a fixed factor is unknown.

    References
    ----------
    Searle, Casella & McCulloch (1992), Variance Components, doi:10.1002/9780470316856; Brennan
    (2001), Generalizability Theory, doi:10.1007/978-1-4757-3456-0.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(0, 1, size=(40, 1)) + rng.normal(0, 0.5, size=(40, 30))
    >>> table = variance_components(xr.DataArray(values, dims=("seed", "animal")))
    >>> table["component"].tolist()
    ['seed', 'animal', 'seed:animal']
    """
    values = _checked_design(scores, fixed)
    factors = [str(dim) for dim in scores.dims]
    levels = dict(zip(factors, values.shape, strict=True))
    sets = [s for size in range(1, len(factors) + 1) for s in combinations(factors, size)]
    squares = {s: _mean_square(values, factors, s) for s in sets}
    variances: dict[tuple[str, ...], float] = {}
    for one in reversed(sets):
        above = [
            other
            for other in sets
            if set(one) < set(other) and not (set(other) - set(one)) & set(fixed)
        ]
        explained = sum(variances[o] * _outside(levels, o) for o in above)
        variances[one] = (squares[one] - explained) / _outside(levels, one)
    total = sum(max(v, 0.0) for v in variances.values())
    rows = [
        {
            "component": ":".join(s),
            "variance": variances[s],
            "share": max(variances[s], 0.0) / total if total else np.nan,
            "dof": int(np.prod([levels[f] - 1 for f in s])),
            "mean_square": squares[s],
        }
        for s in sets
    ]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class IntraclassCorrelation:
    """The share of variance between targets, with its interval.

    Parameters
    ----------
    value, low, high : float
    level : float
        Coverage of the interval.
    form : str
    n_averaged : int
        Raters averaged in the measurement that the value describes.
    """

    value: float
    low: float
    high: float
    level: float
    form: Form
    n_averaged: int


def intraclass_correlation(
    ratings: ArrayLike, *, form: Form = "agreement", average: bool = False, level: float = 0.95
) -> IntraclassCorrelation:
    """Compute how much of the variance of scores lies between targets, not between raters.

    With mean squares between targets (B), between raters (J), within targets (W) and of the
    residual (E), n targets and k raters:

    ===============  ==================================================  ========================
    form             single rater                                        mean of k
    ===============  ==================================================  ========================
    ``one-way``      (B - W) / (B + (k-1) W)                             (B - W) / B
    ``agreement``    (B - E) / (B + (k-1) E + k (J - E) / n)             (B - E) / (B + (J - E)/n)
    ``consistency``  (B - E) / (B + (k-1) E)                             (B - E) / B
    ===============  ==================================================  ========================

    Parameters
    ----------
    ratings : array, shape (n_targets, n_raters)
        Such as models x seeds: do seeds agree on the scores of models?
    form : {"one-way", "agreement", "consistency"}
        ICC(1), ICC(2) and ICC(3): raters nested in targets (seeds of their own for each model);
        crossed, with differences between raters counting as error; or left out.
    average : bool
        Of the mean over raters instead of a single one.
    level : float
        Coverage of the interval, which follows from F distributions.

    Returns
    -------
    IntraclassCorrelation
        Not clamped.

    Raises
    ------
    ContractError
        If there are fewer than two targets or raters, values are not finite or all equal, or
        targets do not differ at all.

    References
    ----------
    Shrout & Fleiss (1979), doi:10.1037/0033-2909.86.2.420; McGraw & Wong (1996),
    doi:10.1037/1082-989X.1.1.30.

    Examples
    --------
    >>> found = intraclass_correlation([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6],
    ...                                 [10, 5, 6, 9], [6, 2, 4, 7]])
    >>> round(found.value, 2)
    0.29
    """
    if form not in get_args(Form):
        raise ContractError(f"form is {form!r}, expected one of {get_args(Form)}.")
    if not 0 < level < 1:
        raise ContractError(f"level is {level}, expected between 0 and 1.")
    values = _checked_ratings(ratings)
    n, k = values.shape
    between = k * values.mean(axis=1).var(ddof=1)
    raters = n * values.mean(axis=0).var(ddof=1)
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    error = float((residual**2).sum()) / ((n - 1) * (k - 1))
    within = float(values.var(axis=1, ddof=1).mean())
    if form != "one-way" and max(between, error) <= np.finfo(np.float64).eps * raters:
        raise ContractError(
            "every target has the same ratings, so that there is nothing to agree about but the "
            "raters' means."
        )
    tails = ((1 + level) / 2, (1 - level) / 2)
    if form == "agreement":
        single = (between - error) / (between + (k - 1) * error + k * (raters - error) / n)
        low, high = _agreement_bounds(between, raters, error, (n, k), tails)
    else:
        noise = within if form == "one-way" else error
        freedom = n * (k - 1) if form == "one-way" else (n - 1) * (k - 1)
        single = (between - noise) / (between + (k - 1) * noise)
        ratio = between / noise if noise > 0 else np.inf
        bounds = (
            ratio / fisher.ppf(tails[0], n - 1, freedom),
            ratio * fisher.ppf(tails[0], freedom, n - 1),
        )
        low, high = (1.0 if np.isinf(f) else (f - 1) / (f + k - 1) for f in bounds)
    if average:
        single, low, high = (k * r / (1 + (k - 1) * r) for r in (single, low, high))
    return IntraclassCorrelation(
        float(single), float(low), float(high), level, form, k if average else 1
    )


def _agreement_bounds(
    between: float,
    raters: float,
    error: float,
    shape: tuple[int, int],
    tails: tuple[float, float],
) -> tuple[float, float]:
    """Bound ICC(2, 1) with Satterthwaite's degrees of freedom of the rater and error variance."""
    n, k = shape
    if error == 0 and raters == 0:
        return 1.0, 1.0
    icc = (between - error) / (between + (k - 1) * error + k * (raters - error) / n)
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    freedom = (a * raters + b * error) ** 2 / (
        (a * raters) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    )
    noise = k * raters + (k * n - k - n) * error
    lower = fisher.ppf(tails[0], n - 1, freedom)
    upper = fisher.ppf(tails[0], freedom, n - 1)
    low = n * (between - lower * error) / (lower * noise + n * between)
    high = n * (upper * between - error) / (noise + n * upper * between)
    return float(low), float(high)


def _checked_design(scores: xr.DataArray, fixed: Sequence[str]) -> Floats:
    if not isinstance(scores, xr.DataArray) or isinstance(fixed, str):
        raise ContractError(
            f"scores are a {type(scores).__name__} and fixed is {fixed!r}; expected a DataArray "
            "with a dim for each factor, and a sequence of their names."
        )
    unknown = [name for name in fixed if name not in scores.dims]
    if unknown:
        raise ContractError(f"fixed names {unknown}, but the dims are {tuple(scores.dims)}.")
    if not scores.dims:
        raise ContractError("scores have no dims, expected one for each factor.")
    short = [str(dim) for dim in scores.dims if scores.sizes[dim] < 2]
    if short:
        raise ContractError(
            f"factor '{short[0]}' has {scores.sizes[short[0]]} level, expected at least 2. "
            "Select it away with .isel."
        )
    values = np.asarray(scores.values, dtype=np.float64)
    missing = int((~np.isfinite(values)).sum())
    if missing:
        raise ContractError(
            f"{missing} of {values.size} cells are not finite; every combination of {scores.dims} "
            "needs a score. For incomplete designs use mixed_model."
        )
    return values


def _checked_ratings(ratings: ArrayLike) -> Floats:
    values = np.asarray(ratings, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ContractError(
            f"ratings have shape {values.shape}, expected (n_targets, n_raters), at least 2 of "
            "each."
        )
    if not np.isfinite(values).all():
        raise ContractError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} ratings are not finite."
        )
    if np.ptp(values) == 0:
        raise ContractError("all ratings are equal, so no variance can be shared out.")
    return values


def _mean_square(values: Floats, factors: Sequence[str], chosen: tuple[str, ...]) -> float:
    """Return the mean square of the interaction of the chosen factors."""
    outside = tuple(i for i, name in enumerate(factors) if name not in chosen)
    effect = values.mean(axis=outside, keepdims=True)
    for axis, name in enumerate(factors):
        if name in chosen:
            effect = effect - effect.mean(axis=axis, keepdims=True)
    n_outside = np.prod([values.shape[axis] for axis in outside])
    freedom = np.prod([values.shape[i] - 1 for i, name in enumerate(factors) if name in chosen])
    return float((effect**2).sum() * n_outside / freedom)


def _outside(levels: dict[str, int], chosen: tuple[str, ...]) -> int:
    return int(np.prod([n for name, n in levels.items() if name not in chosen], dtype=np.int64))

"""When performance reaches what is required, and how alike two such orders are (NumPy only)."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from brainscore_lite.metrics.behaviour.bootstrap_draws import percentile_interval
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.schema import ContractError, match_stimuli
from brainscore_lite.seeding import generator

Interpolation = Literal["previous_bin", "brainscore"]
Matrix: TypeAlias = NDArray[np.float64]

MIN_IMAGES = 3
"""Fewest images of a correlation: over two it is always 1 or -1."""


def solution_times(
    performance: ArrayLike,
    threshold: ArrayLike,
    *,
    times: ArrayLike,
    interpolation: Interpolation = "previous_bin",
) -> Matrix:
    """Find when each image's performance first reaches its threshold.

    With k the first bin whose performance p_k is at least the threshold h, and j the bin that the
    interpolation starts from,

    t = t_j + (t_k - t_j) (h - p_j) / (p_k - p_j).

    A threshold within reach of chance is crossed by chance: look at the performance before the
    stimulus, or before the signal can have arrived.

    Parameters
    ----------
    performance : array, shape (n_times, n_stimuli)
        For example d' (i1); NaN where undefined, which solves nothing.
    threshold : array, shape (n_stimuli,)
        What is required of each image; NaN for none, which leaves it unsolved.
    times : array, shape (n_times,)
        Ascending.
    interpolation : {"previous_bin", "brainscore"}
        ``previous_bin``: j is the last bin before k with a defined performance. ``brainscore``: j
        is the bin of the *highest* performance before k (the first of equals), which can lie
        long before; Brain-Score does so.

    Returns
    -------
    ndarray, shape (n_stimuli,)
        t_k where k is the first bin or nothing before it is defined; NaN for unsolved images.

    Raises
    ------
    ContractError
        If shapes disagree, times do not ascend, or values are infinite.

    References
    ----------
    Kar, Kubilius, Schmidt, Issa & DiCarlo (2019), doi:10.1038/s41593-019-0392-5.

    Examples
    --------
    >>> p = np.array([[0.0, 2.0], [1.0, 2.0], [3.0, 2.0]])
    >>> solution_times(p, [2.0, 2.0], times=[70, 80, 90]).tolist()
    [85.0, 70.0]
    """
    p, h, t = (np.asarray(each, dtype=np.float64) for each in (performance, threshold, times))
    _check_performance(p, h, t, interpolation)
    reached = p >= h
    hit = reached.argmax(axis=0)
    earlier = (np.arange(len(t))[:, None] < hit) & ~np.isnan(p)
    if interpolation == "brainscore":
        start = np.where(earlier, p, -np.inf).argmax(axis=0)
    else:
        start = len(t) - 1 - earlier[::-1].argmax(axis=0)
    image = np.arange(p.shape[1])
    p_start, p_hit = p[start, image], p[hit, image]
    alone = ~earlier.any(axis=0)
    rise = np.where(alone | ~reached.any(axis=0), 1.0, p_hit - p_start)
    fraction = np.where(alone, 1.0, (h - p_start) / rise)
    found = np.where(alone, t[hit], t[start] + (t[hit] - t[start]) * fraction)
    return np.where(reached.any(axis=0), found, np.nan)


@dataclass(frozen=True)
class ComparedSolutionTimes:
    """How alike the order in which two systems solve images is.

    Parameters
    ----------
    rho : float
        Spearman, over the images that both solve; NaN where `reason` says why it is undefined.
    lower, upper : float
        Percentile interval over images.
    level : float
        Of the interval.
    n_undefined : int
        Draws in which rho is not defined.
    n_both, n_stimuli : int
        Images that both solve, and all.
    fraction_solved_first, fraction_solved_second : float
    reason : str
        Empty where rho is defined.
    """

    rho: float
    lower: float
    upper: float
    level: float
    n_undefined: int
    n_both: int
    n_stimuli: int
    fraction_solved_first: float
    fraction_solved_second: float
    reason: str


def compare_solution_times(
    first: xr.DataArray,
    second: xr.DataArray,
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ComparedSolutionTimes:
    """Correlate solution times over the images that both systems solve.

    Parameters
    ----------
    first : DataArray, dim (stimulus)
        ``time`` of
        :class:`~brainscore_lite.metrics.behaviour.object_solution_times.ObjectSolutionTimes`; NaN
        where unsolved.
    second : DataArray, dim (stimulus)
        Its stimuli are those compared.
    n_draws : int
        Bootstrap draws of the images, for the interval.
    level : float
    seed : int

    Returns
    -------
    ComparedSolutionTimes
        A network without dynamics has one solution time at most, so that the correlation with it
        is undefined, not 0.

    Raises
    ------
    ContractError
        If stimuli are missing, there are other dims, or a setting is wrong.
    """
    if n_draws < 1:
        raise ContractError(f"n_draws is {n_draws}, expected at least 1.")
    for name, each in (("first", first), ("second", second)):
        if tuple(each.dims) != ("stimulus",):
            raise ContractError(f"{name} has dims {each.dims}, expected ('stimulus',).")
    matched, second = match_stimuli(first, second)
    a, b = matched.values.astype(np.float64), second.values.astype(np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    reason = _why_undefined(a[both], b[both])
    n = int(both.sum())
    rho, drawn = np.nan, np.full(n_draws, np.nan)
    if not reason:
        rho = _spearman(a[both][None], b[both][None])[0]
        images = generator(seed, "solution times", "images").integers(n, size=(n_draws, n))
        drawn = _spearman(a[both][images], b[both][images])
    lower, upper = percentile_interval(drawn, level=level)
    return ComparedSolutionTimes(
        rho=float(rho),
        lower=float(lower),
        upper=float(upper),
        level=level,
        n_undefined=int(np.isnan(drawn).sum()),
        n_both=n,
        n_stimuli=len(a),
        fraction_solved_first=float(np.isfinite(a).mean()),
        fraction_solved_second=float(np.isfinite(b).mean()),
        reason=reason,
    )


def _why_undefined(a: Matrix, b: Matrix) -> str:
    if len(a) < MIN_IMAGES:
        return f"{len(a)} images are solved by both, expected at least {MIN_IMAGES}"
    for values, which in ((a, "first"), (b, "second")):
        if np.ptp(values) == 0:
            return (
                f"the {which} solves all shared images at {values[0]:g}: a system without dynamics "
                "has no order of solution times"
            )
    return ""


def _spearman(a: Matrix, b: Matrix) -> Matrix:
    """Correlate the ranks of matching rows; NaN where one is constant."""
    r, undefined = pearson_columns(rankdata(a, axis=1).T, rankdata(b, axis=1).T)
    return np.where(undefined, np.nan, r)


def _check_performance(p: Matrix, h: Matrix, t: Matrix, interpolation: str) -> None:
    check_interpolation(interpolation)
    if p.ndim != 2 or 0 in p.shape or h.shape != p.shape[1:] or t.shape != p.shape[:1]:
        raise ContractError(
            f"performance, threshold and times have shapes {p.shape}, {h.shape} and {t.shape}; "
            "expected (n_times, n_stimuli), (n_stimuli,) and (n_times,)."
        )
    if not np.isfinite(t).all() or (np.diff(t) <= 0).any():
        raise ContractError("times must be finite and ascend.")
    if np.isinf(p).any() or np.isinf(h).any():
        raise ContractError("performance and threshold must not be infinite. Clip d' first.")


def check_interpolation(name: str) -> None:
    """Raise unless `name` is a way to interpolate."""
    if name not in get_args(Interpolation):
        raise ContractError(
            f"interpolation is {name!r}, expected one of {get_args(Interpolation)}."
        )

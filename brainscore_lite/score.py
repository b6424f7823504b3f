"""A score with its parts, its ceiling and its interval: the only place where parts are averaged."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.schema import ContractError

Normalization = Literal["r", "r/sqrt(c)", "r2/c", "(r/c)2", "r2/c by neuroid"]
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)
Order = Literal["splits_first", "neuroids_first"]


@dataclass(frozen=True)
class Aggregation:
    """How the parts of a score become one value.

    Parameters
    ----------
    order : {"splits_first", "neuroids_first"}
        ``splits_first``: mean over splits, then the median over neuroids. ``neuroids_first``: the
        median over neuroids in each split, undefined ones (NaN) left out, then the mean over
        splits, as Brain-Score does.
    by : str, optional
        A coordinate of the neuroids, such as ``animal``. Its groups are aggregated and normalised
        one by one, and their values averaged.
    """

    order: Order = "splits_first"
    by: str | None = None

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise ContractError(f"order is {self.order!r}, expected one of {get_args(Order)}.")

    @property
    def description(self) -> str:
        """The order in words."""
        first, second = "mean over splits", "median over neuroids"
        if self.order == "neuroids_first":
            first, second = second, first
        grouped = f", within each {self.by}" if self.by else ""
        return f"{first}, {second}{grouped}, mean over {self.by or 'subjects'}"

    def __call__(self, parts: xr.DataArray) -> xr.DataArray:
        """Average the parts; dims those of (draw, time_bin) that they have."""
        values = [
            self._together(parts.isel({"neuroid": members}, missing_dims="ignore"))
            for members in self.groups(parts)
        ]
        return values[0] if len(values) == 1 else xr.concat(values, dim="group").mean("group")

    def groups(self, parts: xr.DataArray) -> list[NDArray[np.int64] | slice]:
        """Return the positions of each group's neuroids; all without `by`."""
        if self.by is None or "neuroid" not in parts.dims:
            return [slice(None)]
        if self.by not in parts.coords:
            raise ContractError(f"the neuroids have no coordinate '{self.by}' to group them by.")
        labels = parts[self.by].values
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def _together(self, parts: xr.DataArray) -> xr.DataArray:
        result, skipna = parts, "draw" in parts.dims
        if self.order == "neuroids_first" and "neuroid" in result.dims:
            result = result.median("neuroid", skipna=True)
        if "split" in result.dims:
            result = result.mean("split", skipna=skipna)
        if "neuroid" in result.dims:
            result = result.median("neuroid", skipna=skipna)
        if "subject" in result.dims:
            result = result.mean("subject", skipna=skipna)
        return result


def aggregate(parts: xr.DataArray) -> xr.DataArray:
    """Average the parts of a score: mean over splits, median over neuroids, mean over subjects.

    Among bootstrap draws, parts that a draw leaves undefined (NaN) are left out.

    Parameters
    ----------
    parts : DataArray, dims any of (draw, split, neuroid, subject, time_bin)

    Returns
    -------
    DataArray, dims those of (draw, time_bin) that `parts` has
    """
    return Aggregation()(parts)


@dataclass(frozen=True, eq=False)
class Score:
    """How well a model's activations account for recorded responses.

    Parameters
    ----------
    values : DataArray, dims any of (split, neuroid, subject)
        Unaggregated values, in `unit`.
    ceiling : Dataset or None
        ``ceiling`` (in `unit`), and where they exist ``reliability`` (a squared-correlation
        quantity), ``lower`` and ``upper``; parts, like `values`. None where the recording
        allows no ceiling; ``provenance["no_ceiling"]`` says why.
    unit : str
        ``pearson_r``, ``spearman_r``, ``cka``, ...
    benchmark : str
        ``<dataset>.<region>.<metric>``.
    provenance : mapping
        Whatever the number depends on: versions, digests, seeds, layer and how it was chosen.
    draws : DataArray or None, dims (draw, ...)
        The values of each bootstrap draw over stimuli.
    ceiling_draws : Dataset or None, dims (draw, ...)
        The ceiling of the same draws.
    aggregation : Aggregation
        How parts become one value.

    Notes
    -----
    Nothing is clamped: a score above its ceiling is reported as it is.
    """

    values: xr.DataArray
    ceiling: xr.Dataset | None
    unit: str
    benchmark: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    draws: xr.DataArray | None = None
    ceiling_draws: xr.Dataset | None = None
    aggregation: Aggregation = Aggregation()

    @property
    def raw(self) -> float:
        """The aggregated value, in `unit`."""
        return self._single(self.values)

    @property
    def ceiling_value(self) -> float:
        """The aggregated ceiling, in `unit`; NaN if there is none."""
        return self._bound("ceiling")

    @property
    def reliability(self) -> float:
        """The aggregated reliability c of the recording; NaN if there is none."""
        return self._bound("reliability")

    @property
    def split_error(self) -> float:
        """The spread of the splits' values over the root of their number; NaN without splits.

        sd / sqrt(n), the sd of n values with n below, which Brain-Score reports as ``error``.
        Splits share their stimuli, so it is no standard error of the score: see
        :meth:`interval`.
        """
        if "split" not in self.values.dims:
            return float("nan")
        n_splits = self.values.sizes["split"]
        by_split = [self._single(self.values.isel(split=k)) for k in range(n_splits)]
        return float(np.std(by_split) / np.sqrt(n_splits))

    def normalized(self, kind: Normalization = "r/sqrt(c)") -> float:
        """Relate the raw value r to what the recording allows.

        ===================  ====================================================
        ``r``                the raw value
        ``r/sqrt(c)``        raw / ceiling; for correlations the ceiling is sqrt(c), for
                             dissimilarity matrices of several subjects the upper
                             leave-one-out bound
        ``r2/c``             raw ** 2 / reliability (Brain-Score since December 2025)
        ``(r/c)2``           (raw / reliability) ** 2 (Brain-Score before that)
        ``r2/c by neuroid``  the mean over neuroids of each one's r ** 2 / reliability
                             (Brain-Score's ``neuroid_wise_explained_var``)
        ===================  ====================================================

        Returns
        -------
        float
            Not clamped; NaN if the recording allows no ceiling, or its ceiling is 0.

        Raises
        ------
        ContractError
            If the formula is unknown, or needs a reliability that this ceiling has not.
        """
        if kind not in NORMALIZATIONS:
            raise ContractError(
                f"unknown normalization '{kind}'; expected one of {NORMALIZATIONS}."
            )
        if kind == "r":
            return self.raw
        if self.ceiling is None:
            return float("nan")
        self._one_time_bin(self.values)
        return float(self._normalized(self.values, self.ceiling, kind))

    def _normalized(
        self, values: xr.DataArray, ceiling: xr.Dataset, kind: Normalization
    ) -> xr.DataArray:
        """Normalise the values, or those of every draw, group by group."""
        if kind != "r/sqrt(c)" and "reliability" not in ceiling:
            raise ContractError(
                f"{self.benchmark}: its ceiling has no reliability, so '{kind}' is not defined. "
                "Use 'r/sqrt(c)', which divides by the ceiling."
            )
        below = ceiling["ceiling" if kind == "r/sqrt(c)" else "reliability"]
        if kind == "r2/c by neuroid":
            return _by_neuroid(values, below)
        ungrouped = replace(self.aggregation, by=None)
        ratios = []
        for members in self.aggregation.groups(values):
            chosen = {"neuroid": members}
            r = ungrouped(values.isel(chosen, missing_dims="ignore"))
            c = ungrouped(below.isel(chosen, missing_dims="ignore"))
            c = c.where(c != 0)
            ratios.append({"r/sqrt(c)": r / c, "r2/c": r**2 / c, "(r/c)2": (r / c) ** 2}[kind])
        return xr.concat(ratios, dim="group").mean("group", skipna=False)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Give the percentile bootstrap interval of the raw value over stimuli.

        With few test stimuli in a split (below about 20) correlations of drawn stimuli are biased,
        and the interval may miss the raw value; ``compare_models`` centres its intervals on it.

        Parameters
        ----------
        level : float
            Coverage aimed at, between 0 and 1.

        Returns
        -------
        low, high : float

        Raises
        ------
        ContractError
            If the score was made without bootstrap draws.
        """
        _check_level(level)
        return _percentiles(self.drawn(), level)

    def ceiling_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Give the percentile bootstrap interval of the ceiling over stimuli.

        Returns
        -------
        low, high : float

        Raises
        ------
        ContractError
            If the ceiling was measured without bootstrap draws.
        """
        _check_level(level)
        return _percentiles(self.ceiling_drawn(), level)

    def normalized_interval(
        self, kind: Normalization = "r/sqrt(c)", *, level: float = 0.95
    ) -> tuple[float, float]:
        """Give the interval of a normalised value: score and ceiling drawn together.

        Returns
        -------
        low, high : float
            NaN if no draw has a ceiling above 0.

        Raises
        ------
        ContractError
            As for :meth:`normalized`, or if there are no bootstrap draws of both.
        """
        if kind not in NORMALIZATIONS:
            raise ContractError(
                f"unknown normalization '{kind}'; expected one of {NORMALIZATIONS}."
            )
        _check_level(level)
        if kind == "r":
            return self.interval(level)
        values, ceiling = self._draws(), self._ceiling_draws()
        return _percentiles(self._normalized(values, ceiling, kind).values, level)

    def drawn(self) -> NDArray[np.float64]:
        """Aggregate every bootstrap draw; two models on one benchmark share their draws.

        Returns
        -------
        ndarray, shape (n_draws,)

        Raises
        ------
        ContractError
            If the score was made without bootstrap draws.
        """
        values: NDArray[np.float64] = self.aggregation(self._draws()).values
        return values

    def ceiling_drawn(self) -> NDArray[np.float64]:
        """Aggregate the ceiling of every bootstrap draw, paired with :meth:`drawn`.

        Returns
        -------
        ndarray, shape (n_draws,)

        Raises
        ------
        ContractError
            If the ceiling was measured without bootstrap draws.
        """
        values: NDArray[np.float64] = self.aggregation(self._ceiling_draws()["ceiling"]).values
        return values

    def _draws(self) -> xr.DataArray:
        if self.draws is None:
            raise ContractError(f"{self.benchmark}: scored without bootstrap draws; set n_draws.")
        return self.draws

    def _ceiling_draws(self) -> xr.Dataset:
        if self.ceiling_draws is None:
            raise ContractError(
                f"{self.benchmark}: there are no bootstrap draws of the ceiling: it was scored "
                "without draws (set n_draws), or the recording allows no ceiling."
            )
        return self.ceiling_draws

    def __str__(self) -> str:
        if "time_bin" in self.values.dims:
            return f"{self.benchmark}: {self.values.sizes['time_bin']} time bins, {self.unit}"
        parts = [f"{self.benchmark}: {self.raw:.3f}"]
        if self.draws is not None:
            parts.append("[{:.3f}, {:.3f}]".format(*self.interval()))
        parts.append(self.unit)
        if self.ceiling is not None:
            parts.append(f"(ceiling {self.ceiling_value:.3f})")
        return " ".join(parts)

    def to_row(self) -> dict[str, Any]:
        """Write the score as one row of a tidy table."""
        low, high = self.interval() if self.draws is not None else (np.nan, np.nan)
        bounds = (np.nan, np.nan) if self.ceiling_draws is None else self.ceiling_interval()
        dataset, region, metric = self.benchmark.split(".", 2)
        known = self.provenance
        notes = [*known.get("caveats", ())]
        if "no_ceiling" in known:
            notes.append(f"no ceiling: {known['no_ceiling']}")
        return {
            "benchmark": self.benchmark,
            "dataset": dataset,
            "region": region,
            "metric": metric,
            "model": known.get("model", ""),
            "task": known.get("task", ""),
            "accuracy": known.get("accuracy"),
            "layer": known.get("layer", ""),
            "layer_choice": known.get("layer_choice", ""),
            "raw": self.raw,
            "low": low,
            "high": high,
            "unit": self.unit,
            "reliability": self.reliability,
            "ceiling": self.ceiling_value,
            "ceiling_low": self._bound("lower"),
            "ceiling_high": self._bound("upper"),
            "ceiling_interval_low": bounds[0],
            "ceiling_interval_high": bounds[1],
            "normalized": self.normalized(),
            "baseline": known.get("baseline", np.nan),
            "n_stimuli": known.get("n_stimuli", np.nan),
            "n_neuroids": self.values.sizes.get("neuroid", np.nan),
            "n_subjects": self.values.sizes.get("subject", np.nan),
            "n_animals": known.get("n_animals", np.nan),
            "simulated": bool(known.get("simulated", False)),
            "caveats": "; ".join(notes),
        }

    def _bound(self, name: str) -> float:
        if self.ceiling is None or name not in self.ceiling:
            return float("nan")
        return self._single(self.ceiling[name])

    def _single(self, parts: xr.DataArray) -> float:
        self._one_time_bin(parts)
        return float(self.aggregation(parts))

    def _one_time_bin(self, parts: xr.DataArray) -> None:
        if "time_bin" in parts.dims:
            raise ContractError(
                f"{self.benchmark}: the score has {parts.sizes['time_bin']} time bins, not one "
                "value. Read score.values, or score one bin: .isel(time_bin=...)."
            )


def _by_neuroid(values: xr.DataArray, reliability: xr.DataArray) -> xr.DataArray:
    """Average r^2 / c over neuroids; NaN where one has a reliability of 0."""
    r = values.mean("split") if "split" in values.dims else values
    c = reliability.mean("split") if "split" in reliability.dims else reliability
    by_neuroid = r**2 / c.where(c != 0)
    every = [dim for dim in by_neuroid.dims if dim != "draw"]
    return by_neuroid.mean(every, skipna=False)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ContractError(f"level is {level}, expected between 0 and 1.")


def _percentiles(drawn: NDArray[np.float64], level: float) -> tuple[float, float]:
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

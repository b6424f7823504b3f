"""A score with its parts, its ceiling and its interval: the only place where parts are averaged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.schema import ContractError

Normalization = Literal["r", "r/sqrt(c)", "r2/c", "(r/c)2"]
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)


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
    result, skipna = parts, "draw" in parts.dims
    if "split" in result.dims:
        result = result.mean("split", skipna=skipna)
    if "neuroid" in result.dims:
        result = result.median("neuroid", skipna=skipna)
    if "subject" in result.dims:
        result = result.mean("subject", skipna=skipna)
    return result


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

    def normalized(self, kind: Normalization = "r/sqrt(c)") -> float:
        """Relate the raw value r to what the recording allows.

        ==============  =========================================================
        ``r``           the raw value
        ``r/sqrt(c)``   raw / ceiling; for correlations the ceiling is sqrt(c), for
                        dissimilarity matrices of several subjects the upper
                        leave-one-out bound
        ``r2/c``        raw ** 2 / reliability (Brain-Score since December 2025)
        ``(r/c)2``      (raw / reliability) ** 2 (Brain-Score before that)
        ==============  =========================================================

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
        if self.ceiling is None or self.ceiling_value == 0:
            return float("nan")
        if kind == "r/sqrt(c)":
            return self.raw / self.ceiling_value
        if "reliability" not in self.ceiling:
            raise ContractError(
                f"{self.benchmark}: its ceiling has no reliability, so '{kind}' is not defined. "
                "Use 'r/sqrt(c)', which divides by the ceiling."
            )
        if kind == "r2/c":
            return self.raw**2 / self.reliability
        return (self.raw / self.reliability) ** 2

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Give the percentile bootstrap interval of the raw value over stimuli.

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
        if not 0 < level < 1:
            raise ContractError(f"level is {level}, expected between 0 and 1.")
        low, high = np.nanquantile(self.drawn(), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

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
        if self.draws is None:
            raise ContractError(f"{self.benchmark}: scored without bootstrap draws; set n_draws.")
        values: NDArray[np.float64] = aggregate(self.draws).values
        return values

    def to_row(self) -> dict[str, Any]:
        """Write the score as one row of a tidy table."""
        low, high = self.interval() if self.draws is not None else (np.nan, np.nan)
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
        if "time_bin" in parts.dims:
            raise ContractError(
                f"{self.benchmark}: the score has {parts.sizes['time_bin']} time bins, not one "
                "value. Read score.values, or score one bin: .isel(time_bin=...)."
            )
        return float(aggregate(parts))

"""A benchmark: a recording, a region, a metric and a ceiling under one name."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as installed_version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.ceilings import Ceiling, LeaveOneSubjectOut, RDMSplitHalf, SplitHalf
from brainscore_lite.configuration import digest_bytes, to_json
from brainscore_lite.datasets import Dataset
from brainscore_lite.metrics import CKA, METRICS, RSA, Metric
from brainscore_lite.metrics.metric import Comparison
from brainscore_lite.schema import (
    ContractError,
    Labels,
    check_activations,
    check_rdms,
    check_responses,
    select_stimuli,
)
from brainscore_lite.score import Score, aggregate
from brainscore_lite.seeding import generator
from brainscore_lite.stimuli import StimulusSet

FEWEST_REPEATED = 3
VERSIONS = ("brainscore-lite", "numpy", "scipy", "scikit-learn", "xarray")


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A recording against which activations are scored.

    Parameters
    ----------
    name : str
        ``<dataset>.<region>.<metric>``.
    dataset : Dataset
    region : str
        One of the dataset's regions.
    metric : Metric
    ceiling : Ceiling or None
        None where the recording allows none; `no_ceiling` then says why.
    no_ceiling : str
    baseline : str
        A coordinate of the stimuli, such as ``category``, whose labels alone are scored beside
        every model: a model that only knows the category reaches this value.
    version : int
        Raised whenever a score changes.
    n_draws : int
        Bootstrap draws over stimuli; 0 for none.
    seed : int
        Of the draws.
    """

    name: str
    dataset: Dataset
    region: str
    metric: Metric
    ceiling: Ceiling | None
    no_ceiling: str = ""
    baseline: str = ""
    version: int = 1
    n_draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name.count(".") < 2:
            raise ContractError(
                f"benchmark '{self.name}': expected '<dataset>.<region>.<metric>' as its name."
            )
        if "time_bin" in self.target.dims:
            raise ContractError(
                f"benchmark '{self.name}': the recording has {self.target.sizes['time_bin']} time "
                "bins; a benchmark scores one. Choose it with recording.isel(time_bin=...)."
            )
        if self.ceiling is None and not self.no_ceiling:
            raise ContractError(f"benchmark '{self.name}' has no ceiling; say why in no_ceiling.")

    @property
    def target(self) -> xr.DataArray:
        """The recording: trials or dissimilarity matrices."""
        return self.dataset[self.region]

    @cached_property
    def stimuli(self) -> StimulusSet:
        """The images to record a model on.

        Raises
        ------
        ContractError
            If the recording comes without images.
        """
        if self.dataset.stimuli is None:
            raise ContractError(
                f"benchmark '{self.name}': the recording comes without its images, so no model "
                "can be shown them."
            )
        return self.dataset.stimuli.select(list(self.target["stimulus"].values))

    @cached_property
    def measured_ceiling(self) -> xr.Dataset | None:
        """The ceiling's parts, computed once."""
        return None if self.ceiling is None else self.ceiling(self.target, self.metric)

    def ceiling_on(self, stimuli: Labels) -> xr.Dataset:
        """Measure the ceiling on some of the stimuli, once; means over its own splits.

        Raises
        ------
        ContractError
            If the benchmark has no ceiling.
        """
        if self.ceiling is None:
            raise ContractError(f"benchmark '{self.name}' has no ceiling: {self.no_ceiling}.")
        key = tuple(stimuli)
        if key not in self._ceilings:
            own = self.ceiling(select_stimuli(self.target, key), self.metric)
            self._ceilings[key] = own.mean("split") if "split" in own.dims else own
        return self._ceilings[key]

    @cached_property
    def _ceilings(self) -> dict[tuple[str, ...], xr.Dataset]:
        return {}

    @cached_property
    def baseline_value(self) -> float:
        """What the labels of `baseline` alone score; NaN if there is no baseline."""
        if not self.baseline:
            return float("nan")
        labels = self.target[self.baseline].values
        one_hot = (labels[:, np.newaxis] == np.unique(labels)).astype(float)
        known = xr.DataArray(
            one_hot,
            dims=("stimulus", "neuroid"),
            coords={
                "stimulus": self.target["stimulus"].values,
                "neuroid": np.unique(labels).astype(str),
                "layer": ("neuroid", np.full(one_hot.shape[1], self.baseline)),
            },
        )
        return float(aggregate(self.metric(known, self.target)))

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        """How often each stimulus is drawn, shape (n_draws, n_stimuli)."""
        n_stimuli = self.target.sizes["stimulus"]
        draws = generator(self.seed, "bootstrap", "stimulus")
        return draws.multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), size=self.n_draws)

    def __call__(self, activations: xr.DataArray) -> Score:
        """Score the activations of one layer.

        Parameters
        ----------
        activations : DataArray, dims (stimulus, neuroid)

        Returns
        -------
        Score

        Raises
        ------
        ContractError
            If several layers or steps are given, or stimuli are missing.
        """
        comparison = self.compare(activations)
        return self.score(
            comparison.values(),
            ceiling=self.measured_ceiling,
            draws=comparison.resampled(self.weights) if self.n_draws else None,
            provenance=recorded_provenance(activations) | {"layer_choice": "given"},
        )

    def compare(self, activations: xr.DataArray) -> Comparison:
        """Align the activations of one layer with the recording and compare them.

        Raises
        ------
        ContractError
            As for calling the benchmark.
        """
        check_activations(activations)
        layers = np.unique(activations["layer"].values)
        if len(layers) > 1:
            raise ContractError(
                f"benchmark '{self.name}': activations hold {len(layers)} layers "
                f"({', '.join(layers[:8])}); it scores one. Select one, or let "
                "layer_selection.select_layer choose on stimuli kept apart."
            )
        if "step" in activations.dims:
            raise ContractError(
                f"benchmark '{self.name}': activations hold {activations.sizes['step']} steps; "
                "select one with .isel(step=...)."
            )
        return self.metric.compare(activations, self.target)

    def score(
        self,
        values: xr.DataArray,
        *,
        ceiling: xr.Dataset | None,
        draws: xr.DataArray | None,
        provenance: Mapping[str, Any],
    ) -> Score:
        """Label unaggregated values with the benchmark's own provenance."""
        return Score(
            values=values,
            ceiling=ceiling,
            unit=self.metric.unit,
            benchmark=self.name,
            draws=draws,
            provenance={**self.provenance, **provenance},
        )

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What a score of this benchmark depends on, besides the model."""
        target = self.target
        known: dict[str, Any] = {
            "benchmark_version": self.version,
            "metric": to_json(self.metric),
            "ceiling": to_json(self.ceiling),
            "aggregation": "mean over splits, median over neuroids, mean over subjects",
            "normalized": "r/sqrt(c)",
            "bootstrap_seed": self.seed,
            "n_draws": self.n_draws,
            "data_sha256": dict(self.dataset.sha256),
            "reference": self.dataset.reference,
            "licence": self.dataset.licence,
            "simulated": self.dataset.simulated,
            "caveats": self.dataset.caveats_of(self.region),
            "n_stimuli": target.sizes["stimulus"],
            "versions": {package: installed_version(package) for package in VERSIONS},
        }
        if self.no_ceiling:
            known["no_ceiling"] = self.no_ceiling
        if self.baseline:
            known["baseline"] = self.baseline_value
        if "animal" in target.coords:
            known["n_animals"] = len(np.unique(target["animal"].values))
        return known


def recorded_provenance(activations: xr.DataArray) -> dict[str, Any]:
    """Say which model, layer and recording settings activations come from."""
    layers = np.unique(activations["layer"].values)
    attrs = {str(key): value for key, value in activations.attrs.items()}
    return {**attrs, "layer": ", ".join(layers)}


def benchmark_of(
    recording: xr.DataArray,
    *,
    stimuli: StimulusSet,
    metric: str | Metric = "ridge",
    region: str | None = None,
    name: str = "own_recording",
    n_draws: int = 1000,
) -> Benchmark:
    """Make a benchmark of your own recording.

    Parameters
    ----------
    recording : DataArray
        Made by ``responses(...)`` or ``rdms(...)``.
    stimuli : StimulusSet
        The images; their labels are the recording's ``stimulus`` labels.
    metric : str or Metric
        A name of ``METRICS`` or a metric.
    region : str, optional
        Needed where the recording holds several; the others are left out.
    name : str
        Of the recording, without dots.
    n_draws : int
        Bootstrap draws over stimuli; 0 for none.

    Returns
    -------
    Benchmark
        With the ceiling that :func:`ceiling_of` finds for the recording.

    Raises
    ------
    ContractError
        If the metric or the region is unknown, images are missing, or there are time bins.
    """
    if isinstance(metric, str) and metric not in METRICS:
        raise ContractError(f"unknown metric '{metric}'; known: {', '.join(METRICS)}.")
    if "." in name:
        raise ContractError(f"the recording's name is '{name}'; leave out the dots.")
    (check_rdms if "stimulus_other" in recording.dims else check_responses)(recording, name=name)
    chosen = METRICS[metric] if isinstance(metric, str) else metric
    label = metric if isinstance(metric, str) else type(metric).__name__.lower()
    target, area = _one_region(recording, region)
    missing = sorted(set(target["stimulus"].values.tolist()) - set(stimuli.ids))
    if missing:
        raise ContractError(
            f"{len(missing)} stimuli of the recording have no image in '{stimuli.name}'; first: "
            f"'{missing[0]}'. Images carry the recording's 'stimulus' labels as names, such as "
            f"'{stimuli.ids[0]}'."
        )
    ceiling, reason = ceiling_of(target, chosen)
    dataset = Dataset(
        name=name,
        recordings={area: target},
        stimuli=stimuli,
        simulated=False,
        species=str(target.coords["species"].item()) if "species" in target.coords else "",
        reference="",
        licence="",
        sha256={"values and labels": _digest_of(target)},
    )
    return Benchmark(
        f"{name}.{area}.{label}", dataset, area, chosen, ceiling, no_ceiling=reason, n_draws=n_draws
    )


def _digest_of(recording: xr.DataArray) -> str:
    labels = [str(recording[dim].values.tolist()).encode() for dim in recording.dims]
    return digest_bytes(recording.values.tobytes(), *labels)


def ceiling_of(target: xr.DataArray, metric: Metric) -> tuple[Ceiling | None, str]:
    """Choose the ceiling that a recording allows for a metric.

    Split halves of the repetitions for responses, leave-one-subject-out bounds for matrices.

    Parameters
    ----------
    target : DataArray
        Responses or dissimilarity matrices.
    metric : Metric

    Returns
    -------
    ceiling : Ceiling or None
    reason : str
        Why there is none; empty if there is one.
    """
    if isinstance(metric, CKA):
        return None, "no ceiling of CKA between halves of the trials is established"
    if "subject" in target.dims:
        if target.sizes["subject"] < 2:
            return None, "one matrix, no other subject to compare it with"
        return LeaveOneSubjectOut(), ""
    repetitions = np.isfinite(target.values).sum(axis=target.get_axis_num("repetition"))
    single = repetitions < 2
    if single.all():
        return None, "no repetitions of the images at hand"
    if isinstance(metric, RSA):
        if single.any():
            return None, f"{int(single.sum())} of {single.size} (image, neuroid) cells lack repeats"
        return RDMSplitHalf(), ""
    if (single.sum(axis=0) > single.shape[0] - FEWEST_REPEATED).any():
        return None, f"a neuroid has fewer than {FEWEST_REPEATED} images with repetitions"
    return SplitHalf(), ""


def _one_region(recording: xr.DataArray, region: str | None) -> tuple[xr.DataArray, str]:
    present = np.unique(recording["region"].values).tolist()
    if region is None and len(present) > 1:
        raise ContractError(f"the recording holds the regions {present}; name one with region=.")
    area = present[0] if region is None else region
    if area not in present:
        raise ContractError(f"the recording has no region '{area}'; it holds {present}.")
    if recording["region"].ndim == 0:
        return recording, area
    return recording.isel(neuroid=recording["region"].values == area), area

"""Benchmarks: a recording, a region, a metric and a ceiling under one name."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as installed_version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.ceilings import Ceiling, LeaveOneSubjectOut, RDMSplitHalf, SplitHalf
from brainscore_lite.configuration import to_json
from brainscore_lite.datasets import Dataset, load_dataset
from brainscore_lite.metrics import CKA, METRICS, RSA, LinearPredictivity, Metric
from brainscore_lite.metrics.metric import Comparison
from brainscore_lite.schema import ContractError, check_activations
from brainscore_lite.score import Score, aggregate
from brainscore_lite.seeding import generator
from brainscore_lite.stimuli import StimulusSet

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


@dataclass(frozen=True)
class BenchmarkEntry:
    """One line of the catalogue: what :func:`benchmark` builds once the data are needed.

    Parameters
    ----------
    dataset, region : str
    metric : Metric
    baseline : str
        As in :class:`Benchmark`.
    """

    dataset: str
    region: str
    metric: Metric
    baseline: str = ""


def _of_responses(
    dataset: str, region: str, *, stratify: str | None = None
) -> dict[str, BenchmarkEntry]:
    metrics: dict[str, Metric] = {
        "ridge": LinearPredictivity(stratify=stratify),
        "pls": LinearPredictivity(regression="pls", stratify=stratify),
        "rsa": RSA(),
        "cka": CKA(),
    }
    return {
        f"{dataset}.{region}.{name}": BenchmarkEntry(dataset, region, metric)
        for name, metric in metrics.items()
    }


BENCHMARKS: dict[str, BenchmarkEntry] = {
    **_of_responses("cowley2023_v4_210325", "V4", stratify="block"),
    "cowley2023_v4_210325.V4.ridge_new_objects": BenchmarkEntry(
        "cowley2023_v4_210325", "V4", LinearPredictivity(n_splits=8, group="block")
    ),
    **_of_responses("cowley2023_v4_190923", "V4"),
    **_of_responses("cowley2023_v4_210224", "V4"),
    **_of_responses("cowley2023_v4_210225", "V4"),
    "kriegeskorte2008_92.monkeyIT.rsa": BenchmarkEntry("kriegeskorte2008_92", "monkeyIT", RSA()),
    "kriegeskorte2008_92.humanIT.rsa": BenchmarkEntry("kriegeskorte2008_92", "humanIT", RSA()),
    "algonauts2019_92.EVC.rsa": BenchmarkEntry("algonauts2019_92", "EVC", RSA()),
    "algonauts2019_92.IT.rsa": BenchmarkEntry("algonauts2019_92", "IT", RSA()),
    "algonauts2019_92_grey.EVC.rsa": BenchmarkEntry("algonauts2019_92_grey", "EVC", RSA()),
    "algonauts2019_92_grey.IT.rsa": BenchmarkEntry("algonauts2019_92_grey", "IT", RSA()),
    **{
        f"ratan_murty2021_rois.{region}.ridge": BenchmarkEntry(
            "ratan_murty2021_rois",
            region,
            LinearPredictivity(stratify="category"),
            baseline="category",
        )
        for region in ("FFA", "OFA", "EBA", "PPA")
    },
    "kar_it_site.IT.ridge": BenchmarkEntry(
        "kar_it_site", "IT", LinearPredictivity(stratify="block")
    ),
    **_of_responses("simulated_v4_it", "V4"),
    **_of_responses("simulated_v4_it", "IT"),
}


def benchmark(name: str, *, n_draws: int = 1000) -> Benchmark:
    """Load a benchmark of the catalogue, fetching its recording if need be.

    Parameters
    ----------
    name : str
        A name of ``BENCHMARKS``, or ``cowley2023_v4_<session>.V4.<metric>`` for any session of
        that source.
    n_draws : int
        Bootstrap draws over stimuli; 0 for none.

    Returns
    -------
    Benchmark

    Raises
    ------
    ContractError
        If there is no such benchmark, or its recording cannot be had.
    """
    entry = BENCHMARKS.get(name) or _session_entry(name)
    if entry is None:
        near = difflib.get_close_matches(name, BENCHMARKS, n=3, cutoff=0.4)
        raise ContractError(
            f"unknown benchmark '{name}'. Closest: {', '.join(near) or 'none'}. List them with "
            "'brainscore-lite benchmarks'."
        )
    dataset = load_dataset(entry.dataset)
    ceiling, reason = ceiling_of(dataset[entry.region], entry.metric)
    return Benchmark(
        name,
        dataset=dataset,
        region=entry.region,
        metric=entry.metric,
        ceiling=ceiling,
        no_ceiling=reason,
        baseline=entry.baseline,
        n_draws=n_draws,
    )


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
        If the metric or the region is unknown, or images are missing.
    """
    if isinstance(metric, str) and metric not in METRICS:
        raise ContractError(f"unknown metric '{metric}'; known: {', '.join(METRICS)}.")
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
    )
    return Benchmark(
        f"{name}.{area}.{label}", dataset, area, chosen, ceiling, no_ceiling=reason, n_draws=n_draws
    )


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
    if repetitions.min() < 2:
        return None, "no repetitions of the images at hand"
    return (RDMSplitHalf() if isinstance(metric, RSA) else SplitHalf()), ""


def _session_entry(name: str) -> BenchmarkEntry | None:
    match = re.fullmatch(r"(cowley2023_v4_\d{6})\.V4\.(ridge|pls|rsa|cka)", name)
    if match is None:
        return None
    return _of_responses(match[1], "V4")[name]


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

"""A benchmark: a recording, a region, a metric and a ceiling under one name."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as installed_version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.ceilings import (
    Ceiling,
    LeaveOneSubjectOut,
    MeasuredCeiling,
    RDMSplitHalf,
    SplitHalf,
)
from brainscore_lite.configuration import to_json
from brainscore_lite.datasets import Dataset
from brainscore_lite.metrics import CKA, RSA, LinearPredictivity, Metric
from brainscore_lite.metrics.metric import Comparison
from brainscore_lite.metrics.reliability.repetition_halves import fewest_trials
from brainscore_lite.schema import (
    ContractError,
    Labels,
    check_activations,
    select_stimuli,
)
from brainscore_lite.score import Aggregation, Score
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
    aggregation : Aggregation
        How the parts of a score become one value.
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
    aggregation: Aggregation = Aggregation()

    def __post_init__(self) -> None:
        if self.name.count(".") < 2:
            raise ContractError(
                f"benchmark '{self.name}': expected '<dataset>.<region>.<metric>' as its name."
            )
        if self.n_draws < 0:
            raise ContractError(f"n_draws is {self.n_draws}, expected 0 (none) or more.")
        if isinstance(self.metric, type):
            raise ContractError(
                f"metric is the class {self.metric.__name__}, expected {self.metric.__name__}()."
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
    def noise_ceiling(self) -> MeasuredCeiling | None:
        """The ceiling, measured once; compared with models in inference."""
        return None if self.ceiling is None else self.ceiling.measure(self.target, self.metric)

    @cached_property
    def measured_ceiling(self) -> xr.Dataset | None:
        """The ceiling's parts, computed once."""
        return None if self.noise_ceiling is None else self.noise_ceiling.values()

    @cached_property
    def ceiling_draws(self) -> xr.Dataset | None:
        """The ceiling of the draws that every score takes; None without draws or a ceiling."""
        if self.noise_ceiling is None or not self.n_draws:
            return None
        return self.noise_ceiling.resampled(self.weights)

    def ceiling_on(self, stimuli: Labels) -> tuple[xr.Dataset, xr.Dataset | None]:
        """Measure the ceiling on some of the stimuli, once; means over its own splits.

        Returns
        -------
        values : Dataset
        draws : Dataset or None
            Of the draws of all stimuli, restricted to these; None without draws.

        Raises
        ------
        ContractError
            If the benchmark has no ceiling.
        """
        if self.ceiling is None:
            raise ContractError(f"benchmark '{self.name}' has no ceiling: {self.no_ceiling}.")
        key = tuple(stimuli)
        if key not in self._ceilings:
            own = self.ceiling.measure(select_stimuli(self.target, key), self.metric)
            positions = self.target.indexes["stimulus"].get_indexer(list(key))
            draws = own.resampled(self.weights[:, positions]) if self.n_draws else None
            self._ceilings[key] = (
                _mean_over_splits(own.values()),
                None if draws is None else _mean_over_splits(draws),
            )
        return self._ceilings[key]

    @cached_property
    def _ceilings(self) -> dict[tuple[str, ...], tuple[xr.Dataset, xr.Dataset | None]]:
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
        return float(self.aggregation(self.metric(known, self.target)))

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
            ceiling_draws=self.ceiling_draws,
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
                "it scores one. Select it: activations.isel(step=-1) is the last."
            )
        return self.metric.compare(activations, self.target)

    def score(
        self,
        values: xr.DataArray,
        *,
        ceiling: xr.Dataset | None,
        draws: xr.DataArray | None,
        ceiling_draws: xr.Dataset | None = None,
        provenance: Mapping[str, Any],
    ) -> Score:
        """Label unaggregated values with the benchmark's own provenance."""
        return Score(
            values=values,
            ceiling=ceiling,
            unit=self.metric.unit,
            benchmark=self.name,
            draws=draws,
            ceiling_draws=ceiling_draws,
            aggregation=self.aggregation,
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
            "aggregation": self.aggregation.description,
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


def _mean_over_splits(parts: xr.Dataset) -> xr.Dataset:
    return parts.mean("split") if "split" in parts.dims else parts


def recorded_provenance(activations: xr.DataArray) -> dict[str, Any]:
    """Say which model, layer and recording settings activations come from."""
    layers = np.unique(activations["layer"].values)
    attrs = {str(key): value for key, value in activations.attrs.items()}
    return {**attrs, "layer": ", ".join(layers)}


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
    if isinstance(metric, LinearPredictivity) and metric.direction == "brain_to_model":
        return None, "the units of a model that are predicted have no trials to be reliable over"
    if "subject" in target.dims:
        if target.sizes["subject"] < 2:
            return None, "one matrix, no other subject to compare it with"
        return LeaveOneSubjectOut(), ""
    repetitions = np.isfinite(target.values).sum(axis=target.get_axis_num("repetition"))
    single = repetitions < 2
    if single.all():
        return None, "no repetitions of the images at hand"
    if isinstance(metric, RSA):
        return _rdm_ceiling(repetitions, metric)
    if (single.sum(axis=0) > single.shape[0] - FEWEST_REPEATED).any():
        return None, f"a neuroid has fewer than {FEWEST_REPEATED} images with repetitions"
    return SplitHalf(), ""


def _rdm_ceiling(repetitions: NDArray[np.int64], metric: RSA) -> tuple[Ceiling | None, str]:
    """Choose the ceiling of RSA from the trials of each (image, neuroid) cell."""
    if metric.folds is not None:
        return None, f"random halves of the repetitions cut across the folds '{metric.folds}'"
    fewest = fewest_trials(metric.dissimilarity, metric.noise)
    few = int((repetitions < fewest).sum())
    if few:
        return None, (
            f"{few} of {repetitions.size} (image, neuroid) cells have fewer than {fewest} "
            f"repetitions, which halves for {metric.dissimilarity} dissimilarities need"
        )
    return RDMSplitHalf(), ""

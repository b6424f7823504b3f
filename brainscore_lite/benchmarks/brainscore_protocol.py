"""Brain-Score's protocol: its splits, regressions, aggregation and ceilings, for any recording.

What differs from the defaults of this package: ten random splits (stimuli recur) stratified by
object, a fixed penalty, the median over sites within each split, sites without a defined
correlation left out, and halves of the repetitions that all stimuli share.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from brainscore_lite.ceilings import Ceiling, InternalConsistency, RSACeiling
from brainscore_lite.metrics import CKA, PLS, RSA, LinearPredictivity, Metric, Ridge
from brainscore_lite.metrics.arrays import as_numpy, rows
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.dissimilarities.rdm import rdm, square
from brainscore_lite.metrics.labels import is_rdms, recorded_responses, stimulus_labels
from brainscore_lite.metrics.metric import Comparison
from brainscore_lite.metrics.regression.fold_fit import Regression
from brainscore_lite.metrics.regression.least_squares import LeastSquares
from brainscore_lite.metrics.regression.linear_predictivity import PredictedResponses
from brainscore_lite.metrics.regression.one_to_one import OneToOne
from brainscore_lite.schema import ContractError, match_stimuli, rdms, select_stimuli
from brainscore_lite.score import Aggregation

_DECADES = ((1e1, 4), (1e2, 18), (1e3, 18), (1e4, 18), (1e5, 18))
PENALTIES = (
    *(0.01, 0.1, 0.5, 1.0),
    *(float(p) for low, n in _DECADES for p in np.linspace(low, 10 * low, n, endpoint=False)),
    *np.linspace(1e6, 1e7, 19).tolist(),
)
"""The 99 candidates of its cross-validated ridge."""
REGRESSIONS: dict[str, Regression] = {
    "pls": PLS(n_components=25),
    "ridge": Ridge((1.0,), unit="absolute"),
    "linear_predictivity": LeastSquares(),
    "ridgecv": Ridge(PENALTIES, unit="absolute", per_neuroid=False),
    "neuron_to_neuron": OneToOne(),
}
SIMILARITIES: dict[str, RSA | CKA] = {
    "rdm": RSA(),
    "cka": CKA(),
    "cka_biased": CKA(debiased=False),
}
METRICS = (*REGRESSIONS, *SIMILARITIES, "rdm_cv", "cka_cv", "rsa")
"""The names of its metrics."""


@dataclass(frozen=True)
class SiteRegression:
    """Predict each site, groups of sites fitted apart, and leave undefined correlations out.

    Parameters
    ----------
    predictivity : LinearPredictivity
    by : str, optional
        A coordinate of the neuroids whose groups have a fit (components, penalty) of their own:
        Brain-Score's ``alpha_coord``.
    """

    predictivity: LinearPredictivity
    by: str | None = None
    unit: ClassVar[str] = "pearson_r"
    fits: ClassVar[bool] = True

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return Pearson r of each split and neuroid; NaN where one side is constant."""
        return self.compare(source, target).values()

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> "RegressedSites":
        """Fit every group once."""
        members = Aggregation(by=self.by).groups(target)
        return RegressedSites(
            tuple(self.predictivity.compare(source, target.isel(neuroid=some)) for some in members),
            tuple(str(label) for label in target["neuroid"].values),
        )


@dataclass(frozen=True, eq=False)
class RegressedSites:
    """Predictions of groups of sites; the sites in the order of the recording.

    Parameters
    ----------
    groups : tuple of PredictedResponses
    neuroids : tuple of str
    """

    groups: tuple[PredictedResponses, ...]
    neuroids: tuple[str, ...]

    @property
    def n_stimuli(self) -> int:
        """How many stimuli weights count."""
        return int(self.groups[0].target.sizes["stimulus"])

    def values(self) -> xr.DataArray:
        """Return Pearson r; dims (split, neuroid)."""
        return self._joined(
            [
                each.values().where(xr.DataArray(~_undefined(each), dims=("split", "neuroid")))
                for each in self.groups
            ]
        )

    def resampled(self, weights: NDArray[np.int64]) -> xr.DataArray:
        """Return Pearson r with stimuli counted by `weights`; dims (draw, split, neuroid)."""
        return self._joined(
            [
                each.resampled(weights).where(
                    xr.DataArray(~_undefined(each), dims=("split", "neuroid"))
                )
                for each in self.groups
            ]
        )

    def _joined(self, parts: list[xr.DataArray]) -> xr.DataArray:
        return xr.concat(parts, dim="neuroid").sel(neuroid=list(self.neuroids))


@dataclass(frozen=True)
class SplitSimilarity:
    """A comparison without a fit, over random large parts of the stimuli.

    Brain-Score's ``rdm_cv`` and ``cka_cv``: scikit-learn's shuffled splits, of which the larger
    side is compared.

    Parameters
    ----------
    metric : RSA or CKA
    stratify : str, optional
        Coordinate of the target's stimuli.
    n_splits : int
    compared : float
        Fraction of the stimuli that is compared.
    seed : int
    """

    metric: RSA | CKA
    stratify: str | None = "object_name"
    n_splits: int = 10
    compared: float = 0.9
    seed: int = 1
    fits: ClassVar[bool] = False

    @property
    def unit(self) -> str:
        """What the values are."""
        return self.metric.unit

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return the similarity in each split; dims (split, ...)."""
        return self.compare(source, target).values()

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> "SplitComparisons":
        """Compare the stimuli of each split once."""
        source, target = match_stimuli(source, target)
        labels = target["stimulus"].values
        strata = stimulus_labels(target, self.stratify)
        make = ShuffleSplit if strata is None else StratifiedShuffleSplit
        splitter = make(self.n_splits, test_size=self.compared, random_state=self.seed)
        try:
            chosen = [np.sort(test) for _, test in splitter.split(np.zeros(len(labels)), strata)]
        except ValueError as error:
            raise ContractError(f"cannot split {len(labels)} stimuli: {error}") from error
        return SplitComparisons(
            tuple(
                self.metric.compare(
                    select_stimuli(source, labels[test]), select_stimuli(target, labels[test])
                )
                for test in chosen
            ),
            tuple(chosen),
            n_stimuli=len(labels),
        )


@dataclass(frozen=True, eq=False)
class SplitComparisons:
    """Comparisons of parts of the stimuli, split by split.

    Parameters
    ----------
    comparisons : tuple of Comparison
    stimuli : tuple of ndarray of int
        The positions that each one compares.
    n_stimuli : int
        How many stimuli weights count.
    """

    comparisons: tuple[Comparison, ...]
    stimuli: tuple[NDArray[np.int64], ...]
    n_stimuli: int

    def values(self) -> xr.DataArray:
        """Return the similarities; dims (split, ...)."""
        return self._by_split([each.values() for each in self.comparisons])

    def resampled(self, weights: ArrayLike) -> xr.DataArray:
        """Return them with stimuli counted by `weights`; dims (split, draw, ...)."""
        counts = np.asarray(weights)
        pairs = zip(self.comparisons, self.stimuli, strict=True)
        return self._by_split([each.resampled(counts[:, test]) for each, test in pairs])

    def _by_split(self, parts: list[xr.DataArray]) -> xr.DataArray:
        return xr.concat(parts, dim="split").assign_coords(split=np.arange(len(parts)))


@dataclass(frozen=True)
class BrainScore:
    """What Brain-Score does with a recording and a metric of a given name.

    Parameters
    ----------
    metric : str
        ``pls``, ``ridge``, ``linear_predictivity``, ``ridgecv``, ``neuron_to_neuron``: Pearson r
        of each site. ``rdm``, ``cka``, ``cka_biased``: one comparison; ``rdm_cv``, ``cka_cv``:
        over splits; ``rsa``: a dissimilarity matrix for each subject (``RSABenchmark``).
    stratify : str, optional
        Coordinate of the stimuli held in proportion: ``object_name`` in MajajHong2015,
        ``texture_type`` in FreemanZiemba2013. None for plain random splits.
    test : str, optional
        Boolean coordinate of the stimuli that marks a fixed test set (its ``*_split`` metrics);
        then there is one split, and the ceiling is of the test stimuli.
    by : str, optional
        Coordinate of the neuroids whose groups are fitted, normalised and averaged one by one
        (``alpha_coord``); for ``rsa``, that names the subjects.
    """

    metric: str = "pls"
    stratify: str | None = "object_name"
    test: str | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ContractError(
                f"unknown metric '{self.metric}' of Brain-Score; known: {', '.join(METRICS)}."
            )

    @property
    def label(self) -> str:
        """The last part of the benchmark's name."""
        return f"brainscore_{self.metric}"

    @property
    def aggregation(self) -> Aggregation:
        """Median over neuroids in each split, then the mean over splits."""
        return Aggregation("neuroids_first", by=self.by if self.metric in REGRESSIONS else None)

    def scoring(self) -> Metric:
        """Return the metric with its splits."""
        if self.metric in REGRESSIONS:
            predictivity = LinearPredictivity(
                REGRESSIONS[self.metric],
                seed=1,
                split_kind="shuffle",
                stratify=None if self.test else self.stratify,
                test=self.test,
            )
            return SiteRegression(predictivity, by=self.by)
        if self.metric in ("rdm_cv", "cka_cv"):
            return SplitSimilarity(SIMILARITIES[self.metric[:3]], stratify=self.stratify)
        return SIMILARITIES["rdm" if self.metric == "rsa" else self.metric]

    def ceiling(self, target: xr.DataArray) -> tuple[Ceiling | None, str]:
        """Return the ceiling for a recording, or why there is none."""
        if self.metric == "rsa":
            if target.sizes["subject"] < 2:
                return None, "one subject, no other to compare it with"
            return RSACeiling(), ""
        if self.metric not in REGRESSIONS:
            return None, f"Brain-Score's '{self.metric}' has no ceiling in its own unit"
        if target.sizes["repetition"] < 2:
            return None, "no repetitions of the images at hand"
        return InternalConsistency(test=self.test), ""

    def target(self, recording: xr.DataArray) -> xr.DataArray:
        """Return the recording as the metric takes it: for ``rsa``, a matrix for each subject."""
        if is_rdms(recording):
            if self.metric != "rsa":
                raise ContractError(
                    f"Brain-Score's '{self.metric}' takes responses, but these are dissimilarity "
                    "matrices. Use BrainScore('rsa')."
                )
            return recording
        return (
            recording if self.metric != "rsa" else subject_rdms(recording, by=self.by or "animal")
        )


def subject_rdms(recording: xr.DataArray, *, by: str = "animal") -> xr.DataArray:
    """Compute 1 - Pearson r of averaged responses, for the neuroids of each subject.

    Parameters
    ----------
    recording : DataArray, dims (repetition, stimulus, neuroid)
    by : str
        Coordinate of the neuroids that names the subjects.

    Returns
    -------
    DataArray, dims (subject, stimulus, stimulus_other)
    """
    patterns = recorded_responses(recording).transpose("stimulus", "neuroid")
    groups = Aggregation(by=by).groups(patterns)
    matrices = [square(rdm(patterns.isel(neuroid=members).values)) for members in groups]
    coords: dict[Hashable, object] = {
        name: coord.values
        for name, coord in recording.coords.items()
        if coord.dims == ("stimulus",) and name != "stimulus"
    }
    made = rdms(
        np.stack(matrices),
        stimulus=patterns["stimulus"].values,
        subject=np.unique(patterns[by].values).astype(str),
        region=str(np.unique(patterns["region"].values)[0]),
        species="not stated",
    )
    return made.assign_coords({name: ("stimulus", values) for name, values in coords.items()})


def _undefined(predicted: PredictedResponses) -> NDArray[np.bool_]:
    """Say where predictions or responses to test stimuli are constant; (n_splits, n_neuroids)."""
    fitted = predicted.cross_validated
    return np.stack(
        [
            as_numpy(pearson_columns(predictions, rows(fitted.responses, fold.test))[1])
            for fold, predictions in zip(fitted.folds, fitted.predictions, strict=True)
        ]
    )

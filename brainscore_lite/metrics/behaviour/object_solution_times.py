"""Object solution times: when a population's readout first solves each image as well as required.

No TensorFlow; NumPy and scikit-learn only.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.behaviour.classification import check_labels, class_probabilities
from brainscore_lite.metrics.behaviour.signatures import behavioural_signature, confusion_rates
from brainscore_lite.metrics.behaviour.solution_times import (
    Interpolation,
    check_interpolation,
    solution_times,
)
from brainscore_lite.metrics.labels import is_rdms, kept_coords, stimulus_labels
from brainscore_lite.metrics.splits import Fold, Splits
from brainscore_lite.schema import (
    ContractError,
    average_repetitions,
    check_activations,
    match_stimuli,
)

Matrix: TypeAlias = NDArray[np.float64]

BRAINSCORE_L2 = 0.463
"""Brain-Score's weight decay, 1 / (C n) of its behavioural readout: C = 1e-3, 2160 images."""


def image_performance(
    X: ArrayLike, labels: ArrayLike, *, folds: tuple[Fold, ...], l2: float = BRAINSCORE_L2
) -> Matrix:
    """Read out each image's d' (i1) by cross-validated softmax regression.

    The readout of a fold minimises mean cross-entropy + l2 |W|^2 / 2 on standardised training
    patterns, to convergence; probabilities of the test images of all folds are then taken
    together, averaged where an image is tested several times, and give i1.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_units)
    labels : sequence of labels, length n_stimuli
    folds : tuple of Fold
        Together they test every stimulus; each training set has every class.
    l2 : float
        Brain-Score's .463 by default. Brain-Score also penalises the intercepts, and stops after
        40 epochs of Adam.

    Returns
    -------
    ndarray, shape (n_stimuli,)
        See :func:`~brainscore_lite.metrics.behaviour.signatures.behavioural_signature` for where
        it is NaN.

    Raises
    ------
    ContractError
        If shapes disagree, values are not finite, or a fold lacks a class.
    """
    patterns = np.asarray(X)
    if not l2 > 0:
        raise ContractError(f"l2 is {l2}, expected a positive number.")
    names = check_labels(labels, len(patterns))
    classes = np.unique(names)
    total, tested = np.zeros((len(names), len(classes))), np.zeros(len(names))
    for number, fold in enumerate(folds):
        absent = np.setdiff1d(classes, names[fold.train])
        if absent.size:
            raise ContractError(
                f"the training stimuli of split {number} lack the class '{absent[0]}'. Use more "
                "stimuli of it, or fewer splits."
            )
        probabilities, _ = class_probabilities(
            patterns[fold.train],
            names[fold.train],
            test_X=patterns[fold.test],
            penalty=1 / (l2 * len(fold.train)),
        )
        total[fold.test] += probabilities
        tested[fold.test] += 1
    if (tested == 0).any():
        raise ContractError(
            f"{int((tested == 0).sum())} of {len(names)} stimuli are tested in no split. Use folds "
            "that test every stimulus."
        )
    rates = confusion_rates(total / tested[:, None], truth=names, choices=classes)
    return behavioural_signature(rates, truth=names, choices=classes, signature="i1")


@dataclass(frozen=True)
class ObjectSolutionTimes:
    """Measure when a model or a recorded population solves each image.

    Parameters
    ----------
    label : str
        Coordinate of the stimuli: the object to be named.
    n_splits : int
        Folds, stratified by the label; each image is tested once.
    seed : int
        Of the splits.
    l2 : float
        Of the softmax readout.
    interpolation : {"previous_bin", "brainscore"}
        See :func:`~brainscore_lite.metrics.behaviour.solution_times.solution_times`.

    References
    ----------
    Kar, Kubilius, Schmidt, Issa & DiCarlo (2019), doi:10.1038/s41593-019-0392-5. Kubilius,
    Schrimpf et al. (2019), doi:10.48550/arXiv.1909.06161.
    """

    label: str
    n_splits: int = 10
    seed: int = 0
    l2: float = BRAINSCORE_L2
    interpolation: Interpolation = "previous_bin"
    unit: ClassVar[str] = "solution_time"

    def __post_init__(self) -> None:
        check_interpolation(self.interpolation)
        Splits(self.n_splits, seed=self.seed)
        if not self.l2 > 0:
            raise ContractError(f"l2 is {self.l2}, expected a positive number.")

    def performance(
        self, source: xr.DataArray, labelled: xr.DataArray | None = None
    ) -> xr.DataArray:
        """Return i1 of each image at each step or in each time bin.

        Parameters
        ----------
        source : DataArray
            Activations, dims (stimulus, neuroid[, step]), or responses, dims (repetition,
            stimulus, neuroid[, time_bin]), averaged over repetitions here. Without steps or bins
            there is one moment, 0.
        labelled : DataArray, optional
            An array whose stimuli carry the label, where those of `source` do not.

        Returns
        -------
        DataArray, dims (time, stimulus)
            ``time`` is the step, or the start of the time bin in ms; NaN at steps that no signal
            has reached.
        """
        if labelled is not None:
            source, labelled = match_stimuli(source, labelled)
        names = stimulus_labels(source if labelled is None else labelled, self.label)
        patterns, times = _movie(source)
        folds = Splits(self.n_splits, seed=self.seed).folds(len(patterns), strata=names)
        values = np.full((len(times), len(patterns)), np.nan)
        for moment in range(len(times)):
            reached = ~np.isnan(patterns[..., moment]).all(axis=0)
            if reached.any():
                values[moment] = image_performance(
                    patterns[:, reached, moment], np.asarray(names), folds=folds, l2=self.l2
                )
        return xr.DataArray(
            values,
            dims=("time", "stimulus"),
            coords={"time": times, **kept_coords(source, ("stimulus",))},
        )

    def __call__(
        self,
        source: xr.DataArray,
        thresholds: xr.DataArray,
        *,
        labelled: xr.DataArray | None = None,
    ) -> xr.Dataset:
        """Return the solution time of each image, and how many are solved.

        Parameters
        ----------
        source : DataArray
            As for :meth:`performance`.
        thresholds : DataArray, dim (stimulus)
            i1 that each image has to reach: of primates' behaviour, or of the population that the
            model is compared with.
        labelled : DataArray, optional
            As for :meth:`performance`.

        Returns
        -------
        Dataset
            ``time`` of solution (stimulus), NaN where unsolved; ``performance`` (moment,
            stimulus) and ``threshold`` (stimulus); scalar ``fraction_solved``.

        Raises
        ------
        ContractError
            If stimuli, labels or thresholds are missing.
        """
        performance = self.performance(source, labelled)
        if tuple(thresholds.dims) != ("stimulus",):
            raise ContractError(f"thresholds have dims {thresholds.dims}, expected ('stimulus',).")
        required, _ = match_stimuli(thresholds, performance)
        found = solution_times(
            performance.values,
            required.values,
            times=performance["time"].values,
            interpolation=self.interpolation,
        )
        return xr.Dataset(
            {
                "time": ("stimulus", found),
                "performance": performance.rename(time="moment"),
                "threshold": ("stimulus", required.values),
                "fraction_solved": float(np.isfinite(found).mean()),
            }
        )


def _movie(source: xr.DataArray) -> tuple[Matrix, NDArray[np.float64]]:
    """Return patterns, shape (stimulus, neuroid, moment), and the moments."""
    if is_rdms(source):
        raise ContractError(
            "source holds dissimilarity matrices, which have no patterns to read out. Use "
            "activations or responses."
        )
    if "repetition" in source.dims:
        patterns, times = average_repetitions(source), source.coords.get("start_ms")
    else:
        patterns, times = check_activations(source), source.coords.get("step")
    values = patterns.transpose("stimulus", "neuroid", ...).values
    if times is None:
        return values[..., None], np.zeros(1)
    return values, times.values.astype(np.float64)

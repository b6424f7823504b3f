"""What every ceiling offers: its parts, and its parts under resampling."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.dissimilarities.rsa import RSA
from brainscore_lite.metrics.labels import is_rdms, kept_coords
from brainscore_lite.metrics.metric import Metric
from brainscore_lite.metrics.regression.linear_predictivity import LinearPredictivity
from brainscore_lite.metrics.reliability.split_half import NoReliabilityWarning
from brainscore_lite.schema import ContractError, check_responses

Floats = NDArray[np.float64]


class MeasuredCeiling(Protocol):
    """A ceiling measured on a recording once, read as values or under resampling."""

    def values(self) -> xr.Dataset:
        """Return ``ceiling`` in the metric's unit, and what else the recording allows.

        Returns
        -------
        Dataset
            With ``ceiling``; ``reliability``, ``lower`` and ``upper`` where they exist.
        """
        ...

    def resampled(self, weights: ArrayLike) -> xr.Dataset:
        """Return the same with stimulus j counted ``weights[draw, j]`` times.

        With the weights of a score's draws, score and ceiling are paired draw by draw. What a
        ceiling takes at random (halvings) is drawn again as well.

        Parameters
        ----------
        weights : array of int, shape (n_draws, n_stimuli)
            In the order of the recording's stimuli.

        Returns
        -------
        Dataset, dims (draw, ...)
        """
        ...


class Ceiling(Protocol):
    """A frozen dataclass of settings that measures how well any model could score."""

    def __call__(self, trials: xr.DataArray, metric: Metric) -> xr.Dataset:
        """Return the values that :meth:`measure` finds."""
        return self.measure(trials, metric).values()

    @abstractmethod
    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Do the work that the values and all their resamples share.

        Parameters
        ----------
        trials : DataArray
            Trials, dims (repetition, stimulus, neuroid[, time_bin]), or dissimilarity matrices.
        metric : Metric
            Whose score the ceiling bounds.

        Raises
        ------
        ContractError
            If the recording or the metric allows no such ceiling.
        """
        ...


@dataclass(frozen=True, eq=False)
class Measured:
    """The values of a ceiling, and how to count its stimuli anew.

    Parameters
    ----------
    parts : Dataset
    resample : callable
        Takes weights, shape (n_draws, n_stimuli); gives a Dataset, dims (draw, ...).
    """

    parts: xr.Dataset
    resample: Callable[[ArrayLike], xr.Dataset]

    def values(self) -> xr.Dataset:
        """Return the parts."""
        return self.parts

    def resampled(self, weights: ArrayLike) -> xr.Dataset:
        """Return the parts with stimuli counted by `weights`."""
        return self.resample(weights)


def check_trials(trials: xr.DataArray) -> xr.DataArray:
    """Return `trials` if halves of its repetitions can be taken.

    Raises
    ------
    ContractError
        If it holds dissimilarity matrices, or one repetition.
    """
    if is_rdms(trials):
        raise ContractError(
            "a split-half ceiling needs trials, but these are dissimilarity matrices. With "
            "several subjects use LeaveOneSubjectOut, with one score without a ceiling."
        )
    check_responses(trials)
    if trials.sizes["repetition"] < 2:
        raise ContractError(
            f"responses '{trials.name}': one repetition, expected at least two: reliability cannot "
            "be measured. Give the single trials along 'repetition', or score without a ceiling "
            "(ceiling=None)."
        )
    return trials


def check_predictivity(metric: Metric, ceiling: str) -> None:
    """Raise unless a metric correlates each recorded neuroid with its prediction."""
    if metric.unit != "pearson_r" or not metric.fits:
        raise ContractError(
            f"{ceiling} is the ceiling of a Pearson r of each neuroid, not of {metric!r}. Use "
            "RDMSplitHalf or LeaveOneSubjectOut for RSA; CKA has no ceiling here."
        )
    if isinstance(metric, LinearPredictivity) and metric.direction == "brain_to_model":
        raise ContractError(
            f"{ceiling} is the ceiling of a prediction of recorded neuroids, but "
            "direction='brain_to_model' predicts units of a model, which have no trials. Score "
            "without a ceiling."
        )


def as_rsa(metric: Metric, ceiling: str) -> RSA:
    """Return the metric if it is RSA."""
    if not isinstance(metric, RSA):
        raise ContractError(
            f"{ceiling} is a ceiling of RSA, not of {metric!r}. Use SplitHalf for linear "
            "predictivity; CKA has no ceiling here."
        )
    return metric


def unit_trials(trials: xr.DataArray) -> Floats:
    """Return trials, shape (n_repetitions, n_stimuli, n_units): neuroids of each time bin."""
    check_trials(trials)
    values = trials.transpose("repetition", "stimulus", ...).values
    return np.asarray(values.reshape(*values.shape[:2], -1))


def by_unit(values: Floats, trials: xr.DataArray, *leading: str) -> xr.DataArray:
    """Label values of units; dims (leading..., neuroid[, time_bin])."""
    shaped = trials.transpose("repetition", "stimulus", ...)
    dims = tuple(str(dim) for dim in shaped.dims[2:])
    counted = {dim: np.arange(n) for dim, n in zip(leading, values.shape, strict=False)}
    return xr.DataArray(
        values.reshape(*values.shape[: len(leading)], *shaped.shape[2:]),
        dims=(*leading, *dims),
        coords={**counted, **kept_coords(trials, dims)},
    )


def root(reliability: xr.DataArray, *, announce: bool = True) -> xr.DataArray:
    """Return sqrt(c), and 0, announced by a warning, where c is not positive; NaN stays NaN."""
    without = int((reliability <= 0).sum())
    if without and announce:
        warnings.warn(
            f"{without} of {reliability.size} reliabilities are not positive: nothing there can "
            "be predicted, and their ceiling is 0.",
            NoReliabilityWarning,
            stacklevel=3,
        )
    positive = reliability.where(~(reliability <= 0), 0.0)
    return positive.copy(data=np.sqrt(positive.values))

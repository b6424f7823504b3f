"""Ceilings from the variance of trials: what is signal and what is noise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from brainscore_lite.ceilings.measured import (
    Ceiling,
    Floats,
    Measured,
    MeasuredCeiling,
    by_unit,
    check_predictivity,
    root,
    unit_trials,
)
from brainscore_lite.metrics.metric import Metric
from brainscore_lite.metrics.regression.linear_predictivity import PredictedResponses
from brainscore_lite.metrics.reliability.explainable_variance import (
    VarianceEstimator,
    VarianceParts,
    explained_fraction,
    noise_ceiling,
    variance_parts,
)
from brainscore_lite.metrics.reliability.oracles import conservative_oracle, jackknife_oracle
from brainscore_lite.schema import ContractError, select_stimuli


@dataclass(frozen=True)
class ExplainableVariance(Ceiling):
    """The ceiling of a correlation with averaged responses, from an analysis of variance.

    The reliability is the fraction of the average's variance that is signal,
    c = signal / (signal + noise mean(1/n)), whatever the numbers n of trials; the ceiling is
    sqrt(c). Unlike :class:`SplitHalf` it takes nothing at random.

    Parameters
    ----------
    estimator : {"anova", "signal_power"}
        See :func:`variance_parts`.

    References
    ----------
    Sahani & Linden (2003), Advances in Neural Information Processing Systems 15:125-132.
    """

    estimator: VarianceEstimator = "anova"

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute ``signal`` and ``noise`` (variances), ``reliability`` and ``ceiling``.

        Dims (neuroid[, time_bin]); parameters and errors are those of :class:`SplitHalf`.
        """
        check_predictivity(metric, "ExplainableVariance")
        return _of_parts(
            trials,
            self.estimator,
            lambda parts: {
                "signal": parts.signal,
                "noise": parts.noise,
                "reliability": parts.reliability(),
            },
        )


@dataclass(frozen=True)
class NoiseCeilingSNR(Ceiling):
    """The noise ceiling of the Natural Scenes Dataset, from the signal-to-noise ratio of a trial.

    With ncsnr the ratio of the standard deviations of signal and noise, the explainable fraction
    of the variance of an average of m trials is nc = ncsnr^2 / (ncsnr^2 + 1/m); the ceiling of a
    correlation is sqrt(nc). Its authors print nc in per cent.

    Parameters
    ----------
    n_trials : float, optional
        The number m; the harmonic mean of those recorded if not given.

    References
    ----------
    Allen et al. (2022), doi:10.1038/s41593-021-00962-x.
    """

    n_trials: float | None = None

    def __post_init__(self) -> None:
        if self.n_trials is not None and not self.n_trials > 0:
            raise ContractError(f"n_trials is {self.n_trials}, expected a positive number.")

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute ``ncsnr``, ``reliability`` (nc, as a fraction) and ``ceiling``.

        Dims (neuroid[, time_bin]); parameters and errors are those of :class:`SplitHalf`.
        """
        check_predictivity(metric, "NoiseCeilingSNR")

        def named(parts: VarianceParts) -> dict[str, Floats]:
            snr = parts.ncsnr()
            m = parts.n_trials if self.n_trials is None else self.n_trials
            return {"ncsnr": snr, "reliability": noise_ceiling(snr, n_trials=m)}

        return _of_parts(trials, "anova", named)


@dataclass(frozen=True)
class ConservativeOracle(Ceiling):
    """How well the mean response correlates with single trials; see :func:`conservative_oracle`.

    A ceiling for models scored against single trials. Scores against averages, which correlate
    better, are divided by :class:`SplitHalf` or :class:`ExplainableVariance`.
    """

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute ``ceiling``, dims (neuroid[, time_bin])."""
        check_predictivity(metric, "ConservativeOracle")
        return _of_oracle(trials, conservative_oracle)


@dataclass(frozen=True)
class JackknifeOracle(Ceiling):
    """How well each trial correlates with the mean of the others; see :func:`jackknife_oracle`.

    A ceiling for models scored against single trials, low by the noise of that mean. Scores
    against averages are divided by :class:`SplitHalf` or :class:`ExplainableVariance`.
    """

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute ``ceiling``, dims (neuroid[, time_bin])."""
        check_predictivity(metric, "JackknifeOracle")
        return _of_oracle(trials, jackknife_oracle)


@dataclass(frozen=True)
class FractionExplained:
    """The fraction of explainable variance that held-out predictions explain (FEVe).

    1 - (MSE - s2_noise) / (s2_total - s2_noise) for each neuroid; see
    :func:`explained_fraction`. It is normalised already: its ceiling is 1.

    References
    ----------
    Cadena et al. (2019), doi:10.1371/journal.pcbi.1006897.
    """

    def __call__(self, predicted: PredictedResponses, trials: xr.DataArray) -> xr.DataArray:
        """Compare predictions with the trials they predict.

        Parameters
        ----------
        predicted : PredictedResponses
            Of a regression whose splits test each stimulus once (``split_kind="k_fold"``).
        trials : DataArray, dims (repetition, stimulus, neuroid[, time_bin])

        Returns
        -------
        DataArray, dims (neuroid[, time_bin])

        Raises
        ------
        ContractError
            If stimuli are tested several times or never, or stimuli or neuroids differ.
        """
        return self._computed(predicted, trials, None, ())

    def resampled(
        self, predicted: PredictedResponses, trials: xr.DataArray, weights: ArrayLike
    ) -> xr.DataArray:
        """Return the same with stimuli counted by weights; dims (draw, neuroid[, time_bin])."""
        return self._computed(predicted, trials, weights, ("draw",))

    def _computed(
        self,
        predicted: PredictedResponses,
        trials: xr.DataArray,
        weights: ArrayLike | None,
        leading: tuple[str, ...],
    ) -> xr.DataArray:
        trials = select_stimuli(trials, predicted.target["stimulus"].values)
        order = ("stimulus", ..., "neuroid")
        flat = trials.transpose("repetition", *order)
        if (
            flat.isel(repetition=0).shape != predicted.target.transpose(*order).shape
            or (flat["neuroid"].values != predicted.target["neuroid"].values).any()
        ):
            raise ContractError(
                "trials and predictions are of different neuroids or time bins. Give the trials "
                "that were predicted."
            )
        held_out = np.asarray(predicted.cross_validated.held_out())
        units = flat.values.reshape(*flat.shape[:2], -1)
        return by_unit(explained_fraction(held_out, units, weights=weights), flat, *leading)


def _of_parts(
    trials: xr.DataArray,
    estimator: VarianceEstimator,
    named: Callable[[VarianceParts], dict[str, Floats]],
) -> Measured:
    """Measure what follows from signal and noise variance; the reliability among it."""
    flat = unit_trials(trials)

    def labelled(weights: ArrayLike | None, *leading: str) -> xr.Dataset:
        known = named(variance_parts(flat, weights=weights, estimator=estimator))
        parts = {
            name: by_unit(values if leading else values[0], trials, *leading)
            for name, values in known.items()
        }
        parts["ceiling"] = root(parts["reliability"], announce=not leading)
        return xr.Dataset(parts)

    return Measured(labelled(None), lambda weights: labelled(weights, "draw"))


def _of_oracle(trials: xr.DataArray, oracle: Callable[..., Floats]) -> Measured:
    flat = unit_trials(trials)

    def labelled(weights: ArrayLike | None, *leading: str) -> xr.Dataset:
        values = oracle(flat, weights=weights)
        return xr.Dataset({"ceiling": by_unit(values, trials, *leading)})

    return Measured(labelled(None), lambda weights: labelled(weights, "draw"))

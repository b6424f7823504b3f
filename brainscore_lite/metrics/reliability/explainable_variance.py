"""How much of the variance of recorded responses a model could explain: signal and noise apart.

Kernels on NumPy arrays.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.reliability.repetition_halves import Floats, checked_trials
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError

VarianceEstimator = Literal["anova", "signal_power"]
_FEWEST_STIMULI = 3


@dataclass(frozen=True, eq=False)
class VarianceParts:
    """The variance of responses over stimuli, and of trials of one stimulus, by neuroid.

    Parameters
    ----------
    signal : ndarray, shape (n_draws, n_neuroids)
        Variance over stimuli of the noise-free response, without bias; negative by chance where
        there is none.
    noise : ndarray, shape (n_draws, n_neuroids)
        Variance of single trials of one stimulus.
    n_trials : ndarray, shape (n_draws, n_neuroids)
        Harmonic mean over stimuli of the number of trials.
    """

    signal: Floats
    noise: Floats
    n_trials: Floats

    def reliability(self, n_trials: float | None = None) -> Floats:
        """Return signal / (signal + noise / n): how much of the average's variance is signal.

        Parameters
        ----------
        n_trials : float, optional
            Trials of the average; those recorded if not given.

        Returns
        -------
        ndarray, shape (n_draws, n_neuroids)
            NaN where there is no variance at all.
        """
        averaged = self.noise / (self.n_trials if n_trials is None else n_trials)
        return ratio(self.signal, self.signal + averaged)

    def ncsnr(self) -> Floats:
        """Return the noise-ceiling signal-to-noise ratio; see :func:`ncsnr`."""
        signal = np.sqrt(np.maximum(self.signal, 0.0))
        return ratio(signal, np.sqrt(self.noise))


def variance_parts(
    trials: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    estimator: VarianceEstimator = "anova",
) -> VarianceParts:
    """Separate the variance over stimuli from that over trials of one stimulus.

    With m_i the mean of the n_i trials of stimulus i,

        noise = sum_ij (x_ij - m_i)^2 / sum_i (n_i - 1),
        signal = var_i(m_i) - noise mean_i(1 / n_i),

    variances with the number of stimuli less one. Both are without bias, however the n_i differ
    ("anova"). "signal_power" first takes from each repetition its mean over stimuli, so that a
    response that drifts from repetition to repetition does not count as noise; it needs every
    repetition of every stimulus, and is the signal power of Sahani & Linden.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    weights : array of int, shape (n_draws, n_stimuli), optional
        How often each stimulus is drawn; once, in a single draw, if not given.
    estimator : {"anova", "signal_power"}

    Returns
    -------
    VarianceParts

    Raises
    ------
    ContractError
        If a neuroid has no stimulus with two trials or fewer than three stimuli, a stimulus has
        no trial, or trials are missing where the estimator needs them all.

    References
    ----------
    Sahani & Linden (2003), Advances in Neural Information Processing Systems 15:125-132.
    """
    if estimator not in get_args(VarianceEstimator):
        raise ContractError(
            f"estimator is {estimator!r}, expected one of {get_args(VarianceEstimator)}."
        )
    values = checked_trials(trials)
    counts = check_weights(
        np.ones((1, values.shape[1])) if weights is None else weights, values.shape[1]
    )
    there = np.isfinite(values)
    check_recorded(there)
    if estimator == "signal_power":
        if not there.all():
            raise ContractError(
                f"{int((~there).sum())} of {there.size} trials are missing; estimator="
                "'signal_power' needs all of them. Use 'anova'."
            )
        values = values - values.mean(axis=1, keepdims=True)
    n_trials = there.sum(axis=0)
    known = np.where(there, values, 0.0)
    known = np.where(there, known - known.sum(axis=(0, 1)) / n_trials.sum(axis=0), 0.0)
    means = known.sum(axis=0) / n_trials
    squares = (np.where(there, known - means, 0.0) ** 2).sum(axis=0)
    return _weighted_parts(means, squares, n_trials, counts, estimator)


def ncsnr(trials: ArrayLike) -> Floats:
    """Compute the noise-ceiling signal-to-noise ratio of each neuroid.

    ncsnr = sqrt(signal variance) / sqrt(noise variance), 0 where the signal variance is not
    positive. As in the Natural Scenes Dataset, except that no response is standardised first: the
    signal variance is estimated, not one less the noise variance.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)

    Returns
    -------
    ndarray, shape (n_neuroids,)
        NaN where there is neither signal nor noise; inf where there is no noise.

    References
    ----------
    Allen et al. (2022), doi:10.1038/s41593-021-00962-x.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trials = 2 * rng.normal(size=(3000, 1)) + rng.normal(size=(3, 3000, 1))
    >>> float(ncsnr(trials)[0].round(1))
    2.0
    """
    by_neuroid: Floats = variance_parts(trials).ncsnr()[0]
    return by_neuroid


def noise_ceiling(snr: ArrayLike, *, n_trials: ArrayLike) -> Floats:
    """Compute the explainable fraction of the variance of an average from the ncsnr.

    nc = ncsnr^2 / (ncsnr^2 + 1/m)

    Parameters
    ----------
    snr : array
        Of :func:`ncsnr`.
    n_trials : array
        The number m of trials averaged; where stimuli differ in it, their harmonic mean.

    Returns
    -------
    ndarray
        A squared correlation: the ceiling of a Pearson r is its root.

    References
    ----------
    Allen et al. (2022), doi:10.1038/s41593-021-00962-x.
    """
    averaged = np.asarray(n_trials, dtype=np.float64)
    if not (averaged > 0).all():
        raise ContractError(f"n_trials is {n_trials!r}, expected positive numbers.")
    with np.errstate(divide="ignore"):
        result: Floats = 1 / (1 + 1 / (averaged * np.asarray(snr, dtype=np.float64) ** 2))
    return result


def explainable_fraction(trials: ArrayLike, *, weights: ArrayLike | None = None) -> Floats:
    """Compute the fraction of the variance of single trials that is not noise.

    FEV = (s2_total - s2_noise) / s2_total, s2_total the variance of all trials, and s2_noise
    the variance of trials of one stimulus, averaged over stimuli.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    weights : array of int, shape (n_draws, n_stimuli), optional

    Returns
    -------
    ndarray, shape (n_neuroids,), with weights (n_draws, n_neuroids)
        NaN for a neuroid without variance.

    References
    ----------
    Cadena et al. (2019), doi:10.1371/journal.pcbi.1006897.
    """
    sums = _trial_sums(trials, None, weights)
    total, noise = sums.variances()
    fraction = ratio(total - noise, total)
    return fraction[0] if weights is None else fraction


def explained_fraction(
    predictions: ArrayLike, trials: ArrayLike, *, weights: ArrayLike | None = None
) -> Floats:
    """Compute the fraction of the explainable variance that predictions explain.

    FEVe = 1 - (MSE - s2_noise) / (s2_total - s2_noise), MSE the mean squared difference between
    each trial and its prediction. Unlike a correlation it is sensitive to the predictions' mean
    and scale.

    Parameters
    ----------
    predictions : array, shape (n_stimuli, n_neuroids)
        Of stimuli that were left out of the fit.
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    weights : array of int, shape (n_draws, n_stimuli), optional

    Returns
    -------
    ndarray, shape (n_neuroids,), with weights (n_draws, n_neuroids)
        1 for the noise-free response, 0 for its mean; may be negative. NaN where nothing is
        explainable.

    Raises
    ------
    ContractError
        If the shapes disagree or predictions are not finite.

    References
    ----------
    Cadena et al. (2019), doi:10.1371/journal.pcbi.1006897.
    """
    sums = _trial_sums(trials, predictions, weights)
    total, noise = sums.variances()
    explainable = total - noise
    values = 1 - ratio(sums.errors / sums.n_trials - noise, explainable)
    values = np.where(explainable > 0, values, np.nan)
    return values[0] if weights is None else values


@dataclass(frozen=True, eq=False)
class _TrialSums:
    """Sums over the drawn trials, each (n_draws, n_neuroids)."""

    n_stimuli: Floats
    n_trials: Floats
    values: Floats
    squares: Floats
    noise: Floats
    errors: Floats

    def variances(self) -> tuple[Floats, Floats]:
        """Return the variance of all trials, and the mean over stimuli of that within one."""
        total = (self.squares - self.values**2 / self.n_trials) / (self.n_trials - 1)
        return total, self.noise / self.n_stimuli


def _trial_sums(
    trials: ArrayLike, predictions: ArrayLike | None, weights: ArrayLike | None
) -> _TrialSums:
    recorded = checked_trials(trials)
    values, there, counts = centred_trials(trials, weights)
    n_trials = there.sum(axis=0)
    repeated = n_trials > 1
    means = values.sum(axis=0) / n_trials
    within = (np.where(there, values - means, 0.0) ** 2).sum(axis=0)
    errors = np.zeros(values.shape[1:])
    if predictions is not None:
        predicted = np.asarray(predictions, dtype=np.float64)
        if predicted.shape != recorded.shape[1:] or not np.isfinite(predicted).all():
            raise ContractError(
                f"predictions have shape {predicted.shape}, expected finite values of shape "
                f"{recorded.shape[1:]}: one for each (stimulus, neuroid) of the trials."
            )
        errors = (np.where(there, recorded - predicted, 0.0) ** 2).sum(axis=0)
    return _TrialSums(
        n_stimuli=counts @ repeated.astype(np.float64),
        n_trials=counts @ n_trials,
        values=counts @ values.sum(axis=0),
        squares=counts @ (values**2).sum(axis=0),
        noise=counts @ np.where(repeated, within / np.maximum(n_trials - 1, 1), 0.0),
        errors=counts @ errors,
    )


def centred_trials(
    trials: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Return centred trials, 0 where missing; where they were recorded; and the weights."""
    values = checked_trials(trials)
    there = np.isfinite(values)
    check_recorded(there)
    counts = check_weights(
        np.ones((1, values.shape[1])) if weights is None else weights, values.shape[1]
    )
    known = np.where(there, values, 0.0)
    centre = known.sum(axis=(0, 1)) / there.sum(axis=(0, 1))
    return np.where(there, known - centre, 0.0), there, counts


def check_recorded(there: NDArray[np.bool_]) -> None:
    """Raise unless every cell has a trial, and every neuroid a stimulus with two."""
    n_trials = there.sum(axis=0)
    if (n_trials == 0).any():
        stimulus, neuroid = np.argwhere(n_trials == 0)[0]
        raise ContractError(
            f"{int((n_trials == 0).sum())} of {n_trials.size} (stimulus, neuroid) cells have no "
            f"trial; first: stimulus {stimulus}, neuroid {neuroid}. Leave those stimuli out."
        )
    single = (n_trials < 2).all(axis=0)
    if single.any():
        raise ContractError(
            f"{int(single.sum())} of {single.size} neuroids have one trial of every stimulus "
            f"(first: neuroid {int(single.argmax())}): their noise cannot be measured."
        )
    if there.shape[1] < _FEWEST_STIMULI:
        raise ContractError(f"{there.shape[1]} stimuli, expected at least {_FEWEST_STIMULI}.")


def _weighted_parts(
    means: Floats,
    squares: Floats,
    n_trials: NDArray[np.int64],
    counts: Floats,
    estimator: VarianceEstimator,
) -> VarianceParts:
    n_drawn = counts.sum(axis=1, keepdims=True)
    freedom = counts @ (n_trials - 1.0)
    if estimator == "signal_power":  # the means of the repetitions took theirs
        freedom = freedom * (n_drawn - 1) / n_drawn
    noise = ratio(counts @ squares, freedom)
    average = counts @ means / n_drawn
    spread = ratio(counts @ means**2 - n_drawn * average**2, n_drawn - 1)
    per_trial = counts @ (1 / n_trials) / n_drawn
    return VarianceParts(spread - noise * per_trial, noise, 1 / per_trial)


def ratio(above: Floats, below: Floats) -> Floats:
    """Divide; NaN for 0 / 0, which says that there is nothing to divide."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = above / below
    return result

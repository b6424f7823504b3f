"""Oracles: how well the recorded responses themselves predict single trials.

Kernels on NumPy arrays.
"""

import numpy as np
from numpy.typing import ArrayLike

from brainscore_lite.metrics.reliability.explainable_variance import centred_trials, ratio
from brainscore_lite.metrics.reliability.repetition_halves import Floats


def conservative_oracle(trials: ArrayLike, *, weights: ArrayLike | None = None) -> Floats:
    """Correlate single trials with the response, as the variance of their means implies.

    r = s2_mean / sqrt(s2_mean (s2_mean + s2_noise)), s2_mean the variance over stimuli of the
    mean of n trials and s2_noise that of trials of one stimulus, both divided by n, not n - 1.
    With signal variance S and noise variance N, r tends to sqrt((S + N/n) / (S + N)).

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    weights : array of int, shape (n_draws, n_stimuli), optional

    Returns
    -------
    ndarray, shape (n_neuroids,), with weights (n_draws, n_neuroids)
        NaN for a neuroid without variance.
    """
    values, there, counts = centred_trials(trials, weights)
    n_trials = there.sum(axis=0)
    means = values.sum(axis=0) / n_trials
    within = (np.where(there, values - means, 0.0) ** 2).sum(axis=0) / n_trials
    drawn = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    of_means = np.maximum(drawn @ means**2 - (drawn @ means) ** 2, 0.0)
    result = np.sqrt(ratio(of_means, of_means + drawn @ within))
    return result[0] if weights is None else result


def jackknife_oracle(trials: ArrayLike, *, weights: ArrayLike | None = None) -> Floats:
    """Correlate each trial with the mean of the other trials of its stimulus.

    Over all trials of all stimuli with at least two. With signal variance S, noise variance N
    and n trials of each stimulus, r tends to S / sqrt((S + N) (S + N / (n - 1))).

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    weights : array of int, shape (n_draws, n_stimuli), optional

    Returns
    -------
    ndarray, shape (n_neuroids,), with weights (n_draws, n_neuroids)
        NaN for a neuroid whose trials do not vary.
    """
    values, there, counts = centred_trials(trials, weights)
    n_trials = there.sum(axis=0)
    usable = there & (n_trials > 1)
    single = np.where(usable, values, 0.0)
    others = np.where(usable, (values.sum(axis=0) - values) / np.maximum(n_trials - 1, 1), 0.0)
    total = counts @ usable.sum(axis=0)
    total = np.where(total > 0, total, np.nan)
    one, other, squares, other_squares, products = (
        counts @ each.sum(axis=0) / total
        for each in (single, others, single**2, others**2, single * others)
    )
    variances = (squares - one**2) * (other_squares - other**2)
    result = ratio(products - one * other, np.sqrt(np.maximum(variances, 0.0)))
    return result[0] if weights is None else result

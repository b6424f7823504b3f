"""Split-half reliability as Brain-Score computes it: halves that all stimuli share.

Kernels on NumPy arrays.
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import ShuffleSplit

from brainscore_lite.metrics.reliability.repetition_halves import (
    Floats,
    check_halvings,
    checked_trials,
)
from brainscore_lite.metrics.reliability.split_half import (
    ROUNDING,
    from_moments,
    normalised,
    spearman_brown,
)
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator


def internal_consistency(trials: ArrayLike, *, n_splits: int = 10, seed: int = 1) -> Floats:
    """Compute the reliability of each neuroid as Brain-Score's ``InternalConsistency``.

    All stimuli and neuroids share the halves: repetitions are split by scikit-learn's
    ``ShuffleSplit(n_splits, train_size=0.5, random_state=seed)``, the averages of both halves are
    correlated over stimuli, and 2 r / (1 + r) is taken, also where halves are unequal. Covariances
    between repetitions are computed once and serve every split.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded; averages leave it out.
    n_splits : int
    seed : int

    Returns
    -------
    ndarray, shape (n_splits, n_neuroids)
        NaN for a neuroid whose halves are constant, as there.

    Raises
    ------
    ContractError
        If there is one repetition, or a half holds no trial of a stimulus.
    """
    values = checked_trials(trials)
    shares = _shared_halves(len(values), n_splits, seed)
    if not np.isfinite(values).all():
        ones = np.ones((1, values.shape[1]))
        return np.stack([_resampled_split(values, ones, both)[0] for both in shares])
    centred = values - values.mean(axis=1, keepdims=True)
    covariance = np.einsum("rsn,qsn->nrq", centred, centred, optimize=True)
    first, second = shares[:, 0], shares[:, 1]
    across, within, other_within = (
        np.einsum("kr,nrq,kq->kn", one, covariance, other, optimize=True)
        for one, other in ((first, second), (first, first), (second, second))
    )
    smallest = values.shape[1] * _smallest_variance(values)
    r, undefined = normalised(across, within, other_within, smallest)
    return spearman_brown(np.where(undefined, np.nan, r))


def internal_consistency_resampled(
    trials: ArrayLike, weights: ArrayLike, *, n_splits: int = 10, seed: int = 1
) -> Floats:
    """Compute the same with stimuli counted by weights, and the splits drawn with replacement.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
    weights : array of int, shape (n_draws, n_stimuli)
    n_splits : int
    seed : int

    Returns
    -------
    ndarray, shape (n_draws, n_splits, n_neuroids)
    """
    values = checked_trials(trials)
    counts = check_weights(weights, values.shape[1])
    of_split = np.stack(
        [
            _resampled_split(values, counts, both)
            for both in _shared_halves(len(values), n_splits, seed)
        ],
        axis=1,
    )
    draws = generator(seed, "internal_consistency", "resampled")
    picked = draws.integers(n_splits, size=(len(counts), n_splits))
    result: Floats = np.take_along_axis(of_split, picked[:, :, None], axis=1)
    return result


def _shared_halves(n_repetitions: int, n_splits: int, seed: int) -> Floats:
    """Say which repetitions form both halves; shape (n_splits, 2, n_repetitions).

    Each half sums to 1.
    """
    check_halvings(n_splits)
    splitter = ShuffleSplit(n_splits, train_size=0.5, random_state=seed)
    shares = np.zeros((n_splits, 2, n_repetitions))
    for split, halves in enumerate(splitter.split(np.zeros(n_repetitions))):
        for half, members in enumerate(halves):
            shares[split, half, members] = 1 / len(members)
    return shares


def _resampled_split(values: Floats, counts: Floats, shares: Floats) -> Floats:
    """Return the reliability from one pair of halves in every draw; (n_draws, n_neuroids)."""
    there = np.isfinite(values)
    known = np.where(there, values, 0.0)
    known = known - known.sum(axis=(0, 1)) / np.maximum(there.sum(axis=(0, 1)), 1)
    known = np.where(there, known, 0.0)
    halves = []
    for share in shares:
        of_recorded = np.tensordot(share, there, axes=1)
        if (of_recorded == 0).any():
            raise ContractError(
                f"{int((of_recorded == 0).sum())} of {of_recorded.size} (stimulus, neuroid) cells "
                "have no trial in a half that all stimuli share. Use split_half_reliability, which "
                "halves the trials that each stimulus has."
            )
        halves.append(np.tensordot(share, known, axes=1) / of_recorded)
    a, b = halves
    w = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    moments = [w @ each for each in (a, b, a * a, b * b, a * b)]
    r, undefined = from_moments(moments, _smallest_variance(values))
    return spearman_brown(np.where(undefined, np.nan, r))


def _smallest_variance(values: Floats) -> Floats:
    """Return the variance that rounding alone may give; (n_neuroids,)."""
    size = np.nanmax(np.abs(values), axis=(0, 1))
    result: Floats = (ROUNDING * size) ** 2
    return result

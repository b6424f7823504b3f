"""The noise ceiling of a crossvalidation over subjects and stimuli, as rsatoolbox computes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.dissimilarities.comparison import Comparator, compare_rdms
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import pool_rdms
from brainscore_lite.schema import ContractError

_FEWEST_STIMULI = 3


@dataclass(frozen=True, eq=False)
class CrossedFold:
    """One fold of a crossvalidation over subjects and stimuli.

    Parameters
    ----------
    train, test : ndarray of int
        Positions of subjects.
    stimuli : ndarray of int
        Positions of the stimuli that are tested.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    stimuli: NDArray[np.int64]


def crossvalidated_ceiling(
    subjects: ArrayLike, folds: Sequence[CrossedFold], *, comparison: Comparator = "cosine"
) -> tuple[float, float]:
    """Compute the noise ceiling of a crossvalidation over subjects and stimuli.

    Lower: the pool of a fold's training subjects, over its test stimuli, compared with its test
    subjects; upper: the pool of all subjects over all stimuli, of which the test stimuli are
    taken. Means over the test subjects, then over folds: rsatoolbox's ``cv_noise_ceiling``.

    Parameters
    ----------
    subjects : array, shape (n_subjects, n_pairs)
    folds : sequence of CrossedFold
    comparison : str
        As for :func:`compare_rdms`.

    Returns
    -------
    lower, upper : float

    Raises
    ------
    ContractError
        If there are no folds, or a fold has no subject or fewer than three stimuli to test, or
        positions that do not exist.
    """
    recorded = np.atleast_2d(np.asarray(subjects, dtype=np.float64))
    if not folds:
        raise ContractError("no folds were given, expected at least one.")
    n_stimuli = n_stimuli_of(recorded.shape[1])
    everyone = pool_rdms(recorded, comparison=comparison)
    bounds = []
    for number, fold in enumerate(folds):
        _check_fold(fold, number=number, n_subjects=len(recorded), n_stimuli=n_stimuli)
        drawn = np.isin(np.arange(n_stimuli), fold.stimuli)
        first, second = np.triu_indices(n_stimuli, k=1)
        within = drawn[first] & drawn[second]
        others = pool_rdms(recorded[fold.train][:, within], comparison=comparison)
        pools = np.stack([others, everyone[within]])
        similarity = compare_rdms(pools, recorded[fold.test][:, within], method=comparison)
        bounds.append(np.mean(similarity, axis=1))
    lower, upper = np.mean(bounds, axis=0)
    return float(lower), float(upper)


def _check_fold(fold: CrossedFold, *, number: int, n_subjects: int, n_stimuli: int) -> None:
    if not len(fold.train) or not len(fold.test) or len(fold.stimuli) < _FEWEST_STIMULI:
        raise ContractError(
            f"fold {number} has {len(fold.train)} subjects to train, {len(fold.test)} to test "
            f"and {len(fold.stimuli)} stimuli; expected at least 1, 1 and {_FEWEST_STIMULI}."
        )
    sizes = (n_subjects, n_subjects, n_stimuli)
    for positions, n in zip((fold.train, fold.test, fold.stimuli), sizes, strict=True):
        if not np.isin(positions, np.arange(n)).all():
            raise ContractError(f"fold {number} has positions {positions}, expected below {n}.")

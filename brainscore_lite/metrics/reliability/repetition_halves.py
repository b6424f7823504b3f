"""Halves of the repetitions of each stimulus: their trials, averages and dissimilarities.

Kernels on NumPy arrays.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.dissimilarities.dissimilarity import (
    CROSS_VALIDATED,
    TAKES_PRECISION,
    Dissimilarity,
)
from brainscore_lite.metrics.dissimilarities.recorded_rdms import Noise, trial_dissimilarities
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HalvedGroup:
    """Neuroids whose missing trials are the same, and the halves of their trials.

    Parameters
    ----------
    neuroids : ndarray of int
        Their positions.
    trials : ndarray, shape (n_repetitions, n_stimuli, len(neuroids))
        Less `centre`; 0 where a trial was not recorded.
    centre : ndarray, shape (len(neuroids),)
        Mean over all trials, taken away so that sums of squares keep their digits.
    weights : ndarray, shape (n_stimuli, 2, n_splits, n_repetitions)
        What each trial adds to the average of either half; 0 where a stimulus has one trial.
    counts : ndarray of int, shape (3, n_stimuli)
        Trials of the first half, of the second, and of both with what halves leave out.
    """

    neuroids: NDArray[np.int64]
    trials: Floats
    centre: Floats
    weights: Floats
    counts: NDArray[np.int64]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which stimuli have two trials or more, shape (n_stimuli,)."""
        return np.asarray(self.counts[0] > 0)

    def averages(self, split: int) -> tuple[Floats, Floats]:
        """Average both halves of one split; each (n_stimuli, n_neuroids), 0 where not usable."""
        both = self.weights[:, :, split] @ self.trials.transpose(1, 0, 2)
        return both[:, 0], both[:, 1]


def checked_trials(trials: ArrayLike) -> Floats:
    """Return trials in double precision.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.

    Raises
    ------
    ContractError
        If the shape is another, or there is a single repetition.
    """
    values = np.asarray(trials, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape:
        raise ContractError(
            f"trials have shape {values.shape}, expected (n_repetitions, n_stimuli, n_neuroids) "
            "with at least one of each."
        )
    if values.shape[0] < 2:
        raise ContractError(
            "trials have one repetition, expected at least two: reliability cannot be measured. "
            "Give the single trials along the first axis."
        )
    return values


def random_halves(
    trials: ArrayLike, *, n_splits: int = 10, seed: int = 0, equal_halves: bool = False
) -> tuple[Floats, Floats]:
    """Average random halves of each stimulus's repetitions.

    Neuroids share the halving, so trials recorded together stay together.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    n_splits : int
    seed : int
    equal_halves : bool
        Leave out one trial where their number is odd.

    Returns
    -------
    first, second : ndarray, shape (n_splits, n_stimuli, n_neuroids)
        NaN where a stimulus has fewer than two repetitions of a neuroid.

    Raises
    ------
    ContractError
        If the shape is another, or there is a single repetition.
    """
    values = checked_trials(trials)
    first, second = np.full((2, n_splits, *values.shape[1:]), np.nan)
    for group in halved_groups(values, n_splits=n_splits, seed=seed, equal_halves=equal_halves):
        cells = np.ix_(group.usable, group.neuroids)
        for split in range(n_splits):
            for into, half in zip((first, second), group.averages(split), strict=True):
                into[split][cells] = half[group.usable] + group.centre
    return first, second


def halved_trials(
    trials: ArrayLike, *, n_splits: int, seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Yield the trials of both halves, split by split: those that :func:`random_halves` averages.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
    n_splits, seed : int

    Yields
    ------
    first, second : ndarray, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial belongs to the other half, or was not recorded.
    """
    values = checked_trials(trials)
    groups = list(halved_groups(values, n_splits=n_splits, seed=seed))
    for split in range(n_splits):
        first, second = np.full((2, *values.shape), np.nan)
        for group in groups:
            part = values[:, :, group.neuroids]
            for half, into in enumerate((first, second)):
                members = group.weights[:, half, split].T > 0
                into[:, :, group.neuroids] = np.where(members[:, :, None], part, np.nan)
        yield first, second


def rdm_halves(
    trials: ArrayLike, *, n_splits: int, seed: int, dissimilarity: Dissimilarity, noise: Noise
) -> Iterator[tuple[Floats, Floats]]:
    """Yield the dissimilarities of both halves, split by split; each (n_pairs,)."""
    fewest = fewest_trials(dissimilarity, noise)
    short = (np.isfinite(checked_trials(trials)).sum(axis=0) < fewest).any(axis=1)
    if short.any():
        raise ContractError(
            f"{int(short.sum())} of {short.size} stimuli have fewer than {fewest} repetitions of "
            f"some neuroid, so their {dissimilarity} dissimilarities cannot be halved. Leave "
            "those stimuli out."
        )
    for halves in halved_trials(trials, n_splits=n_splits, seed=seed):
        first, second = (
            trial_dissimilarities(half, dissimilarity=dissimilarity, noise=noise) for half in halves
        )
        yield first, second


def fewest_trials(dissimilarity: Dissimilarity, noise: Noise) -> int:
    """Return how many trials of a stimulus give both halves a dissimilarity of their own.

    Four where it takes single trials, to cross-validate or to measure the noise; otherwise two.
    """
    measured = dissimilarity in TAKES_PRECISION and noise != "identity"
    return 4 if measured or dissimilarity in CROSS_VALIDATED else 2


def halved_groups(
    values: Floats, *, n_splits: int, seed: int, equal_halves: bool = False
) -> Iterator[HalvedGroup]:
    """Halve the trials of each stimulus at random, for neuroids with the same missing trials.

    Parameters
    ----------
    values : ndarray, shape (n_repetitions, n_stimuli, n_neuroids)
    n_splits, seed, equal_halves
        As for :func:`random_halves`.

    Raises
    ------
    ContractError
        If no halving is asked for.
    """
    check_halvings(n_splits)
    n_repetitions, n_stimuli, n_neuroids = values.shape
    keys = generator(seed, "split_half").random((n_splits, n_stimuli, n_repetitions))
    recorded = np.isfinite(values)
    for neuroids in same_recorded(recorded):
        there = recorded[:, :, neuroids[0]].T
        part = values if len(neuroids) == n_neuroids else values[:, :, neuroids]
        known = part if there.all() else np.where(there.T[:, :, None], part, 0.0)
        centre = known.sum(axis=(0, 1)) / max(int(there.sum()), 1)
        masks = _half_masks(keys, there, equal_halves)
        counts = masks[:, 0].sum(axis=2)
        shares = masks / np.maximum(counts, 1)[:, None, :, None]
        yield HalvedGroup(
            neuroids=neuroids,
            trials=np.where(there.T[:, :, None], known - centre, 0.0),
            centre=centre,
            weights=np.ascontiguousarray(shares.transpose(2, 0, 1, 3)),
            counts=np.stack([*counts, there.sum(axis=1)]).astype(np.int64),
        )


def check_halvings(n_splits: int) -> None:
    """Raise unless there is at least one random halving."""
    if n_splits < 1:
        raise ContractError(f"n_splits is {n_splits}, expected at least one random halving.")


def same_recorded(recorded: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Group neuroids whose missing trials are the same.

    Parameters
    ----------
    recorded : ndarray of bool, shape (n_repetitions, n_stimuli, n_neuroids)

    Returns
    -------
    list of ndarray of int
        Positions of neuroids.
    """
    n_neuroids = recorded.shape[2]
    if (recorded == recorded[:, :, :1]).all():
        return [np.arange(n_neuroids)]
    packed = np.packbits(recorded.reshape(-1, n_neuroids), axis=0)
    kinds = np.unique(packed, axis=1, return_inverse=True)[1].ravel()
    return [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


def _half_masks(keys: Floats, there: NDArray[np.bool_], equal: bool) -> Floats:
    """Choose by random keys which recorded trials form each half.

    Parameters
    ----------
    keys : ndarray, shape (n_splits, n_stimuli, n_repetitions)
    there : ndarray of bool, shape (n_stimuli, n_repetitions)
    equal : bool

    Returns
    -------
    ndarray, shape (2, n_splits, n_stimuli, n_repetitions)
        1 for members.
    """
    place = np.argsort(np.argsort(np.where(there, keys, np.inf), axis=2), axis=2)
    half = there.sum(axis=1)[:, None] // 2
    first = place < half
    second = (place < 2 * half) if equal else (there & (half > 0))
    return np.stack([first, second & ~first]).astype(np.float64)

"""How reliable recorded responses and dissimilarities are, from repetitions and subjects."""

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.comparison import Comparator, compare_rdms
from brainscore_lite.metrics.rdm import Dissimilarity, rdm
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

_FEWEST_STIMULI = 3


class NoReliabilityWarning(UserWarning):
    """A reliability is not positive, or could not be measured everywhere."""


def spearman_brown(r: ArrayLike) -> NDArray[np.float64]:
    """Correct the correlation between two halves to full length.

    c = 2 r / (1 + r)

    Parameters
    ----------
    r : array
        Correlation between halves of the repetitions.

    Returns
    -------
    ndarray
        Reliability of the average over all repetitions: the squared correlation with the
        noise-free response.

    References
    ----------
    Spearman (1910), doi:10.1111/j.2044-8295.1910.tb00206.x; Brown (1910),
    doi:10.1111/j.2044-8295.1910.tb00207.x.
    """
    half = np.asarray(r, dtype=np.float64)
    result: NDArray[np.float64] = 2 * half / (1 + half)
    return result


def split_half_reliability(
    trials: ArrayLike, *, n_splits: int = 10, seed: int = 0, equal_halves: bool = False
) -> NDArray[np.float64]:
    """Compute the reliability of each neuroid from random halves of each stimulus's repetitions.

    Each half is averaged for each stimulus; the Pearson correlation of both over stimuli is
    corrected by Spearman-Brown. An odd number of repetitions gives halves of n // 2 and
    n - n // 2 with the same correction, which falls short of the reliability of all n by little
    (0.003 for 7 repetitions of reliability 0.7).

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded; stimuli may differ in their number of repetitions.
    n_splits : int
        Random halvings.
    seed : int
    equal_halves : bool
        Leave out the odd repetition instead: then the reliability is that of an average of fewer
        trials (0.03 lower in the same case).

    Returns
    -------
    ndarray, shape (n_splits, n_neuroids)
        Not clamped. 0, with a warning, for a neuroid whose halves are constant.

    Raises
    ------
    ContractError
        If no stimulus, or fewer than 3, have two repetitions.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trials = rng.normal(size=(100, 2)) + rng.normal(size=(10, 100, 2))
    >>> split_half_reliability(trials).mean().round(1)
    np.float64(0.9)
    """
    halvings = _halvings(trials, n_splits=n_splits, seed=seed, equal_halves=equal_halves)
    correlations: list[NDArray[np.float64]] = []
    constant: list[NDArray[np.bool_]] = []
    for number, (first, second) in enumerate(halvings):
        usable = np.isfinite(first) & np.isfinite(second)
        if number == 0:
            _warn_unsplit(usable)
        r, undefined = _correlate_over_stimuli(first, second, usable)
        correlations.append(r)
        constant.append(undefined)
    _warn_constant(np.any(constant, axis=0))
    return spearman_brown(np.stack(correlations))


def rdm_split_half(
    trials: ArrayLike,
    *,
    n_splits: int = 10,
    seed: int = 0,
    dissimilarity: Dissimilarity = "correlation",
    comparison: Comparator = "spearman",
) -> NDArray[np.float64]:
    """Compare the dissimilarities from both halves of the repetitions; not corrected.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    n_splits : int
    seed : int
    dissimilarity : {"correlation", "euclidean"}
    comparison : {"spearman", "pearson", "kendall_tau_a", "cosine"}

    Returns
    -------
    ndarray, shape (n_splits,)

    Raises
    ------
    ContractError
        If a stimulus has a single repetition.
    """
    first, second = random_halves(trials, n_splits=n_splits, seed=seed)
    unsplit = ~(np.isfinite(first[0]) & np.isfinite(second[0])).all(axis=1)
    if unsplit.any():
        raise ContractError(
            f"{int(unsplit.sum())} of {unsplit.size} stimuli have a single repetition of some "
            "neuroid, so their dissimilarities cannot be halved. Leave those stimuli out."
        )
    similarity = [
        compare_rdms(rdm(a, method=dissimilarity), rdm(b, method=dissimilarity), method=comparison)
        for a, b in zip(first, second, strict=True)
    ]
    return np.asarray(similarity, dtype=np.float64)


def _checked_trials(trials: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(trials, dtype=np.float64)
    if values.ndim != 3:
        raise ContractError(
            f"trials have shape {values.shape}, expected (n_repetitions, n_stimuli, n_neuroids)."
        )
    if values.shape[0] < 2:
        raise ContractError(
            "trials have one repetition, expected at least two: reliability cannot be measured. "
            "Give the single trials along the first axis."
        )
    return values


def random_halves(
    trials: ArrayLike, *, n_splits: int = 10, seed: int = 0, equal_halves: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
    """
    halvings = _halvings(trials, n_splits=n_splits, seed=seed, equal_halves=equal_halves)
    first, second = zip(*halvings, strict=True)
    return np.stack(first), np.stack(second)


def _halvings(
    trials: ArrayLike, *, n_splits: int, seed: int, equal_halves: bool
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the two averages of each split, shape (n_stimuli, n_neuroids)."""
    values = _checked_trials(trials)
    n_repetitions, n_stimuli, n_neuroids = values.shape
    keys = generator(seed, "split_half").random((n_splits, n_stimuli, n_repetitions))
    recorded = np.isfinite(values)
    groups = []
    for neuroids in _same_recorded(recorded):
        there = recorded[:, :, neuroids[0]].T
        part = values if len(neuroids) == n_neuroids else values[:, :, neuroids]
        known = part if there.all() else np.where(there.T[:, :, None], part, 0.0)
        groups.append((neuroids, known, _half_masks(keys, there, equal_halves)))
    for split in range(n_splits):
        averages = np.empty((2, n_stimuli, n_neuroids))
        for neuroids, known, masks in groups:
            for half in range(2):
                counts = masks[half, split].sum(axis=1)
                weights = masks[half, split] / np.where(counts > 0, counts, np.nan)[:, None]
                averages[half][:, neuroids] = np.einsum("sr,rsn->sn", weights, known)
        yield averages[0], averages[1]


def _half_masks(
    keys: NDArray[np.float64], there: NDArray[np.bool_], equal: bool
) -> NDArray[np.float64]:
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


def _same_recorded(recorded: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Group neuroids whose missing trials are the same."""
    n_neuroids = recorded.shape[2]
    if (recorded == recorded[:, :, :1]).all():
        return [np.arange(n_neuroids)]
    packed = np.packbits(recorded.reshape(-1, n_neuroids), axis=0)
    kinds = np.unique(packed, axis=1, return_inverse=True)[1].ravel()
    return [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


def _warn_unsplit(usable: NDArray[np.bool_]) -> None:
    n_usable = usable.sum(axis=0)
    if n_usable.min() < _FEWEST_STIMULI:
        raise ContractError(
            f"neuroid {int(n_usable.argmin())} has {n_usable.min()} stimuli with at least two "
            f"repetitions, expected {_FEWEST_STIMULI} or more: reliability cannot be measured."
        )
    if not usable.all():
        warnings.warn(
            f"{int((~usable).sum())} of {usable.size} (stimulus, neuroid) cells have a single "
            "repetition; they are left out of the reliability.",
            NoReliabilityWarning,
            stacklevel=3,
        )


def _correlate_over_stimuli(
    first: NDArray[np.float64], second: NDArray[np.float64], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Correlate halves over usable stimuli; r, and where a half is constant; (n_neuroids,)."""
    whole = bool(usable.all())
    centred = []
    for half in (first, second):
        known = half if whole else np.where(usable, half, 0.0)
        deviation = known - known.sum(axis=0) / usable.sum(axis=0)
        centred.append(deviation if whole else np.where(usable, deviation, 0.0))
    a, b = centred
    product = np.einsum("sn,sn->n", a, b)
    norm = np.sqrt(np.einsum("sn,sn->n", a, a) * np.einsum("sn,sn->n", b, b))
    constant = norm == 0
    return np.where(constant, 0.0, product / np.where(constant, 1.0, norm)), constant


def _warn_constant(constant: NDArray[np.bool_]) -> None:
    if constant.any():
        warnings.warn(
            f"{int(constant.sum())} of {constant.size} neuroids respond alike to every stimulus "
            "in a half; their reliability counts as 0.",
            NoReliabilityWarning,
            stacklevel=3,
        )

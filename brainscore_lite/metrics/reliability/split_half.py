"""How reliable recorded responses and dissimilarities are, from halves of the repetitions.

Kernels on NumPy arrays.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.dissimilarities.comparison import Comparator, compare_rdms
from brainscore_lite.metrics.dissimilarities.dissimilarity import Dissimilarity
from brainscore_lite.metrics.dissimilarities.recorded_rdms import Noise
from brainscore_lite.metrics.reliability.repetition_halves import (
    Floats,
    HalvedGroup,
    checked_trials,
    halved_groups,
    random_halves,
    rdm_halves,
)
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

__all__ = [
    "Correction",
    "NoReliabilityWarning",
    "full_length_reliability",
    "random_halves",
    "rdm_split_half",
    "spearman_brown",
    "split_half_reliability",
    "split_half_resampled",
]

Correction = Literal["spearman_brown", "exact"]
_FEWEST_STIMULI = 3
ROUNDING = 64 * float(np.finfo(np.float64).eps)
_CHUNK_BYTES = 4 * 2**20


class NoReliabilityWarning(UserWarning):
    """A reliability is not positive, or could not be measured everywhere."""


def spearman_brown(r: ArrayLike) -> Floats:
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
    result: Floats = 2 * half / (1 + half)
    return result


def full_length_reliability(
    r: ArrayLike, *, n_first: ArrayLike, n_second: ArrayLike, n_full: ArrayLike | None = None
) -> Floats:
    """Correct the correlation between averages of unequal numbers of trials to full length.

    With s the signal variance in units of the noise variance of one trial, averages of n1 and n2
    trials correlate by r = s / sqrt((s + 1/n1)(s + 1/n2)). Solved for s,

        s = r (r (1/n1 + 1/n2) + sqrt(r^2 (1/n1 - 1/n2)^2 + 4 / (n1 n2))) / (2 (1 - r^2)),

    and the reliability of the average over n trials is c = s / (s + 1/n). With n1 = n2 = n/2 it
    is Spearman-Brown's 2 r / (1 + r).

    Parameters
    ----------
    r : array
        Correlation between the averages.
    n_first, n_second : array
        Trials of each; where stimuli differ in them, their harmonic mean over stimuli.
    n_full : array, optional
        Trials of the average asked about; ``n_first + n_second`` if not given.

    Returns
    -------
    ndarray

    Raises
    ------
    ContractError
        If a number of trials is not positive.

    Examples
    --------
    >>> float(full_length_reliability(0.5, n_first=2, n_second=2).round(3))
    0.667
    """
    first, second = np.asarray(n_first, dtype=np.float64), np.asarray(n_second, dtype=np.float64)
    full = first + second if n_full is None else np.asarray(n_full, dtype=np.float64)
    if not all((n > 0).all() for n in (first, second, full)):
        raise ContractError("numbers of trials must be positive.")
    half = np.asarray(r, dtype=np.float64)
    a, b = 1 / first, 1 / second
    signal = half * (half * (a + b) + np.sqrt((half * (a - b)) ** 2 + 4 * a * b))
    result: Floats = signal * full / (signal * full + 2 * (1 - half**2))
    return result


def split_half_reliability(
    trials: ArrayLike,
    *,
    n_splits: int = 10,
    seed: int = 0,
    equal_halves: bool = False,
    correction: Correction = "spearman_brown",
) -> Floats:
    """Compute the reliability of each neuroid from random halves of each stimulus's repetitions.

    Each half is averaged for each stimulus; the Pearson correlation of both over stimuli is
    corrected to full length. An odd number of repetitions gives halves of n // 2 and
    n - n // 2. Spearman-Brown's correction, which is that of equal halves, then falls short of
    the reliability of all n by little (0.003 for 7 repetitions of reliability 0.7).

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded; stimuli may differ in their number of repetitions.
    n_splits : int
        Random halvings.
    seed : int
    equal_halves : bool
        Leave out the odd repetition instead: then the reliability by Spearman-Brown is that of an
        average of fewer trials (0.03 lower in the same case).
    correction : {"spearman_brown", "exact"}
        ``exact`` takes the numbers of trials as they are (:func:`full_length_reliability`); the
        reliability is then that of the average over all recorded trials.

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
    check_correction(correction)
    values = checked_trials(trials)
    result = np.empty((n_splits, values.shape[2]))
    constant = np.empty(values.shape[2], dtype=bool)
    n_unsplit = 0
    for group in halved_groups(values, n_splits=n_splits, seed=seed, equal_halves=equal_halves):
        _check_usable(group)
        n_unsplit += int((~group.usable).sum()) * len(group.neuroids)
        r, undefined = _correlate_halves(group)
        constant[group.neuroids] = undefined.any(axis=0)
        lengths = _Lengths.of(group, np.ones((1, values.shape[1])))
        result[:, group.neuroids] = lengths.corrected(r, correction)
    _warn(n_unsplit, values[0].size, constant)
    return result


def split_half_resampled(
    trials: ArrayLike,
    weights: ArrayLike,
    *,
    n_splits: int = 10,
    seed: int = 0,
    correction: Correction = "spearman_brown",
) -> Floats:
    """Compute the mean reliability over random halvings with stimuli counted by weights.

    Correlations follow from weighted moments. Each draw also draws its halvings with replacement,
    so that the draws vary by what a mean over `n_splits` random halvings leaves to chance.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
    weights : array of int, shape (n_draws, n_stimuli)
        How often each stimulus is drawn.
    n_splits, seed, correction
        As for :func:`split_half_reliability`.

    Returns
    -------
    ndarray, shape (n_draws, n_neuroids)
        NaN where a draw leaves a neuroid's halves without variation.

    Raises
    ------
    ContractError
        As :func:`split_half_reliability`, or if weights have another shape.
    """
    check_correction(correction)
    values = checked_trials(trials)
    counts = check_weights(weights, values.shape[1])
    shares = halving_shares(len(counts), n_splits, seed)
    result = np.zeros((len(counts), values.shape[2]))
    for group in halved_groups(values, n_splits=n_splits, seed=seed):
        _check_usable(group)
        lengths = _Lengths.of(group, counts)
        w = counts[:, group.usable]
        w = w / np.maximum(w.sum(axis=1, keepdims=True), 1)
        for split in range(n_splits):
            a, b = (half[group.usable] for half in group.averages(split))
            moments = [w @ each for each in (a, b, a * a, b * b, a * b)]
            r, undefined = from_moments(moments, _smallest_variance(group))
            r = np.where(undefined, np.nan, r)
            result[:, group.neuroids] += shares[:, [split]] * lengths.corrected(r, correction)
    return result


def halving_shares(n_draws: int, n_splits: int, seed: int) -> Floats:
    """Draw halvings with replacement: the share of each in each draw, (n_draws, n_splits)."""
    draws = generator(seed, "split_half", "resampled")
    return draws.multinomial(n_splits, np.full(n_splits, 1 / n_splits), size=n_draws) / n_splits


def rdm_split_half(
    trials: ArrayLike,
    *,
    n_splits: int = 10,
    seed: int = 0,
    dissimilarity: Dissimilarity = "correlation",
    noise: Noise = "shrinkage_diag",
    comparison: Comparator = "spearman",
) -> Floats:
    """Compare the dissimilarities from both halves of the repetitions; not corrected.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    n_splits, seed : int
    dissimilarity, noise : str
        Of :func:`trial_dissimilarities`, from the trials of each half alone.
    comparison : str
        Of :func:`compare_rdms`.

    Returns
    -------
    ndarray, shape (n_splits,)

    Raises
    ------
    ContractError
        If a stimulus has fewer trials than :func:`fewest_trials`.
    """
    halves = rdm_halves(
        trials, n_splits=n_splits, seed=seed, dissimilarity=dissimilarity, noise=noise
    )
    similarity = [compare_rdms(a, b, method=comparison) for a, b in halves]
    return np.asarray(similarity, dtype=np.float64)


def check_correction(correction: str) -> None:
    """Raise if the name of a correction is unknown."""
    if correction not in get_args(Correction):
        raise ContractError(
            f"correction is {correction!r}, expected one of {get_args(Correction)}."
        )


@dataclass(frozen=True, eq=False)
class _Lengths:
    """Harmonic means of the numbers of trials over the drawn stimuli, each (n_draws, 1)."""

    first: Floats
    second: Floats
    full: Floats

    @classmethod
    def of(cls, group: HalvedGroup, counts: Floats) -> "_Lengths":
        usable = group.usable
        drawn, every = counts[:, usable], counts.sum(axis=1)
        n_drawn = np.maximum(drawn.sum(axis=1), 1)
        first, second = (
            n_drawn / np.maximum(drawn @ (1 / n[usable]), 1e-9) for n in group.counts[:2]
        )
        # The average that is predicted includes the stimuli with a single trial.
        full = every / (counts @ (1 / group.counts[2]))
        return cls(first[:, None], second[:, None], full[:, None])

    def corrected(self, r: Floats, correction: Correction) -> Floats:
        if correction == "spearman_brown":
            return spearman_brown(r)
        return full_length_reliability(
            r, n_first=self.first, n_second=self.second, n_full=self.full
        )


def _correlate_halves(group: HalvedGroup) -> tuple[Floats, NDArray[np.bool_]]:
    """Correlate halves over usable stimuli, all splits at once; each (n_splits, n_neuroids)."""
    n_stimuli, _, n_splits, n_repetitions = group.weights.shape
    n_neuroids = len(group.neuroids)
    weights = group.weights.reshape(n_stimuli, 2 * n_splits, n_repetitions)
    trials = group.trials.transpose(1, 0, 2)
    sums = np.zeros((5, n_splits, n_neuroids))
    size = max(1, _CHUNK_BYTES // (16 * n_splits * n_neuroids))
    for start in range(0, n_stimuli, size):
        some = slice(start, start + size)
        both = weights[some] @ trials[some]
        a, b = both[:, :n_splits], both[:, n_splits:]
        sums[0] += a.sum(axis=0)
        sums[1] += b.sum(axis=0)
        for row, (x, y) in enumerate(((a, a), (b, b), (a, b)), start=2):
            sums[row] += np.einsum("skn,skn->kn", x, y)
    return from_moments(list(sums / group.usable.sum()), _smallest_variance(group))


def _smallest_variance(group: HalvedGroup) -> Floats:
    """Return the variance that rounding alone may give to a half's averages; (n_neuroids,)."""
    size = np.abs(group.trials).max(axis=(0, 1)) + np.abs(group.centre)
    result: Floats = (ROUNDING * size) ** 2
    return result


def from_moments(moments: Sequence[Floats], smallest: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Correlate from the means of a, b, a^2, b^2 and a b; r, and where it is undefined."""
    mean_a, mean_b, aa, bb, ab = moments
    return normalised(ab - mean_a * mean_b, aa - mean_a**2, bb - mean_b**2, smallest)


def normalised(
    product: Floats, variance_a: Floats, variance_b: Floats, smallest: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Divide a covariance by both deviations; 0 where one is rounding, and where that is so."""
    undefined = (variance_a <= smallest) | (variance_b <= smallest)
    norm = np.sqrt(np.where(undefined, 1.0, variance_a) * np.where(undefined, 1.0, variance_b))
    return np.where(undefined, 0.0, product / norm), undefined


def _check_usable(group: HalvedGroup) -> None:
    n_usable = int(group.usable.sum())
    if n_usable < _FEWEST_STIMULI:
        raise ContractError(
            f"neuroid {int(group.neuroids[0])} has {n_usable} stimuli with at least two "
            f"repetitions, expected {_FEWEST_STIMULI} or more: reliability cannot be measured."
        )


def _warn(n_unsplit: int, n_cells: int, constant: NDArray[np.bool_]) -> None:
    if n_unsplit:
        warnings.warn(
            f"{n_unsplit} of {n_cells} (stimulus, neuroid) cells have a single "
            "repetition; they are left out of the reliability.",
            NoReliabilityWarning,
            stacklevel=3,
        )
    if constant.any():
        warnings.warn(
            f"{int(constant.sum())} of {constant.size} neuroids respond alike to every stimulus "
            "in a half; their reliability counts as 0.",
            NoReliabilityWarning,
            stacklevel=3,
        )

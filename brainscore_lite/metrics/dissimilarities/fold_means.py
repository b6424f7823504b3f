"""Averages of trials within folds, and products between folds that noise does not bias."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_array, as_float64, as_numpy, like, rows
from brainscore_lite.schema import ContractError


@dataclass(frozen=True, eq=False)
class FoldMeans:
    """Each stimulus's mean response in each fold, and the number of trials behind it.

    Parameters
    ----------
    means : tuple of array, each of shape (n_stimuli, n_units)
        One for each fold; 0 where the fold has no trial.
    counts : ndarray, shape (n_folds, n_stimuli, n_units) or (n_folds, n_stimuli, 1)
        Trials in each mean; the last axis has one entry where units share their trials.
    """

    means: tuple[Array, ...]
    counts: NDArray[np.float64]

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.means[0].shape[1])

    @property
    def whole_trials(self) -> bool:
        """Whether each trial holds all units or none."""
        return bool(self.counts.shape[2] == 1)

    def mapped(self, change: Callable[[Array], Array]) -> "FoldMeans":
        """Return the same folds with each mean changed."""
        return FoldMeans(tuple(change(mean) for mean in self.means), self.counts)

    def centred(self) -> "FoldMeans":
        """Subtract the mean pattern: the mean over stimuli of the mean over a stimulus's trials.

        In balanced designs this changes no dissimilarity, but rounding. In others a pattern common
        to all stimuli would add noise, as the two stimuli of a pair weigh the folds differently.
        Every trial of a stimulus weighs the same in the mean pattern, so its noise cancels in
        expectation and the dissimilarities stay unbiased.
        """
        total = _total(_sums(self, self.counts, None))
        pattern = total / like(self.counts.sum(axis=0), total)
        pattern = array_namespace(pattern).mean(pattern, axis=0, keepdims=True)
        return self.mapped(lambda mean: mean - pattern)


def fold_means(trials: Array, folds: ArrayLike | None = None) -> FoldMeans:
    """Average trials within folds.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_units)
        NaN where a trial was not recorded.
    folds : sequence of labels, shape (n_repetitions,), optional
        Repetitions with the same label form a fold (a session, a run, a half); by default each
        repetition is one.

    Returns
    -------
    FoldMeans

    Raises
    ------
    ContractError
        If there are fewer than two folds, values are infinite, or a stimulus was recorded in one
        fold only.
    """
    values = as_array(trials)
    members = _members(values, folds)
    xp = array_namespace(values)
    means, counts = [], []
    for fold in members:
        part = as_float64(rows(values, fold))
        if bool(xp.any(xp.isinf(part))):
            raise ContractError("trials hold infinite values. Mark trials not recorded as NaN.")
        recorded = ~xp.isnan(part)
        count = xp.sum(as_float64(recorded), axis=0)
        total = xp.sum(xp.where(recorded, part, xp.zeros_like(part)), axis=0)
        means.append(total / xp.where(count > 0, count, xp.ones_like(count)))
        counts.append(as_numpy(count))
    n_trials = np.stack(counts)
    _refuse_single_fold(n_trials)
    if (n_trials == n_trials[:, :, :1]).all():
        n_trials = n_trials[:, :, :1]
    return FoldMeans(tuple(means), n_trials)


def mean_fold_products(first: FoldMeans, second: FoldMeans) -> Array:
    """Average the products of two stimuli's responses over all pairs of trials of different folds.

    With a_if the mean and n_if the number of trials of stimulus i in fold f:

    K_ij = 1 / n_units sum_u [ (sum_f n_if a_if) (sum_g n_jg b_jg) - sum_f n_if n_jf a_if b_jf ]
                           / [ (sum_f n_if) (sum_g n_jg) - sum_f n_if n_jf ]

    Noise that is independent between folds leaves its expectation alone. Numerator and
    denominator are Gram matrices: one of the sums and one for each fold, for each set of units
    that share their trials.

    Parameters
    ----------
    first, second : FoldMeans
        Of the same trials; a and b.

    Returns
    -------
    array, shape (n_stimuli, n_stimuli)
    """
    products: Array | None = None
    for units, counts in _shared_trials(first.counts):
        a = _sums(first, counts[:, :, None], units)
        b = a if second is first else _sums(second, counts[:, :, None], units)
        total = _total(a)
        part = total @ (total if b is a else _total(b)).T
        stacked = array_namespace(total).concat(a, axis=1)
        part -= stacked @ (stacked if b is a else array_namespace(total).concat(b, axis=1)).T
        part /= pairs_of_trials(counts, like_array=part) * first.n_units
        products = part if products is None else products + part
    return products


def pairs_of_trials(counts: NDArray[np.float64], *, like_array: Array) -> Array:
    """Count the pairs of trials of different folds of each two stimuli.

    Parameters
    ----------
    counts : ndarray, shape (n_folds, n_stimuli)
    like_array : array
        Of the library that the result is to have.

    Returns
    -------
    array, shape (n_stimuli, n_stimuli), or (1, 1) where all stimuli have the same counts
    """
    if (counts == counts[:, :1]).all():
        counts = counts[:, :1]
    total = counts.sum(axis=0)
    return like(np.outer(total, total) - counts.T @ counts, like_array)


def _shared_trials(
    counts: NDArray[np.float64],
) -> Iterator[tuple[NDArray[np.int64] | None, NDArray[np.float64]]]:
    """Yield sets of units that share their trials (None for all), and their counts.

    Yields
    ------
    units : ndarray of int, or None
    counts : ndarray, shape (n_folds, n_stimuli)
    """
    if counts.shape[2] == 1:
        yield None, counts[:, :, 0]
        return
    kinds, kind_of = np.unique(counts.reshape(-1, counts.shape[2]), axis=1, return_inverse=True)
    for kind in range(kinds.shape[1]):
        yield np.flatnonzero(kind_of.ravel() == kind), kinds[:, kind].reshape(counts.shape[:2])


def _sums(
    folds: FoldMeans, counts: NDArray[np.float64], units: NDArray[np.int64] | None
) -> list[Array]:
    """Return each fold's sum over trials of some units; `counts` as in :class:`FoldMeans`."""
    sums = []
    for mean, count in zip(folds.means, counts, strict=True):
        xp = array_namespace(mean)
        part = mean if units is None else xp.take(mean, like(units, mean), axis=1)
        sums.append(part * like(count, part))
    return sums


def _total(sums: list[Array]) -> Array:
    total = sums[0]
    for one in sums[1:]:
        total = total + one
    return total


def _members(values: Array, folds: ArrayLike | None) -> list[NDArray[np.int64]]:
    if values.ndim != 3 or 0 in values.shape:
        raise ContractError(
            f"trials have shape {tuple(values.shape)}, expected (n_repetitions, n_stimuli, "
            "n_units) with at least one of each: a cross-validated dissimilarity is computed from "
            "single trials, or from one mean for each fold."
        )
    if not array_namespace(values).isdtype(values.dtype, ("real floating", "integral", "bool")):
        raise ContractError(f"trials are {values.dtype}, expected real numbers.")
    if values.shape[1] < 2:
        raise ContractError("one stimulus, expected at least two for a dissimilarity.")
    labels = np.arange(values.shape[0]) if folds is None else np.asarray(folds)
    if labels.shape != (values.shape[0],):
        raise ContractError(
            f"folds has shape {labels.shape}, expected one label for each of the "
            f"{values.shape[0]} repetitions."
        )
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ContractError(
            f"{len(names)} fold, expected at least two: cross-validation multiplies responses of "
            "different folds. Give the repetitions along the first axis, or more labels in folds."
        )
    return [np.flatnonzero(codes == code) for code in range(len(names))]


def _refuse_single_fold(counts: NDArray[np.float64]) -> None:
    single = (counts > 0).sum(axis=0) < 2
    if single.any():
        stimulus, unit = np.argwhere(single)[0]
        raise ContractError(
            f"{int(single.any(axis=1).sum())} of {len(single)} stimuli have trials of some unit in "
            f"fewer than two folds (first: stimulus {stimulus}, unit {unit}), so they cannot be "
            "cross-validated. Leave those stimuli or units out, or form other folds."
        )


def check_same_units(folds: FoldMeans, *, why: str) -> None:
    """Raise unless each trial holds all units or none.

    Raises
    ------
    ContractError
        Saying which unit is missing where, and `why` that matters.
    """
    if folds.whole_trials:
        return
    fold, stimulus, unit = np.argwhere(folds.counts != folds.counts[:, :, :1])[0]
    raise ContractError(
        f"some trials hold some units only (first: fold {fold}, stimulus {stimulus}, unit {unit}): "
        f"{why}. Leave out those trials or units, or use a diagonal precision."
    )

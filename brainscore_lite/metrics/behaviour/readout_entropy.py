"""Reaction times from the entropy of a readout: a network answers once it is sure (NumPy only)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.schema import ContractError

Matrix = NDArray[np.float64]
_NO_VARIANCE = 1e-12


def readout_entropy(logits: ArrayLike, *, cumulative: bool = False) -> Matrix:
    """Compute the entropy of the readout of each image at each step.

    H_t = - sum_c p_tc log p_tc in nats, p_t = softmax(z_t); cumulative: p_t = softmax of the sum of
    z up to t.

    Parameters
    ----------
    logits : array, shape (n_stimuli, n_classes, n_steps)
        z; NaN at the steps that no signal has reached, for all images and classes.
    cumulative : bool
        Whether evidence is summed over steps, before the softmax. Blank steps add none.

    Returns
    -------
    ndarray, shape (n_stimuli, n_steps)
        From 0 to log(n_classes); NaN at blank steps.

    Raises
    ------
    ContractError
        If the shape is another, there are fewer than two classes, or single values are missing.

    References
    ----------
    Spoerer, Kietzmann, Mehrer, Charest & Kriegeskorte (2020), doi:10.1371/journal.pcbi.1008215.

    Examples
    --------
    >>> z = np.array([[[0.0, 0.0], [0.0, 50.0]]])
    >>> readout_entropy(z).round(3).tolist()
    [[0.693, 0.0]]
    """
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 3 or 0 in z.shape or z.shape[1] < 2:
        raise ContractError(
            f"logits have shape {z.shape}, expected (n_stimuli, n_classes, n_steps) with at least "
            "two classes."
        )
    blank = np.isnan(z).all(axis=(0, 1))
    if not np.isfinite(z[..., ~blank]).all():
        raise ContractError(
            "logits hold NaN or inf at steps that are not blank. Only steps that no signal has "
            "reached may be NaN, for all images and classes."
        )
    if cumulative:
        z = np.where(blank, np.nan, np.where(blank, 0.0, z).cumsum(axis=2))
    shifted = z - z.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=1)
    result: Matrix = np.log(total) - (weights * shifted).sum(axis=1) / total
    return result


def entropy_reaction_times(
    entropy: ArrayLike, threshold: float, *, times: ArrayLike | None = None
) -> Matrix:
    """Find when the entropy of each image's readout first falls to a threshold.

    RT = min {t : H_t <= threshold}, and the last step where there is none.

    Parameters
    ----------
    entropy : array, shape (n_stimuli, n_steps)
        NaN at blank steps, which answer nothing.
    threshold : float
        In nats.
    times : array, shape (n_steps,), optional
        Ascending; 1, 2, ... if not given.

    Returns
    -------
    ndarray, shape (n_stimuli,)
        ``entropy.min(axis=1) > threshold`` marks the images that never get there.

    Raises
    ------
    ContractError
        If shapes disagree, times do not ascend, or no step has an entropy.
    """
    lowest, when = _lowest_so_far(entropy, times)
    reached = lowest <= threshold
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), len(when) - 1)
    return np.asarray(when[first])


def fit_entropy_threshold(
    entropy: ArrayLike,
    reaction_times: ArrayLike,
    *,
    times: ArrayLike | None = None,
    conditions: ArrayLike | None = None,
) -> tuple[float, float]:
    """Choose the threshold whose reaction times correlate best with given ones.

    Every threshold that makes a difference is tried: between two neighbouring values of the
    lowest entropy so far no reaction time changes. Sums over images are updated from one to the
    next, so that all of them cost one sort.

    Parameters
    ----------
    entropy : array, shape (n_stimuli, n_steps)
    reaction_times : array, shape (n_stimuli,) or (n_conditions,)
        For example people's means.
    times : array, shape (n_steps,), optional
    conditions : array of int, shape (n_stimuli,), optional
        The position of each image's condition in `reaction_times`: those of the network are then
        averaged within conditions.

    Returns
    -------
    threshold : float
        In nats; the lowest of equally good ones.
    r : float
        Pearson's, over these images or conditions: it is fitted, so test it on others.

    Raises
    ------
    ContractError
        As :func:`entropy_reaction_times`; if a reaction time is missing or all are the same, a
        condition has no image, or no threshold tells any two images apart.
    """
    lowest, when = _lowest_so_far(entropy, times)
    owner = np.arange(len(lowest)) if conditions is None else np.asarray(conditions)
    y = np.asarray(reaction_times, dtype=np.float64)
    if owner.shape != (len(lowest),) or not np.array_equal(np.unique(owner), np.arange(y.size)):
        raise ContractError(
            f"reaction_times have shape {y.shape}, expected one for each of {len(lowest)} images, "
            "or for each condition, with positions from 0 that all occur."
        )
    if y.ndim != 1 or not np.isfinite(y).all():
        raise ContractError("reaction_times are not one row of finite numbers. Leave NaN out.")
    thresholds, correlations = _all_thresholds(lowest, y - y.mean(), when - when[-1], owner)
    if not np.isfinite(correlations).any():
        raise ContractError(
            "no threshold of the entropy tells any two images apart by their reaction times, or "
            "all the reaction times to be fitted are the same: nothing can be correlated."
        )
    best = int(np.nanargmax(correlations))
    return float(thresholds[best]), float(correlations[best])


def mean_by_condition(reaction_times: ArrayLike, conditions: ArrayLike) -> Matrix:
    """Average reaction times within conditions.

    Parameters
    ----------
    reaction_times : array, shape (n_stimuli,)
    conditions : array of int, shape (n_stimuli,)
        Positions from 0, all of which occur.

    Returns
    -------
    ndarray, shape (n_conditions,)
    """
    owner = np.asarray(conditions)
    total = np.bincount(owner, weights=np.asarray(reaction_times, dtype=np.float64))
    return np.asarray(total / np.bincount(owner))


def _all_thresholds(
    lowest: Matrix, y: Matrix, when: Matrix, owner: NDArray[np.int64]
) -> tuple[Matrix, Matrix]:
    """Correlate for every threshold, lowest first; `y` is centred, the last of `when` is 0.

    Images start at the last time. As the threshold rises past the lowest entropy that image i has
    had up to step t, its reaction time falls from that of step t + 1 to that of step t, and the
    mean m of its condition by that fall over the number of images, d: the sum of squares of the
    means then changes by (2 m + d) d.
    """
    n, n_steps = lowest.shape[0], lowest.shape[1] - 1
    event = lowest[:, :-1].ravel()
    step = np.tile(np.arange(n_steps), n)
    order = np.lexsort((-step, event))
    order = order[np.isfinite(event[order])]
    step, condition = step[order], owner[order // max(n_steps, 1)]
    change = (when[step] - when[step + 1]) / np.bincount(owner)[condition]
    before = _sum_before(change, condition)
    total, products = np.cumsum(change), np.cumsum(change * y[condition])
    variance = np.cumsum((2 * before + change) * change) - total**2 / len(y)
    defined = variance > _NO_VARIANCE * len(y) * float(np.abs(when).max()) ** 2
    defined &= bool(np.ptp(y) > 0)
    norm = np.sqrt(np.where(defined, variance, 1.0) * max(float(y @ y), np.finfo(float).tiny))
    r = np.where(defined, products / norm, np.nan)
    thresholds = event[order]
    last_of_equals = np.append(np.diff(thresholds) > 0, [True] * bool(len(thresholds)))
    return thresholds[last_of_equals], r[last_of_equals]


def _sum_before(change: Matrix, condition: NDArray[np.int64]) -> Matrix:
    """Return the sum of the earlier changes of the same condition, for each change."""
    by_condition = np.argsort(condition, kind="stable")
    running = np.cumsum(change[by_condition]) - change[by_condition]
    starts = np.flatnonzero(np.diff(condition[by_condition], prepend=-1))
    lengths = np.diff(np.append(starts, len(change)))
    result = np.empty_like(change)
    result[by_condition] = running - np.repeat(running[starts], lengths)
    return result


def _lowest_so_far(entropy: ArrayLike, times: ArrayLike | None) -> tuple[Matrix, Matrix]:
    """Return the lowest entropy up to each step (inf before there is one), and the times."""
    h = np.asarray(entropy, dtype=np.float64)
    if h.ndim != 2 or 0 in h.shape:
        raise ContractError(f"entropy has shape {h.shape}, expected (n_stimuli, n_steps).")
    when = np.arange(1.0, h.shape[1] + 1) if times is None else np.asarray(times, dtype=np.float64)
    if when.shape != h.shape[1:] or not np.isfinite(when).all() or (np.diff(when) <= 0).any():
        raise ContractError(
            f"times have shape {when.shape}, expected {h.shape[1]} finite ones that ascend."
        )
    if np.isnan(h).all():
        raise ContractError("no step has an entropy: no signal has reached the readout.")
    return np.minimum.accumulate(np.where(np.isnan(h), np.inf, h), axis=1), when

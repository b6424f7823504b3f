"""Error consistency: whether two observers err on the same stimuli, beyond their accuracies.

NumPy only.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Over = Literal["stimulus", "subject", "both"]
_CERTAIN = 1 - 1e-12
_ENTRIES_AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class ErrorConsistency:
    """Agreement of each observer of one group with each of another.

    Parameters
    ----------
    kappa : ndarray, shape ([n_draws,] n_first, n_second)
        NaN where `expected` is 1 (both always right or both always wrong: nothing is left to
        agree about) and where two observers share no stimulus.
    observed, expected : ndarray, same shape
        Fraction of shared stimuli on which both are right or both wrong; what independent
        observers of these accuracies would reach.
    n_stimuli : ndarray, same shape
        Shared stimuli.
    """

    kappa: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    n_stimuli: NDArray[np.float64]


def error_consistency(
    first: ArrayLike, second: ArrayLike, *, weights: ArrayLike | None = None
) -> ErrorConsistency:
    """Measure how consistently observers are right and wrong on the same stimuli.

    kappa = (c_obs - c_exp) / (1 - c_exp), c_exp = p1 p2 + (1 - p1)(1 - p2),

    with p the accuracies and c_obs the fraction of stimuli on which both are right or both wrong,
    over the stimuli that both have seen.

    Parameters
    ----------
    first : array, shape (n_stimuli,) or (n_first, n_stimuli)
        1 or True where the observer is right, 0 where wrong, NaN where the stimulus was not shown.
    second : array, shape (n_stimuli,) or (n_second, n_stimuli)
    weights : array of int, shape (n_draws, n_stimuli), optional
        How often each stimulus counts.

    Returns
    -------
    ErrorConsistency
        Shapes (n_first, n_second), or (n_draws, n_first, n_second) with weights.

    Raises
    ------
    ContractError
        If shapes disagree or values are not 0, 1 or NaN.

    References
    ----------
    Geirhos, Meding & Wichmann (2020), doi:10.48550/arXiv.2006.16736. Cohen (1960),
    doi:10.1177/001316446002000104.

    Examples
    --------
    >>> float(error_consistency([1, 1, 0, 0], [1, 0, 1, 0]).kappa)
    0.0
    """
    a, b = as_correct(first, name="first"), as_correct(second, name="second")
    if a.shape[1] != b.shape[1]:
        raise ContractError(
            f"first has {a.shape[1]} stimuli and second {b.shape[1]}; expected the same, in the "
            "same order."
        )
    seen_a, seen_b = ~np.isnan(a), ~np.isnan(b)
    right_a, right_b = np.nan_to_num(a), np.nan_to_num(b)
    wrong_a, wrong_b = seen_a - right_a, seen_b - right_b
    counts = np.ones((1, a.shape[1])) if weights is None else check_weights(weights, a.shape[1])
    n = _shared(seen_a, seen_b, counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (_shared(right_a, right_b, counts) + _shared(wrong_a, wrong_b, counts)) / n
        p_a = _shared(right_a, seen_b, counts) / n
        p_b = _shared(seen_a, right_b, counts) / n
        expected = p_a * p_b + (1 - p_a) * (1 - p_b)
        kappa = np.where(expected < _CERTAIN, (observed - expected) / (1 - expected), np.nan)
    parts = (kappa, observed, expected, n)
    n_axes = np.ndim(first), np.ndim(second)
    keep = (
        slice(None) if weights is not None else 0,
        *(slice(None) if k == 2 else 0 for k in n_axes),
    )
    return ErrorConsistency(*(part[keep] for part in parts))


def mean_over_pairs(
    kappa: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average kappa over the pairs of observers for which it is defined.

    Parameters
    ----------
    kappa : ndarray, shape (n_draws or 1, n_first, n_second)
    first : ndarray, shape (n_draws or 1, n_first)
        How often each observer counts.
    second : ndarray, shape (n_draws or 1, n_second)

    Returns
    -------
    ndarray, shape (n_draws,)
        NaN where no pair is defined.
    """
    defined = ~np.isnan(kappa)
    weight = first[:, :, None] * second[:, None, :] * defined
    total = weight.sum(axis=(1, 2))
    mean = (weight * np.where(defined, kappa, 0.0)).sum(axis=(1, 2)) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.nan)


def among(correct: ArrayLike, *, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return kappa of every pair of different observers of one group.

    Parameters
    ----------
    correct : array, shape (n_subjects, n_stimuli)
    weights : array of int, shape (n_draws, n_stimuli), optional

    Returns
    -------
    ndarray, shape ([n_draws,] n_subjects, n_subjects)
        NaN on the diagonal.
    """
    kappa = error_consistency(correct, correct, weights=weights).kappa
    if kappa.ndim < 2 or kappa.shape[-1] < 2:
        raise ContractError(
            f"people's agreement needs at least two subjects; correct has shape {np.shape(correct)}"
        )
    themselves = np.eye(kappa.shape[-1], dtype=bool)
    return np.where(themselves, np.nan, kappa)


@dataclass(frozen=True, eq=False)
class ConsistencyDraws:
    """Bootstrap draws of the mean kappas, from the same stimuli and subjects.

    Parameters
    ----------
    model : ndarray, shape (n_draws,)
        Mean over subjects of the model's kappa with each.
    humans : ndarray, shape (n_draws,)
        Mean over pairs of different subjects.
    over : str
        What was drawn.
    """

    model: NDArray[np.float64]
    humans: NDArray[np.float64]
    over: Over


def consistency_draws(
    model: ArrayLike, humans: ArrayLike, *, over: Over, n_draws: int = 1000, seed: int = 0
) -> ConsistencyDraws:
    """Draw stimuli, subjects or both with replacement, and average kappa in each draw.

    A subject that is drawn twice counts twice against all others, never against itself.

    Parameters
    ----------
    model : array, shape (n_stimuli,)
        Right (1) or wrong (0), NaN where not shown.
    humans : array, shape (n_subjects, n_stimuli)
    over : {"stimulus", "subject", "both"}
    n_draws : int
    seed : int

    Returns
    -------
    ConsistencyDraws
        A draw is NaN where no pair is defined.

    Raises
    ------
    ContractError
        If a setting or a shape is wrong.
    """
    if over not in get_args(Over) or n_draws < 1:
        raise ContractError(
            f"over is {over!r} and n_draws {n_draws}; expected one of {get_args(Over)} and at "
            "least 1."
        )
    people, own = as_correct(humans, name="humans"), as_correct(model, name="model")
    n_subjects, n_stimuli = people.shape
    stimuli, subjects = np.ones((1, n_stimuli)), np.ones((n_draws, n_subjects))
    if over != "subject":
        stimuli = _multinomial(n_stimuli, n_draws, generator(seed, "consistency", "stimuli"))
    if over != "stimulus":
        subjects = _multinomial(n_subjects, n_draws, generator(seed, "consistency", "subjects"))
    block = max(1, _ENTRIES_AT_ONCE // (n_subjects * max(n_subjects, n_stimuli)))
    mean_model, mean_humans = [], []
    for start in range(0, n_draws, block):
        counts = stimuli if over == "subject" else stimuli[start : start + block]
        drawn = subjects[start : start + block]
        with_model = error_consistency(own, people, weights=counts).kappa
        mean_model.append(mean_over_pairs(with_model, np.ones((1, 1)), drawn))
        mean_humans.append(mean_over_pairs(among(people, weights=counts), drawn, drawn))
    return ConsistencyDraws(np.concatenate(mean_model), np.concatenate(mean_humans), over)


def as_correct(values: ArrayLike, *, name: str) -> NDArray[np.float64]:
    """Check what an observer got right, and return it with one row for each observer.

    Parameters
    ----------
    values : array of bool, int or float, shape (n_stimuli,) or (n_observers, n_stimuli)
        0, 1 or NaN.

    Returns
    -------
    ndarray, shape (n_observers, n_stimuli)

    Raises
    ------
    ContractError
        If it is empty, has other values, or an observer saw nothing.
    """
    correct = np.asarray(values)
    if correct.dtype.kind not in "biuf" or correct.ndim not in (1, 2) or 0 in correct.shape:
        raise ContractError(
            f"{name}: got {correct.dtype} of shape {correct.shape}, expected numbers of shape "
            "(n_stimuli,) or (n_observers, n_stimuli)."
        )
    correct = np.atleast_2d(correct.astype(np.float64))
    strange = ~(np.isnan(correct) | (correct == 0) | (correct == 1))
    if strange.any():
        raise ContractError(
            f"{name}: {int(strange.sum())} values are neither 0, 1 nor NaN; first: "
            f"{correct[strange][0]:g}. Give whether each answer is right, not the answer."
        )
    blind = np.isnan(correct).all(axis=1)
    if blind.any():
        raise ContractError(
            f"{name}: {int(blind.sum())} observers have seen no stimulus; first: observer "
            f"{int(np.argmax(blind))}. Leave them out."
        )
    return correct


def _shared(
    a: NDArray[np.float64], b: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return sum_s counts[draw, s] a[i, s] b[j, s], shape (n_draws, n_first, n_second)."""
    weighted = counts[:, None, :] * a[None]
    result: NDArray[np.float64] = weighted @ b.T.astype(np.float64)
    return result


def _multinomial(n: int, n_draws: int, random: np.random.Generator) -> NDArray[np.float64]:
    return random.multinomial(n, np.full(n, 1 / n), n_draws).astype(np.float64)

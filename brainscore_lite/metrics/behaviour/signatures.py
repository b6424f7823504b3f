"""Which images are confused with what: behavioural signatures of people and models (NumPy only).

A signature is a matrix of d' over images and distractors (Rajalingham et al. 2018), or its mean
over distractors:

====  ============================================  =======================
name  shape                                         the object's mean taken off
====  ============================================  =======================
i1    (n_stimuli,)                                  no
i1n   (n_stimuli,)                                  yes
i2    (n_stimuli, n_choices)                        no
i2n   (n_stimuli, n_choices)                        yes
====  ============================================  =======================
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from brainscore_lite.metrics.arrays import Array, as_matrix, as_numpy
from brainscore_lite.metrics.correlation import pearson_columns, weighted_pearson_columns
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError

Signature = Literal["i1", "i1n", "i2", "i2n"]
Matrix: TypeAlias = NDArray[np.float64]
Names: TypeAlias = NDArray[np.str_]

LARGEST_DPRIME = 5.0
MIN_ENTRIES = 3
"""Fewest shared entries of a correlation: over two it is always 1 or -1."""


def confusion_rates(probabilities: Array, *, truth: ArrayLike, choices: ArrayLike) -> Matrix:
    """Return how often a distractor would be chosen if only it and the true object were offered.

    f(i, d) = p_d / (p_d + p_truth(i))

    Parameters
    ----------
    probabilities : array, shape (n_stimuli, n_choices)
        Of each choice, at least 0.
    truth : sequence of labels, length n_stimuli
        The object on each image; each is one of `choices`.
    choices : sequence of labels, length n_choices

    Returns
    -------
    ndarray, shape (n_stimuli, n_choices)
        NaN for the true object, and where both probabilities are 0.

    Raises
    ------
    ContractError
        If shapes or labels disagree, or a probability is negative or not finite.
    """
    p = as_numpy(as_matrix(probabilities, name="probabilities", units="choice"))
    if p.min() < 0:
        raise ContractError(
            f"probabilities reach down to {p.min():.3g}, expected at least 0. Give the softmax, "
            "not the logits."
        )
    of_truth = _true_choice(truth, choices, p.shape)
    with np.errstate(invalid="ignore"):
        rates: Matrix = p / (p + np.take_along_axis(p, of_truth[:, None], axis=1))
    np.put_along_axis(rates, of_truth[:, None], np.nan, axis=1)
    return rates


def response_rates(
    stimulus: ArrayLike,
    choice: ArrayLike,
    *,
    truth: ArrayLike,
    distractor: ArrayLike,
    stimuli: ArrayLike,
    choices: ArrayLike,
) -> Matrix:
    """Count how often people chose a distractor that was offered beside the true object.

    f(i, d) = (trials of image i on which d was chosen) / (trials of image i that offered d)

    Parameters
    ----------
    stimulus, choice, truth, distractor : sequence of labels, length n_trials
        The image, the answer and the two objects offered on each trial.
    stimuli, choices : sequence of labels
        What rows and columns stand for.

    Returns
    -------
    ndarray, shape (n_stimuli, n_choices)
        NaN for the true object and for what was never offered with that image.

    Raises
    ------
    ContractError
        If lengths disagree, a label is unknown, the answer was not offered, the two objects offered
        are one, or an image has several true objects.
    """
    codes = coded_trials(
        {"stimulus": stimulus, "choice": choice, "truth": truth, "distractor": distractor},
        stimuli=stimuli,
        choices=choices,
    )
    return counted_rates(codes, shape=(len(np.asarray(stimuli)), len(np.asarray(choices))))


def coded_trials(
    named: Mapping[str, ArrayLike], *, stimuli: ArrayLike, choices: ArrayLike
) -> NDArray[np.int64]:
    """Check trials and number their labels.

    Parameters
    ----------
    named : mapping
        ``stimulus``, ``choice``, ``truth``, ``distractor``, each a label for each trial.
    stimuli, choices : sequence of labels

    Returns
    -------
    ndarray, shape (4, n_trials)
        The position of each trial's image among the stimuli, and of its answer, true object and
        distractor among the choices.

    Raises
    ------
    ContractError
        As of :func:`response_rates`.
    """
    lengths = {name: np.shape(values) for name, values in named.items()}
    if len(set(lengths.values())) != 1 or len(lengths["stimulus"]) != 1:
        raise ContractError(f"trials have shapes {lengths}, expected one entry for each trial.")
    if lengths["stimulus"] == (0,):
        raise ContractError("there are no trials; expected at least one.")
    image = _positions(named["stimulus"], stimuli, "stimulus")
    answer, right, wrong = (
        _positions(named[name], choices, name) for name in ("choice", "truth", "distractor")
    )
    no_choice = np.flatnonzero(right == wrong)
    if no_choice.size:
        raise ContractError(
            f"{no_choice.size} of {len(answer)} trials offer the true object as its own "
            f"distractor; first: trial {no_choice[0]}. Leave those trials out."
        )
    not_offered = np.flatnonzero((answer != right) & (answer != wrong))
    if not_offered.size:
        raise ContractError(
            f"{not_offered.size} of {len(answer)} trials have an answer that was not offered; "
            f"first: trial {not_offered[0]}. Leave those trials out."
        )
    _, first, which = np.unique(image, return_index=True, return_inverse=True)
    several = np.unique(image[right != right[first][which]])
    if several.size:
        raise ContractError(
            f"{several.size} images have several true objects; first: "
            f"'{np.asarray(stimuli)[several[0]]}'. Each image shows one."
        )
    return np.stack([image, answer, right, wrong])


def counted_rates(codes: NDArray[np.int64], *, shape: tuple[int, int]) -> Matrix:
    """Return the response rates of numbered trials; see :func:`response_rates`."""
    image, answer, right, wrong = codes
    chosen, offered = np.zeros(shape), np.zeros(shape)
    np.add.at(chosen, (image, answer), 1)
    np.add.at(offered, (image, wrong), 1)
    chosen[image, right] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(offered > 0, chosen / offered, np.nan)


def behavioural_signature(
    rates: Matrix,
    *,
    truth: ArrayLike,
    choices: ArrayLike,
    signature: Signature = "i2n",
    largest: float = LARGEST_DPRIME,
) -> Matrix:
    """Turn confusion rates into d'.

    d'(i, d) = z(1 - f(i, d)) - z(mean over images j of object d of f(j, truth(i)))

    with z the inverse of the normal distribution function, clipped to +- `largest`. The normalised
    signatures subtract, for each object and distractor, the mean over the images of that object:
    what is left tells images of one object apart.

    Parameters
    ----------
    rates : ndarray, shape (n_stimuli, n_choices)
        From :func:`confusion_rates` or :func:`response_rates`.
    truth : sequence of labels, length n_stimuli
    choices : sequence of labels, length n_choices
    signature : {"i1", "i1n", "i2", "i2n"}
    largest : float
        Largest |d'|, before the normalisation.

    Returns
    -------
    ndarray, shape (n_stimuli, n_choices) or (n_stimuli,)
        NaN where the rate is NaN, where no image of the distractor has a rate, and where
        both z are infinite with the same sign (never chosen on this image, always in return: no
        finite d' is between them). i1 skips these entries; it is NaN where an image has no other.

    Raises
    ------
    ContractError
        If shapes, labels or settings are wrong, or a rate is outside [0, 1].

    References
    ----------
    Rajalingham, Issa, Bashivan, Kar, Schmidt & DiCarlo (2018),
    doi:10.1523/JNEUROSCI.0388-18.2018; as in Brain-Score, false alarms are averaged within an
    object.
    """
    check_signature(signature)
    f = np.asarray(rates, dtype=np.float64)
    if f.ndim != 2 or 0 in f.shape:
        raise ContractError(f"rates have shape {f.shape}, expected (n_stimuli, n_choices).")
    if np.nanmin(f, initial=0) < 0 or np.nanmax(f, initial=0) > 1 or not largest > 0:
        raise ContractError("rates must lie between 0 and 1, and largest above 0.")
    of_truth = _true_choice(truth, choices, f.shape)
    objects = np.arange(f.shape[1])
    false_alarms = np.stack([_mean(f[of_truth == each]) for each in objects])
    with np.errstate(invalid="ignore"):
        dprime = np.clip(ndtri(1 - f) - ndtri(false_alarms[:, of_truth].T), -largest, largest)
    if signature.endswith("n"):
        for each in np.unique(of_truth):
            dprime[of_truth == each] -= _mean(dprime[of_truth == each])
    return _mean(dprime.T) if signature.startswith("i1") else dprime


def correlate_signatures(
    first: ArrayLike, second: ArrayLike, *, weights: ArrayLike | None = None
) -> tuple[Matrix, int]:
    """Correlate two signatures over the entries that both have.

    Parameters
    ----------
    first, second : ndarray, shape (n_stimuli, n_choices) or (n_stimuli,)
    weights : array of int, shape (n_draws, n_stimuli), optional
        How often each image counts.

    Returns
    -------
    r : ndarray, shape () or (n_draws,)
        Pearson; NaN where it is not defined: fewer than three shared entries, or one side constant.
    n_entries : int
        Shared entries.

    Raises
    ------
    ContractError
        If shapes disagree or weights are not counts.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape:
        raise ContractError(
            f"signatures have shapes {one.shape} and {other.shape}, expected the same."
        )
    shared = np.isfinite(one) & np.isfinite(other)
    n_entries = int(shared.sum())
    counts = None if weights is None else check_weights(weights, len(one))
    if n_entries < MIN_ENTRIES:
        return np.full(() if counts is None else len(counts), np.nan), n_entries
    a, b = one[shared][:, None], other[shared][:, None]
    if counts is None:
        r, undefined = pearson_columns(a, b)
    else:
        r, undefined = weighted_pearson_columns(a, b, counts[:, np.nonzero(shared)[0]])
    return np.where(undefined, np.nan, r)[..., 0], n_entries


def check_signature(name: str) -> None:
    """Raise unless `name` is a signature."""
    if name not in get_args(Signature):
        raise ContractError(f"signature is {name!r}, expected one of {get_args(Signature)}.")


def trial_halves(
    n_trials: int, *, n_repetitions: int = 2, seed: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split trials into random halves, several times.

    Parameters
    ----------
    n_trials : int
        At least 2; with an odd number the second half has one more.
    n_repetitions : int
    seed : int
        Of one legacy NumPy stream that all repetitions share, so that seed 0 gives the halves of
        Brain-Score.

    Returns
    -------
    list of (first, second), ndarray of int
    """
    if n_trials < 2 or n_repetitions < 1:
        raise ContractError(
            f"{n_trials} trials and {n_repetitions} repetitions; expected at least 2 and 1."
        )
    stream = np.random.RandomState(seed)
    orders = [stream.permutation(n_trials) for _ in range(n_repetitions)]
    return [(order[: n_trials // 2], order[n_trials // 2 :]) for order in orders]


def _true_choice(truth: ArrayLike, choices: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the column of each image's true object."""
    for values, n, what in ((truth, shape[0], "truth"), (choices, shape[1], "choices")):
        if np.shape(values) != (n,):
            raise ContractError(
                f"{what} has shape {np.shape(values)}, expected {n} labels for a matrix of shape "
                f"{shape}."
            )
    return _positions(truth, choices, "truth")


def _positions(values: ArrayLike, known: ArrayLike, what: str) -> NDArray[np.int64]:
    """Return the position of each label among the known ones."""
    labels, names = np.asarray(values).astype(str), np.asarray(known).astype(str)
    order = np.argsort(names, kind="stable")
    if len(np.unique(names)) != len(names):
        raise ContractError(f"the labels that {what} is looked up in are not unique.")
    found = np.minimum(np.searchsorted(names, labels, sorter=order), len(names) - 1)
    positions: NDArray[np.int64] = order[found]
    unknown = np.flatnonzero(names[positions] != labels)
    if unknown.size:
        raise ContractError(
            f"{what}: {unknown.size} labels are not among the {len(names)} known; first: "
            f"'{labels[unknown[0]]}'."
        )
    return positions


def _mean(values: Matrix) -> Matrix:
    """Average the defined rows of each column; NaN where there is none."""
    defined = ~np.isnan(values)
    n = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)

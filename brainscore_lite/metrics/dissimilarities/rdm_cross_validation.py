"""Cross-validation of models of dissimilarities over stimuli and subjects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.dissimilarities.comparison import (
    Comparator,
    check_comparator,
    check_vectors,
    compare_resampled,
)
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import pool_drawn
from brainscore_lite.metrics.dissimilarities.rdm_models import RDMModel
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Floats = NDArray[np.float64]
STIMULI_PER_FOLD = 3
"""Fewest distinct stimuli of a fold."""


@dataclass(frozen=True, eq=False)
class RDMFold:
    """How often stimuli and subjects count in fitting and in testing.

    Parameters
    ----------
    train_stimuli, test_stimuli : ndarray, shape (n_stimuli,)
    train_subjects, test_subjects : ndarray, shape (n_subjects,)
    """

    train_stimuli: Floats
    test_stimuli: Floats
    train_subjects: Floats
    test_subjects: Floats


@dataclass(frozen=True, eq=False)
class CrossValidatedRDMs:
    """Mean comparison of fitted models with the test subjects over the test stimuli.

    Parameters
    ----------
    values : ndarray, shape (n_assignments, n_folds, n_models)
    lower, upper : ndarray, shape (n_assignments, n_folds)
        The pool of the training subjects over the test stimuli, and that of all subjects over
        all stimuli, compared as the models.
    """

    values: Floats
    lower: Floats
    upper: Floats


def default_folds(n: float, *, of: str) -> int:
    """Return how many folds to make of n stimuli (2 to 5 at 12, 24, 40) or subjects (6, 12, 20).

    Parameters
    ----------
    n : float
    of : {"stimuli", "subjects"}
    """
    bounds = {"stimuli": (12, 24, 40), "subjects": (6, 12, 20)}[of]
    if of == "subjects" and n < 2:
        return 1
    return 2 + sum(n >= bound for bound in bounds)


def cross_validate_rdm_model(
    models: RDMModel | Sequence[RDMModel],
    subjects: ArrayLike,
    *,
    comparison: Comparator = "cosine",
    k_stimuli: int | None = None,
    k_subjects: int | None = None,
    n_assignments: int = 1,
    seed: int = 0,
) -> CrossValidatedRDMs:
    """Fit models to some subjects and stimuli and compare them with others over others.

    Each of `k_subjects` parts of the subjects is tested on each of `k_stimuli` parts of the
    stimuli, with models fitted to all the other subjects over all the other stimuli.

    Parameters
    ----------
    models : RDMModel, or sequence of RDMModel
    subjects : array, shape (n_subjects, n_pairs)
    comparison : str
        As for ``compare_rdms``.
    k_stimuli, k_subjects : int, optional
        By default 2 to 5, see :func:`default_folds`; 1 fits and tests on the same.
    n_assignments : int
        Random assignments to folds.
    seed : int

    Returns
    -------
    CrossValidatedRDMs

    Raises
    ------
    ContractError
        If a fold would have fewer than three stimuli or no subject, or there are no models.

    References
    ----------
    Schütt, Kipnis, Diedrichsen & Kriegeskorte (2023), doi:10.7554/eLife.82566.
    """
    check_comparator(comparison)
    recorded = check_vectors(subjects, name="subjects")
    n_stimuli, n_subjects = n_stimuli_of(recorded.shape[1]), len(recorded)
    k_stimuli = default_folds(n_stimuli, of="stimuli") if k_stimuli is None else k_stimuli
    k_subjects = default_folds(n_subjects, of="subjects") if k_subjects is None else k_subjects
    check_folds(n_stimuli, n_subjects, k_stimuli=k_stimuli, k_subjects=k_subjects)
    check_assignments(n_assignments)
    random = generator(seed, "metrics", "rdm_folds")
    everything = np.ones(n_stimuli), np.ones(n_subjects)
    listed = listed_models(models)
    parts = [
        evaluate_folds(
            listed,
            recorded,
            rdm_folds(*everything, k_stimuli=k_stimuli, k_subjects=k_subjects, random=random),
            comparison=comparison,
        )
        for _ in range(n_assignments)
    ]
    return CrossValidatedRDMs(*(np.stack(one) for one in zip(*parts, strict=True)))


def check_folds(n_stimuli: int, n_subjects: int, *, k_stimuli: int, k_subjects: int) -> None:
    """Raise if that many distinct stimuli and subjects do not make so many folds."""
    if k_stimuli < 1 or n_stimuli < STIMULI_PER_FOLD * k_stimuli:
        raise ContractError(
            f"{n_stimuli} stimuli in k_stimuli={k_stimuli} folds, expected at least "
            f"{STIMULI_PER_FOLD} in each. Ask for fewer folds."
        )
    if k_subjects < 1 or n_subjects < k_subjects:
        raise ContractError(
            f"{n_subjects} subjects in k_subjects={k_subjects} folds, expected at least one in "
            "each. Ask for fewer folds; k_subjects=1 cross-validates over stimuli only."
        )


def check_assignments(n_assignments: int) -> None:
    """Raise unless stimuli and subjects are assigned to folds at least once."""
    if n_assignments < 1:
        raise ContractError(f"n_assignments is {n_assignments}, expected at least 1.")


def listed_models(models: RDMModel | Sequence[RDMModel]) -> Sequence[RDMModel]:
    """Return several models as they are, one as a list; raise if there are none."""
    listed = models if isinstance(models, Sequence) else [models]
    if not listed:
        raise ContractError("no models were given, expected at least one.")
    return listed


def rdm_folds(
    counts: Floats,
    members: Floats,
    *,
    k_stimuli: int,
    k_subjects: int,
    random: np.random.Generator,
) -> list[RDMFold]:
    """Assign distinct stimuli and subjects to folds, those drawn twice with all their copies.

    Parameters
    ----------
    counts : ndarray, shape (n_stimuli,)
        How often each stimulus counts.
    members : ndarray, shape (n_subjects,)
    k_stimuli, k_subjects : int
    random : Generator

    Returns
    -------
    list of RDMFold
        Stimuli are assigned anew for each part of the subjects.
    """
    folds = []
    for tested, trained in _parts(members, k_subjects, random):
        for test, train in _parts(counts, k_stimuli, random):
            folds.append(
                RDMFold(
                    train_stimuli=train,
                    test_stimuli=test,
                    train_subjects=trained,
                    test_subjects=tested,
                )
            )
    return folds


def evaluate_folds(
    models: Sequence[RDMModel],
    subjects: Floats,
    folds: Sequence[RDMFold],
    *,
    comparison: Comparator,
) -> tuple[Floats, Floats, Floats]:
    """Fit and test in each fold.

    Returns
    -------
    values : ndarray, shape (n_folds, n_models)
    lower, upper : ndarray, shape (n_folds,)
    """
    counts = np.max([np.maximum(fold.train_stimuli, fold.test_stimuli) for fold in folds], axis=0)
    members = np.max([np.maximum(one.train_subjects, one.test_subjects) for one in folds], axis=0)
    best = pool_drawn(subjects, counts, members, comparison=comparison)
    results = np.empty((len(folds), len(models) + 2))
    for place, fold in enumerate(folds):
        fitted = [
            model.fit(
                subjects,
                comparison=comparison,
                stimulus_weights=fold.train_stimuli,
                subject_weights=fold.train_subjects,
            )
            for model in models
        ]
        others = pool_drawn(subjects, fold.test_stimuli, fold.train_subjects, comparison=comparison)
        compared = compare_resampled(
            np.stack([*fitted, others, best]),
            subjects,
            fold.test_stimuli[None],
            method=comparison,
        )[0]
        results[place] = compared @ (fold.test_subjects / fold.test_subjects.sum())
    return results[:, :-2], results[:, -2], results[:, -1]


def _parts(weights: Floats, k: int, random: np.random.Generator) -> list[tuple[Floats, Floats]]:
    """Return k pairs of weights, of a part and of the rest; of all twice for one part."""
    if k == 1:
        return [(weights, weights)]
    parts = np.array_split(random.permutation(np.flatnonzero(weights)), k)
    tested = [np.where(np.isin(np.arange(len(weights)), part), weights, 0.0) for part in parts]
    return [(part, weights - part) for part in tested]

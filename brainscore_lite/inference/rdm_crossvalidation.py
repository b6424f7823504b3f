"""Dual bootstrap of models of dissimilarities that are fitted and tested within each draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.inference.rdm_bootstrap import WAYS, draw_counts, usable_draws
from brainscore_lite.metrics.dissimilarities.comparison import (
    Comparator,
    check_comparator,
    check_vectors,
)
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.rdm_cross_validation import (
    STIMULI_PER_FOLD,
    check_assignments,
    check_folds,
    default_folds,
    evaluate_folds,
    listed_models,
    rdm_folds,
)
from brainscore_lite.metrics.dissimilarities.rdm_models import RDMModel
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Floats = NDArray[np.float64]
_KEPT = 1 - 1 / np.e


@dataclass(frozen=True, eq=False)
class CrossValidatedDraws:
    """Cross-validated comparisons in each draw, one for each assignment to folds.

    Parameters
    ----------
    both, stimuli_only, subjects_only : ndarray, shape (n_draws, n_assignments, n_models)
        Means over folds; NaN where a draw has too few distinct stimuli or subjects for the folds.
    lower, upper : ndarray, shape (n_draws, n_assignments, 3)
        Bounds of the noise ceiling, in the order both, stimuli_only, subjects_only.
    """

    both: Floats
    stimuli_only: Floats
    subjects_only: Floats
    lower: Floats
    upper: Floats

    def covariances(self) -> Floats:
        """Return covariances over draws without the part that the assignment to folds adds.

        With v_m the covariance of the means over m assignments and v_1 the average covariance of
        single assignments, (m v_m - v_1) / (m - 1) is what infinitely many assignments would
        have; with one assignment nothing is taken off.

        Returns
        -------
        ndarray, shape (3, n_models + 2, n_models + 2)
            In the order both, stimuli_only, subjects_only; the last two rows are the bounds.

        Raises
        ------
        ContractError
            If fewer than two draws could be evaluated.
        """
        found = usable_draws(self.both[:, 0, 0])
        corrected = []
        for way, draws in enumerate((self.both, self.stimuli_only, self.subjects_only)):
            bounds = self.lower[:, :, way, None], self.upper[:, :, way, None]
            joined = np.concatenate([draws, *bounds], axis=2)[found]
            n_assignments = joined.shape[1]
            of_mean = np.cov(joined.mean(axis=1), rowvar=False)
            if n_assignments > 1:
                single = [np.cov(joined[:, one], rowvar=False) for one in range(n_assignments)]
                of_mean = (n_assignments * of_mean - np.mean(single, axis=0)) / (n_assignments - 1)
            corrected.append(of_mean)
        return np.stack(corrected)


def cross_validated_bootstrap(
    models: RDMModel | Sequence[RDMModel],
    subjects: ArrayLike,
    *,
    comparison: Comparator = "cosine",
    n_draws: int = 1000,
    seed: int = 0,
    k_stimuli: int | None = None,
    k_subjects: int | None = None,
    n_assignments: int = 2,
) -> CrossValidatedDraws:
    """Fit and test models within each draw of a dual bootstrap.

    Copies of a stimulus or subject in a draw stay in one fold, so that nothing is tested on what
    it was fitted to.

    Parameters
    ----------
    models : RDMModel, or sequence of RDMModel
    subjects : array, shape (n_subjects, n_pairs)
    comparison : str
        As for ``compare_rdms``.
    n_draws : int
    seed : int
    k_stimuli, k_subjects : int, optional
        By default what :func:`default_folds` makes of the (1 - 1/e) n distinct ones that a draw
        is expected to have; 1 does not cross-validate over them (over subjects: the lower bound
        then knows the test subjects, too).
    n_assignments : int
        Random assignments to folds of each draw.

    Returns
    -------
    CrossValidatedDraws

    Raises
    ------
    ContractError
        If there are too few stimuli or subjects, fewer than two draws, or no models.

    References
    ----------
    Schütt, Kipnis, Diedrichsen & Kriegeskorte (2023), doi:10.7554/eLife.82566.
    """
    check_comparator(comparison)
    recorded = check_vectors(subjects, name="subjects")
    n_stimuli, n_subjects = n_stimuli_of(recorded.shape[1]), len(recorded)
    if n_draws < 2:
        raise ContractError(f"n_draws is {n_draws}, expected at least 2.")
    k_stimuli = default_folds(_KEPT * n_stimuli, of="stimuli") if k_stimuli is None else k_stimuli
    if k_subjects is None:
        k_subjects = default_folds(_KEPT * n_subjects, of="subjects")
    check_folds(n_stimuli, n_subjects, k_stimuli=k_stimuli, k_subjects=k_subjects)
    check_assignments(n_assignments)
    listed = listed_models(models)
    counts, members = draw_counts(n_stimuli, n_subjects, n_draws=n_draws, seed=seed)
    random = generator(seed, "inference", "rdm_folds")
    results = np.full((n_draws, n_assignments, len(WAYS), len(listed) + 2), np.nan)
    all_stimuli, all_subjects = np.ones(n_stimuli), np.ones(n_subjects)
    enough_stimuli = (counts > 0).sum(axis=1) >= STIMULI_PER_FOLD * k_stimuli
    enough_subjects = (members > 0).sum(axis=1) >= k_subjects
    for draw in np.flatnonzero(enough_stimuli & enough_subjects):
        ways = (
            (counts[draw], members[draw]),
            (counts[draw], all_subjects),
            (all_stimuli, members[draw]),
        )
        for assignment, (way, weights) in product(range(n_assignments), enumerate(ways)):
            folds = rdm_folds(*weights, k_stimuli=k_stimuli, k_subjects=k_subjects, random=random)
            values, *bounds = evaluate_folds(listed, recorded, folds, comparison=comparison)
            results[draw, assignment, way, :-2] = values.mean(axis=0)
            results[draw, assignment, way, -2:] = [bound.mean() for bound in bounds]
    both, stimuli_only, subjects_only = (results[:, :, way, :-2] for way in range(len(WAYS)))
    return CrossValidatedDraws(
        both,
        stimuli_only,
        subjects_only,
        lower=results[..., -2],
        upper=results[..., -1],
    )

"""Comparisons of models with subjects' dissimilarities under resampled stimuli and subjects.

NumPy, with numba where the extra `fast` is there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.inference.dual_bootstrap import corrected_variance
from brainscore_lite.metrics.dissimilarities.comparison import (
    Comparator,
    check_comparator,
    check_same_pairs,
    check_vectors,
    compare_resampled,
)
from brainscore_lite.metrics.dissimilarities.inner_products import INNER_PRODUCTS, drawn_sums
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import (
    FEWEST_STIMULI,
    RankPooling,
    check_rank_pooling,
    drawn_bounds,
)
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Floats = NDArray[np.float64]
WAYS = ("both", "stimuli_only", "subjects_only")
"""What is resampled, in the order in which the ceilings' draws lie."""


@dataclass(frozen=True, eq=False)
class RDMDraws:
    """Mean comparisons with the subjects, as they are and in each draw.

    Parameters
    ----------
    estimates : ndarray, shape (n_models,)
        On all stimuli, mean over subjects.
    both, stimuli_only, subjects_only : ndarray, shape (n_draws, n_models)
        The same draws of stimuli and of subjects, together and each on its own; NaN where a draw
        has fewer than three distinct stimuli.
    lower, upper : ndarray, shape (n_draws, 3)
        Bounds of the noise ceiling, in the order of :data:`WAYS`; NaN throughout for one subject.
    lower_estimate, upper_estimate : float
        The bounds on all stimuli and subjects.
    n_stimuli, n_subjects : int
    """

    estimates: Floats
    both: Floats
    stimuli_only: Floats
    subjects_only: Floats
    lower: Floats
    upper: Floats
    lower_estimate: float
    upper_estimate: float
    n_stimuli: int
    n_subjects: int

    def covariances(self) -> Floats:
        """Return the covariance of models, lower and upper bound over the draws of each way.

        Returns
        -------
        ndarray, shape (3, n_models + 2, n_models + 2)
            In the order of :data:`WAYS`; draws that are NaN are left out. The bounds' rows are
            NaN for one subject.

        Raises
        ------
        ContractError
            If fewer than two draws are left.
        """
        ways = (self.both, self.stimuli_only, self.subjects_only)
        found = usable_draws(self.both[:, 0])
        return np.stack(
            [
                np.cov(
                    np.column_stack([draws, self.lower[:, way], self.upper[:, way]])[found],
                    rowvar=False,
                )
                for way, draws in enumerate(ways)
            ]
        )

    def variances(self) -> Floats:
        """Return the variance of each estimate over new stimuli and new subjects.

        By the corrected dual bootstrap; over new stimuli alone, n/(n-1) v, for one subject.

        Returns
        -------
        ndarray, shape (n_models,)
        """
        both, stimuli, subjects = np.diagonal(self.covariances(), axis1=1, axis2=2)[:, :-2]
        if self.n_subjects < 2:
            return np.asarray(stimuli * self.n_stimuli / (self.n_stimuli - 1))
        return corrected_variance(
            both, subjects, stimuli, n_first=self.n_subjects, n_second=self.n_stimuli
        )


def dual_bootstrap(
    models: ArrayLike,
    subjects: ArrayLike,
    *,
    comparison: Comparator = "cosine",
    n_draws: int = 1000,
    seed: int = 0,
    rank_pooling: RankPooling = "reranked",
) -> RDMDraws:
    """Resample stimuli and subjects with replacement, together and each on its own.

    Each draw is evaluated three ways, so that the variances over new stimuli and over new
    subjects can be told apart and combined (:meth:`RDMDraws.variances`). A draw of stimuli weights
    the pair (i, j) by c_i c_j; pairs of a stimulus with itself are left out.

    Parameters
    ----------
    models : array, shape (n_models, n_pairs)
        Condensed dissimilarities.
    subjects : array, shape (n_subjects, n_pairs)
        With one subject only stimuli are resampled: `both` equals `stimuli_only`,
        `subjects_only` is constant, and there is no ceiling (NaN).
    comparison : str
        As for ``compare_rdms``.
    n_draws : int
    seed : int
        More draws with the same seed begin with the same ones.
    rank_pooling : {"mean_of_ranks", "reranked"}
        See ``LeaveOneSubjectOut``; "reranked" is rsatoolbox's.

    Returns
    -------
    RDMDraws

    Raises
    ------
    ContractError
        If matrices are of different length or not finite, there are fewer than three stimuli, or
        fewer than two draws.

    References
    ----------
    Schütt, Kipnis, Diedrichsen & Kriegeskorte (2023), doi:10.7554/eLife.82566.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> data = rng.random((3, 28)) + np.arange(28)
    >>> draws = dual_bootstrap(rng.random((2, 28)), data, n_draws=10)
    >>> draws.both.shape, draws.lower.shape
    ((10, 2), (10, 3))
    """
    n_subjects = len(check_vectors(subjects, name="subjects"))
    n_stimuli = n_stimuli_of(check_vectors(models, name="models").shape[1])
    if n_draws < 2:
        raise ContractError(f"n_draws is {n_draws}, expected at least 2.")
    stimulus_weights, subject_weights = draw_counts(
        n_stimuli, n_subjects, n_draws=n_draws, seed=seed
    )
    return evaluate_draws(
        models,
        subjects,
        stimulus_weights,
        subject_weights,
        comparison=comparison,
        rank_pooling=rank_pooling,
    )


def draw_counts(
    n_stimuli: int, n_subjects: int, *, n_draws: int, seed: int
) -> tuple[Floats, Floats]:
    """Draw as many subjects, then as many stimuli, as there are, with replacement.

    Returns
    -------
    stimulus_weights : ndarray, shape (n_draws, n_stimuli)
        How often each is drawn.
    subject_weights : ndarray, shape (n_draws, n_subjects)
    """
    highest = np.repeat([n_subjects, n_stimuli], [n_subjects, n_stimuli])
    random = generator(seed, "inference", "dual_bootstrap")
    drawn = random.integers(0, highest, size=(n_draws, n_subjects + n_stimuli))
    return _counts(drawn[:, n_subjects:], n_stimuli), _counts(drawn[:, :n_subjects], n_subjects)


def usable_draws(values: Floats) -> NDArray[np.bool_]:
    """Say which draws had enough distinct stimuli and subjects; raise if fewer than two had.

    Parameters
    ----------
    values : ndarray, shape (n_draws,)
        NaN where a draw could not be evaluated.
    """
    found = np.isfinite(values)
    if found.sum() < 2:
        raise ContractError(
            f"{int(found.sum())} of {len(found)} draws have enough distinct stimuli and subjects, "
            "expected at least two. Use more draws, or fewer folds."
        )
    return found


def _counts(drawn: NDArray[np.int64], n: int) -> Floats:
    return np.stack([np.bincount(one, minlength=n) for one in drawn]).astype(np.float64)


def evaluate_draws(
    models: ArrayLike,
    subjects: ArrayLike,
    stimulus_weights: ArrayLike,
    subject_weights: ArrayLike,
    *,
    comparison: Comparator = "cosine",
    rank_pooling: RankPooling = "reranked",
) -> RDMDraws:
    """Evaluate given draws of stimuli and subjects; see :func:`dual_bootstrap`.

    Parameters
    ----------
    models : array, shape (n_models, n_pairs)
    subjects : array, shape (n_subjects, n_pairs)
    stimulus_weights : array of int, shape (n_draws, n_stimuli)
    subject_weights : array of int, shape (n_draws, n_subjects)
    comparison, rank_pooling
        As for :func:`dual_bootstrap`.

    Returns
    -------
    RDMDraws
    """
    check_comparator(comparison)
    check_rank_pooling(rank_pooling)
    predicted = check_vectors(models, name="models")
    recorded = check_vectors(subjects, name="subjects")
    check_same_pairs(predicted, recorded)
    n_stimuli, n_subjects = n_stimuli_of(predicted.shape[1]), len(recorded)
    counts = check_weights(stimulus_weights, n_stimuli)
    members = check_weights(subject_weights, n_subjects, unit="subjects")
    if len(counts) != len(members) or not members.any(axis=1).all():
        raise ContractError(
            f"{len(counts)} draws of stimuli and {len(members)} of subjects, expected as many, "
            "each of at least one subject."
        )
    shares = members / members.sum(axis=1, keepdims=True)
    everyone = np.full_like(shares, 1 / n_subjects)
    plain = np.ones((1, n_stimuli))
    single = compare_resampled(predicted, recorded, plain, method=comparison)[0]
    enough = (counts > 0).sum(axis=1) >= FEWEST_STIMULI
    means = np.full((len(counts), 2, len(predicted)), np.nan)
    if enough.any():
        ways = np.stack([shares, everyone], axis=1)[enough]
        means[enough] = _drawn_means(predicted, recorded, counts[enough], ways, comparison)
    of_subjects = np.where(enough[:, None], shares @ single.T, np.nan)
    bounds = _ceilings(recorded, counts, members, comparison, rank_pooling=rank_pooling)
    return RDMDraws(
        single.mean(axis=1), means[:, 0], means[:, 1], of_subjects, *bounds, n_stimuli, n_subjects
    )


def _drawn_means(
    models: Floats, subjects: Floats, counts: Floats, shares: Floats, comparison: Comparator
) -> Floats:
    """Return the mean over subjects by their shares, (n_draws, n_ways, n_models)."""
    if comparison in INNER_PRODUCTS:
        return drawn_sums(models, subjects, counts, shares, method=comparison)
    each = compare_resampled(models, subjects, counts, method=comparison)
    return np.asarray(shares @ each.transpose(0, 2, 1))


def _ceilings(
    subjects: Floats,
    counts: Floats,
    members: Floats,
    comparison: Comparator,
    *,
    rank_pooling: RankPooling,
) -> tuple[Floats, Floats, float, float]:
    """Return lower and upper bounds of the three ways, and those of the data."""
    if len(subjects) < 2:
        missing = np.full((len(counts), len(WAYS)), np.nan)
        return missing, missing, np.nan, np.nan
    everyone = np.ones_like(members)
    both, stimuli_only = drawn_bounds(
        subjects, counts, [members, everyone], comparison=comparison, rank_pooling=rank_pooling
    )
    # the first of these draws is the data as they are
    plain = np.vstack([everyone[:1], members])
    subjects_only = drawn_bounds(
        subjects,
        np.ones((len(plain), counts.shape[1])),
        [plain],
        comparison=comparison,
        rank_pooling=rank_pooling,
    )[0]
    few = np.isnan(both[0])
    lower, upper = (
        np.column_stack([both[side], stimuli_only[side], np.where(few, np.nan, alone[1:])])
        for side, alone in enumerate(subjects_only)
    )
    return lower, upper, float(subjects_only[0][0]), float(subjects_only[1][0])

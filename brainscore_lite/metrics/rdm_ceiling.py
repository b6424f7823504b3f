"""Bounds on the comparison with several subjects' dissimilarities, each pooled as compared."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from brainscore_lite.metrics.comparison import Comparator, check_comparator, compare_rdms
from brainscore_lite.schema import ContractError

RankPooling = Literal["mean_of_ranks", "reranked"]


def leave_one_subject_out(
    vectors: ArrayLike,
    *,
    comparison: Comparator = "spearman",
    rank_pooling: RankPooling = "mean_of_ranks",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare each subject's dissimilarities with the pool of the others and of all.

    Parameters
    ----------
    vectors : array, shape (n_subjects, n_pairs)
        Condensed dissimilarity matrices.
    comparison : {"spearman", "pearson", "kendall_tau_a", "cosine"}
    rank_pooling : {"mean_of_ranks", "reranked"}
        See ``LeaveOneSubjectOut``.

    Returns
    -------
    lower, upper : ndarray, shape (n_subjects,)

    Raises
    ------
    ContractError
        If there are fewer than two subjects.
    """
    check_comparator(comparison)
    dissimilarities = np.asarray(vectors, dtype=np.float64)
    n_subjects = len(dissimilarities)
    if n_subjects < 2:
        raise ContractError(
            f"{n_subjects} subject, expected at least two: a ceiling across subjects cannot be "
            "computed. Score without a ceiling (ceiling=None)."
        )
    comparable = _comparable(dissimilarities, comparison)
    total = comparable.sum(axis=0)
    as_means = comparison == "spearman" and rank_pooling == "mean_of_ranks"
    method: Comparator = "pearson" if as_means else comparison
    single = comparable if as_means else dissimilarities
    lower, upper = np.empty(n_subjects), np.empty(n_subjects)
    for subject in range(n_subjects):
        others = total - comparable[subject]
        lower[subject] = compare_rdms(single[subject], others, method=method)
        upper[subject] = compare_rdms(single[subject], total, method=method)
    return lower, upper


def _comparable(vectors: NDArray[np.float64], comparison: Comparator) -> NDArray[np.float64]:
    """Bring the subjects' dissimilarities to the scale on which the comparison takes them."""
    if comparison in ("spearman", "kendall_tau_a"):
        ranks: NDArray[np.float64] = rankdata(vectors, axis=1)
        return ranks
    if comparison == "pearson":
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norm > 0, norm, 1.0)

"""Permutation tests: sign flips, exchanged groups, clusters over time, permuted stimuli."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import generate_binary_structure, label
from scipy.stats import t as student

from brainscore_lite.inference.arrangements import SubjectDesign, check_number
from brainscore_lite.metrics.dissimilarities.comparison import Comparator, compare_rdms
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of, square
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Tail = Literal["two-sided", "greater", "less"]
Floats = NDArray[np.float64]
_TIE = 1e-12


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """A t-test at every point, its p-values from permutations.

    Parameters
    ----------
    t : ndarray, shape of one subject's values
    p : ndarray, the same shape
        Of each point by itself.
    p_max : ndarray, the same shape
        Corrected for all points: how often the largest statistic of a permutation is as large.
    n_permutations : int
        The observed arrangement included.
    exact : bool
        Whether every arrangement was enumerated.
    """

    t: Floats
    p: Floats
    p_max: Floats
    n_permutations: int
    exact: bool


@dataclass(frozen=True, eq=False)
class ClusterTest:
    """Clusters of neighbouring points above a threshold, their p-values from permutations.

    Parameters
    ----------
    t : ndarray, shape of one subject's values
    clusters : ndarray of int, the same shape
        0 outside; clusters are numbered from 1.
    mass : ndarray, shape (n_clusters,)
        Sum of t over each cluster; negative below 0.
    p : ndarray, shape (n_clusters,)
        How often the largest absolute mass of a permutation reaches it. It tests the cluster as a
        whole: where exactly it begins and ends is not tested (Sassenhagen & Draschkow 2019,
        doi:10.1111/psyp.13335).
    threshold : float
        Of |t|.
    n_permutations : int
    exact : bool
    """

    t: Floats
    clusters: NDArray[np.int64]
    mass: Floats
    p: Floats
    threshold: float
    n_permutations: int
    exact: bool

    def significant(self, alpha: float = 0.05) -> NDArray[np.bool_]:
        """Mark the points of clusters with p <= alpha; shape as `t`."""
        kept = np.flatnonzero(self.p <= alpha) + 1
        result: NDArray[np.bool_] = np.isin(self.clusters, kept)
        return result


def permutation_test(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    tail: Tail = "two-sided",
    n_permutations: int = 10_000,
    seed: int = 0,
) -> PermutationTest:
    """Test whether a mean over subjects differs from 0, or between two groups, at every point.

    Without groups the signs of whole subjects are flipped, which assumes values symmetric about 0
    under the null: differences of two models are. With groups their labels are exchanged. All
    points of a subject move together, so their dependence is kept. The difference is that of the
    group whose label sorts first minus the other's.

    Parameters
    ----------
    values : array, shape (n_subjects, ...)
        One value or array of points (time bins, ...) for each subject.
    groups : sequence of two kinds of label, length n_subjects, optional
    tail : {"two-sided", "greater", "less"}
    n_permutations : int
        All arrangements are enumerated where there are no more than this.
    seed : int

    Returns
    -------
    PermutationTest

    Raises
    ------
    ContractError
        If there are fewer than two subjects (four with groups), values are not finite, or a point
        is constant over subjects.

    References
    ----------
    Nichols & Holmes (2002), doi:10.1002/hbm.1058.

    Examples
    --------
    >>> gains = np.random.default_rng(0).normal(2.0, 1.0, size=(12, 3))
    >>> bool((permutation_test(gains).p_max < 0.05).all())
    True
    """
    design = SubjectDesign.of(values, groups=groups, n_permutations=n_permutations, seed=seed)
    observed = _signed(design.observed(), tail)
    size = _TIE * max(1.0, float(np.abs(observed).max()))
    larger, larger_max = np.zeros(observed.shape), np.zeros(observed.shape)
    for null in design.statistics():
        folded = _signed(null, tail)
        larger += (folded >= observed - size).sum(axis=0)
        larger_max += (folded.max(axis=1)[:, None] >= observed - size).sum(axis=0)
    n = len(design.arrangements)
    return PermutationTest(
        t=design.observed().reshape(design.shape),
        p=(larger / n).reshape(design.shape),
        p_max=(larger_max / n).reshape(design.shape),
        n_permutations=n,
        exact=design.exact,
    )


def cluster_test(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    threshold: float | None = None,
    tail: Tail = "two-sided",
    n_permutations: int = 10_000,
    seed: int = 0,
) -> ClusterTest:
    """Test clusters of neighbouring time bins by their mass.

    Points with |t| above the threshold form clusters with their neighbours along every axis
    (positive and negative ones apart); the sum of t over a cluster is compared with the largest
    such sum of each permutation, which controls the chance of any false cluster. Groups and tails
    are those of :func:`permutation_test`.

    Parameters
    ----------
    values : array, shape (n_subjects, n_times) or (n_subjects, n_times, n_other_times)
    groups : sequence of two kinds of label, length n_subjects, optional
    threshold : float, optional
        Of |t|; if not given, where a t-test of one point has p = 0.05.
    tail : {"two-sided", "greater", "less"}
    n_permutations : int
    seed : int

    Returns
    -------
    ClusterTest

    Raises
    ------
    ContractError
        As for :func:`permutation_test`; if there is no time axis, or the threshold is not
        positive.

    References
    ----------
    Maris & Oostenveld (2007), doi:10.1016/j.jneumeth.2007.03.024.
    """
    design = SubjectDesign.of(values, groups=groups, n_permutations=n_permutations, seed=seed)
    if not design.shape:
        raise ContractError(
            "values have one number for each subject, expected a time axis: (n_subjects, n_times). "
            "Use permutation_test for single numbers."
        )
    if threshold is None:
        quantile = 0.975 if tail == "two-sided" else 0.95
        threshold = float(student.ppf(quantile, design.degrees_of_freedom))
    if not threshold > 0:
        raise ContractError(f"threshold is {threshold}, expected a positive |t|.")
    observed = design.observed().reshape(1, *design.shape)
    clusters, mass, _ = _clusters(observed, threshold, tail)
    largest = []
    for null in design.statistics():
        _, masses, owner = _clusters(null.reshape(-1, *design.shape), threshold, tail)
        top = np.zeros(len(null))
        np.maximum.at(top, owner, np.abs(masses))
        largest.append(top)
    null_masses = np.concatenate(largest)
    reached = null_masses[None, :] >= np.abs(mass)[:, None] * (1 - _TIE)
    return ClusterTest(
        t=observed[0],
        clusters=clusters[0],
        mass=mass,
        p=reached.mean(axis=1),
        threshold=threshold,
        n_permutations=len(null_masses),
        exact=design.exact,
    )


def rdm_permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    *,
    comparison: Comparator = "spearman",
    n_permutations: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Test whether two dissimilarity matrices are related, by permuting the stimuli of one.

    Pairs of stimuli are not independent, so pairs are never permuted: rows and columns are,
    together.

    Parameters
    ----------
    a, b : array, shape (n_pairs,)
        Condensed dissimilarities of the same stimuli.
    comparison : str
        See :func:`brainscore_lite.metrics.compare_rdms`.
    n_permutations : int
    seed : int

    Returns
    -------
    similarity : float
    p : float
        One-sided: how often permuted stimuli are as similar, the observed order included.

    References
    ----------
    Mantel (1967), Cancer Research 27:209-220; Kriegeskorte et al. (2008),
    doi:10.3389/neuro.06.004.2008.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    observed = compare_rdms(first, second, method=comparison)
    if not isinstance(observed, float):
        raise ContractError(f"a has shape {first.shape}, b {second.shape}; expected one RDM each.")
    check_number(n_permutations)
    n_stimuli = n_stimuli_of(len(first))
    rows, columns = np.triu_indices(n_stimuli, k=1)
    matrix, draws = square(first), generator(seed, "permutation", "stimulus")
    reached = 1
    for _ in range(n_permutations - 1):
        order = draws.permutation(n_stimuli)
        similarity = compare_rdms(matrix[order[rows], order[columns]], second, method=comparison)
        reached += bool(similarity >= observed - _TIE)
    return observed, reached / n_permutations


def _signed(t: Floats, tail: Tail) -> Floats:
    """Turn the statistic so that large values speak against the null."""
    if tail not in get_args(Tail):
        raise ContractError(f"tail is {tail!r}, expected one of {get_args(Tail)}.")
    return np.abs(t) if tail == "two-sided" else t if tail == "greater" else -t


def _clusters(
    t: Floats, threshold: float, tail: Tail
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Label clusters in each map and sum t over them.

    Parameters
    ----------
    t : ndarray, shape (n_maps, ...)

    Returns
    -------
    clusters : ndarray of int, shape as `t`
    mass : ndarray, shape (n_clusters,)
    owner : ndarray of int, shape (n_clusters,)
        The map of each cluster.
    """
    _signed(t, tail)
    neighbours = generate_binary_structure(t.ndim, 1)
    neighbours[0], neighbours[2] = False, False  # maps are not neighbours of each other
    clusters = np.zeros(t.shape, dtype=np.int64)
    for wanted, above in (("greater", t > threshold), ("less", t < -threshold)):
        if tail in ("two-sided", wanted):
            found, _ = label(above, structure=neighbours)
            clusters += np.where(found > 0, found + clusters.max(), 0)
    inside = np.nonzero(clusters)
    numbers, n_clusters = clusters[inside] - 1, int(clusters.max())
    mass = np.bincount(numbers, weights=t[inside], minlength=n_clusters).astype(np.float64)
    owner = np.zeros(n_clusters, dtype=np.int64)
    owner[numbers] = inside[0]
    return clusters, mass, owner

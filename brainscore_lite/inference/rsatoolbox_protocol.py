"""Rsatoolbox's evaluations of RDM models: its draws, its variances and its tests.

For comparison with published results. Its default in this package is ``compare_models``, which
draws from named generators, corrects for multiple comparisons and takes regression scores too.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student
from scipy.stats import wilcoxon

from brainscore_lite.inference.dual_bootstrap import corrected_variance
from brainscore_lite.metrics.dissimilarities.comparison import (
    Comparator,
    compare_rdms,
    compare_resampled,
)
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import (
    leave_one_subject_out,
    leave_one_subject_out_resampled,
)
from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
Bootstrap = Literal["fixed", "bootstrap", "bootstrap_rdm", "bootstrap_pattern", "dual_bootstrap"]
TestType = Literal["t-test", "bootstrap", "ranksum"]
_SMALLEST = float(np.finfo(np.float64).eps)
_FEWEST_STIMULI = 3


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What rsatoolbox's ``Result`` holds.

    Parameters
    ----------
    evaluations : ndarray, shape (1, n_models, n_subjects) or (n_draws, n_models[, 3])
        The last axis of a dual bootstrap is (both, subjects only, stimuli only). NaN for draws of
        fewer than three distinct stimuli.
    noise_ceiling : ndarray, shape (2,), (2, n_draws) or (2, n_draws, 3)
        Lower and upper bound.
    covariance : ndarray, shape (k, k) or (3, k, k), or None
        Of the models' values, and of both bounds after them where these were drawn as well. None
        for one subject without draws.
    dof : int
    n_subjects, n_stimuli : int or None
        What the variances are corrected for.
    """

    evaluations: Floats
    noise_ceiling: Floats
    covariance: Floats | None
    dof: int
    n_subjects: int | None
    n_stimuli: int | None

    @property
    def means(self) -> Floats:
        """The models' values: means over draws and what the last axis holds; (n_models,)."""
        of_draws: Floats = np.nanmean(self.evaluations, axis=0)
        return of_draws if of_draws.ndim == 1 else np.nanmean(of_draws, axis=1)

    @property
    def model_variances(self) -> Floats:
        """Variance of each model's value, shape (n_models,)."""
        n_models = self.evaluations.shape[1]
        return self._corrected(np.diagonal(self._covariance, axis1=-2, axis2=-1)[..., :n_models])

    @property
    def difference_variances(self) -> Floats:
        """Variance of the difference of every two models, shape (n_models, n_models)."""
        n_models = self.evaluations.shape[1]
        cov = self._covariance[..., :n_models, :n_models]
        own = np.diagonal(cov, axis1=-2, axis2=-1)
        return self._corrected(own[..., :, None] + own[..., None, :] - 2 * cov)

    @property
    def ceiling_variances(self) -> Floats:
        """Variance of each model less either bound, shape (n_models, 2).

        Where the covariance leaves the bounds out they count as fixed.
        """
        n_models = self.evaluations.shape[1]
        own = np.diagonal(self._covariance, axis1=-2, axis2=-1)
        models = own[..., :n_models, None]
        if own.shape[-1] == n_models:
            return self._corrected(np.concatenate([models, models], axis=-1))
        shared = self._covariance[..., :n_models, n_models:]
        return self._corrected(models - 2 * shared + own[..., None, n_models:])

    def test_zero(self, test: TestType = "t-test") -> Floats:
        """Test each model against 0; one-sided but for "ranksum".

        The bootstrap's p is (#(draws <= 0) + 1) / n_draws, which can exceed 1, as there.
        """
        self._check(test)
        if test == "bootstrap":
            return np.asarray(((self.evaluations <= 0).sum(axis=0) + 1) / len(self.evaluations))
        if test == "ranksum":
            return np.array([wilcoxon(own).pvalue for own in np.nanmean(self.evaluations, axis=0)])
        t = self.means / _deviation(self.model_variances)
        return np.asarray(1 - student.cdf(t, self.dof))

    def test_pairwise(self, test: TestType = "t-test") -> Floats:
        """Test every two models against each other, two-sided; shape (n_models, n_models).

        The bootstrap's p is 2 min(q, 1 - q), q the share of draws in which one is ahead, ties
        left out, smoothed to (n - 1)/n p + 1/n.
        """
        self._check(test)
        n_models = self.evaluations.shape[1]
        p = np.ones((n_models, n_models))
        by_subject = np.nanmean(self.evaluations, axis=0)
        for i, j in zip(*np.triu_indices(n_models, k=1), strict=True):
            if test == "ranksum":
                p[i, j] = wilcoxon(by_subject[i], by_subject[j]).pvalue
            elif test == "bootstrap":
                p[i, j] = _bootstrap_pair(self.evaluations[:, i], self.evaluations[:, j])
            else:
                t = (self.means[i] - self.means[j]) / _deviation(self.difference_variances[i, j])
                p[i, j] = 2 * (1 - student.cdf(np.abs(t), self.dof))
            p[j, i] = p[i, j]
        return p

    def test_ceiling(self, test: TestType = "t-test") -> Floats:
        """Test each model against the lower bound of the ceiling; shape (n_models,).

        Two-sided but for the bootstrap, whose p is (#(bound - draws <= 0) + 1) / n_draws: there
        the bootstrap test raises where the bound was drawn (issue 379); here the draws pair.
        """
        self._check(test)
        lower = self.noise_ceiling[0]
        if test == "bootstrap":
            ahead = np.reshape(lower, (-1, 1)) - self.evaluations <= 0
            return np.asarray((ahead.sum(axis=0) + 1) / len(self.evaluations))
        bound = float(np.nanmean(lower))
        if test == "ranksum":
            by_subject = np.nanmean(self.evaluations, axis=0)
            return np.array([wilcoxon(own - bound).pvalue for own in by_subject])
        t = (self.means - bound) / _deviation(self.ceiling_variances[:, 0])
        return np.asarray(2 * (1 - student.cdf(np.abs(t), self.dof)))

    @property
    def _dual(self) -> bool:
        return self.covariance is not None and self.covariance.ndim == 3

    @property
    def _covariance(self) -> Floats:
        if self.covariance is None:
            raise ContractError(
                "one subject and no bootstrap over stimuli: there is no variance to test by."
            )
        return self.covariance

    def _check(self, test: str) -> None:
        if test not in get_args(TestType):
            raise ContractError(f"test is {test!r}, expected one of {get_args(TestType)}.")
        has_subjects = self.noise_ceiling.ndim == 1 and len(self.evaluations) == 1
        if test == "ranksum" and not has_subjects:
            raise ContractError("'ranksum' needs one value for each subject: evaluate 'fixed'.")
        if test == "bootstrap" and (has_subjects or self._dual):
            raise ContractError("'bootstrap' needs draws of one kind; use 't-test'.")

    def _corrected(self, variances: Floats) -> Floats:
        """Correct for the small number of subjects or stimuli, as rsatoolbox does."""
        n, m = self.n_subjects, self.n_stimuli
        if not self._dual:
            fewest = min(size for size in (n, m) if size is not None)
            return variances * fewest / (fewest - 1)
        return corrected_variance(*variances, n_first=n or np.inf, n_second=m or np.inf)


def rsatoolbox_evaluation(
    models: ArrayLike,
    subjects: ArrayLike,
    *,
    comparison: Comparator = "cosine",
    method: Bootstrap = "dual_bootstrap",
    n_draws: int = 1000,
    seed: int = 0,
    draw_ceiling: bool = True,
) -> Evaluation:
    """Evaluate fixed RDM models on the matrices of several subjects as rsatoolbox does.

    The draws are those that rsatoolbox takes after ``numpy.random.seed(seed)``: of each draw the
    subjects first, then the stimuli. Pairs of a stimulus with itself are left out.

    Parameters
    ----------
    models : array, shape (n_models, n_pairs)
        Condensed matrices.
    subjects : array, shape (n_subjects, n_pairs)
    comparison : str
        As for :func:`compare_rdms`. Ceilings of Spearman's correlation rank the pool again, as
        there.
    method : {"fixed", "bootstrap", "bootstrap_rdm", "bootstrap_pattern", "dual_bootstrap"}
        rsatoolbox's ``eval_<method>``.
    n_draws : int
    seed : int
    draw_ceiling : bool
        Compute the ceiling in every draw; otherwise once. A dual bootstrap always draws it.

    Returns
    -------
    Evaluation

    Raises
    ------
    ContractError
        If the method is unknown, there are fewer than two subjects or draws, or matrices do not
        fit.

    Notes
    -----
    As rsatoolbox 0.3.2, "bootstrap_rdm" leaves the ceiling out of the covariance.

    References
    ----------
    Schuett et al. (2023), doi:10.7554/eLife.82566.
    """
    if method not in get_args(Bootstrap):
        raise ContractError(f"method is {method!r}, expected one of {get_args(Bootstrap)}.")
    candidates = np.atleast_2d(np.asarray(models, dtype=np.float64))
    recorded = np.atleast_2d(np.asarray(subjects, dtype=np.float64))
    if method == "fixed":
        return _fixed(candidates, recorded, comparison)
    if n_draws < 2:
        raise ContractError(f"n_draws is {n_draws}, expected at least two: they have a variance.")
    shape = len(recorded), n_stimuli_of(recorded.shape[1])
    kinds = {
        "bootstrap": ("both",),
        "bootstrap_rdm": ("subjects",),
        "bootstrap_pattern": ("stimuli",),
        "dual_bootstrap": ("both", "subjects", "stimuli"),
    }[method]
    of_subjects, of_stimuli = _legacy_draws(shape, kinds, n_draws, seed)
    few = (of_stimuli > 0).sum(axis=1) < _FEWEST_STIMULI
    values, bounds = [], []
    for kind in kinds:
        members = np.ones_like(of_subjects) if kind == "stimuli" else of_subjects
        counts = np.ones_like(of_stimuli) if kind == "subjects" else of_stimuli
        similarity = _similarity(candidates, recorded, counts, comparison)
        drawn = np.einsum("dms,ds->dm", similarity, members) / shape[0]
        values.append(np.where(few[:, None], np.nan, drawn))
        if draw_ceiling or method == "dual_bootstrap":
            pair = leave_one_subject_out_resampled(
                recorded, counts, members, comparison=comparison, rank_pooling="reranked"
            )
            bounds.append(np.where(few, np.nan, np.stack(pair)))
    return _summarised(values, bounds, (candidates, recorded), shape, method, comparison)


def _fixed(models: Floats, subjects: Floats, comparison: Comparator) -> Evaluation:
    values = np.asarray(compare_rdms(models, subjects, method=comparison))
    n_subjects = len(subjects)
    bounds = leave_one_subject_out(subjects, comparison=comparison, rank_pooling="reranked")
    return Evaluation(
        evaluations=values[None],
        noise_ceiling=np.array([bound.mean() for bound in bounds]),
        covariance=np.atleast_2d(np.cov(values, ddof=0)) / n_subjects,
        dof=n_subjects - 1,
        n_subjects=n_subjects,
        n_stimuli=None,
    )


def _similarity(models: Floats, subjects: Floats, counts: Floats, comparison: Comparator) -> Floats:
    """Compare every model with every subject in every draw; (n_draws, n_models, n_subjects)."""
    if (counts == 1).all():
        once = np.asarray(compare_rdms(models, subjects, method=comparison))
        return np.broadcast_to(once, (len(counts), *once.shape))
    return compare_resampled(models, subjects, counts, method=comparison)


def _legacy_draws(
    shape: tuple[int, int], kinds: tuple[str, ...], n_draws: int, seed: int
) -> tuple[Floats, Floats]:
    """Draw as rsatoolbox does from NumPy's global generator; counts by draw."""
    draws = np.random.RandomState(seed)
    counts = np.ones((n_draws, shape[0])), np.ones((n_draws, shape[1]))
    wanted = {"both": (0, 1), "subjects": (0,), "stimuli": (1,)}[kinds[0]]
    for draw in range(n_draws):
        for which in wanted:
            n = shape[which]
            counts[which][draw] = np.bincount(draws.randint(0, n, size=n), minlength=n)
        if len(kinds) > 1:
            _shuffle_as_folds(draws, shape, *(int((one[draw] > 0).sum()) for one in counts))
    return counts


def _shuffle_as_folds(
    draws: np.random.RandomState, shape: tuple[int, int], n_subjects: int, n_stimuli: int
) -> None:
    """Use up what rsatoolbox spends on shuffling the single fold of each of its three samples."""
    if n_stimuli < _FEWEST_STIMULI:
        return
    for sizes in ((n_subjects, n_stimuli), (n_subjects, shape[1]), (shape[0], n_stimuli)):
        for size in sizes:
            draws.shuffle(np.arange(size))


def _summarised(
    values: list[Floats],
    bounds: list[Floats],
    matrices: tuple[Floats, Floats],
    shape: tuple[int, int],
    method: Bootstrap,
    comparison: Comparator,
) -> Evaluation:
    covariances = []
    for which, drawn in enumerate(values):
        columns = drawn
        if bounds and method != "bootstrap_rdm":
            columns = np.concatenate([drawn, bounds[which].T], axis=1)
        covariances.append(np.atleast_2d(np.cov(columns[np.isfinite(drawn[:, 0])].T)))
    if bounds:
        ceiling = bounds[0] if len(bounds) == 1 else np.stack(bounds, axis=-1)
    else:
        once = leave_one_subject_out(matrices[1], comparison=comparison, rank_pooling="reranked")
        ceiling = np.array([bound.mean() for bound in once])
    return Evaluation(
        evaluations=values[0] if len(values) == 1 else np.stack(values, axis=-1),
        noise_ceiling=ceiling,
        covariance=covariances[0] if len(values) == 1 else np.stack(covariances),
        dof={"bootstrap_rdm": shape[0], "bootstrap_pattern": shape[1]}.get(method, min(shape)) - 1,
        n_subjects=None if method == "bootstrap_pattern" else shape[0],
        n_stimuli=None if method == "bootstrap_rdm" else shape[1],
    )


def _bootstrap_pair(one: Floats, other: Floats) -> float:
    n_draws = len(one)
    share = np.sum(one < other) / (n_draws - np.sum(one == other))
    return float((n_draws - 1) / n_draws * 2 * min(share, 1 - share) + 1 / n_draws)


def _deviation(variances: Floats) -> Floats:
    return np.asarray(np.sqrt(np.maximum(variances, _SMALLEST)))

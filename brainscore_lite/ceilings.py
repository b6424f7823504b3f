"""Noise ceilings: how well any model could score, given how reliable the recording is."""

import warnings
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
import xarray as xr

from brainscore_lite.metrics.labels import is_rdms, kept_coords
from brainscore_lite.metrics.metric import Metric
from brainscore_lite.metrics.rdm import condensed
from brainscore_lite.metrics.rdm_ceiling import RankPooling, leave_one_subject_out
from brainscore_lite.metrics.reliability import (
    NoReliabilityWarning,
    rdm_split_half,
    spearman_brown,
    split_half_reliability,
)
from brainscore_lite.metrics.rsa import RSA
from brainscore_lite.schema import ContractError, check_rdms, check_responses

__all__ = [
    "Ceiling",
    "LeaveOneSubjectOut",
    "NoReliabilityWarning",
    "RDMSplitHalf",
    "SplitHalf",
    "check_trials",
    "leave_one_subject_out",
    "rdm_split_half",
    "spearman_brown",
    "split_half_reliability",
]


class Ceiling(Protocol):
    """A frozen dataclass of settings that measures how well any model could score."""

    def __call__(self, trials: xr.DataArray, metric: Metric) -> xr.Dataset:
        """Return ``ceiling`` in the metric's unit, and what else the recording allows.

        Returns
        -------
        Dataset
            With ``ceiling``; ``reliability``, ``lower`` and ``upper`` where they exist.
        """
        ...


@dataclass(frozen=True)
class SplitHalf:
    """The ceiling of a correlation with each neuroid's averaged responses.

    The reliability c of the average is a squared correlation; no model can correlate with the
    average better than the noise-free response does, which is sqrt(c).

    Parameters
    ----------
    n_splits : int
        Random halvings.
    seed : int
    """

    n_splits: int = 10
    seed: int = 0

    def __call__(self, trials: xr.DataArray, metric: Metric) -> xr.Dataset:
        """Compute the ceiling.

        Parameters
        ----------
        trials : DataArray, dims (repetition, stimulus, neuroid[, time_bin])
        metric : Metric
            One whose unit is a correlation for each neuroid.

        Returns
        -------
        Dataset
            ``reliability``, dims (split, neuroid[, time_bin]), and ``ceiling``, the root of its
            mean over splits, dims (neuroid[, time_bin]); 0, with a warning, where that mean is
            not positive.

        Raises
        ------
        ContractError
            If there are dissimilarity matrices or single trials only, or the metric has no score
            for each neuroid.
        """
        if metric.unit != "pearson_r" or not metric.fits:
            raise ContractError(
                f"SplitHalf is the ceiling of a Pearson r of each neuroid, not of {metric!r}. Use "
                "RDMSplitHalf or LeaveOneSubjectOut for RSA; CKA has no ceiling here."
            )
        check_trials(trials)
        values = trials.values
        flat = values.reshape(*values.shape[:2], -1)
        reliability = split_half_reliability(flat, n_splits=self.n_splits, seed=self.seed)
        dims = tuple(str(dim) for dim in trials.dims[2:])
        coords = kept_coords(trials, dims)
        by_split = xr.DataArray(
            reliability.reshape(self.n_splits, *values.shape[2:]),
            dims=("split", *dims),
            coords={"split": np.arange(self.n_splits), **coords},
        )
        return xr.Dataset({"reliability": by_split, "ceiling": _root(by_split.mean("split"))})


@dataclass(frozen=True)
class RDMSplitHalf:
    """The ceiling of a comparison with the dissimilarities of averaged responses.

    Each half of the repetitions gives one dissimilarity matrix of the population. Their
    comparison, corrected by Spearman-Brown, is taken as the reliability c of the full matrix, and
    sqrt(c) as the ceiling. The correction assumes that the noise of dissimilarities halves when
    repetitions double, which holds approximately.

    Parameters
    ----------
    n_splits : int
        Random halvings.
    seed : int
    """

    n_splits: int = 10
    seed: int = 0

    def __call__(self, trials: xr.DataArray, metric: Metric) -> xr.Dataset:
        """Compute the ceiling.

        Parameters
        ----------
        trials : DataArray, dims (repetition, stimulus, neuroid)
        metric : RSA
            Its dissimilarity and comparison are used.

        Returns
        -------
        Dataset
            ``half`` (the comparison of halves) and ``reliability`` (corrected), dims (split);
            ``ceiling``, dims ().

        Raises
        ------
        ContractError
            If there are no repetitions, or the metric is not RSA.
        """
        settings = _as_rsa(metric, "RDMSplitHalf")
        check_trials(trials)
        if "time_bin" in trials.dims:
            raise ContractError(
                "RDMSplitHalf takes one time bin; choose it with .isel(time_bin=i)."
            )
        half = rdm_split_half(
            trials.values,
            n_splits=self.n_splits,
            seed=self.seed,
            dissimilarity=settings.dissimilarity,
            comparison=settings.comparison,
        )
        split = {"split": np.arange(self.n_splits)}
        between = xr.DataArray(half, dims="split", coords=split)
        reliability = between.copy(data=spearman_brown(half))
        return xr.Dataset(
            {
                "half": between,
                "reliability": reliability,
                "ceiling": _root(reliability.mean("split")),
            }
        )


@dataclass(frozen=True)
class LeaveOneSubjectOut:
    """Bounds on the mean comparison with the dissimilarities of several subjects.

    lower: each subject against the pool of the others, which a model that knows those others
    reaches; upper: each subject against the pool of all, which no model can surpass where the
    pool maximises the mean comparison. The pool is the mean of matrices made comparable as the
    comparison does: z-scored for Pearson, of unit length for cosine, ranked for Spearman and
    Kendall's tau-a.

    Parameters
    ----------
    rank_pooling : {"mean_of_ranks", "reranked"}
        Spearman only. ``mean_of_ranks``: Pearson correlation of ranks with the mean of ranks, the
        true maximum (Nili et al. 2014). ``reranked``: Spearman's correlation with that mean, as
        rsatoolbox, lower by about 0.005 in 92 images.

    References
    ----------
    Nili et al. (2014), doi:10.1371/journal.pcbi.1003553.
    """

    rank_pooling: RankPooling = "mean_of_ranks"

    def __post_init__(self) -> None:
        if self.rank_pooling not in get_args(RankPooling):
            raise ContractError(
                f"rank_pooling is {self.rank_pooling!r}, expected one of {get_args(RankPooling)}."
            )

    def __call__(self, trials: xr.DataArray, metric: Metric) -> xr.Dataset:
        """Compute the bounds.

        Parameters
        ----------
        trials : DataArray, dims (subject, stimulus, stimulus_other)
        metric : RSA
            Its comparison is used.

        Returns
        -------
        Dataset
            ``lower``, ``upper`` and ``ceiling`` (the upper bound, which divides a normalised
            score), dims (subject).

        Raises
        ------
        ContractError
            If there are fewer than two subjects, or no dissimilarity matrices.
        """
        settings = _as_rsa(metric, "LeaveOneSubjectOut")
        if not is_rdms(trials):
            raise ContractError(
                "LeaveOneSubjectOut takes dissimilarity matrices of several subjects. For trials "
                "of one population use RDMSplitHalf."
            )
        check_rdms(trials)
        if "time_bin" in trials.dims:
            raise ContractError(
                "LeaveOneSubjectOut takes one time bin; choose it with .isel(time_bin=i)."
            )
        vectors = np.stack([condensed(matrix) for matrix in trials.values])
        lower, upper = leave_one_subject_out(
            vectors, comparison=settings.comparison, rank_pooling=self.rank_pooling
        )
        coords = kept_coords(trials, ("subject",))
        bounds = {"lower": lower, "upper": upper, "ceiling": upper}
        return xr.Dataset({name: ("subject", bound) for name, bound in bounds.items()}, coords)


def check_trials(trials: xr.DataArray) -> xr.DataArray:
    """Return `trials` if halves of its repetitions can be taken.

    Raises
    ------
    ContractError
        If it holds dissimilarity matrices, or one repetition.
    """
    if is_rdms(trials):
        raise ContractError(
            "a split-half ceiling needs trials, but these are dissimilarity matrices. With "
            "several subjects use LeaveOneSubjectOut, with one score without a ceiling."
        )
    check_responses(trials)
    if trials.sizes["repetition"] < 2:
        raise ContractError(
            f"responses '{trials.name}': one repetition, expected at least two: reliability cannot "
            "be measured. Give the single trials along 'repetition', or score without a ceiling "
            "(ceiling=None)."
        )
    return trials


def _as_rsa(metric: Metric, ceiling: str) -> RSA:
    if not isinstance(metric, RSA):
        raise ContractError(
            f"{ceiling} is a ceiling of RSA, not of {metric!r}. Use SplitHalf for linear "
            "predictivity; CKA has no ceiling here."
        )
    return metric


def _root(reliability: xr.DataArray) -> xr.DataArray:
    """Return sqrt(c), and 0 with a warning where c is not positive."""
    without = int((reliability <= 0).sum())
    if without:
        warnings.warn(
            f"{without} of {reliability.size} reliabilities are not positive: nothing there can "
            "be predicted, and their ceiling is 0.",
            NoReliabilityWarning,
            stacklevel=3,
        )
    positive = reliability.where(reliability > 0, 0.0)
    return positive.copy(data=np.sqrt(positive.values))

"""Bounds on the mean comparison with several subjects."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from brainscore_lite.ceilings.measured import Ceiling, Floats, Measured, MeasuredCeiling, as_rsa
from brainscore_lite.metrics.dissimilarities.comparison import compare_rdms, compare_resampled
from brainscore_lite.metrics.dissimilarities.rdm import condensed
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import (
    RankPooling,
    leave_one_subject_out,
    leave_one_subject_out_resampled,
)
from brainscore_lite.metrics.labels import is_rdms, kept_coords
from brainscore_lite.metrics.metric import Metric
from brainscore_lite.schema import ContractError, check_rdms


@dataclass(frozen=True)
class LeaveOneSubjectOut(Ceiling):
    """Bounds on the mean comparison with the dissimilarities of several subjects.

    lower: each subject against the pool of the others, which a model that knows those others
    reaches; upper: each subject against the pool of all, which no model can surpass where the
    pool maximises the mean comparison. The pool is the mean of matrices made comparable as the
    comparison does: z-scored for Pearson, of unit length for cosine, ranked for Spearman and
    Kendall's tau-a; see :func:`leave_one_subject_out`.

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

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute the bounds, and keep the matrices to count stimuli anew.

        Parameters
        ----------
        trials : DataArray, dims (subject, stimulus, stimulus_other)
        metric : RSA
            Its comparison is used.

        Returns
        -------
        MeasuredCeiling
            ``lower``, ``upper`` and ``ceiling`` (the upper bound, which divides a normalised
            score), dims (subject).

        Raises
        ------
        ContractError
            If there are fewer than two subjects, or no dissimilarity matrices.

        Notes
        -----
        Resampled, the bounds are means over subjects, dims (draw). Of ``mean_of_ranks`` the ranks
        are those of all stimuli, not taken anew in each draw: draws agree by r = 0.998, their
        deviation to 3 %, at a sixth of the time.
        """
        comparison = as_rsa(metric, "LeaveOneSubjectOut").comparison
        vectors = subject_vectors(trials, "LeaveOneSubjectOut")
        lower, upper = leave_one_subject_out(
            vectors, comparison=comparison, rank_pooling=self.rank_pooling
        )

        def resample(weights: ArrayLike) -> xr.Dataset:
            by_ranks = comparison == "spearman" and self.rank_pooling == "mean_of_ranks"
            bounds = leave_one_subject_out_resampled(
                rankdata(vectors, axis=1) if by_ranks else vectors,
                weights,
                np.ones((len(np.asarray(weights)), len(vectors))),
                comparison="pearson" if by_ranks else comparison,
                rank_pooling=self.rank_pooling,
            )
            return bounds_of(*bounds, "draw", {"draw": np.arange(len(bounds[0]))})

        coords = kept_coords(trials, ("subject",))
        return Measured(bounds_of(lower, upper, "subject", coords), resample)


@dataclass(frozen=True)
class RSACeiling(Ceiling):
    """Brain-Score's bounds on the mean comparison with several subjects, for its protocol.

    As :class:`LeaveOneSubjectOut`, with the plain mean of the matrices as the pool, whatever the
    comparison; their units and ranges then weigh in.
    """

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute ``lower``, ``upper`` and ``ceiling`` (the upper bound), dims (subject)."""
        comparison = as_rsa(metric, "RSACeiling").comparison
        vectors = subject_vectors(trials, "RSACeiling")
        if len(vectors) < 2:
            raise ContractError("1 subject, expected at least two. Score without a ceiling.")
        total = vectors.sum(axis=0)
        pools = [np.stack([total - own, total]) for own in vectors]
        pairs = list(zip(vectors, pools, strict=True))

        def resample(weights: ArrayLike) -> xr.Dataset:
            drawn = np.mean(
                [compare_resampled(own, pool, weights, method=comparison) for own, pool in pairs],
                axis=0,
            )
            return bounds_of(drawn[:, 0], drawn[:, 1], "draw", {"draw": np.arange(len(drawn))})

        bounds = np.stack(
            [np.ravel(compare_rdms(own[None], pool, method=comparison)) for own, pool in pairs]
        )
        coords = kept_coords(trials, ("subject",))
        return Measured(bounds_of(bounds[:, 0], bounds[:, 1], "subject", coords), resample)


def subject_vectors(trials: xr.DataArray, ceiling: str) -> Floats:
    """Return the condensed matrices of several subjects, shape (n_subjects, n_pairs)."""
    if not is_rdms(trials):
        raise ContractError(
            f"{ceiling} takes dissimilarity matrices of several subjects. For trials "
            "of one population use RDMSplitHalf."
        )
    check_rdms(trials)
    if "time_bin" in trials.dims:
        raise ContractError(f"{ceiling} takes one time bin; choose it with .isel(time_bin=i).")
    return np.stack([condensed(matrix) for matrix in trials.values])


def bounds_of(
    lower: Floats, upper: Floats, dim: str, coords: Mapping[Hashable, object]
) -> xr.Dataset:
    """Label both bounds; the upper one is the ceiling."""
    bounds = {"lower": lower, "upper": upper, "ceiling": upper}
    return xr.Dataset({name: (dim, bound) for name, bound in bounds.items()}, coords)

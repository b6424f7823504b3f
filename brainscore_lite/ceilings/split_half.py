"""Ceilings from halves of the repetitions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from brainscore_lite.ceilings.measured import (
    Ceiling,
    Floats,
    Measured,
    MeasuredCeiling,
    as_rsa,
    by_unit,
    check_predictivity,
    check_trials,
    root,
    unit_trials,
)
from brainscore_lite.metrics.dissimilarities.comparison import (
    Comparator,
    compare_rdms,
    compare_resampled,
)
from brainscore_lite.metrics.dissimilarities.rsa import RSA
from brainscore_lite.metrics.labels import stimulus_labels
from brainscore_lite.metrics.metric import Metric
from brainscore_lite.metrics.reliability.internal_consistency import (
    internal_consistency,
    internal_consistency_resampled,
)
from brainscore_lite.metrics.reliability.repetition_halves import rdm_halves
from brainscore_lite.metrics.reliability.split_half import (
    Correction,
    check_correction,
    full_length_reliability,
    spearman_brown,
    split_half_reliability,
    split_half_resampled,
)
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError


@dataclass(frozen=True)
class SplitHalf(Ceiling):
    """The ceiling of a correlation with each neuroid's averaged responses.

    The reliability c of the average is a squared correlation; no model can correlate with the
    average better than the noise-free response does, which is sqrt(c).

    Parameters
    ----------
    n_splits : int
        Random halvings.
    seed : int
    correction : {"spearman_brown", "exact"}
        How halves of unequal numbers of trials are corrected; see
        :func:`split_half_reliability`.
    """

    n_splits: int = 10
    seed: int = 0
    correction: Correction = "spearman_brown"

    def __post_init__(self) -> None:
        check_correction(self.correction)

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute the ceiling, and keep the trials to count stimuli anew.

        Parameters
        ----------
        trials : DataArray, dims (repetition, stimulus, neuroid[, time_bin])
        metric : Metric
            One whose unit is a correlation for each neuroid.

        Returns
        -------
        MeasuredCeiling
            ``reliability``, dims (split, neuroid[, time_bin]), and ``ceiling``, the root of its
            mean over splits, dims (neuroid[, time_bin]); 0, with a warning, where that mean is
            not positive. Resampled, ``reliability`` is the mean over halvings, dims
            (draw, neuroid[, time_bin]).

        Raises
        ------
        ContractError
            If there are dissimilarity matrices or single trials only, or the metric has no score
            for each neuroid.
        """
        check_predictivity(metric, "SplitHalf")
        flat = unit_trials(trials)
        reliability = split_half_reliability(
            flat, n_splits=self.n_splits, seed=self.seed, correction=self.correction
        )
        by_split = by_unit(reliability, trials, "split")

        def resample(weights: ArrayLike) -> xr.Dataset:
            drawn = split_half_resampled(
                flat, weights, n_splits=self.n_splits, seed=self.seed, correction=self.correction
            )
            mean = by_unit(drawn, trials, "draw")
            return xr.Dataset({"reliability": mean, "ceiling": root(mean, announce=False)})

        parts = {"reliability": by_split, "ceiling": root(by_split.mean("split"))}
        return Measured(xr.Dataset(parts), resample)


@dataclass(frozen=True)
class InternalConsistency(Ceiling):
    """Brain-Score's split-half ceiling, for its protocol.

    All stimuli share the halves, and 2 r / (1 + r) is taken whatever their sizes; see
    :func:`internal_consistency`. Brain-Score divides by the reliability itself.

    Parameters
    ----------
    n_splits : int
    seed : int
    test : str, optional
        Boolean coordinate of the stimuli; the others take no part.
    """

    n_splits: int = 10
    seed: int = 1
    test: str | None = None

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute ``reliability``, dims (split, neuroid[, time_bin]), and ``ceiling``, its root.

        Of the mean over splits; parameters and errors are those of :class:`SplitHalf`.
        """
        check_predictivity(metric, "InternalConsistency")
        counted = np.ones(trials.sizes["stimulus"], dtype=bool)
        if self.test is not None:
            stimulus_labels(trials, self.test)  # says what is wrong where there is no such coord
            counted = trials.coords[self.test].values.astype(bool)
        flat = unit_trials(trials)[:, counted]

        def labelled(reliability: Floats, *leading: str) -> xr.Dataset:
            parts = by_unit(reliability, trials, *leading)
            mean = root(parts.mean("split"), announce=leading[0] == "split")
            return xr.Dataset({"reliability": parts, "ceiling": mean})

        def resample(weights: ArrayLike) -> xr.Dataset:
            drawn = internal_consistency_resampled(
                flat,
                check_weights(weights, len(counted))[:, counted],
                n_splits=self.n_splits,
                seed=self.seed,
            )
            return labelled(drawn, "draw", "split")

        found = internal_consistency(flat, n_splits=self.n_splits, seed=self.seed)
        return Measured(labelled(found, "split"), resample)


@dataclass(frozen=True)
class RDMSplitHalf(Ceiling):
    """The ceiling of a comparison with the dissimilarities of averaged responses.

    Each half of the repetitions gives one dissimilarity matrix of the population. Their
    comparison, corrected to full length, is taken as the reliability c of the full matrix, and
    sqrt(c) as the ceiling. The correction assumes that the noise of dissimilarities halves when
    repetitions double, which holds approximately.

    Parameters
    ----------
    n_splits : int
        Random halvings.
    seed : int
    correction : {"spearman_brown", "exact"}
        How halves of unequal numbers of trials are corrected.
    """

    n_splits: int = 10
    seed: int = 0
    correction: Correction = "spearman_brown"

    def __post_init__(self) -> None:
        check_correction(self.correction)

    def measure(self, trials: xr.DataArray, metric: Metric) -> MeasuredCeiling:
        """Compute the ceiling, and keep the trials to count stimuli anew.

        Parameters
        ----------
        trials : DataArray, dims (repetition, stimulus, neuroid)
        metric : RSA
            Its dissimilarity, noise and comparison are used.

        Returns
        -------
        MeasuredCeiling
            ``half`` (the comparison of halves) and ``reliability`` (corrected), dims (split);
            ``ceiling``, dims ().

        Raises
        ------
        ContractError
            If a stimulus has fewer than two repetitions (four where the dissimilarity is
            cross-validated or in units of the noise), or the metric is not RSA or has folds.

        Notes
        -----
        Resampled, draw d compares the matrices of halving d modulo `n_splits`. Its distance from
        the mean over halvings is kept by a factor 1 / sqrt(n_splits), so that draws vary as a
        mean over halvings does. Spearman's correlation takes the ranks of all stimuli, not anew
        in each draw: draws agree by r = 0.998, their deviation to 3 %, at a hundredth of the time.
        """
        settings = as_rsa(metric, "RDMSplitHalf")
        check_trials(trials)
        if settings.folds is not None:
            raise ContractError(
                f"RDMSplitHalf halves the repetitions of each stimulus at random, across the folds "
                f"of '{settings.folds}'. Use RSA(folds=None), each repetition a fold, or score "
                "without a ceiling (ceiling=None)."
            )
        if "time_bin" in trials.dims:
            raise ContractError(
                "RDMSplitHalf takes one time bin; choose it with .isel(time_bin=i)."
            )
        values = trials.transpose("repetition", "stimulus", "neuroid").values
        n_trials = np.isfinite(values).sum(axis=0)
        half = np.array(
            [
                compare_rdms(a, b, method=settings.comparison)
                for a, b in self._matrices(values, settings)
            ]
        )
        reliability = self._corrected(half, n_trials)

        def resample(weights: ArrayLike) -> xr.Dataset:
            counts = check_weights(weights, values.shape[1])
            drawn = np.empty(len(counts))
            by_ranks = settings.comparison == "spearman"
            method: Comparator = "pearson" if by_ranks else settings.comparison
            for split, halves in enumerate(self._matrices(values, settings)):
                rows = slice(split, None, self.n_splits)
                if len(counts[rows]) == 0:
                    break
                a, b = (rankdata(half) for half in halves) if by_ranks else halves
                r = compare_resampled(a, b[None], counts[rows], method=method)[:, 0]
                away = (reliability[split] - reliability.mean()) * (1 - self.n_splits**-0.5)
                drawn[rows] = self._corrected(r, n_trials) - away
            mean = xr.DataArray(drawn, dims="draw", coords={"draw": np.arange(len(drawn))})
            return xr.Dataset({"reliability": mean, "ceiling": root(mean, announce=False)})

        split = {"split": np.arange(self.n_splits)}
        between = xr.DataArray(half, dims="split", coords=split)
        corrected = between.copy(data=reliability)
        parts = {
            "half": between,
            "reliability": corrected,
            "ceiling": root(corrected.mean("split")),
        }
        return Measured(xr.Dataset(parts), resample)

    def _matrices(self, values: Floats, settings: RSA) -> Iterator[tuple[Floats, Floats]]:
        return rdm_halves(
            values,
            n_splits=self.n_splits,
            seed=self.seed,
            dissimilarity=settings.dissimilarity,
            noise=settings.noise,
        )

    def _corrected(self, r: Floats, n_trials: NDArray[np.int64]) -> Floats:
        if self.correction == "spearman_brown":
            return spearman_brown(r)
        first = n_trials // 2
        lengths = [1 / np.mean(1 / n) for n in (first, n_trials - first, n_trials)]
        return full_length_reliability(
            r, n_first=lengths[0], n_second=lengths[1], n_full=lengths[2]
        )

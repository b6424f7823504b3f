"""One regression for all times at once, its weights shared by them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from numpy.typing import ArrayLike

from brainscore_lite.metrics.arrays import Array, as_numpy, rows
from brainscore_lite.metrics.correlation import pearson_columns, warn_undefined
from brainscore_lite.metrics.regression.cross_validation import (
    CONSTANT,
    CrossValidated,
    resolve_regression,
)
from brainscore_lite.metrics.regression.fold_fit import Regression
from brainscore_lite.metrics.regression.linear_predictivity import (
    LinearPredictivity,
    PredictedResponses,
)
from brainscore_lite.metrics.splits import Fold, Splits, resolve_folds
from brainscore_lite.metrics.time.over_time import (
    at_all_times,
    check_direction,
    check_times,
    features_at,
    responses_by_time,
    responses_over_time,
    side_by_side,
    stacked_features,
)
from brainscore_lite.schema import ContractError, match_stimuli


def span_time(
    X: Array,
    Y: Array,
    *,
    regression: str | Regression = "pls",
    splits: int | Splits | Sequence[Fold] = 10,
    seed: int | None = None,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> CrossValidated:
    """Fit one regression on all times at once, and correlate its predictions at each time.

    Time is folded into the stimuli, so that weights are shared by all times: (n_train n_times)
    rows are fitted. A stimulus trains or tests at all times. What a regression chooses within
    the training stimuli is chosen by leaving out whole stimuli as well (or `groups`). With PLS of
    25 components and Brain-Score's splits this is its ``spantime_pls``.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features, n_times)
        Features that change over time, such as a model's steps.
    Y : array, shape (n_stimuli, n_units, n_times)
    regression, splits, seed, strata, groups
        As for ``linear_predictivity``.

    Returns
    -------
    CrossValidated
        Units are those of each time in turn: ``r`` has shape (n_splits, n_times * n_units).

    Raises
    ------
    ContractError
        As ``linear_predictivity``; or if `X` does not change over time.
    """
    method = resolve_regression(regression)
    source, stays = stacked_features(X, method)
    if stays:
        raise ContractError(
            "X has no time axis, expected (n_stimuli, n_features, n_times): weights shared by all "
            "times can only follow features that change."
        )
    by_time = responses_by_time(Y, source)
    check_times(source, by_time)
    n_times, n_stimuli = len(by_time), int(by_time[0].shape[0])
    xp = array_namespace(by_time[0])
    folds = resolve_folds(splits, n_stimuli, seed=seed, strata=strata, groups=groups)
    spanning = [_spanning(fold, n_stimuli, n_times) for fold in folds]
    fits = method.fit_folds(source, xp.concat(by_time), spanning, inner=False)
    predictions = tuple(side_by_side(fit.predictions, n_times=n_times) for fit in fits)
    responses = xp.concat(by_time, axis=1)
    correlated = [
        pearson_columns(predicted, rows(responses, fold.test))
        for predicted, fold in zip(predictions, folds, strict=True)
    ]
    n_undefined = sum(int(as_numpy(undefined).sum()) for _, undefined in correlated)
    warn_undefined(n_undefined, len(folds) * int(responses.shape[1]), what=CONSTANT)
    return CrossValidated(
        folds=folds,
        predictions=predictions,
        responses=responses,
        r=xp.stack([r for r, _ in correlated]),
        inner_r=None,
        penalties=None,
    )


@dataclass(frozen=True)
class SpanTime:
    """Score steps of a model by one regression for all time bins, its weights shared.

    Parameters
    ----------
    steps : tuple of int
        The model step that belongs to each time bin.
    predictivity : LinearPredictivity
        The regression and the splits; see :func:`span_time`.
    """

    steps: tuple[int, ...]
    predictivity: LinearPredictivity = LinearPredictivity(regression="pls")
    unit: ClassVar[str] = "pearson_r"
    fits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_direction(self.predictivity)

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return Pearson r; dims (split, time_bin, neuroid)."""
        return self.compare(source, target).values()

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> PredictedResponses:
        """Fit every split once.

        Parameters
        ----------
        source : DataArray, dims (stimulus, neuroid, step)
        target : DataArray, dims (repetition, stimulus, neuroid, time_bin)
        """
        source, target = match_stimuli(source, target)
        recorded = responses_over_time(target)
        cross_validated = span_time(
            features_at(source, self.steps, n_bins=recorded.sizes["time_bin"]),
            recorded.values,
            regression=self.predictivity.regression,
            splits=self.predictivity.folds(target),
        )
        return PredictedResponses(
            cross_validated, recorded.transpose("stimulus", "time_bin", "neuroid")
        )


def _spanning(fold: Fold, n_stimuli: int, n_times: int) -> Fold:
    """Return the fold over stimuli at all times, each stimulus or group staying together."""
    labels = fold.train.astype(str) if fold.groups is None else fold.groups
    return replace(
        fold,
        train=at_all_times(fold.train, n_stimuli=n_stimuli, n_times=n_times),
        test=at_all_times(fold.test, n_stimuli=n_stimuli, n_times=n_times),
        groups=np.tile(labels, n_times),
    )

"""Regression across time: fitted at one time and tested at another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from numpy.typing import ArrayLike

from brainscore_lite.metrics.arrays import Array, as_numpy, rows
from brainscore_lite.metrics.correlation import pearson_columns, warn_undefined
from brainscore_lite.metrics.gram import Gram
from brainscore_lite.metrics.labels import kept_coords, source_features
from brainscore_lite.metrics.regression.cross_validation import CONSTANT, resolve_regression
from brainscore_lite.metrics.regression.fold_fit import Regression, check_stimuli
from brainscore_lite.metrics.regression.linear_predictivity import LinearPredictivity
from brainscore_lite.metrics.splits import Fold, Splits, resolve_folds
from brainscore_lite.metrics.time.over_time import (
    at_all_times,
    check_direction,
    check_times,
    features_at,
    n_rows,
    responses_by_time,
    responses_over_time,
    side_by_side,
    stacked_features,
    time_coords,
)
from brainscore_lite.schema import match_stimuli


def cross_temporal_predictivity(
    X: Array | Gram,
    Y: Array,
    *,
    regression: str | Regression = "ridge",
    splits: int | Splits | Sequence[Fold] = 10,
    seed: int | None = None,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Array:
    """Predict responses at one time from a regression fitted at another.

    For each split and each time t a linear map is fitted on the training stimuli at t; r is the
    Pearson correlation of its predictions for the test stimuli with the responses at t'. Features
    that change over time are those of t in the fit and those of t' in the prediction; for features
    that do not, the prediction of the fit at t is compared with the responses at every t'.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features) or (n_stimuli, n_features, n_times), or Gram
        Features that stay, or one set for each time.
    Y : array, shape (n_stimuli, n_units, n_times)
        Responses, averaged over repetitions.
    regression, splits, seed, strata, groups
        As for ``linear_predictivity``.

    Returns
    -------
    array, shape (n_splits, n_train_times, n_test_times, n_units)
        Its diagonal is ``linear_predictivity`` at each time. 0, with a warning, where predictions
        or responses are constant. Features that change take memory for a Gram matrix of
        (n_stimuli n_times)^2.

    Raises
    ------
    ContractError
        As ``linear_predictivity``; or if numbers of times differ.

    References
    ----------
    King & Dehaene (2014), doi:10.1016/j.tics.2014.01.002.
    """
    method = resolve_regression(regression)
    source, stays = stacked_features(X, method)
    by_time = responses_by_time(Y, source)
    n_times, (n_stimuli, n_units) = len(by_time), by_time[0].shape
    if stays:
        check_stimuli(n_rows(source), by_time[0])
    else:
        check_times(source, by_time)
    folds = resolve_folds(splits, n_stimuli, seed=seed, strata=strata, groups=groups)
    predict = _from_features_that_stay if stays else _from_features_that_change
    xp = array_namespace(by_time[0])
    recorded = [xp.concat([rows(y, fold.test) for y in by_time], axis=1) for fold in folds]
    results, n_undefined = [], 0
    for predictions in predict(method, source, by_time, folds):
        for predicted, measured in zip(predictions, recorded, strict=True):
            r, undefined = pearson_columns(predicted, measured)
            results.append(xp.reshape(r, (n_times, n_units)))
            n_undefined += int(as_numpy(undefined).sum())
    warn_undefined(n_undefined, len(results) * n_times * n_units, what=CONSTANT)
    by_train = xp.reshape(xp.stack(results), (n_times, len(folds), n_times, n_units))
    return xp.permute_dims(by_train, (1, 0, 2, 3))


@dataclass(frozen=True)
class CrossTemporalPredictivity:
    """Fit a metric's regression at each time bin and test it at every other.

    Parameters
    ----------
    predictivity : LinearPredictivity
        The regression and the splits.
    steps : tuple of int, optional
        The model step that belongs to each time bin, for a source with steps.
    """

    predictivity: LinearPredictivity = LinearPredictivity()
    steps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_direction(self.predictivity)

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return Pearson r; dims (split, train_time, test_time, neuroid).

        Parameters
        ----------
        source : DataArray, dims (stimulus, neuroid) or (stimulus, neuroid, step)
        target : DataArray, dims (repetition, stimulus, neuroid, time_bin)

        Raises
        ------
        ContractError
            If the target has no time bins, or steps are not given one for each bin.
        """
        source, target = match_stimuli(source, target)
        recorded = responses_over_time(target)
        features = (
            source_features(source)
            if self.steps is None
            else features_at(source, self.steps, n_bins=recorded.sizes["time_bin"])
        )
        r = cross_temporal_predictivity(
            features,
            recorded.values,
            regression=self.predictivity.regression,
            splits=self.predictivity.folds(target),
        )
        return xr.DataArray(
            as_numpy(r),
            dims=("split", "train_time", "test_time", "neuroid"),
            coords={
                "split": np.arange(r.shape[0]),
                **kept_coords(recorded, ("neuroid",)),
                **time_coords(recorded),
            },
        )


def _from_features_that_stay(
    method: Regression, source: Array | Gram, by_time: list[Array], folds: Sequence[Fold]
) -> Iterator[list[Array]]:
    """Yield for each training time the predictions of each fold, (n_test, n_times * n_units)."""
    n_times, n_units = len(by_time), int(by_time[0].shape[1])
    xp = array_namespace(by_time[0])
    joint = None
    if not method.pools_neuroids:
        joint = method.fit_folds(source, xp.concat(by_time, axis=1), folds, inner=False)
    for t, responses in enumerate(by_time):
        if joint is None:
            fits = method.fit_folds(source, responses, folds, inner=False)
            of_time = [fit.predictions for fit in fits]
        else:
            of_time = [fit.predictions[:, t * n_units : (t + 1) * n_units] for fit in joint]
        yield [xp.concat([predicted] * n_times, axis=1) for predicted in of_time]


def _from_features_that_change(
    method: Regression, source: Array | Gram, by_time: list[Array], folds: Sequence[Fold]
) -> Iterator[list[Array]]:
    """Yield the same from features that are those of the test time in each prediction."""
    n_times, n_stimuli = len(by_time), int(by_time[0].shape[0])
    stacked = array_namespace(by_time[0]).concat(by_time)
    for t in range(n_times):
        of_time = [
            replace(
                fold,
                train=fold.train + t * n_stimuli,
                test=at_all_times(fold.test, n_stimuli=n_stimuli, n_times=n_times),
            )
            for fold in folds
        ]
        fits = method.fit_folds(source, stacked, of_time, inner=False)
        yield [side_by_side(fit.predictions, n_times=n_times) for fit in fits]

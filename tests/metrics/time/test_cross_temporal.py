"""Fits at one time tested at another, against scikit-learn and the metric within each time."""

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import Ridge as SklearnRidge

from brainscore_lite.metrics import PLS, LinearPredictivity, Ridge, Splits, linear_predictivity
from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.metrics.gram import gram
from brainscore_lite.metrics.time.cross_temporal import (
    CrossTemporalPredictivity,
    cross_temporal_predictivity,
)
from brainscore_lite.metrics.time.span_time import SpanTime, span_time
from brainscore_lite.metrics.time.step_by_time import mass_above_below
from brainscore_lite.schema import ContractError, activations, responses

N, N_TIMES = 60, 3
RNG = np.random.default_rng(10)
X = RNG.normal(size=(N, 7, N_TIMES))  # features that change
MIXING = RNG.normal(size=(7, 5))
Y = np.einsum("nft,fu->nut", X, MIXING) + RNG.normal(size=(N, 5, N_TIMES))
FIXED = Ridge(penalties=(3.0,), unit="absolute")
FOLDS = Splits(4).folds(N)
NAMES = [f"s{i}" for i in range(N)]


def correlate(a: np.ndarray, b: np.ndarray) -> list[float]:
    return [np.corrcoef(p, q)[0, 1] for p, q in zip(a.T, b.T, strict=True)]


def source() -> xr.DataArray:
    return activations(X, stimulus=NAMES, layer="rnn")


def target() -> xr.DataArray:
    return responses(
        Y,
        stimulus=NAMES,
        neuroid=list("abcde"),
        region="IT",
        animal="one",
        time_bins=[(0, 50), (50, 100), (100, 150)],
    )


def test_changing_features_equal_a_loop_of_scikit_learn() -> None:
    ours = cross_temporal_predictivity(X, Y, regression=FIXED, splits=FOLDS)
    assert ours.shape == (4, N_TIMES, N_TIMES, 5)
    for k, fold in enumerate(FOLDS):
        for t in range(N_TIMES):
            model = SklearnRidge(alpha=3.0).fit(X[fold.train, :, t], Y[fold.train, :, t])
            for u in range(N_TIMES):
                expected = correlate(model.predict(X[fold.test, :, u]), Y[fold.test, :, u])
                np.testing.assert_allclose(ours[k, t, u], expected, atol=1e-10)


@pytest.mark.parametrize("regression", [FIXED, PLS(3), "ridge", "one_to_one"])
def test_features_that_stay_predict_every_time_from_each_fit(regression: object) -> None:
    still = X[..., 0]
    ours = cross_temporal_predictivity(still, Y, regression=regression, splits=FOLDS)
    for t in range(N_TIMES):
        within = linear_predictivity(still, Y[..., t], regression=regression, splits=FOLDS)
        np.testing.assert_allclose(ours[:, t, t], within, atol=1e-10)
    model = SklearnRidge(alpha=3.0).fit(still[FOLDS[1].train], Y[FOLDS[1].train, :, 2])
    expected = correlate(model.predict(still[FOLDS[1].test]), Y[FOLDS[1].test, :, 0])
    if regression is FIXED:
        np.testing.assert_allclose(ours[1, 2, 0], expected, atol=1e-10)


@pytest.mark.parametrize("regression", ["ridge", PLS(3), "one_to_one"])
def test_the_diagonal_is_the_metric_within_each_time(regression: object) -> None:
    ours = cross_temporal_predictivity(X, Y, regression=regression, splits=FOLDS)
    for t in range(N_TIMES):
        within = linear_predictivity(X[..., t], Y[..., t], regression=regression, splits=FOLDS)
        np.testing.assert_allclose(ours[:, t, t], within, atol=1e-9)


def test_a_mapping_that_stays_generalises_and_one_that_turns_does_not() -> None:
    staying = cross_temporal_predictivity(X, Y, splits=FOLDS)
    turned = Y.copy()
    turned[..., 2] = -Y[..., 2]
    turning = cross_temporal_predictivity(X, turned, splits=FOLDS)
    assert staying.mean((0, 3)).min() > 0.8
    assert turning[:, 0, 2].mean() < -0.8
    assert turning[:, 2, 2].mean() > 0.8
    mass = mass_above_below(turning.mean((0, 3)))
    assert float(mass.above) == pytest.approx(float(mass.below), abs=0.1)


def test_tensors_and_gram_matrices_give_the_same() -> None:
    ours = cross_temporal_predictivity(X, Y, splits=FOLDS)
    tensors = cross_temporal_predictivity(torch.tensor(X), torch.tensor(Y), splits=FOLDS)
    np.testing.assert_allclose(tensors.numpy(), ours, atol=1e-9)
    still = cross_temporal_predictivity(gram(X[..., 1]), Y, splits=FOLDS)
    expected = cross_temporal_predictivity(X[..., 1], Y, splits=FOLDS)
    np.testing.assert_array_equal(still, expected)
    spanned = span_time(torch.tensor(X), torch.tensor(Y), regression=PLS(3), splits=FOLDS)
    expected = span_time(X, Y, regression=PLS(3), splits=FOLDS).r
    np.testing.assert_allclose(spanned.r.numpy(), expected, atol=1e-9)


def test_spanning_time_equals_one_pls_over_all_times() -> None:
    folded = np.concatenate([X[..., t] for t in range(N_TIMES)])
    recorded = np.concatenate([Y[..., t] for t in range(N_TIMES)])
    for regression, model in (
        (PLS(3), PLSRegression(n_components=3, scale=False, tol=1e-22, max_iter=10000)),
        (FIXED, SklearnRidge(alpha=3.0)),
    ):
        r = span_time(X, Y, regression=regression, splits=FOLDS).r.reshape(4, N_TIMES, 5)
        for k, fold in enumerate(FOLDS):
            rows = np.concatenate([fold.train + t * N for t in range(N_TIMES)])
            model.fit(folded[rows], recorded[rows])
            for t in range(N_TIMES):
                expected = correlate(model.predict(X[fold.test, :, t]), Y[fold.test, :, t])
                np.testing.assert_allclose(r[k, t], expected, atol=1e-9)


def test_what_is_chosen_across_time_leaves_out_whole_stimuli() -> None:
    still = np.repeat(X[..., :1], N_TIMES, axis=2)  # every stimulus three times over
    noise = np.repeat(RNG.normal(size=(N, 5, 1)), N_TIMES, axis=2)
    chosen = span_time(still, noise, regression="ridge", splits=FOLDS)
    once = linear_predictivity(still[..., 0], noise[..., 0], splits=FOLDS)
    # Left out one row at a time, copies of a stimulus would ask for the smallest penalty.
    weights = [np.linalg.norm(p - p.mean(axis=0)) for p in chosen.predictions]
    assert np.median(weights) < 0.5 * np.linalg.norm(noise[FOLDS[0].test])
    assert np.abs(np.median(chosen.r) - np.median(once)) < 0.2


def test_labelled_cross_temporal_scores() -> None:
    metric = CrossTemporalPredictivity(LinearPredictivity(n_splits=4), steps=(0, 1, 2))
    shuffled = source().isel(stimulus=np.random.default_rng(0).permutation(N))
    values = metric(shuffled, target())
    assert values.dims == ("split", "train_time", "test_time", "neuroid")
    assert values["train_start_ms"].values.tolist() == [0, 50, 100]
    assert values["test_end_ms"].values.tolist() == [50, 100, 150]
    assert values["region"].values.tolist() == ["IT"] * 5
    np.testing.assert_allclose(values, cross_temporal_predictivity(X, Y, splits=FOLDS), atol=1e-10)
    still = CrossTemporalPredictivity(LinearPredictivity(n_splits=4))(
        source().isel(step=1, drop=True), target()
    )
    np.testing.assert_allclose(
        still, cross_temporal_predictivity(X[..., 1], Y, splits=FOLDS), atol=1e-10
    )


def test_labelled_spanning_scores_and_their_draws() -> None:
    metric = SpanTime(steps=(0, 1, 2), predictivity=LinearPredictivity(PLS(3), n_splits=4))
    values = metric(source(), target())
    assert values.dims == ("split", "time_bin", "neuroid")
    assert values["start_ms"].values.tolist() == [0, 50, 100]
    expected = span_time(X, Y, regression=PLS(3), splits=FOLDS).r.reshape(4, N_TIMES, 5)
    np.testing.assert_allclose(values, expected, atol=1e-10)
    drawn = metric.compare(source(), target()).resampled(np.ones((2, N), dtype=int))
    np.testing.assert_allclose(drawn[1], values, atol=1e-9)
    assert metric.fits
    assert metric.unit == "pearson_r"
    repeated = SpanTime(steps=(1, 1, 2), predictivity=LinearPredictivity(PLS(3), n_splits=4))
    held = span_time(X[..., [1, 1, 2]], Y, regression=PLS(3), splits=FOLDS)
    np.testing.assert_allclose(
        repeated(source(), target()), held.r.reshape(4, N_TIMES, 5), atol=1e-10
    )


def test_steps_that_no_signal_reached_have_no_features() -> None:
    late = source().copy()
    late[:, :, 0] = np.nan
    for metric in (CrossTemporalPredictivity(steps=(0, 1, 2)), SpanTime(steps=(0, 1, 2))):
        with pytest.raises(ContractError, match=r"no signal has reached .* at the steps \[0\]"):
            metric(late, target())
    later = SpanTime(steps=(1, 1, 2), predictivity=LinearPredictivity(n_splits=4))
    xr.testing.assert_identical(later(late, target()), later(source(), target()))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
def test_small_number_types_do_not_overflow(dtype: type) -> None:
    few = np.abs(60 * X).clip(0, 250).astype(dtype)
    recorded = np.abs(60 * Y).clip(0, 250).astype(dtype)
    expected = cross_temporal_predictivity(few.astype(float), recorded.astype(float), splits=FOLDS)
    ours = cross_temporal_predictivity(few, recorded, splits=FOLDS)
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ContractError, match=r"X has shape \(60, 7, 0\), expected"):
        cross_temporal_predictivity(X[..., :0], Y)
    with pytest.raises(ContractError, match=r"Y has shape \(60, 5\), expected \(n_stimuli"):
        cross_temporal_predictivity(X, Y[..., 0])
    with pytest.raises(ContractError, match="X has 120 stimuli and times together, Y has 60"):
        cross_temporal_predictivity(X[..., :2], Y)
    with pytest.raises(ContractError, match="X has 59 stimuli, Y has 60"):
        cross_temporal_predictivity(X[1:, :, 0], Y)
    broken = Y.copy()
    broken[4, 2, 1] = np.nan
    with pytest.raises(ContractError, match="Y at time 1: 1 of 5 neuroids hold NaN or inf"):
        cross_temporal_predictivity(X, broken)
    with pytest.raises(ContractError, match="X has no time axis"):
        span_time(X[..., 0], Y)
    with pytest.raises(ContractError, match="X has 120 stimuli and times together"):
        span_time(X[..., :2], Y, regression="ridge")
    with pytest.raises(ContractError, match="unknown regression 'lasso'"):
        span_time(X, Y, regression="lasso")
    silent = Y.copy()
    silent[:, 0, 0] = 2.0
    with pytest.warns(UndefinedCorrelationWarning, match="of 180 correlations are not defined"):
        r = cross_temporal_predictivity(X, silent, splits=FOLDS)
    assert (r[:, :, 0, 0] == 0).all()
    still, spanning = CrossTemporalPredictivity(), SpanTime(steps=(0, 1))
    with pytest.raises(ContractError, match="source has 3 entries along 'step'"):
        still(source(), target())
    with pytest.raises(ContractError, match="expected a 'time_bin' dim: there is one time"):
        still(source(), target().isel(time_bin=0, drop=True))
    with pytest.raises(ContractError, match="2 steps for 3 time bins"):
        spanning(source(), target())
    with pytest.raises(ContractError, match=r"source has no steps \[7\]; it has \[0, 1, 2\]"):
        SpanTime(steps=(0, 7, 1))(source(), target())
    with pytest.raises(ContractError, match="expected a 'step' dim, since steps were given"):
        SpanTime(steps=(0, 1, 2))(source().isel(step=0, drop=True), target())
    with pytest.raises(ContractError, match="across time only 'model_to_brain' is fitted"):
        SpanTime(steps=(0,), predictivity=LinearPredictivity(direction="brain_to_model"))

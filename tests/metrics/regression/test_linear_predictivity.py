"""Linear predictivity: laws of the kernel and of the labelled class."""

import warnings

import numpy as np
import pytest
import torch
import xarray as xr

from brainscore_lite.ceilings import split_half_reliability
from brainscore_lite.metrics import (
    LinearPredictivity,
    Splits,
    chosen_per_split,
    cross_validate,
    gram,
    linear_predictivity,
)
from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.schema import ContractError, activations, responses

N_STIMULI, N_UNITS = 240, 20
NAMES = [f"image{i:03d}" for i in range(N_STIMULI)]
RNG = np.random.default_rng(7)
TUNING = RNG.normal(size=(N_STIMULI, 10)) @ RNG.normal(size=(10, N_UNITS)) / np.sqrt(10)


def recording(noise: float = 1.0, n_repetitions: int = 8, **coords: object) -> xr.DataArray:
    trials = TUNING + noise * np.random.default_rng(1).normal(
        size=(n_repetitions, N_STIMULI, N_UNITS)
    )
    return responses(
        trials,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="one",
        **coords,
    )


def source(values: np.ndarray, layer: str = "conv") -> xr.DataArray:
    return activations(values, stimulus=NAMES, layer=layer)


@pytest.mark.parametrize("regression", ["ridge", "pls"])
def test_true_generator_scores_the_root_of_the_reliability(regression: str) -> None:
    n_repetitions, noise = 8, 2.0
    target = recording(noise, n_repetitions)
    signal = TUNING.var(axis=0)
    expected = np.sqrt(signal / (signal + noise**2 / n_repetitions))
    if regression == "pls":
        metric = LinearPredictivity(regression="pls", n_splits=5)
    else:
        metric = LinearPredictivity(n_splits=5)
    r = metric(source(TUNING), target).mean("split").values
    standard_error = (1 - expected**2) / np.sqrt(N_STIMULI)
    # Fitting from noisy training responses costs a little, so the score may fall short of the
    # ceiling by that, but must not surpass it beyond chance.
    z = (r - expected) / standard_error
    assert abs(np.median(r) - np.median(expected)) < 0.03
    assert z.mean() < 3 / np.sqrt(N_UNITS)


def test_reliability_of_the_same_recording_is_its_square() -> None:
    noise, n_repetitions = 2.0, 8
    measured = split_half_reliability(recording(noise, n_repetitions).values, n_splits=20)
    signal = TUNING.var(axis=0)
    analytic = signal / (signal + noise**2 / n_repetitions)
    assert abs(np.median(measured.mean(axis=0)) - np.median(analytic)) < 0.03


@pytest.mark.parametrize("regression", ["ridge", "pls"])
def test_tensors_give_the_same_and_stay_tensors(regression: str) -> None:
    X = np.random.default_rng(0).normal(size=(N_STIMULI, 300))
    X[:, :10] = TUNING[:, :10] * 5
    ours = linear_predictivity(X, TUNING, regression=regression, splits=5)
    tensor = linear_predictivity(
        torch.tensor(X), torch.tensor(TUNING), regression=regression, splits=5
    )
    assert isinstance(tensor, torch.Tensor)
    assert ours.shape == (5, N_UNITS)
    np.testing.assert_allclose(ours, tensor.numpy(), atol=1e-9)


def test_a_gram_matrix_serves_as_well_as_its_features() -> None:
    X = np.random.default_rng(0).normal(size=(N_STIMULI, 300))
    np.testing.assert_array_equal(
        linear_predictivity(gram(X), TUNING), linear_predictivity(X, TUNING)
    )


def test_held_out_predictions_are_in_stimulus_order() -> None:
    folds = Splits(5, seed=2).folds(N_STIMULI)
    result = cross_validate(TUNING, TUNING, folds)
    np.testing.assert_allclose(result.held_out(), TUNING, atol=0.01)
    shuffled = Splits(5, kind="shuffle").folds(N_STIMULI)
    with pytest.raises(ContractError, match="not every stimulus is tested exactly once"):
        cross_validate(TUNING, TUNING, shuffled).held_out()


def test_resampling_equals_repeating_stimuli() -> None:
    folds = Splits(5).folds(N_STIMULI)
    X = TUNING[:, :6] + np.random.default_rng(0).normal(size=(N_STIMULI, 6))
    result = cross_validate(X, TUNING, folds)
    weights = np.random.default_rng(2).multinomial(N_STIMULI, np.full(N_STIMULI, 1 / N_STIMULI), 3)
    drawn = result.resampled(weights)
    assert drawn.shape == (3, 5, N_UNITS)
    times = weights[1, folds[2].test]
    predicted = np.repeat(result.predictions[2][:, 4], times)
    recorded = np.repeat(TUNING[folds[2].test, 4], times)
    assert drawn[1, 2, 4] == pytest.approx(np.corrcoef(predicted, recorded)[0, 1], abs=1e-12)


def test_constant_neuroid_counts_as_zero_and_is_counted() -> None:
    Y = TUNING.copy()
    Y[:, 3] = 4.2
    with pytest.warns(UndefinedCorrelationWarning, match="5 of 100 correlations are not defined"):
        r = linear_predictivity(TUNING, Y, splits=5)
    assert (r[:, 3] == 0).all()
    assert (np.delete(r, 3, axis=1) > 0.9).all()


@pytest.mark.parametrize("regression", ["ridge", "pls"])
def test_constant_features_predict_nothing_and_say_so(regression: str) -> None:
    with pytest.warns(UndefinedCorrelationWarning, match="100 of 100 correlations"):
        r = linear_predictivity(np.ones((N_STIMULI, 40)), TUNING, splits=5, regression=regression)
    assert (r == 0).all()


def test_bad_arrays_are_refused() -> None:
    broken = TUNING.copy()
    broken[5, 2] = np.nan
    with pytest.raises(ContractError, match=r"Y: 1 of 20 neuroids hold NaN or inf; first: .* 2"):
        linear_predictivity(TUNING, broken)
    with pytest.raises(ContractError, match="X has 240 stimuli, Y has 239"):
        linear_predictivity(TUNING, TUNING[1:])
    with pytest.raises(ContractError, match="unknown regression 'lasso'; expected one of"):
        linear_predictivity(TUNING, TUNING, regression="lasso")
    with pytest.raises(ContractError, match="labelled DataArray where a plain array is expected"):
        linear_predictivity(source(TUNING), TUNING)
    with pytest.raises(ContractError, match=r"weights have shape \(2, 5\)"):
        cross_validate(TUNING, TUNING, Splits(5).folds(N_STIMULI)).resampled(np.ones((2, 5)))
    with pytest.raises(ContractError, match="whole numbers of at least 0"):
        cross_validate(TUNING, TUNING, Splits(5).folds(N_STIMULI)).resampled(
            np.full((2, N_STIMULI), 0.5)
        )


def test_labels_of_the_result() -> None:
    result = LinearPredictivity(n_splits=5)(source(TUNING), recording())
    assert result.dims == ("split", "neuroid")
    assert set(result.coords) >= {"split", "neuroid", "region", "animal"}
    assert result.sizes == {"split": 5, "neuroid": N_UNITS}


@pytest.mark.parametrize("regression", ["ridge", "pls"])
def test_time_bins_are_scored_one_by_one(regression: str) -> None:
    early = np.random.default_rng(5).normal(size=(N_STIMULI, N_UNITS))
    values = np.stack([early, TUNING], axis=-1)[None]
    target = responses(
        values,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="one",
        time_bins=[(0, 50), (50, 100)],
    )
    metric = LinearPredictivity(regression=regression, n_splits=5)
    result = metric(source(TUNING), target).mean(["split", "neuroid"])
    assert abs(result.isel(time_bin=0)) < 0.15
    assert result.isel(time_bin=1) > 0.95
    single = metric(source(TUNING), recording(noise=0.0, n_repetitions=1))
    both = metric(source(TUNING), target).isel(time_bin=1).transpose("split", "neuroid")
    np.testing.assert_allclose(both.values, single.values, atol=1e-9)


def test_strata_and_groups_come_from_the_target() -> None:
    blocks = {"block": np.repeat([f"b{i}" for i in range(8)], 30)}
    target = recording(stimulus_coords=blocks)
    folds = LinearPredictivity(stratify="block").folds(target)
    assert all(len(np.unique(blocks["block"][fold.test])) == 8 for fold in folds)
    folds = LinearPredictivity(group="block", n_splits=8).folds(target)
    assert all(len(np.unique(blocks["block"][fold.test])) == 1 for fold in folds)
    with pytest.raises(ContractError, match=r"no coordinate 'object'; they have \['stimulus', 'bl"):
        LinearPredictivity(stratify="object")(source(TUNING), target)
    with pytest.raises(ContractError, match="both stratify and group were given"):
        LinearPredictivity(stratify="block", group="block")


def test_inner_scores_do_not_reward_the_mean_of_the_training_stimuli() -> None:
    noise = np.random.default_rng(9).normal(size=(N_STIMULI, 50))
    result = cross_validate(noise, TUNING, Splits(5).folds(N_STIMULI), inner=True)
    assert (np.abs(result.selection_scores()) < 0.2).all()


def test_each_split_keeps_its_own_choice() -> None:
    folds = Splits(4).folds(N_STIMULI)
    first = cross_validate(TUNING[:, :3], TUNING, folds, inner=True)
    second = cross_validate(TUNING[:, 3:6], TUNING, folds, inner=True)
    mixed = chosen_per_split([first, second], [0, 1, 1, 0])
    np.testing.assert_array_equal(mixed.r[1], second.r[1])
    np.testing.assert_array_equal(mixed.r[3], first.r[3])
    ones = np.ones((1, N_STIMULI), dtype=int)
    np.testing.assert_allclose(mixed.resampled(ones)[0], mixed.r, atol=1e-10)
    with pytest.raises(ContractError, match="3 choices for 4 splits"):
        chosen_per_split([first, second], [0, 1, 1])
    other = cross_validate(TUNING, TUNING, Splits(4, seed=1).folds(N_STIMULI))
    with pytest.raises(ContractError, match="cross-validated on different splits"):
        chosen_per_split([first, other], [0, 0, 0, 0])
    with pytest.raises(ContractError, match="without inner scores"):
        other.selection_scores()


REGRESSIONS_BY_NAME = ["ridge", "pls", "ols", "pcr", "one_to_one"]


@pytest.mark.parametrize("regression", REGRESSIONS_BY_NAME)
def test_every_regression_scores_time_bins_as_it_scores_one(regression: str) -> None:
    early = np.random.default_rng(5).normal(size=(N_STIMULI, N_UNITS))
    target = responses(
        np.stack([early, TUNING], axis=-1)[None],
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="one",
        time_bins=[(0, 50), (50, 100)],
    )
    metric = LinearPredictivity(regression=regression, n_splits=5)
    X = np.hstack([TUNING, np.random.default_rng(0).normal(size=(N_STIMULI, 30))])
    both = metric(source(X), target)
    assert both.dims == ("split", "time_bin", "neuroid")
    single = metric(source(X), recording(noise=0.0, n_repetitions=1))
    np.testing.assert_allclose(both.isel(time_bin=1).values, single.values, atol=1e-9)


@pytest.mark.parametrize("regression", REGRESSIONS_BY_NAME)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float16])
def test_small_number_types_do_not_overflow(regression: str, kind: type) -> None:
    X = np.clip(40 * TUNING + 120, 0, 255).astype(kind)
    Y = np.clip(40 * TUNING[:, ::-1] + 120, 0, 255).astype(kind)
    settings = {"regression": regression, "splits": 3}
    wide = linear_predictivity(X.astype(np.float64), Y.astype(np.float64), **settings)
    np.testing.assert_array_equal(linear_predictivity(X, Y, **settings), wide)


@pytest.mark.parametrize("regression", REGRESSIONS_BY_NAME)
def test_features_may_be_streamed(regression: str) -> None:
    X = np.hstack([TUNING, np.random.default_rng(0).normal(size=(N_STIMULI, 400))])
    whole = linear_predictivity(X, TUNING, regression=regression, splits=3)
    blocks = (X[:, start : start + 90] for start in range(0, X.shape[1], 90))
    streamed = linear_predictivity(blocks, TUNING, regression=regression, splits=3)
    np.testing.assert_allclose(whole, streamed, atol=1e-9)


@pytest.mark.parametrize("regression", REGRESSIONS_BY_NAME)
def test_a_constant_neuroid_counts_as_zero_in_every_regression(regression: str) -> None:
    Y = TUNING.copy()
    Y[:, 3] = 4.2
    with pytest.warns(UndefinedCorrelationWarning, match="3 of 60 correlations are not defined"):
        r = linear_predictivity(TUNING, Y, splits=3, regression=regression)
    assert (r[:, 3] == 0).all()


def test_brain_to_model_predicts_the_units_of_the_model() -> None:
    X = np.hstack([TUNING[:, :4], np.random.default_rng(0).normal(size=(N_STIMULI, 3))])
    metric = LinearPredictivity(n_splits=5, direction="brain_to_model")
    target = recording(noise=0.0, n_repetitions=1)
    shuffled = source(X).isel(stimulus=np.random.default_rng(1).permutation(N_STIMULI))
    result = metric(shuffled, target)
    assert result.sizes == {"split": 5, "neuroid": 7}
    np.testing.assert_array_equal(result["neuroid"], source(X)["neuroid"])
    assert (result["layer"] == "conv").all()
    expected = linear_predictivity(TUNING, X, splits=metric.folds(target))
    np.testing.assert_allclose(result.values, expected, atol=1e-10)
    assert (result[:, :4] > 0.95).all()
    assert abs(float(result[:, 4:].mean())) < 0.2
    drawn = metric.compare(source(X), target).resampled(np.ones((2, N_STIMULI), dtype=int))
    np.testing.assert_allclose(drawn[1], result, atol=1e-9)


def test_brain_to_model_goes_through_the_time_bins() -> None:
    early = np.random.default_rng(5).normal(size=(N_STIMULI, N_UNITS))
    target = responses(
        np.stack([early, TUNING], axis=-1)[None],
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="one",
        time_bins=[(0, 50), (50, 100)],
    )
    metric = LinearPredictivity(n_splits=5, direction="brain_to_model")
    result = metric(source(TUNING[:, :4]), target)
    assert result.dims == ("split", "time_bin", "neuroid")
    assert result["start_ms"].values.tolist() == [0, 50]
    by_bin = result.mean(["split", "neuroid"])
    assert abs(by_bin[0]) < 0.2
    assert by_bin[1] > 0.95


def test_the_predicted_side_may_be_recorded_trials() -> None:
    metric = LinearPredictivity(n_splits=5, direction="brain_to_model")
    one, other = recording(noise=0.5), recording(noise=1.0)
    forward = LinearPredictivity(n_splits=5)(other, one)
    np.testing.assert_allclose(metric(one, other).values, forward.values, atol=1e-10)


def test_marked_stimuli_are_tested_once() -> None:
    marks = np.arange(N_STIMULI) % 4 == 0
    target = recording(stimulus_coords={"held_out": marks, "block": np.array(NAMES)})
    metric = LinearPredictivity(test="held_out")
    result = metric(source(TUNING), target)
    assert result.sizes == {"split": 1, "neuroid": N_UNITS}
    fold = metric.folds(target)[0]
    np.testing.assert_array_equal(fold.test, np.flatnonzero(marks))
    averaged = target.mean("repetition").values
    np.testing.assert_allclose(
        result.values, linear_predictivity(TUNING, averaged, splits=[fold]), atol=1e-10
    )
    grouped = LinearPredictivity(test="held_out", group="block").folds(target)[0]
    assert grouped.groups.tolist() == [n for n, m in zip(NAMES, marks, strict=True) if not m]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ContractError, match="both stratify and test were given"):
        LinearPredictivity(stratify="block", test="held_out")
    with pytest.raises(ContractError, match="direction is 'both', expected one of"):
        LinearPredictivity(direction="both")
    with pytest.raises(ContractError, match="the target's stimuli have no coordinate 'held_out'"):
        LinearPredictivity(test="held_out")(source(TUNING), recording())
    names = recording(stimulus_coords={"held_out": np.array(NAMES)})
    with pytest.raises(ContractError, match="expected one True or False for each stimulus"):
        LinearPredictivity(test="held_out")(source(TUNING), names)
    with pytest.raises(ContractError, match="no layer can be chosen by them"):
        LinearPredictivity(direction="brain_to_model").compare(
            source(TUNING), recording(), inner=True
        )


def test_nan_is_named_by_neuroid_and_stimulus() -> None:
    broken = TUNING.copy()
    broken[[5, 9], 2] = np.nan
    sentence = r"Y: 1 of 20 neuroids hold NaN or inf; first: neuroid 2, at 2 of 240 stimuli, .* 5\."
    with pytest.raises(ContractError, match=sentence):
        linear_predictivity(TUNING, broken)
    with pytest.raises(ContractError, match="at least one of each"):
        linear_predictivity(TUNING, TUNING[:, :0])


def test_no_warning_where_nothing_is_wrong() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearPredictivity(n_splits=5)(source(TUNING), recording())

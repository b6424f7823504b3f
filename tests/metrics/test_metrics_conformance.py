"""Laws that every metric keeps; adding a metric to METRICS adds its tests."""

import numpy as np
import pytest
import xarray as xr

from brainscore_lite.configuration import to_json
from brainscore_lite.metrics import METRICS, Metric
from brainscore_lite.schema import ContractError, activations, responses
from brainscore_lite.score import aggregate

N_STIMULI, N_UNITS, N_FEATURES = 150, 12, 90
RNG = np.random.default_rng(11)
LATENT = RNG.normal(size=(N_STIMULI, 8))
FEATURES = LATENT @ RNG.normal(size=(8, N_FEATURES)) + RNG.normal(size=(N_STIMULI, N_FEATURES))
TUNING = LATENT @ RNG.normal(size=(8, N_UNITS))
NAMES = np.array([f"image{i:03d}" for i in range(N_STIMULI)])
PARTS = {"split", "neuroid", "subject", "time_bin"}


@pytest.fixture(params=METRICS, ids=list(METRICS))
def metric(request: pytest.FixtureRequest) -> Metric:
    return METRICS[request.param]


@pytest.fixture(scope="module")
def source() -> xr.DataArray:
    return activations(FEATURES, stimulus=NAMES, layer="conv")


@pytest.fixture(scope="module")
def target() -> xr.DataArray:
    trials = TUNING + np.random.default_rng(4).normal(size=(5, N_STIMULI, N_UNITS))
    return responses(
        trials,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="one",
    )


def test_parts_are_labelled_and_finite(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    values = metric(source, target)
    assert set(values.dims) <= PARTS
    assert np.isfinite(values).all()
    assert 0.2 < float(aggregate(values)) <= 1
    assert isinstance(metric.unit, str)


def test_metrics_say_whether_they_fit(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    assert metric.fits == ("split" in metric(source, target).dims)
    assert "fits" not in to_json(metric)


def test_settings_are_frozen_and_written_as_json(metric: Metric) -> None:
    assert type(metric).__name__ in to_json(metric)
    with pytest.raises(AttributeError):
        metric.seed = 3


def test_same_numbers_twice(metric: Metric, source: xr.DataArray, target: xr.DataArray) -> None:
    xr.testing.assert_identical(metric(source, target), metric(source, target))


def test_labels_decide_not_order(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    shuffled = source.isel(stimulus=np.random.default_rng(0).permutation(N_STIMULI))
    xr.testing.assert_allclose(metric(shuffled, target), metric(source, target))


def test_more_stimuli_than_needed_change_nothing(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    some = target.isel(stimulus=slice(0, 100))
    few = source.isel(stimulus=slice(0, 100))
    xr.testing.assert_allclose(metric(source, some), metric(few, some))


def test_shuffled_stimuli_score_about_zero(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    values = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(N_STIMULI)
        wrong = source.copy(data=source.values[order])
        values.append(float(aggregate(metric(wrong, target))))
    assert abs(np.mean(values)) < 0.06


def test_rotation_and_scale_of_the_features_change_nothing(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    if metric.unit == "spearman_r":
        metric = type(metric)(dissimilarity="euclidean")
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(N_FEATURES, N_FEATURES)))[0]
    turned = source.copy(data=2 * source.values @ rotation + 3)
    xr.testing.assert_allclose(metric(turned, target), metric(source, target), atol=1e-8)


def test_all_ones_are_no_resampling(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    values = metric(source, target)
    drawn = metric.compare(source, target).resampled(np.ones((2, N_STIMULI), dtype=int))
    assert drawn.dims == ("draw", *values.dims)
    xr.testing.assert_allclose(drawn.isel(draw=1, drop=True), values, atol=1e-9)


def test_draws_scatter_around_the_value(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    weights = np.random.default_rng(2).multinomial(N_STIMULI, np.full(N_STIMULI, 1 / N_STIMULI), 60)
    drawn = aggregate(metric.compare(source, target).resampled(weights))
    value = float(aggregate(metric(source, target)))
    assert 0.001 < float(drawn.std()) < 0.1
    assert abs(float(drawn.mean()) - value) < 0.05


def test_missing_stimuli_are_refused(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    with pytest.raises(ContractError, match="source lacks 10 of the target's 150 stimuli"):
        metric(source.isel(stimulus=slice(10, None)), target)


def test_nan_responses_are_refused(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    broken = target.copy()
    broken[:, 4, 2] = np.nan
    with pytest.raises(ContractError, match="no finite response in any repetition"):
        metric(source, broken)


def test_nan_in_one_repetition_is_averaged_over(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    ragged = target.copy()
    ragged[3:, ::2] = np.nan
    assert np.isfinite(metric(source, ragged)).all()


def test_nan_activations_are_refused(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    broken = source.copy()
    broken[3, 5] = np.inf
    with pytest.raises(ContractError, match="layer 'conv' holds NaN or inf"):
        metric(broken, target)


def test_steps_have_to_be_chosen(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    steps = activations(np.stack([FEATURES, FEATURES], -1), stimulus=NAMES, layer="conv")
    with pytest.raises(ContractError, match="2 entries along 'step', expected one pattern per"):
        metric(steps, target)


def test_wrong_weights_are_refused(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    with pytest.raises(
        ContractError, match=r"weights have shape \(3, 4\), expected \(n_draws, 150"
    ):
        metric.compare(source, target).resampled(np.ones((3, 4), dtype=int))


def test_regressions_and_kernels_need_neuroids(
    metric: Metric, source: xr.DataArray, target: xr.DataArray
) -> None:
    if metric.unit == "spearman_r":
        pytest.skip("RSA takes dissimilarity matrices")
    matrices = METRICS["rsa"].matrix(source)
    with pytest.raises(ContractError, match="target holds dissimilarity matrices, which have no"):
        metric(source, matrices)

"""Every metric per time bin, steps against time, and the mass on either side of a diagonal."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.metrics import METRICS, Metric
from brainscore_lite.metrics.dissimilarities.rsa import RSA
from brainscore_lite.metrics.regression.linear_predictivity import LinearPredictivity
from brainscore_lite.metrics.similarity.cca import CCA
from brainscore_lite.metrics.similarity.cka import CKA
from brainscore_lite.metrics.similarity.shape_metrics import ShapeSimilarity
from brainscore_lite.metrics.time.step_by_time import (
    at_step_times,
    mass_above_below,
    step_by_time,
    unreached_layers,
)
from brainscore_lite.schema import ContractError, activations, rdms, responses

N, BINS = 60, [(0, 40), (40, 80), (80, 120)]
RNG = np.random.default_rng(9)
NAMES = [f"s{i}" for i in range(N)]
EARLY, LATE = RNG.normal(size=(2, N, 6))
PHASES = np.stack([EARLY, (EARLY + LATE) / 2, LATE], axis=-1)  # (stimulus, feature, time)
RECORDED = np.einsum("sft,fn->snt", PHASES, RNG.normal(size=(6, 8)))
TRIALS = RECORDED + 0.3 * RNG.normal(size=(4, *RECORDED.shape))
MORE = {"cca": CCA(), "shape": ShapeSimilarity(), "rbf_cka": CKA(kernel="rbf")}


def target() -> xr.DataArray:
    return responses(
        TRIALS,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(8)],
        region="IT",
        animal="one",
        time_bins=BINS,
    )


def source(values: np.ndarray = PHASES, layer: str | list[str] = "rnn") -> xr.DataArray:
    return activations(values, stimulus=NAMES, layer=layer)


@pytest.fixture(params={**METRICS, **MORE})
def metric(request: pytest.FixtureRequest) -> Metric:
    return {**METRICS, **MORE}[request.param]


def quick(metric: Metric) -> Metric:
    """Brain-Score's 25 components need more stimuli than these."""
    if isinstance(metric, LinearPredictivity) and metric.regression == "pls":
        return LinearPredictivity(n_splits=5)
    return metric


@pytest.mark.filterwarnings("ignore:representations of")
def test_every_metric_scores_every_time_bin_by_itself(metric: Metric) -> None:
    metric = quick(metric)
    features = source().isel(step=0, drop=True)
    values = metric(features, target())
    assert "time_bin" in values.dims
    np.testing.assert_array_equal(values["start_ms"], [0, 40, 80])
    np.testing.assert_array_equal(values["end_ms"], [40, 80, 120])
    for time_bin in range(3):
        alone = metric(features, target().isel(time_bin=time_bin, drop=True))
        xr.testing.assert_allclose(
            values.isel(time_bin=time_bin, drop=True).transpose(*alone.dims), alone, atol=1e-9
        )
    ones = np.ones((1, N), dtype=int)
    drawn = metric.compare(features, target()).resampled(ones).isel(draw=0, drop=True)
    xr.testing.assert_allclose(drawn, values, atol=1e-9)


@pytest.mark.parametrize("metric", [RSA(), CKA(), LinearPredictivity(n_splits=5)])
def test_matrix_of_steps_and_times_holds_the_metric(metric: Metric) -> None:
    matrix = step_by_time(metric, source=source(), target=target())
    assert matrix.dims[0] == "step"
    assert matrix.sizes["step"] == matrix.sizes["time_bin"] == 3
    for step in range(3):
        expected = metric(source().isel(step=step, drop=True), target())
        got = matrix.isel(step=step, drop=True).drop_vars("not_reached", errors="ignore")
        xr.testing.assert_identical(got, expected)
    mean = matrix.mean([dim for dim in matrix.dims if dim not in ("step", "time_bin")])
    assert mean.argmax("time_bin").values.tolist() == [0, 1, 2]


def test_steps_that_no_signal_reached_are_nan_with_the_reason() -> None:
    values = np.concatenate([PHASES, PHASES], axis=1)
    values[:, 6:, 0] = np.nan
    layers = ["V1"] * 6 + ["IT"] * 6
    late = source(values, layers)
    assert unreached_layers(late) == ["IT", "", ""]
    matrix = step_by_time(CKA(), source=late, target=target())
    assert np.isnan(matrix[0]).all()
    assert np.isfinite(matrix[1:]).all()
    assert matrix["not_reached"].values.tolist() == ["IT", "", ""]


def test_mapping_from_steps_to_ms_is_given_not_assumed() -> None:
    matrix = step_by_time(CKA(), source=source(), target=target())
    assert "step_ms" not in matrix.coords
    with pytest.raises(ContractError, match="the matrix has no coordinate 'step_ms'"):
        at_step_times(matrix)
    mapped = step_by_time(
        CKA(), source=source(), target=target(), step_ms={0: 10.0, 1: 50.0, 2: 120.0}
    )
    along = at_step_times(mapped)
    assert along.dims == ("step",)
    assert along["step"].values.tolist() == [0, 1]
    assert along["start_ms"].values.tolist() == [0, 40]
    np.testing.assert_array_equal(along, [mapped[0, 0], mapped[1, 1]])
    later = at_step_times(mapped, lag_ms=-40)
    np.testing.assert_array_equal(later, [mapped[1, 0], mapped[2, 2]])
    with pytest.raises(ContractError, match="no step falls into a time bin: steps at 1010 to"):
        at_step_times(mapped, lag_ms=1000)
    with pytest.raises(ContractError, match=r"dims \('step',\), expected a 'time_bin' dim"):
        at_step_times(mapped.mean("time_bin"))
    overlapping = mapped.assign_coords(start_ms=("time_bin", [0.0, 0.0, 0.0]))
    with pytest.raises(ContractError, match="10 ms lies in 3 time bins, which overlap"):
        at_step_times(overlapping)


def test_dissimilarities_over_time_take_steps_too() -> None:
    squares = np.stack([((EARLY[:, None] - EARLY[None]) ** 2).sum(-1)] * 2)
    recorded = rdms(squares, stimulus=NAMES, subject=["a", "b"], region="IT", species="human")
    over_time = xr.concat([recorded, recorded * 2], dim="time_bin").transpose(..., "time_bin")
    over_time = over_time.assign_coords(
        start_ms=("time_bin", [0.0, 50.0]), end_ms=("time_bin", [50.0, 100.0])
    )
    matrix = step_by_time(RSA(dissimilarity="euclidean"), source=source(), target=over_time)
    assert matrix.dims == ("step", "subject", "time_bin")
    np.testing.assert_allclose(matrix[0], 1.0)


def test_networks_without_dynamics_are_refused() -> None:
    still = source(np.stack([EARLY] * 3, axis=-1))
    with pytest.raises(ContractError, match="activations are the same at all 3 of 3 steps"):
        step_by_time(CKA(), source=still, target=target())
    once = np.full_like(PHASES, np.nan)
    once[..., 2] = LATE
    with pytest.raises(ContractError, match=r"at one of 3 steps only\. .*isel\(step=2, drop"):
        step_by_time(CKA(), source=source(once), target=target())
    with pytest.raises(ContractError, match="no signal has reached the layers at any of 3 steps"):
        step_by_time(CKA(), source=source(np.full_like(PHASES, np.nan)), target=target())
    with pytest.raises(ContractError, match="expected a 'step' dim"):
        step_by_time(CKA(), source=source().isel(step=0, drop=True), target=target())
    with pytest.raises(ContractError, match="expected a 'time_bin' dim"):
        step_by_time(CKA(), source=source(), target=target().isel(time_bin=0, drop=True))
    with pytest.raises(ContractError, match=r"step_ms has no time for steps \[1, 2\] of 3"):
        step_by_time(CKA(), source=source(), target=target(), step_ms={0: 5.0})


def test_mass_is_the_mean_on_either_side() -> None:
    matrix = np.array([[9.0, 1, 2], [4, 9, 3], [5, 6, 9]])
    mass = mass_above_below(matrix, baseline=1.0)
    assert (float(mass.above), float(mass.below)) == (1.0, 4.0)
    assert float(mass.asymmetry()) == pytest.approx(-3 / 5)
    labelled = xr.DataArray(
        np.stack([matrix, matrix.T]), dims=("split", "train_time", "test_time")
    ).transpose("test_time", "split", "train_time")
    of_splits = mass_above_below(labelled)
    np.testing.assert_allclose(of_splits.above, [2, 5])
    np.testing.assert_allclose(of_splits.below, [5, 2])
    assert float(mass_above_below(np.zeros((2, 2))).asymmetry()) == 0


@settings(max_examples=25, deadline=None)
@given(n_times=st.integers(2, 8), seed=st.integers(0, 1000), baseline=st.floats(-1, 1))
def test_masses_and_diagonal_make_up_the_mean(n_times: int, seed: int, baseline: float) -> None:
    matrix = np.random.default_rng(seed).normal(size=(n_times, n_times))
    mass = mass_above_below(matrix, baseline=baseline)
    off = (matrix.sum() - np.trace(matrix)) / (n_times * (n_times - 1)) - baseline
    assert float(mass.above + mass.below) / 2 == pytest.approx(off, abs=1e-12)
    swapped = mass_above_below(matrix.T, baseline=baseline)
    assert float(swapped.above) == pytest.approx(float(mass.below))


def test_matrices_without_a_diagonal_are_refused() -> None:
    with pytest.raises(ContractError, match=r"matrix has shape \(2, 3\), expected"):
        mass_above_below(np.ones((2, 3)))
    with pytest.raises(ContractError, match="at least two times"):
        mass_above_below(np.ones((1, 1)))
    with pytest.raises(ContractError, match="2 of 4 cells are NaN"):
        mass_above_below([[np.nan, 1], [np.nan, 1]])
    with pytest.raises(ContractError, match="expected 'train_time' and 'test_time'"):
        mass_above_below(xr.DataArray(np.ones((2, 2)), dims=("step", "time_bin")))

"""Late against early predictivity: reliability is matched, and with it a drop that is noise."""

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.metrics.regression.linear_predictivity import LinearPredictivity
from brainscore_lite.metrics.reliability.split_half import split_half_reliability
from brainscore_lite.metrics.time.phase_predictivity import (
    PhasePredictivity,
    matched_repetitions,
    thinned,
)
from brainscore_lite.schema import ContractError, activations, responses

N, N_UNITS, N_REPETITIONS = 200, 12, 40
NAMES = [f"s{i}" for i in range(N)]
RIDGE = LinearPredictivity(n_splits=5)


def population(
    *, late_noise: float, late_novel: float, seed: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    """A layer, and responses whose late phase is noisier or carries what the layer lacks."""
    rng = np.random.default_rng(seed)
    known, unknown = rng.normal(size=(2, N, 6))
    weights = rng.normal(size=(6, N_UNITS)) / np.sqrt(6)
    early = known @ weights
    late = np.sqrt(1 - late_novel) * early + np.sqrt(late_novel) * unknown @ weights
    signal = np.stack([early, late], axis=-1)
    noise = np.array([1.5, late_noise]) * rng.normal(size=(N_REPETITIONS, *signal.shape))
    target = responses(
        signal + noise,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="m",
        time_bins=[(90, 110), (190, 210)],
    )
    return activations(known, stimulus=NAMES, layer="fc"), target


def drops(found: xr.Dataset) -> tuple[float, float]:
    """Early minus late, medians over neuroids: as recorded and matched."""
    return tuple(
        float(found[name].sel(phase="early").median() - found[name].sel(phase="late").median())
        for name in ("r", "matched_r")
    )


def test_a_drop_that_is_noise_vanishes_when_reliability_is_matched() -> None:
    source, target = population(late_noise=5.0, late_novel=0.0)
    found = PhasePredictivity(predictivity=RIDGE, n_draws=4, n_halvings=8)(source, target)
    assert found["r"].dims == ("phase", "neuroid")
    raw, matched = drops(found)
    assert raw > 0.12
    assert abs(matched) < 0.04
    gap = found["matched_reliability"].sel(phase="early") - found["matched_reliability"].sel(
        phase="late"
    )
    assert float(abs(gap.median())) < 0.04
    assert (found["n_repetitions"].sel(phase="late") == N_REPETITIONS).all()
    assert (found["n_repetitions"].sel(phase="early") < 6).all()


def test_a_drop_that_is_in_the_code_stays() -> None:
    source, target = population(late_noise=3.0, late_novel=0.5)
    metric = PhasePredictivity(predictivity=RIDGE, n_draws=2, n_halvings=8)
    raw, matched = drops(metric(source, target))
    assert raw > 0.2
    assert matched > 0.2


def test_raw_scores_are_those_of_the_metric_and_of_the_halves() -> None:
    source, target = population(late_noise=3.0, late_novel=0.5)
    found = PhasePredictivity(predictivity=RIDGE, n_draws=1)(source, target)
    expected = RIDGE(source, target.isel(time_bin=0, drop=True)).mean("split")
    np.testing.assert_allclose(found["r"].sel(phase="early"), expected)
    halves = split_half_reliability(
        target.values[..., 1], n_splits=20, seed=0, correction="exact"
    ).mean(axis=0)
    np.testing.assert_allclose(found["reliability"].sel(phase="late"), halves)


def test_bins_of_a_phase_are_averaged() -> None:
    source, target = population(late_noise=3.0, late_novel=0.5)
    finer = xr.concat([target.isel(time_bin=[b]) for b in (0, 0, 1)], dim="time_bin")
    finer = finer.transpose(..., "time_bin").assign_coords(
        start_ms=("time_bin", [90.0, 100.0, 190.0]), end_ms=("time_bin", [100.0, 110.0, 210.0])
    )
    metric = PhasePredictivity(predictivity=RIDGE, n_draws=1, n_halvings=2)
    np.testing.assert_allclose(metric(source, finer)["r"], metric(source, target)["r"])


def test_matching_by_neuroids_keeps_those_that_are_alike() -> None:
    source, target = population(late_noise=1.5, late_novel=0.5)
    noisy = target.copy()
    extra = 8 * np.random.default_rng(5).normal(size=(N_REPETITIONS, N, 4))
    noisy[:, :, :4, 1] += extra
    found = PhasePredictivity(predictivity=RIDGE, matching="neuroids")(source, noisy)
    left = np.isfinite(found["matched_r"].values).all(axis=0)
    assert left.tolist() == [False] * 4 + [True] * 8
    np.testing.assert_allclose(
        found["matched_r"].values[:, 4:], found["r"].values[:, 4:], atol=1e-12
    )
    assert drops(found)[1] > 0.2


def reliability_of(s: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    return n * s / (n * s + 1)


def test_numbers_of_repetitions_give_equal_reliability() -> None:
    rng = np.random.default_rng(0)
    s = rng.uniform(0.01, 0.05, size=(2, 50))
    n = np.full(50, 2000)
    kept = matched_repetitions(reliability_of(s, n), n)
    first, second = reliability_of(s, kept)
    np.testing.assert_allclose(first, second, atol=2e-3)
    assert (kept.max(axis=0) == 2000).all()


def test_thinned_trials() -> None:
    rng = np.random.default_rng(0)
    trials = rng.normal(size=(10, 30, 3))
    trials[4:, :5] = np.nan
    fewer = thinned(trials, [10, 3, 2], draws=rng)
    counts = np.isfinite(fewer).sum(axis=0)
    assert counts[:, 0].tolist() == [4] * 5 + [10] * 25
    assert set(counts[:, 1]) == {3}
    there = np.isfinite(fewer)
    np.testing.assert_array_equal(fewer[there], trials[there])
    assert (there[..., 1] | ~there[..., 2]).all()


def test_bad_input() -> None:
    source, target = population(late_noise=3.0, late_novel=0.5)
    with pytest.raises(ContractError, match=r"no time bin lies within the late phase, 300 to 320"):
        PhasePredictivity(late=(300, 320))(source, target)
    with pytest.raises(ContractError, match="expected a 'time_bin' dim"):
        PhasePredictivity()(source, target.isel(time_bin=0, drop=True))
    with pytest.raises(ContractError, match="0 of 12 neuroids can be matched"):
        PhasePredictivity(matching="neuroids", tolerance=1e-9)(source, target)
    with pytest.raises(ContractError, match="matching is 'sites', expected one of"):
        PhasePredictivity(matching="sites")
    with pytest.raises(ContractError, match=r"n_draws is 0 and tolerance 0\.05"):
        PhasePredictivity(n_draws=0)

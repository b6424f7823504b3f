"""The noise precision: against rsatoolbox, in its limits, on bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rsatoolbox.data import Dataset
from rsatoolbox.data.noise import (
    cov_from_residuals,
    prec_from_measurements,
    prec_from_residuals,
    prec_from_unbalanced,
)

from brainscore_lite.metrics.dissimilarities.noise_precision import (
    noise_covariance,
    noise_precision,
    precision_from_residuals,
)
from brainscore_lite.schema import ContractError

METHODS = ["shrinkage_diag", "shrinkage_eye", "diag", "full"]
RNG = np.random.default_rng(0)
MIXING = np.eye(6) + 0.4 * RNG.normal(size=(6, 6))
TRIALS = RNG.normal(size=(12, 1)) + RNG.normal(size=(5, 12, 6)) @ MIXING


def dataset(trials: np.ndarray) -> Dataset:
    rows = trials.reshape(-1, trials.shape[2])
    names = np.tile(np.arange(trials.shape[1]), len(trials))
    there = np.isfinite(rows).any(axis=1)
    return Dataset(rows[there], obs_descriptors={"stimulus": names[there]})


@pytest.mark.parametrize("method", METHODS)
def test_precision_from_trials_equals_rsatoolbox(method: str) -> None:
    missing = TRIALS.copy()
    missing[0, 3] = missing[2, 5] = missing[1:, 7] = np.nan
    for trials in (TRIALS, missing):
        theirs = prec_from_unbalanced(dataset(trials), "stimulus", method=method)
        np.testing.assert_allclose(noise_precision(trials, method=method), theirs, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dof", [None, 9])
def test_covariance_of_residuals_equals_rsatoolbox(method: str, dof: int | None) -> None:
    residuals = TRIALS[0]
    arguments = {"method": method, "dof": dof}
    np.testing.assert_allclose(
        noise_covariance(residuals, **arguments),
        cov_from_residuals(residuals.copy(), **arguments),
        rtol=1e-10,
        atol=1e-14,
    )
    np.testing.assert_allclose(
        precision_from_residuals(residuals, **arguments),
        prec_from_residuals(residuals.copy(), **arguments),
        rtol=1e-10,
        atol=1e-14,
    )


def test_rsatoolbox_counts_degrees_of_freedom_the_wrong_way_round() -> None:
    n_repetitions, n_stimuli, _ = TRIALS.shape
    theirs = prec_from_measurements(dataset(TRIALS), "stimulus", method="full")
    ours = noise_precision(TRIALS, method="full")
    # A stimulus takes one degree of freedom from its repetitions; there, a repetition one from
    # the stimuli, so that the covariance is too small by this factor.
    wrong = (n_stimuli - 1) * n_repetitions / (n_stimuli * (n_repetitions - 1))
    np.testing.assert_allclose(theirs, wrong * ours, rtol=1e-10)


def test_each_time_bin_has_its_own() -> None:
    movie = np.stack([TRIALS, 3 * TRIALS, TRIALS[::-1] + 1], axis=-1)
    found = noise_precision(movie)
    assert found.shape == (3, 6, 6)
    np.testing.assert_allclose(found[1], found[0] / 9)
    np.testing.assert_allclose(found[2], found[0])


def test_shrinkage_vanishes_with_many_trials_and_keeps_few_invertible() -> None:
    rng = np.random.default_rng(1)
    many = rng.normal(size=(20_000, 6)) @ MIXING
    for method in ("shrinkage_diag", "shrinkage_eye", "full"):
        covariance = noise_covariance(many, method=method)
        np.testing.assert_allclose(covariance, MIXING.T @ MIXING, atol=0.1)
    few = rng.normal(size=(2, 4, 30))
    for method in ("shrinkage_diag", "shrinkage_eye"):
        assert np.isfinite(noise_precision(few, method=method)).all()
    with pytest.raises(ContractError, match="noise covariance of 30 units by 'full' has no"):
        noise_precision(few, method="full")


def test_one_unit_has_a_variance() -> None:
    one = TRIALS[:, :, :1]
    expected = 1 / (one.var(axis=0, ddof=1).mean())
    for method in METHODS:
        np.testing.assert_allclose(noise_precision(one, method=method), [[expected]])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_laws(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale, shift = rng.uniform(0.1, 10, size=6), rng.normal(size=(12, 6))
    for method in ("shrinkage_diag", "diag", "full"):
        one = noise_precision(TRIALS, method=method)
        other = noise_precision(TRIALS * scale + shift, method=method)
        np.testing.assert_allclose(other, one / np.outer(scale, scale), rtol=1e-8)
    order = rng.permutation(6)
    for method in METHODS:
        one = noise_precision(TRIALS, method=method)
        np.testing.assert_allclose(one, one.T, rtol=1e-8)
        permuted = noise_precision(TRIALS[:, :, order], method=method)
        np.testing.assert_allclose(permuted, one[np.ix_(order, order)], rtol=1e-8)


def test_units_with_trials_of_their_own_have_variances_only() -> None:
    trials = TRIALS.copy()
    trials[0, 2, 4] = np.nan
    alone = [noise_precision(trials[:, :, [unit]], method="diag") for unit in range(6)]
    np.testing.assert_allclose(
        np.diagonal(noise_precision(trials, method="diag")), np.ravel(alone), rtol=1e-12
    )
    with pytest.raises(
        ContractError, match=r"different trials \(first: repetition 0, stimulus 2, unit 4\)"
    ):
        noise_precision(trials)


@pytest.mark.parametrize("method", ["shrinkage_diag", "diag", "full"])
def test_units_on_scales_of_their_own_are_no_lack_of_trials(method: str) -> None:
    scale = np.array([1e-6, 1e-3, 1.0, 1.0, 1e3, 1e6])
    expected = noise_precision(TRIALS, method=method) / np.outer(scale, scale)
    np.testing.assert_allclose(noise_precision(TRIALS * scale, method=method), expected, rtol=1e-8)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ContractError, match="unknown estimator of the noise 'ledoit'"):
        noise_precision(TRIALS, method="ledoit")
    with pytest.raises(ContractError, match=r"trials have shape \(12, 6\)"):
        noise_precision(TRIALS[0])
    for method in METHODS:
        with pytest.raises(ContractError, match="0 degrees of freedom, expected at least one"):
            noise_precision(TRIALS[:1], method=method)
        flat = TRIALS.copy()
        flat[:, :, 2] = 0.1  # of which the mean over five trials is rounded
        with pytest.raises(ContractError, match=r"1 of 6 units have no noise \(first: unit 2\)"):
            noise_precision(flat, method=method)
    with pytest.raises(ContractError, match="trials hold infinite values"):
        noise_precision(np.where(TRIALS > 2, np.inf, TRIALS))
    broken = TRIALS[0].copy()
    broken[3, 4] = np.nan
    with pytest.raises(ContractError, match="1 of 6 units hold NaN or inf; first: unit 4"):
        noise_covariance(broken)
    with pytest.raises(ContractError, match=r"residuals have shape \(5, 12, 6\)"):
        noise_covariance(TRIALS)
    integers = (TRIALS * 20).astype(np.int16)
    np.testing.assert_allclose(noise_precision(integers), noise_precision(integers.astype(float)))

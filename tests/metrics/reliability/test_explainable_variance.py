"""Signal and noise variance, ncsnr, FEV(e) and oracles against known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.metrics.reliability.explainable_variance import (
    explainable_fraction,
    explained_fraction,
    ncsnr,
    noise_ceiling,
    variance_parts,
)
from brainscore_lite.metrics.reliability.oracles import conservative_oracle, jackknife_oracle
from brainscore_lite.schema import ContractError

SIGNAL, NOISE, N_TRIALS, N_STIMULI, N_NEUROIDS = 2.0, 3.0, 4, 2000, 25


def simulated(n_trials: int = N_TRIALS, n_stimuli: int = N_STIMULI, seed: int = 0):
    rng = np.random.default_rng(seed)
    signal = 5 + np.sqrt(SIGNAL) * rng.normal(size=(n_stimuli, N_NEUROIDS))
    noise = np.sqrt(NOISE) * rng.normal(size=(n_trials, n_stimuli, N_NEUROIDS))
    return signal, signal + noise


def check(found: np.ndarray, truth: float) -> None:
    """The mean over neuroids lies within three standard errors of the truth."""
    assert found.shape == (N_NEUROIDS,)
    assert abs(found.mean() - truth) < 3 * found.std(ddof=1) / np.sqrt(N_NEUROIDS) + 1e-3


def unequal() -> tuple[np.ndarray, np.ndarray, float]:
    signal, trials = simulated()
    trials[2:, ::2] = np.nan
    trials[1:, 1::10] = np.nan
    inverse = np.mean(1 / np.isfinite(trials).sum(axis=0))
    return signal, trials, float(inverse)


def test_every_quantity_has_its_analytic_value() -> None:
    signal, trials = simulated()
    parts = variance_parts(trials)
    total, average = SIGNAL + NOISE, SIGNAL + NOISE / N_TRIALS
    check(parts.signal[0], SIGNAL)
    check(parts.noise[0], NOISE)
    check(parts.reliability()[0], SIGNAL / average)
    check(parts.reliability(n_trials=1)[0], SIGNAL / total)
    check(ncsnr(trials), np.sqrt(SIGNAL / NOISE))
    check(noise_ceiling(ncsnr(trials), n_trials=N_TRIALS), SIGNAL / average)
    check(explainable_fraction(trials), SIGNAL / total)
    check(conservative_oracle(trials), np.sqrt(average / total))
    check(jackknife_oracle(trials), SIGNAL / np.sqrt(total * (SIGNAL + NOISE / (N_TRIALS - 1))))
    check(explained_fraction(signal, trials), 1.0)
    check(explained_fraction(np.full_like(signal, 5.0), trials), 0.0)


def test_unequal_repetitions_change_no_variance() -> None:
    signal, trials, inverse = unequal()
    parts = variance_parts(trials)
    check(parts.signal[0], SIGNAL)
    check(parts.noise[0], NOISE)
    check(parts.reliability()[0], SIGNAL / (SIGNAL + NOISE * inverse))
    check(explainable_fraction(trials), SIGNAL / (SIGNAL + NOISE))
    check(explained_fraction(signal, trials), 1.0)
    assert parts.n_trials == pytest.approx(1 / inverse)


def test_half_of_the_signal_explained() -> None:
    signal, trials = simulated()
    half = 5 + 0.5 * (signal - 5)
    check(explained_fraction(half, trials), 0.75)  # 1 - (1 - b)^2 with b = 1/2


def test_signal_power_is_that_of_sahani_and_linden() -> None:
    _, trials = simulated(n_stimuli=40)
    trials += np.arange(N_TRIALS)[:, None, None]  # drift from repetition to repetition
    n = len(trials)
    of_mean = trials.mean(axis=0).var(axis=0, ddof=1)
    of_trials = trials.var(axis=1, ddof=1).mean(axis=0)
    parts = variance_parts(trials, estimator="signal_power")
    expected = (n * of_mean - of_trials) / (n - 1)
    np.testing.assert_allclose(parts.signal[0], expected, atol=1e-10)
    assert variance_parts(trials).noise.mean() > 1.3 * parts.noise.mean()


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-1e3, 1e3))
def test_ratios_do_not_depend_on_the_unit(scale: float, shift: float) -> None:
    signal, trials = simulated(n_stimuli=20)
    for measure in (ncsnr, explainable_fraction, conservative_oracle, jackknife_oracle):
        np.testing.assert_allclose(measure(scale * trials + shift), measure(trials), rtol=1e-6)
    np.testing.assert_allclose(
        explained_fraction(scale * signal + shift, scale * trials + shift),
        explained_fraction(signal, trials),
        rtol=1e-6,
    )


def test_oracles_equal_their_definition() -> None:
    _, trials = simulated(n_stimuli=30)
    n = len(trials)
    others = (trials.sum(axis=0) - trials) / (n - 1)
    r = [
        np.corrcoef(trials[:, :, k].ravel(), others[:, :, k].ravel())[0, 1]
        for k in range(N_NEUROIDS)
    ]
    np.testing.assert_allclose(jackknife_oracle(trials), r, atol=1e-12)
    of_mean, within = trials.mean(axis=0).var(axis=0), trials.var(axis=0).mean(axis=0)
    expected = of_mean / np.sqrt(of_mean * (of_mean + within))
    np.testing.assert_allclose(conservative_oracle(trials), expected, atol=1e-12)


def test_fractions_equal_their_definition() -> None:
    signal, trials = simulated(n_stimuli=30)
    predictions = signal + 1
    noise, total = trials.var(axis=0, ddof=1).mean(axis=0), trials.reshape(-1, N_NEUROIDS)
    total = total.var(axis=0, ddof=1)
    np.testing.assert_allclose(explainable_fraction(trials), (total - noise) / total, atol=1e-12)
    error = ((trials - predictions) ** 2).mean(axis=(0, 1))
    np.testing.assert_allclose(
        explained_fraction(predictions, trials), 1 - (error - noise) / (total - noise), atol=1e-9
    )


@pytest.mark.parametrize(
    "measure",
    [
        lambda trials, **w: variance_parts(trials, **w).signal,
        lambda trials, **w: variance_parts(trials, **w).noise,
        lambda trials, **w: variance_parts(trials, **w).n_trials,
        explainable_fraction,
        conservative_oracle,
        jackknife_oracle,
    ],
)
def test_weights_count_stimuli_as_repeating_them_would(measure) -> None:
    _, trials = simulated(n_stimuli=30)
    trials[2:, ::3] = np.nan
    ones = np.ones((1, 30), dtype=int)
    plain = np.atleast_2d(measure(trials))
    np.testing.assert_allclose(measure(trials, weights=ones), plain, atol=1e-12)
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=3)
    drawn = measure(trials, weights=counts)
    for row, count in zip(drawn, counts, strict=True):
        repeated = measure(trials[:, np.repeat(np.arange(30), count)])
        np.testing.assert_allclose(row, np.atleast_2d(repeated)[0], atol=1e-9)


def test_weights_count_predicted_stimuli_likewise() -> None:
    signal, trials = simulated(n_stimuli=30)
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=3)
    drawn = explained_fraction(signal, trials, weights=counts)
    for row, count in zip(drawn, counts, strict=True):
        index = np.repeat(np.arange(30), count)
        expected = explained_fraction(signal[index], trials[:, index])
        np.testing.assert_allclose(row, expected, atol=1e-9)


def test_no_signal_is_told_from_no_variance() -> None:
    rng = np.random.default_rng(3)
    trials = rng.normal(size=(3, 50, 2))
    trials[:, :, 1] = 7
    signal = variance_parts(trials).signal[0]
    assert abs(signal[0]) < 0.3
    assert signal[1] == 0
    assert np.isnan(ncsnr(trials)[1])
    assert np.isnan(conservative_oracle(trials)[1])
    assert np.isnan(jackknife_oracle(trials)[1])
    assert np.isnan(explained_fraction(np.full((50, 2), 7.0), trials)[1])


def test_integers_and_half_precision_are_computed_in_double() -> None:
    counts = np.random.default_rng(0).integers(0, 250, size=(3, 40, 2))
    for measure in (ncsnr, explainable_fraction, conservative_oracle, jackknife_oracle):
        expected = measure(counts.astype(float))
        for kind in (np.uint8, np.int16, np.float16):
            np.testing.assert_array_equal(measure(counts.astype(kind)), expected)


def test_errors_say_what_is_wrong() -> None:
    signal, trials = simulated(n_stimuli=20)
    with pytest.raises(ContractError, match="trials have one repetition, expected at least two"):
        ncsnr(trials[:1])
    with pytest.raises(ContractError, match=r"shape \(20, 25\), expected \(n_repetitions"):
        variance_parts(signal)
    with pytest.raises(ContractError, match="2 stimuli, expected at least 3"):
        variance_parts(trials[:, :2])
    with pytest.raises(ContractError, match="estimator is 'ml', expected one of"):
        variance_parts(trials, estimator="ml")
    with pytest.raises(ContractError, match="expected positive numbers"):
        noise_ceiling(ncsnr(trials), n_trials=0)
    with pytest.raises(ContractError, match="predictions have shape"):
        explained_fraction(signal[:5], trials)
    missing = trials.copy()
    missing[:, 4, 1] = np.nan
    with pytest.raises(ContractError, match=r"1 of 500 .* first: stimulus 4, neuroid 1\. Leave"):
        jackknife_oracle(missing)
    missing = trials.copy()
    missing[1:, :, 3] = np.nan
    with pytest.raises(ContractError, match="1 of 25 neuroids have one trial of every stimulus"):
        explainable_fraction(missing)
    missing = trials.copy()
    missing[1, 4, 1] = np.nan
    with pytest.raises(ContractError, match=r"1 of 2000 trials are missing; .* Use 'anova'"):
        variance_parts(missing, estimator="signal_power")
    with pytest.raises(ContractError, match=r"weights have shape \(2, 3\), expected"):
        variance_parts(trials, weights=np.ones((2, 3)))

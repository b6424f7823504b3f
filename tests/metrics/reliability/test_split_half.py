"""Reliability from halves: corrections, weighted draws, and Brain-Score's shared halves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import ShuffleSplit

from brainscore_lite.metrics.reliability.internal_consistency import (
    internal_consistency,
    internal_consistency_resampled,
)
from brainscore_lite.metrics.reliability.split_half import (
    full_length_reliability,
    random_halves,
    spearman_brown,
    split_half_reliability,
    split_half_resampled,
)
from brainscore_lite.schema import ContractError


def simulated(
    n_repetitions: int, n_stimuli: int, n_neuroids: int, noise: float = 1.0, seed: int = 0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_stimuli, n_neuroids))
    return signal + noise * rng.normal(size=(n_repetitions, n_stimuli, n_neuroids))


@settings(max_examples=25, deadline=None)
@given(r=st.floats(-0.95, 1.0), n=st.integers(1, 20))
def test_equal_halves_are_corrected_by_spearman_brown(r: float, n: int) -> None:
    exact = full_length_reliability(r, n_first=n, n_second=n)
    assert float(exact) == pytest.approx(float(spearman_brown(r)), rel=1e-9, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(snr=st.floats(0.01, 50), first=st.integers(1, 9), second=st.integers(1, 9))
def test_unequal_averages_give_back_the_reliability_they_come_from(
    snr: float, first: int, second: int
) -> None:
    r = snr / np.sqrt((snr + 1 / first) * (snr + 1 / second))
    found = full_length_reliability(r, n_first=first, n_second=second, n_full=7)
    assert float(found) == pytest.approx(snr / (snr + 1 / 7), rel=1e-7)


def test_a_number_of_trials_is_positive() -> None:
    with pytest.raises(ContractError, match="numbers of trials must be positive"):
        full_length_reliability(0.5, n_first=0, n_second=2)
    with pytest.raises(ContractError, match="correction is 'none', expected one of"):
        split_half_reliability(simulated(4, 9, 2), correction="none")


@pytest.mark.parametrize("n_repetitions", [3, 5])
def test_the_exact_correction_of_unequal_halves_has_no_bias(n_repetitions: int) -> None:
    trials = simulated(n_repetitions, 3000, 40, noise=1.5)
    truth = 1 / (1 + 1.5**2 / n_repetitions)
    exact = split_half_reliability(trials, n_splits=20, correction="exact").mean(axis=0)
    historic = split_half_reliability(trials, n_splits=20).mean(axis=0)
    error = exact.std(ddof=1) / np.sqrt(40)
    assert abs(exact.mean() - truth) < 3 * error
    assert historic.mean() < exact.mean() - 3 * error


def test_stimuli_with_unequal_repetitions_are_corrected_by_harmonic_means() -> None:
    trials = simulated(7, 3000, 40, noise=1.5)
    trials[3:, ::3] = np.nan
    truth = 1 / (1 + 1.5**2 * (2 / 7 + 1 / 3) / 3)
    exact = split_half_reliability(trials, n_splits=10, correction="exact").mean(axis=0)
    assert abs(exact.mean() - truth) < 3 * exact.std(ddof=1) / np.sqrt(40)


def test_moments_equal_a_loop_over_halves() -> None:
    trials = simulated(5, 40, 6) + 100
    trials[3:, :7, 2] = np.nan
    first, second = random_halves(trials, n_splits=4, seed=3)
    expected = [
        [spearman_brown(np.corrcoef(a, b)[0, 1]) for a, b in zip(one.T, other.T, strict=True)]
        for one, other in zip(first, second, strict=True)
    ]
    found = split_half_reliability(trials, n_splits=4, seed=3)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_weights_count_stimuli_as_repeating_them_would() -> None:
    trials = simulated(4, 30, 5)
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=3)
    first, second = random_halves(trials, n_splits=1, seed=2)
    for correction in ("spearman_brown", "exact"):
        drawn = split_half_resampled(trials, counts, n_splits=1, seed=2, correction=correction)
        for row, count in zip(drawn, counts, strict=True):
            index = np.repeat(np.arange(30), count)
            r = [np.corrcoef(first[0, index, n], second[0, index, n])[0, 1] for n in range(5)]
            np.testing.assert_allclose(row, spearman_brown(r), atol=1e-10)


def test_draws_vary_as_new_recordings_do() -> None:
    """The bootstrap's standard deviation against that over recordings of other stimuli."""
    over_recordings = np.std(
        [split_half_reliability(simulated(4, 200, 8, seed=s)).mean() for s in range(60)]
    )
    counts = np.random.default_rng(1).multinomial(200, np.full(200, 1 / 200), size=200)
    spreads = [
        split_half_resampled(simulated(4, 200, 8, seed=s), counts).mean(axis=1).std()
        for s in range(5)
    ]
    assert np.mean(spreads) == pytest.approx(over_recordings, rel=0.35)


def test_a_draw_of_one_stimulus_is_undefined() -> None:
    counts = np.zeros((1, 20), dtype=int)
    counts[0, 3] = 20
    assert np.isnan(split_half_resampled(simulated(4, 20, 2), counts)).all()
    assert np.isnan(internal_consistency_resampled(simulated(4, 20, 2), counts)).all()


def test_integers_and_half_precision_are_computed_in_double() -> None:
    counts = np.random.default_rng(0).integers(0, 250, size=(6, 40, 3))
    expected = split_half_reliability(counts.astype(float))
    for kind in (np.uint8, np.int16, np.float16):
        np.testing.assert_array_equal(split_half_reliability(counts.astype(kind)), expected)
        np.testing.assert_array_equal(
            internal_consistency(counts.astype(kind)), internal_consistency(counts.astype(float))
        )


def loop(trials: np.ndarray) -> np.ndarray:
    splitter = ShuffleSplit(10, train_size=0.5, random_state=1)
    return np.array(
        [
            [
                spearman_brown(np.corrcoef(a, b)[0, 1])
                for a, b in zip(
                    np.nanmean(trials[one], axis=0).T,
                    np.nanmean(trials[other], axis=0).T,
                    strict=True,
                )
            ]
            for one, other in splitter.split(trials)
        ]
    )


def test_shared_halves_equal_a_loop_with_scikit_learn() -> None:
    trials = 50 + simulated(5, 60, 7)
    np.testing.assert_allclose(internal_consistency(trials), loop(trials), atol=1e-12)
    trials[0, 3, 2] = trials[2, 8, 4] = np.nan
    np.testing.assert_allclose(internal_consistency(trials), loop(trials), atol=1e-12)
    draws = internal_consistency_resampled(trials, np.ones((4, 60), dtype=int))
    assert draws.shape == (4, 10, 7)
    assert np.isin(draws.round(9), loop(trials).round(9)).all()


def test_a_constant_neuroid_has_no_defined_consistency() -> None:
    trials = simulated(4, 20, 3)
    trials[:, :, 1] = 0.1
    found = internal_consistency(trials)
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[:, [0, 2]]).all()


def test_shared_halves_need_a_trial_of_every_stimulus() -> None:
    trials = simulated(4, 20, 3)
    trials[1:, 5, 0] = np.nan
    with pytest.raises(ContractError, match=r"1 of 60 \(stimulus, neuroid\) cells have no trial"):
        internal_consistency(trials)
    with pytest.raises(ContractError, match="trials have one repetition"):
        internal_consistency(trials[:1])
    with pytest.raises(ContractError, match=r"shape \(4, 0, 3\), expected"):
        internal_consistency(trials[:, :0])

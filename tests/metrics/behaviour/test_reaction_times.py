"""Reaction times from readout entropy: the rule, all thresholds by brute force, recovery."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from scipy.stats import pearsonr

from brainscore_lite.metrics.behaviour.reaction_times import ReactionTimes
from brainscore_lite.metrics.behaviour.readout_entropy import (
    entropy_reaction_times,
    fit_entropy_threshold,
    mean_by_condition,
    readout_entropy,
)
from brainscore_lite.schema import ContractError, activations

N_IMAGES, N_CLASSES, N_STEPS = 80, 5, 8
NAMES = [f"image{i:02d}" for i in range(N_IMAGES)]


def evidence(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logits that grow for the right class, more slowly for harder images."""
    rng = np.random.default_rng(seed)
    difficulty = rng.uniform(0.3, 3.0, size=N_IMAGES)
    logits = 0.05 * rng.normal(size=(N_IMAGES, N_CLASSES, N_STEPS))
    logits[:, 0] += np.arange(1, N_STEPS + 1) * 1.5 / difficulty[:, None]
    return logits, difficulty


def people(
    difficulty: NDArray[np.float64], *, noise: float = 40.0, n: int = 12, seed: int = 1
) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    times = 400 + 100 * difficulty + noise * rng.normal(size=(n, N_IMAGES))
    return xr.DataArray(times, dims=("subject", "stimulus"), coords={"stimulus": NAMES})


def readout(logits: NDArray[np.float64]) -> xr.DataArray:
    return activations(logits, stimulus=NAMES, layer="readout")


def test_entropy_equals_scipy() -> None:
    logits = 5 * np.random.default_rng(0).normal(size=(7, 4, 6))
    expected = scipy_entropy(softmax(logits, axis=1), axis=1)
    np.testing.assert_allclose(readout_entropy(logits), expected, atol=1e-12)
    summed = scipy_entropy(softmax(logits.cumsum(axis=2), axis=1), axis=1)
    np.testing.assert_allclose(readout_entropy(logits, cumulative=True), summed, atol=1e-12)
    shifted = readout_entropy(logits + 1e4)
    np.testing.assert_allclose(shifted, expected, atol=1e-9)


def test_entropy_of_no_evidence_and_of_certainty() -> None:
    np.testing.assert_allclose(readout_entropy(np.zeros((2, 5, 3))), np.log(5))
    sure = np.zeros((1, 3, 1))
    sure[0, 1] = 1000
    assert float(readout_entropy(sure)[0, 0]) == pytest.approx(0, abs=1e-12)


def test_blank_steps_have_no_entropy_and_add_no_evidence() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 3, 5))
    late = logits.copy()
    late[..., :2] = np.nan
    found = readout_entropy(late, cumulative=True)
    assert np.isnan(found[:, :2]).all()
    np.testing.assert_allclose(
        found[:, 2:], readout_entropy(logits[..., 2:], cumulative=True), atol=1e-12
    )
    assert (entropy_reaction_times(found, np.log(3)) == 3).all()


def test_rule_of_reaction_times() -> None:
    entropy = np.array([[1.0, 0.5, 0.1], [1.0, 0.9, 0.8], [0.2, 0.9, 0.1], [0.6, 0.5, 0.5]])
    assert entropy_reaction_times(entropy, 0.5).tolist() == [2, 3, 1, 2]
    assert entropy_reaction_times(entropy, 0.5, times=[10, 20, 40]).tolist() == [20, 40, 10, 20]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_fitted_threshold_over_conditions_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    entropy = np.round(rng.uniform(0, 2, size=(20, 5)), 1)
    conditions = rng.permutation(np.append(np.arange(6), rng.integers(6, size=14)))
    y = rng.normal(size=6)
    threshold, r = fit_entropy_threshold(entropy, y, conditions=conditions)
    best = -np.inf
    for candidate in np.unique(entropy):
        times = entropy_reaction_times(entropy, float(candidate))
        means = np.array([times[conditions == c].mean() for c in range(6)])
        if np.ptp(means) > 1e-9:
            best = max(best, float(pearsonr(means, y).statistic))
    assert r == pytest.approx(best, abs=1e-9)
    means = mean_by_condition(entropy_reaction_times(entropy, threshold), conditions)
    assert float(pearsonr(means, y).statistic) == pytest.approx(r, abs=1e-9)


def by_brute_force(
    entropy: NDArray[np.float64], y: NDArray[np.float64], times: NDArray[np.float64]
) -> float:
    best = -np.inf
    for threshold in np.unique(entropy):
        found = entropy_reaction_times(entropy, float(threshold), times=times)
        if np.ptp(found) > 0:
            best = max(best, float(pearsonr(found, y).statistic))
    return best


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_fitted_threshold_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    entropy = np.round(rng.uniform(0, 2, size=(15, 6)), 1)  # with ties
    y, times = rng.normal(size=15) + 1e3, np.cumsum(rng.uniform(1, 9, size=6))
    threshold, r = fit_entropy_threshold(entropy, y, times=times)
    assert r == pytest.approx(by_brute_force(entropy, y, times), abs=1e-9)
    found = entropy_reaction_times(entropy, threshold, times=times)
    assert float(pearsonr(found, y).statistic) == pytest.approx(r, abs=1e-9)


def test_a_known_threshold_is_recovered() -> None:
    logits, _ = evidence()
    entropy = readout_entropy(logits)
    truth = entropy_reaction_times(entropy, 0.5)
    threshold, r = fit_entropy_threshold(entropy, truth)
    assert r == pytest.approx(1)
    np.testing.assert_array_equal(entropy_reaction_times(entropy, threshold), truth)


def test_reaction_times_grow_with_difficulty() -> None:
    logits, difficulty = evidence()
    for cumulative in (False, True):
        found = ReactionTimes(cumulative=cumulative)(readout(logits), people(difficulty))
        assert found["r"].dims == ("split",)
        assert float(found["r"].mean()) > 0.85
        assert float(found["ceiling"].mean()) > 0.9
        assert (found["r"] < found["ceiling"] + 0.05).all()
        assert (found["fraction_undecided"] < 0.5).all()
    summed = ReactionTimes(cumulative=True)(readout(logits), people(difficulty))
    shuffled = people(np.random.default_rng(7).permutation(difficulty))
    chance = ReactionTimes(n_splits=30)(readout(logits), shuffled)
    assert abs(float(chance["r"].mean())) < 0.2
    assert float(chance["fitted_r"].mean()) > float(chance["r"].mean())
    assert float(summed["threshold"].mean()) > 0


def test_scores_are_those_of_the_kernels_on_the_other_half() -> None:
    logits, difficulty = evidence()
    human = people(difficulty)
    metric = ReactionTimes(n_splits=3, seed=4)
    order = np.random.default_rng(0).permutation(N_IMAGES)
    found = metric(readout(logits).isel(stimulus=order), human)
    entropy, mean = readout_entropy(logits), human.values.mean(axis=0)
    for split, fold in enumerate(metric._splits().folds(N_IMAGES)):
        threshold, _ = fit_entropy_threshold(entropy[fold.train], mean[fold.train])
        expected = pearsonr(entropy_reaction_times(entropy[fold.test], threshold), mean[fold.test])
        assert float(found["r"][split]) == pytest.approx(float(expected.statistic))


def test_ceiling_falls_with_noise_and_counts_missing_answers() -> None:
    logits, difficulty = evidence()
    ceilings = []
    for noise in (10, 100, 300):
        human = people(difficulty, noise=noise)
        ceilings.append(float(ReactionTimes()(readout(logits), human)["ceiling"].mean()))
    assert ceilings[0] > ceilings[1] > ceilings[2]
    signal, error = np.var(100 * difficulty), 100.0**2 / 12
    assert ceilings[1] == pytest.approx(np.sqrt(signal / (signal + error)), abs=0.03)
    holes = people(difficulty)
    holes[0, ::3] = np.nan
    assert np.isfinite(ReactionTimes()(readout(logits), holes)["ceiling"]).all()
    alone = ReactionTimes()(readout(logits), people(difficulty, n=1))
    assert np.isnan(alone["ceiling"]).all()
    assert np.isfinite(alone["r"]).all()


def test_conditions_are_compared_by_their_means() -> None:
    logits, difficulty = evidence()
    level = np.digitize(difficulty, np.linspace(0.3, 3, 11)[1:-1])
    names = np.array([f"level{k}" for k in level])
    source = readout(logits).assign_coords(occlusion=("stimulus", names))
    levels = [f"level{k}" for k in range(10)]
    rng = np.random.default_rng(0)
    times = 400 + 50 * np.arange(10) + 30 * rng.normal(size=(9, 10))
    human = xr.DataArray(times, dims=("subject", "occlusion"), coords={"occlusion": levels})
    metric = ReactionTimes(condition="occlusion", n_splits=4)
    found = metric(source, human)
    assert float(found["r"].mean()) > 0.9
    entropy, mean = readout_entropy(logits), times.mean(axis=0)
    for split, fold in enumerate(metric._splits().folds(10)):
        threshold = float(found["threshold"][split])
        by_image = entropy_reaction_times(entropy, threshold)
        means = [by_image[names == levels[k]].mean() for k in fold.test]
        expected = pearsonr(means, mean[fold.test]).statistic
        assert float(found["r"][split]) == pytest.approx(float(expected))
    turned = metric(source, human.isel(occlusion=np.arange(8)[::-1]))
    assert float(turned["r"].mean()) > 0.8  # images of two conditions are left out
    with pytest.raises(ContractError, match=r"no stimulus of 1 of 10 conditions; first: 'level9'"):
        metric(source.isel(stimulus=names != "level9"), human)
    with pytest.raises(ContractError, match="name a 'occlusion' twice"):
        metric(source, human.isel(occlusion=[0, 1, 1, 2, 3, 4, 5]))
    with pytest.raises(ContractError, match=r"expected \('subject', 'occlusion'\) with labels"):
        metric(source, people(difficulty))


def test_networks_without_dynamics_are_refused() -> None:
    logits, difficulty = evidence()
    static = np.repeat(logits[..., -1:], N_STEPS, axis=2)
    with pytest.raises(ContractError, match=r"same at all 8 of 8 .*depth_as_time"):
        ReactionTimes()(readout(static), people(difficulty))
    with pytest.raises(ContractError, match="expected a 'step' dim"):
        ReactionTimes()(readout(logits).isel(step=0, drop=True), people(difficulty))


def test_bad_input() -> None:
    logits, difficulty = evidence()
    human = people(difficulty)
    two = activations(logits, stimulus=NAMES, layer=["IT"] * 2 + ["readout"] * 3)
    with pytest.raises(ContractError, match=r"layers \['IT', 'readout'\], expected the readout"):
        ReactionTimes()(two, human)
    with pytest.raises(ContractError, match=r"have dims \('stimulus',\), expected \('subject'"):
        ReactionTimes()(readout(logits), human.mean("subject"))
    missing = human.copy()
    missing[:, 3] = np.nan
    with pytest.raises(ContractError, match=r"1 of 80 of the 'stimulus' labels have no .*image03"):
        ReactionTimes()(readout(logits), missing)
    with pytest.raises(ContractError, match=r"logits have shape \(3, 1, 2\), expected"):
        readout_entropy(np.zeros((3, 1, 2)))
    holed = logits.copy()
    holed[0, 0, 0] = np.nan
    with pytest.raises(ContractError, match="at steps that are not blank"):
        readout_entropy(holed)
    with pytest.raises(ContractError, match=r"entropy has shape \(3,\)"):
        entropy_reaction_times(np.zeros(3), 0.5)
    with pytest.raises(ContractError, match="expected 2 finite ones that ascend"):
        entropy_reaction_times(np.zeros((3, 2)), 0.5, times=[2, 1])
    with pytest.raises(ContractError, match="no step has an entropy"):
        entropy_reaction_times(np.full((3, 2), np.nan), 0.5)
    with pytest.raises(
        ContractError, match=r"reaction_times have shape \(2,\), expected one for each of 3"
    ):
        fit_entropy_threshold(np.zeros((3, 2)), [1, 2])
    for entropy, y in ((np.zeros((3, 2)), [1, 2, 3]), (np.arange(6.0).reshape(3, 2), [1, 1, 1])):
        with pytest.raises(ContractError, match="tells any two images apart"):
            fit_entropy_threshold(entropy, y)

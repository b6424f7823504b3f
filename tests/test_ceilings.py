"""Ceilings: against analytic values, published figures and rsatoolbox."""

import time

import numpy as np
import pytest
import xarray as xr

from brainscore_lite.ceilings import (
    LeaveOneSubjectOut,
    NoReliabilityWarning,
    RDMSplitHalf,
    SplitHalf,
    leave_one_subject_out,
    rdm_split_half,
    spearman_brown,
    split_half_reliability,
)
from brainscore_lite.datasets import load_dataset
from brainscore_lite.metrics import CKA, METRICS, RSA, LinearPredictivity, compare_rdms, rdm
from brainscore_lite.metrics.rdm import square
from brainscore_lite.metrics.reliability import random_halves
from brainscore_lite.schema import ContractError, rdms, responses

RNG = np.random.default_rng(5)


def simulated(n_repetitions: int, n_stimuli: int, n_neuroids: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(8)
    tuning = rng.normal(size=(n_stimuli, n_neuroids))
    tuning = (tuning - tuning.mean(axis=0)) / tuning.std(axis=0)
    return tuning + noise * rng.normal(size=(n_repetitions, n_stimuli, n_neuroids))


def labelled(values: np.ndarray) -> xr.DataArray:
    return responses(
        values,
        stimulus=[f"s{i}" for i in range(values.shape[1])],
        neuroid=[f"n{i}" for i in range(values.shape[2])],
        region="V4",
        animal="one",
    )


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_reliability_equals_its_analytic_value(noise: float) -> None:
    trials = simulated(10, 500, 80, noise)
    analytic = 1 / (1 + noise**2 / 10)
    by_neuroid = split_half_reliability(trials, n_splits=20).mean(axis=0)
    standard_error = by_neuroid.std(ddof=1) / np.sqrt(80)
    assert abs(by_neuroid.mean() - analytic) < 3 * standard_error


def test_stimuli_may_differ_in_repetitions() -> None:
    trials = simulated(10, 800, 60, 1.5)
    trials[6:, ::2] = np.nan
    by_neuroid = split_half_reliability(trials, n_splits=10).mean(axis=0)
    noise_of_average = 1.5**2 * (1 / 6 + 1 / 10) / 2
    standard_error = by_neuroid.std(ddof=1) / np.sqrt(60)
    assert abs(by_neuroid.mean() - 1 / (1 + noise_of_average)) < 3 * standard_error + 0.005


def test_neuroids_may_differ_in_repetitions() -> None:
    trials = simulated(8, 300, 6, 1.0)
    trials[4:, :, 3:] = np.nan
    together = split_half_reliability(trials, seed=3)
    apart = split_half_reliability(trials[:, :, :3], seed=3)
    np.testing.assert_allclose(together[:, :3], apart)
    assert together[:, :3].mean() > together[:, 3:].mean()


def test_same_seed_same_halves() -> None:
    trials = simulated(6, 50, 5, 1.0)
    first = split_half_reliability(trials, seed=1)
    assert first.shape == (10, 5)
    np.testing.assert_array_equal(first, split_half_reliability(trials, seed=1))
    assert (first != split_half_reliability(trials, seed=2)).any()


def test_halves_use_every_trial_once() -> None:
    trials = np.arange(12.0).reshape(4, 3, 1) ** 2
    orders = [(0, 1), (0, 2), (0, 3)]
    possible = set()
    for pair in orders:
        rest = [i for i in range(4) if i not in pair]
        a, b = trials[list(pair)].mean(0)[:, 0], trials[rest].mean(0)[:, 0]
        possible.add(round(float(spearman_brown(np.corrcoef(a, b)[0, 1])), 9))
    # Halves are drawn for each stimulus, so fixed halves are among the outcomes but not all.
    found = split_half_reliability(trials, n_splits=400)[:, 0]
    assert possible <= {round(float(value), 9) for value in found}


def test_it_is_fast() -> None:
    trials = simulated(14, 1200, 60, 1.0)
    start = time.perf_counter()
    split_half_reliability(trials, n_splits=10)
    assert time.perf_counter() - start < 5


def test_ceiling_is_the_root_of_the_mean_reliability() -> None:
    ceiling = SplitHalf(n_splits=20)(labelled(simulated(10, 200, 8, 2.0)), METRICS["ridge"])
    assert ceiling["reliability"].dims == ("split", "neuroid")
    assert ceiling["ceiling"].dims == ("neuroid",)
    np.testing.assert_allclose(ceiling["ceiling"] ** 2, ceiling["reliability"].mean("split"))
    assert "animal" in ceiling.coords


def test_no_signal_gives_a_ceiling_of_zero_and_says_so() -> None:
    noise = np.random.default_rng(0).normal(size=(4, 30, 12))
    with pytest.warns(NoReliabilityWarning, match="of 12 reliabilities are not positive"):
        ceiling = SplitHalf()(labelled(noise), METRICS["ridge"])
    assert float(ceiling["ceiling"].min()) == 0
    assert float(ceiling["reliability"].min()) < 0


def test_constant_neuroid_says_so() -> None:
    trials = simulated(4, 30, 3, 1.0)
    trials[:, :, 1] = 2.0
    with pytest.warns(NoReliabilityWarning, match="1 of 3 neuroids respond alike to every stim"):
        assert (split_half_reliability(trials)[:, 1] == 0).all()


def test_single_repetitions_are_left_out_and_counted() -> None:
    trials = simulated(4, 30, 3, 1.0)
    trials[1:, :5] = np.nan
    with pytest.warns(NoReliabilityWarning, match=r"15 of 90 \(stimulus, neuroid\) cells have a"):
        known = split_half_reliability(trials)
    assert np.isfinite(known).all()
    with pytest.raises(ContractError, match="5 of 30 stimuli have a single repetition of some"):
        rdm_split_half(trials)
    trials[1:, :28] = np.nan
    with pytest.raises(ContractError, match="neuroid 0 has 2 stimuli with at least two rep"):
        split_half_reliability(trials)


def test_one_repetition_is_refused_with_advice() -> None:
    single = labelled(simulated(1, 30, 3, 1.0))
    for ceiling, metric in ((SplitHalf(), METRICS["ridge"]), (RDMSplitHalf(), RSA())):
        with pytest.raises(ContractError, match=r"one repetition, expected at least two: .* ceil"):
            ceiling(single, metric)
    with pytest.raises(ContractError, match="trials have one repetition, expected at least two"):
        split_half_reliability(single.values)
    with pytest.raises(ContractError, match="expected \\(n_repetitions, n_stimuli, n_neuroids"):
        split_half_reliability(single.values[0])


def test_each_ceiling_names_the_metrics_it_serves() -> None:
    trials = labelled(simulated(4, 30, 3, 1.0))
    matrices = rdms(
        np.stack([square(rdm(RNG.normal(size=(9, 20)))) for _ in range(3)]),
        stimulus=[f"s{i}" for i in range(9)],
        subject=["a", "b", "c"],
        region="IT",
        species="human",
    )
    with pytest.raises(ContractError, match="SplitHalf is the ceiling of a Pearson r of each neu"):
        SplitHalf()(trials, CKA())
    with pytest.raises(ContractError, match="SplitHalf is the ceiling of a Pearson r of each neu"):
        SplitHalf()(trials, RSA(comparison="pearson"))
    with pytest.raises(ContractError, match="RDMSplitHalf is a ceiling of RSA, not of Linear"):
        RDMSplitHalf()(trials, LinearPredictivity())
    with pytest.raises(ContractError, match="split-half ceiling needs trials, but these are dis"):
        RDMSplitHalf()(matrices, RSA())
    with pytest.raises(ContractError, match="takes dissimilarity matrices of several subjects"):
        LeaveOneSubjectOut()(trials, RSA())
    with pytest.raises(ContractError, match="1 subject, expected at least two"):
        LeaveOneSubjectOut()(matrices.isel(subject=[0]), RSA())
    with pytest.raises(ContractError, match="rank_pooling is 'median', expected one of"):
        LeaveOneSubjectOut(rank_pooling="median")


@pytest.mark.parametrize(
    ("comparison", "peer"),
    [
        ("pearson", "corr"),
        ("spearman", "spearman"),
        ("cosine", "cosine"),
        ("kendall_tau_a", "tau-a"),
    ],
)
@pytest.mark.filterwarnings("ignore:Noise ceiling for tau based on averaged ranks")
def test_bounds_equal_rsatoolbox(comparison: str, peer: str) -> None:
    from rsatoolbox.inference import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs

    shared = RNG.normal(size=(20, 30))
    vectors = np.stack([rdm(shared + 1.5 * RNG.normal(size=(20, 30))) for _ in range(6)])
    lower, upper = leave_one_subject_out(vectors, comparison=comparison, rank_pooling="reranked")
    expected = boot_noise_ceiling(RDMs(vectors), method=peer)
    assert abs(lower.mean() - expected[0]) < 1e-10
    assert abs(upper.mean() - expected[1]) < 1e-10


def test_rdm_halves_have_the_reliability_of_independent_recordings() -> None:
    trials = simulated(10, 60, 100, 1.5)
    again = simulated(10, 60, 100, 0.0) + 1.5 * RNG.normal(size=(10, 60, 100))
    one, other = rdm(trials.mean(axis=0)), rdm(again.mean(axis=0))
    expected = np.corrcoef(one, other)[0, 1]
    metric = RSA(comparison="pearson")
    ceiling = RDMSplitHalf(n_splits=20)(labelled(trials), metric)
    assert float(ceiling["reliability"].mean()) == pytest.approx(expected, abs=0.05)
    assert float(ceiling["ceiling"]) == pytest.approx(np.sqrt(ceiling["reliability"].mean()))
    assert ceiling["half"].dims == ("split",)


def test_reliability_of_the_v4_recording(mirror: object) -> None:
    trials = load_dataset("cowley2023_v4_210325")["V4"]
    equal = split_half_reliability(trials.values, n_splits=20, equal_halves=True).mean(axis=0)
    expected = pytest.approx([0.626, 0.748, 0.823], abs=0.01)
    assert np.quantile(equal, [0.25, 0.5, 0.75]) == expected
    assert equal.min() > 0.5
    ceiling = SplitHalf(n_splits=20)(trials, METRICS["ridge"])
    every_trial = float(ceiling["reliability"].mean("split").median())
    assert every_trial == pytest.approx(0.766, abs=0.01)


def test_dissimilarities_of_the_v4_recording(mirror: object) -> None:
    trials = load_dataset("cowley2023_v4_210325")["V4"]
    # The published figure standardises each neuroid over images; RSA takes responses as they are.
    halves = random_halves(trials.values, n_splits=4, equal_halves=True)
    first, second = ((h - h.mean(1, keepdims=True)) / h.std(1, keepdims=True) for h in halves)
    between = np.mean([compare_rdms(rdm(a), rdm(b)) for a, b in zip(first, second, strict=True)])
    assert between == pytest.approx(0.562, abs=0.01)
    assert spearman_brown(between) == pytest.approx(0.720, abs=0.01)
    ceiling = RDMSplitHalf(n_splits=5)(trials, RSA(comparison="pearson"))
    assert float(ceiling["half"].mean()) == pytest.approx(0.676, abs=0.01)


@pytest.mark.parametrize(
    ("dataset", "region", "mean_of_ranks", "reranked"),
    [
        ("kriegeskorte2008_92", "humanIT", (0.377, 0.672), (0.372, 0.666)),
        ("algonauts2019_92", "EVC", (0.247, 0.399), (0.242, 0.392)),
        ("algonauts2019_92", "IT", (0.459, 0.549), (0.453, 0.542)),
    ],
)
def test_bounds_of_the_human_recordings(
    mirror: object, dataset: str, region: str, mean_of_ranks: tuple, reranked: tuple
) -> None:
    subjects = load_dataset(dataset)[region]
    for pooling, expected in (("mean_of_ranks", mean_of_ranks), ("reranked", reranked)):
        bounds = LeaveOneSubjectOut(rank_pooling=pooling)(subjects, RSA())
        assert bounds["lower"].dims == ("subject",)
        measured = [float(bounds[name].mean()) for name in ("lower", "upper")]
        assert measured == pytest.approx(expected, abs=5e-4)


def test_one_group_matrix_has_no_ceiling(mirror: object) -> None:
    monkey = load_dataset("kriegeskorte2008_92")["monkeyIT"]
    with pytest.raises(ContractError, match="1 subject, expected at least two: a ceiling across"):
        LeaveOneSubjectOut()(monkey, RSA())


def test_time_bins_have_ceilings_of_their_own() -> None:
    early, late = simulated(6, 60, 5, 4.0), simulated(6, 60, 5, 0.5)
    trials = responses(
        np.stack([early, late], axis=-1),
        stimulus=[f"s{i}" for i in range(60)],
        neuroid=[f"n{i}" for i in range(5)],
        region="V4",
        animal="one",
        time_bins=[(0, 50), (50, 100)],
    )
    ceiling = SplitHalf()(trials, METRICS["ridge"])
    assert ceiling["ceiling"].dims == ("neuroid", "time_bin")
    apart = SplitHalf()(labelled(late), METRICS["ridge"])
    np.testing.assert_allclose(ceiling["ceiling"].isel(time_bin=1), apart["ceiling"])
    with pytest.raises(ContractError, match="RDMSplitHalf takes one time bin"):
        RDMSplitHalf()(trials, RSA())

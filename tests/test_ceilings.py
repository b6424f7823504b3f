"""Ceilings: against analytic values, published figures and rsatoolbox."""

import time

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from brainscore_lite.benchmarks.definition import ceiling_of
from brainscore_lite.ceilings import (
    ConservativeOracle,
    ExplainableVariance,
    FractionExplained,
    InternalConsistency,
    JackknifeOracle,
    LeaveOneSubjectOut,
    NoiseCeilingSNR,
    NoReliabilityWarning,
    RDMSplitHalf,
    RSACeiling,
    SplitHalf,
    leave_one_subject_out,
    rdm_split_half,
    spearman_brown,
    split_half_reliability,
)
from brainscore_lite.datasets import load_dataset
from brainscore_lite.metrics import CKA, METRICS, RSA, LinearPredictivity, compare_rdms, rdm
from brainscore_lite.metrics.dissimilarities.rdm import square
from brainscore_lite.metrics.dissimilarities.recorded_rdms import trial_dissimilarities
from brainscore_lite.metrics.reliability.repetition_halves import halved_trials, random_halves
from brainscore_lite.schema import ContractError, activations, rdms, responses

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
    with pytest.raises(ContractError, match="5 of 30 stimuli have fewer than 2 repetitions of"):
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
    with pytest.raises(ContractError, match="predicts units of a model, which have no trials"):
        SplitHalf()(trials, LinearPredictivity(direction="brain_to_model"))
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


OF_NEUROIDS = (
    SplitHalf(),
    SplitHalf(correction="exact"),
    InternalConsistency(),
    ExplainableVariance(),
    NoiseCeilingSNR(),
    ConservativeOracle(),
    JackknifeOracle(),
)


def subjects(n_subjects: int = 5, n_stimuli: int = 14) -> xr.DataArray:
    shared = np.random.default_rng(3).normal(size=(n_stimuli, 20))
    noisy = [shared + 1.5 * RNG.normal(size=shared.shape) for _ in range(n_subjects)]
    return rdms(
        np.stack([square(rdm(patterns)) for patterns in noisy]),
        stimulus=[f"s{i}" for i in range(n_stimuli)],
        subject=[f"p{i}" for i in range(n_subjects)],
        region="IT",
        species="human",
    )


def bootstrap(n_stimuli: int, n_draws: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), size=n_draws)


@pytest.mark.parametrize("ceiling", OF_NEUROIDS, ids=repr)
def test_every_ceiling_of_neuroids_has_draws_around_its_value(ceiling) -> None:
    trials = labelled(simulated(5, 150, 6, 1.0))
    measured = ceiling.measure(trials, METRICS["ridge"])
    values, drawn = measured.values(), measured.resampled(bootstrap(150))
    xr.testing.assert_identical(values, ceiling(trials, METRICS["ridge"]))
    assert set(drawn) <= set(values)
    assert drawn["ceiling"].dims[0] == "draw"
    assert values["ceiling"].dims == ("neuroid",)
    mean, spread = drawn["ceiling"].mean("draw"), drawn["ceiling"].std("draw")
    assert (np.abs(mean - values["ceiling"]) < spread).all()
    assert float(spread.max()) < 0.1
    with pytest.raises(ContractError, match="is the ceiling of a Pearson r of each neuroid"):
        ceiling.measure(trials, CKA())
    with pytest.raises(ContractError, match="one repetition, expected at least two"):
        ceiling.measure(trials.isel(repetition=[0]), METRICS["ridge"])
    with pytest.raises(ContractError, match="these are dissimilarity matrices"):
        ceiling.measure(subjects(), METRICS["ridge"])


def test_ceilings_of_the_average_agree() -> None:
    trials = labelled(simulated(4, 3000, 30, 1.5))
    truth = np.sqrt(1 / (1 + 1.5**2 / 4))
    for ceiling in OF_NEUROIDS[:5]:
        found = ceiling(trials, METRICS["ridge"])["ceiling"]
        assert abs(float(found.mean()) - truth) < 3 * float(found.std()) / np.sqrt(30)


def test_the_noise_ceiling_of_more_trials_is_higher() -> None:
    trials = labelled(simulated(4, 500, 5, 1.5))
    one, many = (NoiseCeilingSNR(n_trials=n)(trials, METRICS["ridge"]) for n in (1, 100))
    assert (one["ceiling"] < many["ceiling"]).all()
    np.testing.assert_allclose(
        one["reliability"], one["ncsnr"] ** 2 / (one["ncsnr"] ** 2 + 1), atol=1e-12
    )
    with pytest.raises(ContractError, match="n_trials is 0, expected a positive number"):
        NoiseCeilingSNR(n_trials=0)


@pytest.mark.parametrize("comparison", ["pearson", "spearman", "cosine"])
def test_rdm_halves_have_draws_around_their_value(comparison: str) -> None:
    trials = labelled(simulated(6, 40, 50, 1.0))
    measured = RDMSplitHalf(n_splits=4).measure(trials, RSA(comparison=comparison))
    drawn = measured.resampled(bootstrap(40))
    assert drawn["ceiling"].dims == ("draw",)
    inside = np.quantile(drawn["ceiling"], [0.005, 0.995])
    assert inside[0] < float(measured.values()["ceiling"]) < inside[1]
    assert measured.resampled(bootstrap(40, 2)).sizes["draw"] == 2


def test_draws_with_every_stimulus_once_vary_by_their_halving_only() -> None:
    measured = RDMSplitHalf(n_splits=5).measure(labelled(simulated(6, 30, 40, 1.0)), RSA())
    values = measured.values()["reliability"]
    drawn = measured.resampled(np.ones((5, 30), dtype=int))["reliability"]
    assert float(drawn.mean()) == pytest.approx(float(values.mean()))
    assert float(drawn.std()) == pytest.approx(float(values.std()) / np.sqrt(5))


@pytest.mark.parametrize(
    "dissimilarity", ["euclidean", "mahalanobis", "crossnobis", "poisson", "poisson_cv"]
)
def test_rdm_halves_of_every_dissimilarity_have_the_reliability_of_new_trials(
    dissimilarity: str,
) -> None:
    rng = np.random.default_rng(4)
    rates = rng.gamma(2.0, 3.0, size=(40, 30))
    one, other = (rng.poisson(rates, size=(12, 40, 30)).astype(float) for _ in range(2))
    expected = compare_rdms(
        *(trial_dissimilarities(trials, dissimilarity=dissimilarity) for trials in (one, other)),
        method="pearson",
    )
    metric = RSA(dissimilarity=dissimilarity, comparison="pearson")
    measured = RDMSplitHalf(n_splits=8).measure(labelled(one), metric)
    assert float(measured.values()["reliability"].mean()) == pytest.approx(expected, abs=0.05)
    assert np.isfinite(measured.resampled(bootstrap(40, 10))["ceiling"]).all()


@pytest.mark.parametrize("dissimilarity", ["mahalanobis", "crossnobis", "poisson_cv"])
def test_halves_of_single_trials_need_four(dissimilarity: str) -> None:
    trials = np.random.default_rng(4).poisson(5.0, size=(5, 12, 6)).astype(float)
    trials[3:, 2] = np.nan
    message = f"1 of 12 stimuli have fewer than 4 repetitions of .* {dissimilarity} dissim"
    with pytest.raises(ContractError, match=message):
        rdm_split_half(trials, dissimilarity=dissimilarity)
    ceiling, reason = ceiling_of(labelled(trials), RSA(dissimilarity=dissimilarity))
    assert ceiling is None
    assert reason.startswith("6 of 72 (image, neuroid) cells have fewer than 4 repetitions")
    whole = labelled(np.delete(trials, 2, axis=1))
    assert ceiling_of(whole, RSA(dissimilarity=dissimilarity)) == (RDMSplitHalf(), "")


@pytest.mark.parametrize("ceiling", [SplitHalf, InternalConsistency, RDMSplitHalf])
def test_at_least_one_halving_and_weights_of_every_stimulus(ceiling) -> None:
    trials = labelled(simulated(4, 12, 6, 1.0))
    metric = RSA() if ceiling is RDMSplitHalf else METRICS["ridge"]
    with pytest.raises(ContractError, match="n_splits is 0, expected at least one random"):
        ceiling(n_splits=0)(trials, metric)
    with pytest.raises(ContractError, match=r"expected \(n_draws, 12\)"):
        ceiling(n_splits=2).measure(trials, metric).resampled(np.ones((3, 5)))


def test_folds_are_not_halved() -> None:
    trials = labelled(simulated(8, 12, 6, 1.0))
    trials = trials.assign_coords(session=("repetition", list("aabbccdd")))
    metric = RSA(dissimilarity="crossnobis", folds="session")
    with pytest.raises(ContractError, match="across the folds of 'session'"):
        RDMSplitHalf().measure(trials, metric)
    assert ceiling_of(trials, metric)[1].endswith("cut across the folds 'session'")


def test_without_noise_mahalanobis_halves_two_trials_as_euclidean() -> None:
    trials = simulated(3, 20, 8, 1.0)
    plain, other = (
        rdm_split_half(trials, n_splits=2, dissimilarity=name, noise="identity")
        for name in ("euclidean", "mahalanobis")
    )
    np.testing.assert_array_equal(plain, other)


def test_halved_trials_have_the_random_halves_as_their_averages() -> None:
    trials = simulated(5, 9, 4, 1.0)
    trials[3:, :4, 2] = np.nan
    averages = np.stack(random_halves(trials, n_splits=3, seed=1), axis=1)
    parts = np.array(list(halved_trials(trials, n_splits=3, seed=1)))
    np.testing.assert_allclose(np.nanmean(parts, axis=2), averages, atol=1e-12)
    assert (np.isfinite(parts).sum(axis=1) == np.isfinite(trials)).all()


def test_the_exact_correction_of_rdm_halves_is_that_of_equal_ones() -> None:
    trials = labelled(simulated(6, 30, 40, 1.0))
    historic, exact = (
        RDMSplitHalf(correction=name)(trials, RSA()) for name in ("spearman_brown", "exact")
    )
    np.testing.assert_allclose(historic["reliability"], exact["reliability"])
    fewer = trials.isel(repetition=slice(5))
    historic, exact = (
        RDMSplitHalf(correction=name)(fewer, RSA()) for name in ("spearman_brown", "exact")
    )
    assert (historic["reliability"] < exact["reliability"]).all()


@pytest.mark.parametrize("ceiling", [LeaveOneSubjectOut(), RSACeiling()], ids=repr)
def test_bounds_have_draws_around_their_values(ceiling) -> None:
    matrices = subjects()
    measured = ceiling.measure(matrices, RSA())
    drawn, values = measured.resampled(bootstrap(14)), measured.values()
    assert (drawn["lower"] < drawn["upper"]).all()
    for name in ("lower", "upper", "ceiling"):
        assert drawn[name].dims == ("draw",)
        low, high = np.quantile(drawn[name], [0.005, 0.995])
        assert low < float(values[name].mean()) < high
    once = measured.resampled(np.ones((1, 14), dtype=int))
    assert float(once["lower"][0]) == pytest.approx(float(values["lower"].mean()))
    with pytest.raises(ContractError, match="1 subject, expected at least two"):
        ceiling.measure(matrices.isel(subject=[0]), RSA())


def test_plain_means_pool_as_brain_score_does() -> None:
    matrices = subjects()
    found = RSACeiling()(matrices, RSA())
    upper = np.triu_indices(14, k=1)
    vectors = np.array([matrix[upper] for matrix in matrices.values])
    pools = [np.delete(vectors, i, axis=0).mean(axis=0) for i in range(5)]
    lower = [spearmanr(v, pool).statistic for v, pool in zip(vectors, pools, strict=True)]
    np.testing.assert_allclose(found["lower"], lower, atol=1e-12)
    expected = [spearmanr(v, vectors.mean(axis=0)).statistic for v in vectors]
    np.testing.assert_allclose(found["upper"], expected, atol=1e-12)


def test_a_fixed_test_set_has_a_consistency_of_its_own() -> None:
    trials = labelled(simulated(4, 60, 5, 1.0))
    marked = trials.assign_coords(held_out=("stimulus", np.arange(60) < 20))
    apart = InternalConsistency()(trials.isel(stimulus=slice(20)), METRICS["ridge"])
    measured = InternalConsistency(test="held_out").measure(marked, METRICS["ridge"])
    np.testing.assert_array_equal(measured.values()["reliability"], apart["reliability"])
    assert measured.resampled(bootstrap(60, 5)).sizes["draw"] == 5
    with pytest.raises(ContractError, match="have no coordinate 'other'"):
        InternalConsistency(test="other")(marked, METRICS["ridge"])


def test_predictions_explain_the_explainable_variance() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8))
    trials = labelled(features @ rng.normal(size=(8, 4)) + 2 * rng.normal(size=(6, 300, 4)))
    source = activations(features, stimulus=[f"s{i}" for i in range(300)], layer="conv")
    predicted = LinearPredictivity().compare(source, trials)
    found = FractionExplained()(predicted, trials)
    assert found.dims == ("neuroid",)
    np.testing.assert_allclose(found, 1, atol=0.1)
    drawn = FractionExplained().resampled(predicted, trials, bootstrap(300, 50))
    assert drawn.dims == ("draw", "neuroid")
    assert (np.abs(drawn.mean("draw") - found) < 2 * drawn.std("draw")).all()
    with pytest.raises(ContractError, match="are of different neuroids or time bins"):
        FractionExplained()(predicted, trials.isel(neuroid=[1, 0, 2, 3]))
    shuffled = LinearPredictivity(split_kind="shuffle").compare(source, trials)
    with pytest.raises(ContractError, match="not every stimulus is tested exactly once"):
        FractionExplained()(shuffled, trials)


@pytest.mark.slow
@pytest.mark.parametrize("ceiling", [*OF_NEUROIDS[:5]], ids=repr)
def test_intervals_cover_the_true_ceiling(ceiling) -> None:
    """Of 200 recordings, of a median over neuroids; 95 % aimed at."""
    n_stimuli, noise, n_repetitions, covered = 200, 1.5, 4, 0
    truth = np.sqrt(1 / (1 + noise**2 / n_repetitions))
    weights = bootstrap(n_stimuli, 300)
    for run in range(200):
        rng = np.random.default_rng(run)
        signal = rng.normal(size=(n_stimuli, 8))
        trials = labelled(signal + noise * rng.normal(size=(n_repetitions, *signal.shape)))
        drawn = ceiling.measure(trials, METRICS["ridge"]).resampled(weights)["ceiling"]
        low, high = np.quantile(drawn.median("neuroid"), [0.025, 0.975])
        covered += low <= truth <= high
    assert 0.88 <= covered / 200 <= 0.995

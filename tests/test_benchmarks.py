import numpy as np
import pytest
import xarray as xr

from brainscore_lite.benchmarks import BENCHMARKS, Benchmark, benchmark, benchmark_of, ceiling_of
from brainscore_lite.ceilings import LeaveOneSubjectOut, RDMSplitHalf, SplitHalf
from brainscore_lite.datasets import DATASETS
from brainscore_lite.datasets.registry import at_hand
from brainscore_lite.datasets.simulated import SimulatedRecording, true_activations
from brainscore_lite.layer_selection import select_layer
from brainscore_lite.metrics import CKA, RSA, LinearPredictivity
from brainscore_lite.schema import ContractError, activations, rdms, responses
from brainscore_lite.stimuli import StimulusSet

N = 60
NAMES = [f"s{i:02d}" for i in range(N)]
NEAR_DUPLICATES = "190924"  # a session of cowley2023_v4
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(N, 12))
WEIGHTS = RNG.normal(size=(12, 5))


def recording(n_repetitions=6, noise=1.0, region="IT"):
    signal = FEATURES @ WEIGHTS
    trials = signal + noise * signal.std() * RNG.normal(size=(n_repetitions, N, 5))
    return responses(
        trials,
        stimulus=NAMES,
        neuroid=[f"a_{i}" for i in range(5)],
        region=region,
        animal="a",
        stimulus_coords={"category": ["x", "y", "z"] * (N // 3)},
    )


def images(names=NAMES):
    gray = np.zeros((len(names), 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays("gray", gray, ids=names)


def source(values=FEATURES, layer="conv", names=NAMES):
    return activations(values, stimulus=names, layer=layer)


def matrices(n_subjects=3):
    points = RNG.normal(size=(n_subjects, N, 4))
    distances = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    subjects = [f"p{i}" for i in range(n_subjects)]
    return rdms(distances, stimulus=NAMES, subject=subjects, region="IT", species="human")


def test_the_true_features_reach_the_ceiling():
    score = benchmark_of(recording(), stimuli=images(), n_draws=200)(source())
    assert score.raw == pytest.approx(score.ceiling_value, abs=0.06)
    low, high = score.interval()
    assert low < score.raw < high
    assert score.benchmark == "own_recording.IT.ridge"


@pytest.mark.parametrize("metric", ["ridge", "rsa"])
def test_score_and_ceiling_take_the_same_draws(metric):
    made = benchmark_of(recording(), stimuli=images(), metric=metric, n_draws=60)
    score = made(source())
    low, high = score.ceiling_interval()
    assert low <= score.ceiling_value <= high
    own = made.noise_ceiling.resampled(made.weights)
    np.testing.assert_array_equal(score.ceiling_draws["ceiling"], own["ceiling"])
    assert score.ceiling_drawn().shape == score.drawn().shape == (60,)
    low, high = score.normalized_interval()
    assert low < score.normalized() < high
    assert np.isfinite(score.to_row()["ceiling_interval_low"])


def test_without_draws_the_ceiling_has_none():
    made = benchmark_of(recording(), stimuli=images(), n_draws=0)
    assert made(source()).ceiling_draws is None
    assert made.ceiling_on(NAMES[:30])[1] is None
    values, drawn = benchmark_of(recording(), stimuli=images(), n_draws=7).ceiling_on(NAMES[:30])
    assert "split" not in values.dims
    assert drawn.sizes == {"draw": 7, "neuroid": 5}
    with pytest.raises(ContractError, match=r"has no ceiling: no ceiling of CKA between halves"):
        benchmark_of(recording(), stimuli=images(), metric="cka").ceiling_on(NAMES)


@pytest.mark.parametrize("metric", ["ridge", "rsa"])
def test_a_score_with_a_chosen_layer_has_draws_of_its_ceiling(metric):
    made = benchmark_of(recording(), stimuli=images(), metric=metric, n_draws=20)
    layers = np.concatenate([FEATURES, RNG.normal(size=FEATURES.shape)], axis=1)
    score = select_layer(made, source(layers, layer=["a"] * 12 + ["b"] * 12)).score
    assert score.ceiling_drawn().shape == score.drawn().shape == (20,)
    low, high = score.ceiling_interval(0.99)
    assert low - 0.1 < score.ceiling_value < high + 0.1


def test_the_score_says_what_it_depends_on():
    score = benchmark_of(recording(), stimuli=images(), n_draws=10)(source())
    known = score.provenance
    assert known["layer"] == "conv"
    assert known["layer_choice"] == "given"
    assert known["n_stimuli"] == N
    assert set(known["versions"]) >= {"brainscore-lite", "numpy", "scikit-learn"}
    assert "LinearPredictivity" in known["metric"]


def test_two_runs_give_the_same_bytes():
    recorded = recording()
    rows = [benchmark_of(recorded, stimuli=images())(source()).to_row() for _ in range(2)]
    assert rows[0] == rows[1] or str(rows[0]) == str(rows[1])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("ridge", SplitHalf), ("pls", SplitHalf), ("rsa", RDMSplitHalf), ("cka", type(None))],
)
def test_the_ceiling_follows_from_the_recording(metric, expected):
    made = benchmark_of(recording(), stimuli=images(), metric=metric, n_draws=0)
    assert type(made.ceiling) is expected
    assert bool(made.no_ceiling) == (made.ceiling is None)
    assert np.isfinite(made(source()).raw)


def test_one_repetition_or_one_subject_has_no_ceiling_and_says_so():
    assert ceiling_of(recording(1), LinearPredictivity()) == (
        None,
        "no repetitions of the images at hand",
    )
    assert ceiling_of(matrices(1), RSA())[1] == "one matrix, no other subject to compare it with"
    assert ceiling_of(matrices(), RSA()) == (LeaveOneSubjectOut(), "")
    assert "CKA" in ceiling_of(recording(), CKA())[1]
    reverse = LinearPredictivity(direction="brain_to_model")
    assert ceiling_of(recording(), reverse) == (
        None,
        "the units of a model that are predicted have no trials to be reliable over",
    )


def test_matrices_of_subjects_give_a_score_for_each():
    score = benchmark_of(matrices(), stimuli=images(), metric="rsa", n_draws=20)(source())
    assert score.values.sizes == {"subject": 3}
    assert score.ceiling_value > score.raw


def test_the_baseline_is_what_the_labels_alone_predict():
    signal = np.array([0.0, 1.0, 5.0] * (N // 3))[:, None] + 0.1 * RNG.normal(size=(N, 1))
    target = responses(
        signal,
        stimulus=NAMES,
        neuroid=["FFA"],
        region="FFA",
        animal="group",
        stimulus_coords={"category": ["x", "y", "z"] * (N // 3)},
    )
    metric = LinearPredictivity(n_splits=5, stratify="category")
    made = benchmark_of(target, stimuli=images(), metric=metric, n_draws=0)
    made = Benchmark(
        made.name, made.dataset, "FFA", made.metric, None, made.no_ceiling, baseline="category"
    )
    assert made.baseline_value > 0.95


def test_caveats_of_other_regions_stay_away():
    made = benchmark_of(recording(), stimuli=images(), n_draws=0)
    dataset = made.dataset.__class__(
        **{
            **{name: getattr(made.dataset, name) for name in made.dataset.__dataclass_fields__},
            "recordings": {"IT": made.target, "V4": made.target},
            "caveats": ("V4: two cells", "IT: averaged", "alignment inferred"),
        }
    )
    both = Benchmark(made.name, dataset, "IT", made.metric, made.ceiling)
    assert both.provenance["caveats"] == ("averaged", "alignment inferred")


def test_every_benchmark_of_the_catalogue_names_a_dataset():
    for name, entry in BENCHMARKS.items():
        assert entry.dataset in DATASETS, name
        assert name.startswith(f"{entry.dataset}.{entry.region}.")


@pytest.mark.parametrize("metric", ["ridge", "pls", "rsa", "cka"])
@pytest.mark.parametrize("region", ["V4", "IT"])
def test_simulated_benchmarks_are_marked(region, metric):
    made = benchmark(f"simulated_v4_it.{region}.{metric}", n_draws=10)
    names = list(made.target["stimulus"].values)
    features = np.random.default_rng(0).normal(size=(len(names), 20))
    row = made(source(features, names=names)).to_row()
    assert row["simulated"]
    assert abs(row["raw"]) < 0.2


RECORDED = [name for name in BENCHMARKS if not name.startswith("simulated")]


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_benchmarks_score_noise_at_about_zero(mirror, name, tmp_path):
    dataset = BENCHMARKS[name].dataset
    if dataset in ("majajhong2015", "freemanziemba2013") and not at_hand(dataset, cache=tmp_path):
        pytest.skip(f"the mirror holds no file of {dataset}")
    made = benchmark(name, n_draws=0)
    names = list(made.target["stimulus"].values)
    noise = np.random.default_rng(1).normal(size=(len(names), 50))
    score = made(source(noise, names=names))
    assert abs(score.raw) < 0.15
    assert len(made.stimuli) == len(names)
    assert (made.measured_ceiling is None) == bool(made.no_ceiling)


@pytest.mark.parametrize("region", ["V4", "IT"])
def test_the_true_generator_scores_the_root_of_the_reliability(region):
    """Each neuroid is predicted from its own noise-free tuning: no weights to be estimated.

    Two folds, since a correlation over n stimuli falls short of r by about r (1 - r^2) / 2n.
    """
    metric = LinearPredictivity(n_splits=2)
    made = benchmark(f"simulated_v4_it.{region}.ridge")
    truth = true_activations()
    truth = truth.isel(neuroid=truth["layer"].values == region)
    compared = [
        metric.compare(truth.isel(neuroid=[i]), made.target.isel(neuroid=[i]))
        for i in range(truth.sizes["neuroid"])
    ]
    score = made.score(
        xr.concat([each.values() for each in compared], dim="neuroid"),
        ceiling=made.measured_ceiling,
        draws=xr.concat([each.resampled(made.weights) for each in compared], dim="neuroid"),
        provenance={},
    )
    low, high = score.interval()
    assert low <= SimulatedRecording().ceiling <= high
    assert high - low < 0.06


@pytest.mark.parametrize("region", ["V4", "IT"])
def test_the_whole_population_of_generators_loses_little_to_estimation(region):
    made = benchmark(f"simulated_v4_it.{region}.ridge", n_draws=0)
    truth = true_activations()
    score = made(truth.isel(neuroid=truth["layer"].values == region))
    assert 0 < SimulatedRecording().ceiling - score.raw < 0.03


def test_some_single_trials_do_not_take_the_ceiling_away():
    recorded = recording()
    recorded[1:, 3, 2] = np.nan
    assert ceiling_of(recorded, LinearPredictivity())[0] == SplitHalf()
    ceiling, reason = ceiling_of(recorded, RSA())
    assert ceiling is None
    assert reason.startswith("1 of 300 (image, neuroid) cells have fewer than 2 repetitions")


def test_time_bins_are_chosen_first():
    trials = np.random.default_rng(0).normal(size=(3, N, 2, 2))
    target = responses(
        trials, stimulus=NAMES, neuroid=["a", "b"], region="IT", animal="m",
        time_bins=[(70, 120), (120, 170)],
    )  # fmt: skip
    with pytest.raises(ContractError, match=r"2 time bins; a benchmark scores one\. Choose it"):
        benchmark_of(target, stimuli=images())
    one = target.isel(time_bin=1)
    assert np.isfinite(benchmark_of(one, stimuli=images(), n_draws=0)(source()).raw)


def test_sessions_with_near_duplicates_are_not_split_at_random():
    for metric in ("ridge", "pls"):
        with pytest.raises(ContractError, match=r"runs of near-duplicate images.*rsa or cka, or"):
            benchmark(f"cowley2023_v4_{NEAR_DUPLICATES}.V4.{metric}")


def test_an_own_recording_is_traced_by_its_values():
    recorded = recording()
    digests = [
        benchmark_of(each, stimuli=images(), n_draws=0).provenance["data_sha256"]
        for each in (recorded, recorded, recorded + 1)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_errors_say_what_to_do():
    made = benchmark_of(recording(), stimuli=images(), n_draws=0)
    with pytest.raises(ContractError, match=r"hold 2 layers \(a, b\); it scores one\. Select one"):
        made(source(layer=["a"] * 6 + ["b"] * 6))
    with pytest.raises(
        ContractError, match=r"2 steps; it scores one\. Select it: activations\.isel"
    ):
        made(source(np.ones((N, 3, 2))))
    with pytest.raises(ContractError, match=r"source lacks 1 of the target's 60 stimuli"):
        made(source(FEATURES[1:], names=NAMES[1:]))
    with pytest.raises(ContractError, match=r"unknown benchmark 'V4'\. Closest: .*List them with"):
        benchmark("V4")
    with pytest.raises(ContractError, match=r"unknown metric 'r2'; known: ridge"):
        benchmark_of(recording(), stimuli=images(), metric="r2")
    with pytest.raises(ContractError, match=r"the recording has no region 'V1'; it holds \['IT'\]"):
        benchmark_of(recording(), stimuli=images(), region="V1")
    two = recording().assign_coords(region=("neuroid", ["V4", "V4", "IT", "IT", "IT"]))
    with pytest.raises(ContractError, match=r"holds the regions \['IT', 'V4'\]; name one"):
        benchmark_of(two, stimuli=images())
    assert benchmark_of(two, stimuli=images(), region="V4").target.sizes["neuroid"] == 2
    with pytest.raises(ContractError, match=r"1 stimuli of the recording have no image in 'gray'"):
        benchmark_of(recording(), stimuli=images(NAMES[1:]))
    with pytest.raises(ContractError, match=r"expected '<dataset>\.<region>\.<metric>'"):
        Benchmark("x", made.dataset, "IT", made.metric, made.ceiling)
    with pytest.raises(ContractError, match=r"the recording's name is 'a\.b'; leave out the dots"):
        benchmark_of(recording(), stimuli=images(), name="a.b")
    with pytest.raises(ContractError, match=r"recording is ndarray, expected what responses\("):
        benchmark_of(recording().values, stimuli=None)
    with pytest.raises(ContractError, match=r"n_draws is -1, expected 0 \(none\) or more"):
        benchmark_of(recording(), stimuli=None, n_draws=-1)
    with pytest.raises(ContractError, match=r"metric is the class RSA, expected RSA\(\)"):
        benchmark_of(recording(), stimuli=None, metric=RSA)
    with pytest.raises(ContractError, match=r"has no ceiling; say why in no_ceiling"):
        Benchmark("a.b.c", made.dataset, "IT", made.metric, None)

import numpy as np
import pytest
import xarray as xr

from brainscore_lite.benchmarks import BrainScore, benchmark_of
from brainscore_lite.layer_selection import RandomHalves, best_layer, by_layer, select_layer
from brainscore_lite.schema import ContractError, activations, responses
from brainscore_lite.stimuli import StimulusSet

N = 80
NAMES = [f"s{i:02d}" for i in range(N)]


def stimuli():
    return StimulusSet.from_arrays("gray", np.zeros((N, 2, 2, 3), np.uint8), ids=NAMES)


def recording(signal, seed=0, n_repetitions=8):
    rng = np.random.default_rng(seed)
    trials = signal + signal.std() * rng.normal(size=(n_repetitions, *signal.shape))
    labels = [f"n{i}" for i in range(signal.shape[1])]
    return responses(trials, stimulus=NAMES, neuroid=labels, region="IT", animal="a")


def layered(**layers):
    names = [name for name, values in layers.items() for _ in range(values.shape[1])]
    return activations(np.hstack(list(layers.values())), stimulus=NAMES, layer=names)


def noise(seed, n_units=10):
    return np.random.default_rng(seed).normal(size=(N, n_units))


@pytest.mark.parametrize("metric", ["ridge", "pls", "rsa", "cka"])
def test_the_layer_that_carries_the_signal_is_chosen(metric):
    signal = noise(1)
    target = benchmark_of(recording(signal), stimuli=stimuli(), metric=metric, n_draws=20)
    chosen = select_layer(target, layered(early=noise(2), right=signal, late=noise(3)))
    assert chosen.score.provenance["layer"] == "right"
    assert chosen.score.provenance["layer_choice"].startswith("chosen ")
    assert chosen.by_layer["right"] == max(chosen.by_layer.values())
    assert chosen.score.raw == pytest.approx(chosen.by_layer["right"], abs=0.1)
    low, high = chosen.score.interval()
    assert low < chosen.score.raw < high


@pytest.mark.filterwarnings(
    "ignore::brainscore_lite.metrics.correlation.UndefinedCorrelationWarning"
)
def test_a_layer_is_chosen_by_the_benchmarks_own_aggregation():
    """Brain-Score leaves out sites without a defined correlation; a plain mean is NaN."""
    signal = noise(1)
    recorded = recording(signal)
    recorded[:, :, 4] = 1.0
    protocol = BrainScore("ridge", stratify=None)
    target = benchmark_of(recorded, stimuli=None, protocol=protocol, n_draws=0)
    layers = layered(early=noise(2), right=signal)
    chosen = select_layer(target, layers, halves=RandomHalves(n_repeats=2))
    assert chosen.score.provenance["layers_chosen"] == {"right": 4}
    right = by_layer(layers)["right"]
    assert chosen.by_layer["right"] == pytest.approx(target(right).raw)


@pytest.mark.parametrize("metric", ["ridge", "rsa"])
def test_many_layers_of_noise_score_zero_and_not_their_maximum(metric):
    scores, maxima = [], []
    for seed in range(6):
        target = benchmark_of(
            recording(noise(100 + seed, 5)), stimuli=stimuli(), metric=metric, n_draws=0
        )
        layers = {f"l{i}": noise(1000 * seed + i, 5) for i in range(12)}
        chosen = select_layer(target, layered(**layers), halves=RandomHalves(n_repeats=4))
        scores.append(chosen.score.raw)
        maxima.append(max(chosen.by_layer.values()))
    assert abs(np.mean(scores)) < 2.5 * np.std(scores) / np.sqrt(len(scores)) + 0.01
    assert np.mean(maxima) > np.mean(scores) + np.std(scores)


def test_nested_choice_equals_the_score_of_the_layer_when_it_is_the_same_everywhere():
    signal = noise(1)
    target = benchmark_of(recording(signal), stimuli=stimuli(), n_draws=0)
    alone = target(layered(right=signal))
    chosen = select_layer(target, layered(early=noise(2), right=signal))
    assert chosen.score.provenance["layers_chosen"] == {"right": 10}
    np.testing.assert_array_equal(chosen.score.values, alone.values)


def test_halves_are_apart_and_cover_all():
    halves = list(RandomHalves(n_repeats=3).halves(92))
    assert len(halves) == 6
    np.testing.assert_array_equal(halves[0][0], halves[1][1])
    for choose_on, score_on in halves:
        assert len(choose_on) == len(score_on) == 46
        np.testing.assert_array_equal(np.union1d(choose_on, score_on), np.arange(92))


def test_halves_have_their_own_ceiling():
    target = benchmark_of(recording(noise(1)), stimuli=stimuli(), metric="rsa", n_draws=0)
    chosen = select_layer(target, layered(a=noise(1), b=noise(2)))
    assert chosen.score.ceiling.sizes["split"] == 20
    assert not np.isclose(float(target.measured_ceiling["ceiling"]), chosen.score.ceiling_value)


def test_layers_keep_the_order_of_the_model_and_copy_nothing():
    array = layered(z=noise(0), a=noise(1))
    layers = by_layer(array)
    assert list(layers) == ["z", "a"]
    assert np.shares_memory(layers["a"].values, array.values)


def test_scattered_layers_are_gathered():
    array = layered(z=noise(0), a=noise(1))
    order = np.random.default_rng(0).permutation(20)
    xr.testing.assert_equal(
        by_layer(array.isel(neuroid=order))["a"].sortby("neuroid"),
        by_layer(array)["a"].sortby("neuroid"),
    )


def test_choosing_on_the_scoring_stimuli_is_refused():
    target = benchmark_of(recording(noise(1)), stimuli=stimuli(), metric="rsa", n_draws=0)
    with pytest.raises(
        ContractError, match=r"1 stimuli both choose the layer and score it \(first: 's04'\)"
    ):
        best_layer(target, by_layer(layered(a=noise(1))), choose_on=NAMES[:5], score_on=NAMES[4:])


def test_a_layer_without_dissimilarities_is_left_out_with_the_reason():
    signal, silent = noise(1), noise(2)
    silent[3] = 0.0
    target = benchmark_of(recording(signal), stimuli=stimuli(), metric="rsa", n_draws=0)
    chosen = select_layer(target, layered(silent=silent, right=signal))
    assert chosen.score.provenance["layer"] == "right"
    assert "same value in every" in chosen.score.provenance["layers_left_out"]["silent"]
    with pytest.raises(ContractError, match=r"no layer can be compared: \{'silent'"):
        select_layer(target, layered(silent=silent))


def test_too_few_stimuli_for_halves_are_refused():
    with pytest.raises(ContractError, match=r"5 stimuli are too few .* at least 6 are needed"):
        next(RandomHalves().halves(5))

"""The stimuli that test a fold have no part in the choice of its layer."""

import numpy as np
import pytest
import xarray as xr

from brainscore_lite.benchmarks import Benchmark, benchmark_of
from brainscore_lite.layer_selection import LayerScores, select_layer
from brainscore_lite.metrics import LinearPredictivity, Metric
from brainscore_lite.schema import activations, responses
from brainscore_lite.stimuli import StimulusSet

N_STIMULI, N_UNITS, N_SPLITS = 80, 6, 4
NAMES = [f"s{i:02d}" for i in range(N_STIMULI)]
BLOCKS = np.repeat([f"b{i}" for i in range(8)], 10)
METRICS = {
    "ridge": LinearPredictivity(n_splits=N_SPLITS),
    "pls": LinearPredictivity("pls", n_splits=N_SPLITS),
    "ridge of groups": LinearPredictivity(n_splits=N_SPLITS, group="block"),
    "pls of groups": LinearPredictivity("pls", n_splits=N_SPLITS, group="block"),
}


def normal(seed: int, n_columns: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N_STIMULI, n_columns))


SIGNAL, OTHER = normal(1, 10), normal(2, 10)
MODEL = activations(
    np.hstack([SIGNAL, OTHER]), stimulus=NAMES, layer=["signal"] * 10 + ["other"] * 10
)


def benchmark(recorded: np.ndarray, metric: Metric) -> Benchmark:
    target = responses(
        recorded[None] + 0.1 * np.random.default_rng(3).normal(size=(4, *recorded.shape)),
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="a",
        stimulus_coords={"block": BLOCKS},
    )
    stimuli = StimulusSet.from_arrays("gray", np.zeros((N_STIMULI, 2, 2, 3), np.uint8), ids=NAMES)
    return benchmark_of(target, stimuli=stimuli, metric=metric, n_draws=0)


def chosen_layers(chosen: LayerScores, target: xr.DataArray, metric: LinearPredictivity) -> list:
    """Name the layer whose predictions each fold was scored with."""
    layers = {name: MODEL[:, MODEL["layer"].values == name] for name in ("signal", "other")}
    alone = {name: metric(layer, target).values for name, layer in layers.items()}
    return [
        [name for name in alone if np.allclose(alone[name][k], chosen.score.values.values[k])]
        for k in range(N_SPLITS)
    ]


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_the_test_stimuli_of_a_fold_do_not_choose_its_layer(metric: LinearPredictivity) -> None:
    recorded = SIGNAL @ np.random.default_rng(4).normal(size=(10, N_UNITS))
    before = benchmark(recorded, metric)
    first = select_layer(before, MODEL)
    assert chosen_layers(first, before.target, metric) == [["signal"]] * N_SPLITS
    test = metric.folds(before.target)[0].test
    changed = recorded.copy()
    changed[test] = 30 * OTHER[test] @ np.random.default_rng(5).normal(size=(10, N_UNITS))
    after = benchmark(changed, metric)
    chosen = chosen_layers(select_layer(after, MODEL), after.target, metric)
    assert chosen[0] == ["signal"]
    assert chosen[1:] == [["other"]] * (N_SPLITS - 1)

"""Depth as time: which layer each step shows, and networks without dynamics that are refused."""

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.metrics.dissimilarities.rsa import RSA
from brainscore_lite.metrics.time.cross_temporal import CrossTemporalPredictivity
from brainscore_lite.metrics.time.depth_as_time import depth_as_time, layer_of_units
from brainscore_lite.metrics.time.span_time import SpanTime
from brainscore_lite.metrics.time.step_by_time import step_by_time
from brainscore_lite.schema import ContractError, activations, responses

N, LAYERS = 40, ("V1", "V2", "IT")
NAMES = [f"s{i}" for i in range(N)]
RNG = np.random.default_rng(0)
PATTERNS = {layer: RNG.normal(size=(N, n)) for layer, n in zip(LAYERS, (30, 20, 10), strict=True)}


def network() -> xr.DataArray:
    return activations(
        np.concatenate(list(PATTERNS.values()), axis=1),
        stimulus=NAMES,
        layer=[layer for layer in LAYERS for _ in range(PATTERNS[layer].shape[1])],
    )


def recorded(values: NDArray[np.float64]) -> xr.DataArray:
    """Responses whose time bins follow the layers."""
    return responses(
        values,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(values.shape[1])],
        region="IT",
        animal="m",
        time_bins=[(b, b + 1) for b in range(values.shape[2])],
    )


def columns_of(steps: xr.DataArray, step: int) -> list[str]:
    """Which layer each unit of a step is a copy of."""
    found = []
    for unit in steps.values[..., step].T:
        owners = [layer for layer in LAYERS if (PATTERNS[layer] == unit[:, None]).all(axis=0).any()]
        assert len(owners) == 1
        found.append(owners[0])
    return found


def test_uniform_steps_show_one_layer_each_and_all_last_as_long() -> None:
    steps = depth_as_time(network(), layers=LAYERS, n_steps=6)
    assert steps.dims == ("stimulus", "neuroid", "step")
    assert steps.sizes["neuroid"] == 10  # the smallest layer's
    assert steps["shown"].values.tolist() == ["V1", "V1", "V2", "V2", "IT", "IT"]
    for step, layer in enumerate(steps["shown"].values):
        assert set(columns_of(steps, step)) == {layer}
    np.testing.assert_array_equal(steps[..., 0], steps[..., 1])


def test_graded_steps_move_on_unit_by_unit() -> None:
    steps = depth_as_time(network(), layers=LAYERS, n_steps=5, mapping="graded")
    assert steps["shown"].values.tolist() == ["V1", "V1+V2", "V2", "V2+IT", "IT"]
    shares = [columns_of(steps, step).count("V1") / 10 for step in range(5)]
    assert shares == [1, 0.5, 0, 0, 0]
    seen = [[LAYERS.index(layer) for layer in columns_of(steps, step)] for step in range(5)]
    assert (np.diff(seen, axis=0) >= 0).all()
    as_many = depth_as_time(network(), layers=LAYERS, n_steps=3, mapping="graded")
    uniform = depth_as_time(network(), layers=LAYERS, n_steps=3)
    xr.testing.assert_identical(as_many, uniform)


def test_share_of_units_that_moved_on() -> None:
    ranks = (np.arange(100) + 0.5) / 100
    depth = layer_of_units(4, n_steps=31, ranks=ranks, mapping="graded").mean(axis=1)
    np.testing.assert_allclose(depth, np.linspace(0, 3, 31), atol=0.011)


def test_same_seed_same_units() -> None:
    first, again, other = (
        depth_as_time(network(), layers=LAYERS, n_steps=4, n_units=6, seed=seed)
        for seed in (0, 0, 1)
    )
    xr.testing.assert_identical(first, again)
    assert not np.array_equal(first, other)


def test_control_shows_the_time_course_of_depth() -> None:
    """A recording whose time bins look like the layers is followed step by step."""
    brain = recorded(np.stack([PATTERNS[layer][:, :10] for layer in LAYERS], axis=-1))
    steps = depth_as_time(network(), layers=LAYERS, n_steps=3)
    matrix = step_by_time(RSA(), source=steps, target=brain)
    assert matrix.argmax("time_bin").values.tolist() == [0, 1, 2]


def test_networks_without_dynamics_are_refused_by_every_temporal_score() -> None:
    still = activations(np.repeat(PATTERNS["IT"][..., None], 3, axis=2), stimulus=NAMES, layer="IT")
    brain = recorded(RNG.normal(size=(N, 4, 3)))
    scores = (
        lambda: step_by_time(RSA(), source=still, target=brain),
        lambda: SpanTime(steps=(0, 1, 2))(still, brain),
        lambda: CrossTemporalPredictivity(steps=(0, 1, 2))(still, brain),
    )
    for score in scores:
        with pytest.raises(ContractError, match=r"same at all 3 of 3 steps .*depth_as_time\("):
            score()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 2}, "3 layers as 2 steps, expected at least two layers and as many"),
        ({"layers": ("V1",)}, "1 layers as 4 steps"),
        ({"layers": ("V1", "V4")}, r"no layers \['V4'\]; it has \['V1', 'V2', 'IT'\]"),
        ({"layers": ("V1", "V1")}, "name a layer twice"),
        ({"n_units": 11}, "n_units is 11, expected 1 to 10"),
        ({"mapping": "steep"}, "mapping is 'steep', expected one of"),
    ],
)
def test_bad_settings(change: dict[str, object], message: str) -> None:
    given = {"layers": LAYERS, "n_steps": 4} | change
    with pytest.raises(ContractError, match=message):
        depth_as_time(network(), **given)


def test_networks_with_steps_need_no_control() -> None:
    steps = depth_as_time(network(), layers=LAYERS, n_steps=4)
    with pytest.raises(ContractError, match="source has 4 steps already"):
        depth_as_time(steps, layers=("depth", "depth"), n_steps=4)

"""Variance partitioning: set algebra, known shares, labels."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.metrics import Ridge, Splits
from brainscore_lite.metrics.regression.banded_ridge import banded_ridge
from brainscore_lite.metrics.regression.variance_partitioning import (
    VariancePartitioning,
    variance_partitioning,
)
from brainscore_lite.schema import ContractError, activations, responses

N_STIMULI = 300
NAMES = [f"image{i:03d}" for i in range(N_STIMULI)]
RNG = np.random.default_rng(1)
SHARED, OWN_A, OWN_B, OWN_C = RNG.normal(size=(4, N_STIMULI, 4))
SPACES = {
    "a": np.hstack([SHARED, OWN_A]),
    "b": np.hstack([SHARED, OWN_B]),
    "c": OWN_C,
}


def explained(subset: tuple[str, ...], Y: np.ndarray, folds: tuple) -> np.ndarray:
    return banded_ridge({n: SPACES[n] for n in subset}, Y, splits=folds, weights=6).r2()


def test_parts_of_two_spaces_are_the_differences_of_their_fits() -> None:
    Y = SHARED + OWN_A + RNG.normal(size=(N_STIMULI, 4))
    folds = Splits(3).folds(N_STIMULI)
    found = variance_partitioning({n: SPACES[n] for n in "ab"}, Y, splits=folds, weights=6)
    assert found.subsets == (("a",), ("b",), ("a", "b"))
    a, b, both = (explained(s, Y, folds) for s in found.subsets)
    np.testing.assert_allclose(found.r2, np.stack([a, b, both], axis=1), atol=1e-12)
    expected = np.stack([both - b, both - a, a + b - both], axis=1)
    np.testing.assert_allclose(found.parts, expected, atol=1e-12)


def test_known_shares_are_found() -> None:
    noise = np.sqrt(2) * RNG.normal(size=(N_STIMULI, 4))
    Y = np.sqrt(3) * SHARED + np.sqrt(2) * OWN_A + OWN_B + np.sqrt(2) * OWN_C + noise
    found = variance_partitioning(SPACES, Y, splits=5, weights=10)
    parts = dict(zip(found.subsets, found.parts.mean(axis=(0, 2)), strict=True))
    assert parts["a", "b"] == pytest.approx(0.3, abs=0.06)
    assert parts["a",] == pytest.approx(0.2, abs=0.06)
    assert parts["b",] == pytest.approx(0.1, abs=0.06)
    assert parts["c",] == pytest.approx(0.2, abs=0.06)
    for nothing in (("a", "c"), ("b", "c"), ("a", "b", "c")):
        assert abs(parts[nothing]) < 0.05


def test_twice_the_same_space_shares_everything() -> None:
    Y = OWN_A + RNG.normal(size=(N_STIMULI, 4))
    found = variance_partitioning({"one": OWN_A, "other": OWN_A}, Y, splits=4)
    np.testing.assert_allclose(found.parts[:, :2], 0, atol=0.01)
    np.testing.assert_allclose(found.parts[:, 2], found.r2[:, 2], atol=0.02)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000))
def test_parts_sum_to_the_joint_fit_and_are_not_clamped(seed: int) -> None:
    rng = np.random.default_rng(seed)
    Xs = {n: rng.normal(size=(40, 5)) for n in "abc"}
    found = variance_partitioning(Xs, rng.normal(size=(40, 6)), splits=3, weights=2)
    np.testing.assert_allclose(found.parts.sum(axis=1), found.r2[:, -1], atol=1e-12)
    np.testing.assert_allclose(
        found.parts[:, [0, 3, 4, 6]].sum(axis=1), found.r2[:, 0], atol=1e-12
    )  # all parts that hold a
    assert (found.parts < 0).any()


@pytest.fixture
def target() -> xr.DataArray:
    trials = (SHARED + OWN_A)[None] + RNG.normal(size=(3, N_STIMULI, 4))
    return responses(trials, stimulus=NAMES, neuroid=list("wxyz"), region="IT", animal="m")


def layers(names: str) -> dict[str, xr.DataArray]:
    return {n: activations(SPACES[n], stimulus=NAMES, layer=n) for n in names}


def test_labels_decide_not_order(target: xr.DataArray) -> None:
    metric = VariancePartitioning(n_weights=4, n_splits=3)
    found = metric(layers("abc"), target)
    assert found["variance"].dims == found["r2"].dims == ("split", "part", "neuroid")
    assert found["part"].values.tolist() == ["a", "b", "c", "a & b", "a & c", "b & c", "a & b & c"]
    assert found["product"].dims == ("split", "space", "neuroid")
    assert set(found.coords) >= {"region", "animal", "space"}
    xr.testing.assert_allclose(
        found["product"].sum("space"), found["r2"].sel(part="a & b & c", drop=True)
    )
    shuffled = layers("abc")
    shuffled["b"] = shuffled["b"].isel(stimulus=np.random.default_rng(0).permutation(N_STIMULI))
    xr.testing.assert_allclose(metric(shuffled, target), found)


def test_time_bins_are_partitioned_one_by_one(target: xr.DataArray) -> None:
    late = target.mean("repetition").values
    early = RNG.normal(size=late.shape)
    both = responses(
        np.stack([early, late], axis=-1)[None],
        stimulus=NAMES,
        neuroid=list("wxyz"),
        region="IT",
        animal="m",
        time_bins=[(0, 50), (50, 100)],
    )
    metric = VariancePartitioning(n_weights=4, n_splits=3)
    found = metric(layers("ab"), both)
    assert found["variance"].dims == ("split", "part", "time_bin", "neuroid")
    single = metric(layers("ab"), target)["variance"]
    np.testing.assert_allclose(found["variance"].isel(time_bin=1), single, atol=1e-10)


def test_bad_arguments_are_refused(target: xr.DataArray) -> None:
    Y = OWN_A
    for names in ("a", "abcd"):
        spaces = dict.fromkeys(names, OWN_B)
        with pytest.raises(
            ContractError, match=f"{len(names)} feature spaces were given, expected"
        ):
            variance_partitioning(spaces, Y)
    with pytest.raises(ContractError, match="both stratify and group were given"):
        VariancePartitioning(stratify="x", group="y")
    with pytest.raises(ContractError, match="n_weights is 0"):
        VariancePartitioning(n_weights=0)
    fewer = layers("ab")
    fewer["b"] = fewer["b"].isel(stimulus=slice(5, None))
    with pytest.raises(ContractError, match="source lacks 5 of the target's 300 stimuli"):
        VariancePartitioning(n_splits=3)(fewer, target)
    assert VariancePartitioning(ridge=Ridge((1.0,))).ridge.penalties == (1.0,)

"""Aggregation under counts: equal to a Score's where all are one, to repetition elsewhere."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.inference import resampled_scores
from brainscore_lite.inference.resampled_scores import (
    FactorWeights,
    aggregate_counted,
    draw_scores,
    neuroid_counts,
    seed_weights,
    weighted_median,
    weights_of,
)
from brainscore_lite.schema import ContractError
from brainscore_lite.score import aggregate

RNG = np.random.default_rng(0)
ANIMAL = np.repeat(["a", "b", "c"], [4, 5, 3])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000))
def test_the_weighted_median_repeats_values(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, counts = rng.integers(0, 5, size=(3, n)).astype(float), rng.integers(0, 4, size=(3, n))
    counts[:, 0] += 1
    found = weighted_median(values, counts)
    expected = [np.median(np.repeat(v, c)) for v, c in zip(values, counts, strict=True)]
    assert np.array_equal(found, expected)


def test_the_weighted_median_leaves_out_what_is_not_defined() -> None:
    values = np.array([[np.nan, 1.0, 3.0], [np.nan, np.nan, np.nan]])
    found = weighted_median(values, np.array([[5, 1, 1]]))
    assert found[0] == 2.0
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    "dims",
    [
        (),
        ("split",),
        ("split", "neuroid"),
        ("subject",),
        ("subject", "neuroid"),
        ("neuroid", "split", "subject"),
    ],
)
def test_counts_of_one_give_the_aggregate_of_a_score(dims: tuple[str, ...]) -> None:
    sizes = {"split": 3, "neuroid": 12, "subject": 5}
    parts = xr.DataArray(RNG.normal(size=[sizes[dim] for dim in dims]), dims=dims)
    counts = {"subjects": np.ones((2, 5)), "neuroids": np.ones((2, 12))}
    given_counts = {
        factor: array.astype(int)
        for factor, array in counts.items()
        if factor.removesuffix("s") in dims
    }
    found = aggregate_counted(parts, given_counts)
    assert np.abs(found - float(aggregate(parts))).max() < 1e-15


def test_drawn_parts_that_are_not_defined_are_left_out_as_in_a_score() -> None:
    parts = xr.DataArray(RNG.normal(size=(4, 3, 12)), dims=("draw", "split", "neuroid"))
    parts = parts.where(RNG.random(parts.shape) > 0.2)
    assert aggregate_counted(parts, {}) == pytest.approx(aggregate(parts).values, abs=1e-15)


def test_neuroids_are_drawn_within_animals_and_animals_whole() -> None:
    within = neuroid_counts(ANIMAL, over="neuroids", n_draws=50, random=np.random.default_rng(0))
    for animal, size in (("a", 4), ("b", 5), ("c", 3)):
        assert (within[:, animal == ANIMAL].sum(axis=1) == size).all()
    whole = neuroid_counts(ANIMAL, over="animals", n_draws=50, random=np.random.default_rng(0))
    for animal in "abc":
        assert (np.ptp(whole[:, animal == ANIMAL], axis=1) == 0).all()
    assert (whole[:, [0, 4, 9]].sum(axis=1) == 3).all()


@pytest.mark.parametrize("n", [2, 3, 10])
def test_seed_weights_give_the_variance_of_new_seeds(n: int) -> None:
    scores = RNG.normal(size=n)
    weights = seed_weights(n, n_draws=200_000, random=np.random.default_rng(0))
    drawn = weights @ scores / n
    assert drawn.mean() == pytest.approx(scores.mean(), abs=0.02)
    assert drawn.var() == pytest.approx(scores.var(ddof=1) / n, rel=0.02)


class Fixed:
    """A quantity whose parts under stimulus weights are known."""

    def parts(self) -> list[xr.DataArray]:
        return [xr.DataArray(np.arange(6.0), dims="subject")]

    def resampled_parts(self, weights: np.ndarray) -> list[xr.DataArray]:
        drawn = weights @ np.outer(np.arange(4.0), np.arange(6.0)) / 4
        return [xr.DataArray(drawn, dims=("draw", "subject"))]


def test_chunks_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_of(
        ["stimuli", "subjects"], n_draws=101, seed=0, sizes={"stimuli": 4, "subjects": 6}
    )
    chosen = [frozenset({"stimuli"}), frozenset({"stimuli", "subjects"}), frozenset({"subjects"})]
    whole = draw_scores({"m": [Fixed()]}, weights, chosen)
    monkeypatch.setattr(resampled_scores, "_CHUNK_BYTES", 8 * 6 * 7)
    chunked = draw_scores({"m": [Fixed()]}, weights, chosen)
    for factors in chosen:
        assert np.array_equal(whole[factors], chunked[factors])


def test_each_factor_has_a_stream_of_its_own() -> None:
    sizes = {"stimuli": 4, "subjects": 6}
    both = weights_of(["stimuli", "subjects"], n_draws=9, seed=3, sizes=sizes)
    one = weights_of(["subjects"], n_draws=9, seed=3, sizes=sizes)
    assert np.array_equal(both.counts["subjects"], one.counts["subjects"])


def test_bad_weights_and_parts_are_refused() -> None:
    with pytest.raises(ContractError, match="unknown factors"):
        FactorWeights(3, counts={"layers": np.ones((3, 2), dtype=int)})  # type: ignore[dict-item]
    with pytest.raises(ContractError, match=r"weights of \[2\] draws, expected 3"):
        FactorWeights(3, counts={"stimuli": np.ones((2, 2), dtype=int)})
    with pytest.raises(ContractError, match="expected some of"):
        aggregate_counted(xr.DataArray(np.ones((2, 3)), dims=("time_bin", "split")), {})

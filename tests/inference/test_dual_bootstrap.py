"""The variance over crossed factors: rsatoolbox's formula, and the theorem behind it."""

from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.inference import corrected_variance, crossed_variance
from brainscore_lite.inference.dual_bootstrap import subsets
from brainscore_lite.schema import ContractError


def test_two_factors_equal_rsatoolbox() -> None:
    from rsatoolbox.util.inference_util import _dual_bootstrap

    variances = np.random.default_rng(0).random((3, 7, 5)) * np.array([3, 1, 1])[:, None, None]
    known = _dual_bootstrap(variances, n_rdm=6, n_pattern=30)
    assert np.abs(corrected_variance(*variances, n_first=6, n_second=30) - known).max() < 1e-14
    unknown = _dual_bootstrap(variances)
    assert np.abs(corrected_variance(*variances) - unknown).max() < 1e-14


def bootstrapped(parts: dict[frozenset[str], float], sizes: dict[str, int]) -> dict:
    """Variance expected over draws of each set, for effects whose means have these variances.

    A mean over cells with weights w has the variance sum t_S (prod E[w^2] - 1), and counts drawn
    with replacement have E[w^2] = 2 - 1/n.
    """
    return {
        drawn: np.array(
            sum(
                part * (prod(2 - 1 / sizes[factor] for factor in effect & drawn) - 1)
                for effect, part in parts.items()
            )
        )
        for drawn in subsets(sizes)
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.lists(st.floats(0.1, 1), min_size=15, max_size=15), st.integers(2, 40))
def test_the_correction_recovers_the_variance_of_crossed_effects(
    n_factors: int, effects: list[float], n: int
) -> None:
    sizes = {name: n + 3 * i for i, name in enumerate("abcd"[:n_factors])}
    parts = dict(zip(subsets(sizes), effects, strict=False))
    found = crossed_variance(bootstrapped(parts, sizes), sizes=sizes)
    largest = float(bootstrapped(parts, sizes)[frozenset(sizes)])
    assert found == pytest.approx(
        min(sum(parts.values()), largest) if n_factors > 1 else parts[frozenset("a")]
    )


def test_counts_drawn_with_replacement_give_the_expected_variances() -> None:
    """The theorem's premise, by all draws of three entries, on two crossed factors."""
    draws = [np.bincount(draw, minlength=3) for draw in product(range(3), repeat=3)]
    w = np.array(draws, dtype=float)
    assert (w**2).mean(axis=0) == pytest.approx(2 - 1 / 3)
    assert w.mean(axis=0) == pytest.approx(1)


def test_bounds_keep_between_one_factor_and_all_draws() -> None:
    low = corrected_variance(4.0, 1.0, 2.0, n_first=11, n_second=21)
    assert low == pytest.approx(21 / 20 * 2)
    high = corrected_variance(2.9, 1.0, 2.0, n_first=11, n_second=21)
    assert high == pytest.approx(2.9)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_first": 1, "n_second": 9}, "at least two entries"),
        ({"n_first": np.nan, "n_second": 9}, "at least two entries"),
    ],
)
def test_few_entries_are_refused(arguments: dict[str, float], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        corrected_variance(3.0, 1.0, 2.0, **arguments)


def test_missing_sets_and_shapes_are_refused() -> None:
    one = {frozenset("a"): np.ones(2), frozenset("ab"): np.ones(2)}
    with pytest.raises(ContractError, match=r"no draws that resample \['b'\]"):
        crossed_variance(one, sizes={"a": 5, "b": 5})
    with pytest.raises(ContractError, match="expected one"):
        corrected_variance(np.ones(2), np.ones(3), np.ones(2))
    with pytest.raises(ContractError, match="at least two entries"):
        crossed_variance({}, sizes={})

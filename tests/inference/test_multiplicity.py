"""Adjusted p-values against statsmodels, and the largest statistic against its theorem."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from brainscore_lite.inference import benjamini_hochberg, holm, max_t, two_one_sided_tests
from brainscore_lite.schema import ContractError

P = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@settings(max_examples=25, deadline=None)
@given(P)
def test_adjusted_p_equal_statsmodels(p: list[float]) -> None:
    assert np.abs(holm(p) - multipletests(p, method="holm")[1]).max() < 1e-14
    assert np.abs(benjamini_hochberg(p) - multipletests(p, method="fdr_bh")[1]).max() < 1e-14


@settings(max_examples=25, deadline=None)
@given(P, st.randoms())
def test_adjusted_p_do_not_depend_on_order_and_stay_between_p_and_one(
    p: list[float], random: object
) -> None:
    order = np.random.default_rng(len(p)).permutation(len(p))
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(p)
        assert np.array_equal(adjust(np.array(p)[order]), adjusted[order])
        assert ((np.array(p) <= adjusted + 1e-15) & (adjusted <= 1)).all()


def test_the_largest_of_independent_normals_is_sidak() -> None:
    draws = np.random.default_rng(0).standard_normal((20_000, 8))
    every, alone = np.arange(8), np.full(8, -1)
    z = np.linspace(1.5, 3, 8)
    adjusted = max_t(z, draws, first=every, second=alone, two_sided=True)
    assert adjusted == pytest.approx(1 - (1 - 2 * stats.norm.sf(z)) ** 8, abs=0.01)
    one_sided = max_t(z, draws, first=every, second=alone, two_sided=False)
    assert one_sided == pytest.approx(1 - stats.norm.cdf(z) ** 8, abs=0.01)


def test_the_same_test_many_times_costs_nothing() -> None:
    draws = np.repeat(np.random.default_rng(1).standard_normal((4_000, 1)), 600, axis=1)
    every, alone = np.arange(600), np.full(600, -1)
    z = np.full(600, 2.0)
    adjusted = max_t(z, draws, first=every, second=alone, two_sided=True)
    assert adjusted == pytest.approx(2 * stats.norm.sf(2.0), abs=0.012)
    assert (holm(2 * stats.norm.sf(z)) == 1).all()


@pytest.mark.parametrize("p", [[-0.1, 0.5], [1.1], [np.nan], [[0.1]]])
def test_what_is_no_p_value_is_refused(p: list[float]) -> None:
    with pytest.raises(ContractError, match="one p-value per test"):
        holm(p)


def test_statistics_without_their_contrast_are_refused() -> None:
    with pytest.raises(ContractError, match="one pair of quantities"):
        max_t(
            [1.0],
            np.ones((5, 2)),
            first=np.arange(2),
            second=np.full(2, -1),
            two_sided=True,
        )


def test_two_one_sided_tests_equal_statsmodels() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 20)) * 0.3
    difference = first - second
    peer = ttost_paired(first, second, -0.2, 0.2)[0]
    error = difference.std(ddof=1) / np.sqrt(20)
    ours = two_one_sided_tests(difference.mean(), error, margin=0.2, dof=19)
    assert ours == pytest.approx(peer, abs=1e-14)


def test_certain_differences_are_equivalent_or_not() -> None:
    assert two_one_sided_tests([0.0, 0.3], [0.0, 0.0], margin=0.1, dof=5).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("margin", [0.0, -0.1, np.nan, np.inf])
def test_a_margin_is_positive(margin: float) -> None:
    with pytest.raises(ContractError, match="margin of equivalence"):
        two_one_sided_tests(0.1, 0.1, margin=margin, dof=5)

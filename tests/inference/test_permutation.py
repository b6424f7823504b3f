"""Permutation tests: exactness, the error rates they promise, and recovery of a planted effect."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, ttest_ind

from brainscore_lite.inference.permutation import (
    cluster_test,
    permutation_test,
    rdm_permutation_test,
)
from brainscore_lite.metrics import compare_rdms, rdm
from brainscore_lite.schema import ContractError

RNG = np.random.default_rng(0)
GAINS = RNG.normal(0.3, 1.0, size=(9, 5))


def test_t_is_the_one_sample_t() -> None:
    found = permutation_test(GAINS, n_permutations=10)
    np.testing.assert_allclose(found.t, ttest_1samp(GAINS, 0).statistic, rtol=1e-12)


def test_t_of_groups_is_the_two_sample_t() -> None:
    groups = ["a", "b", "a", "a", "b", "b", "a", "b", "b"]
    first = np.array(groups) == "a"
    expected = ttest_ind(GAINS[first], GAINS[~first]).statistic
    found = permutation_test(GAINS, groups=groups, n_permutations=10)
    np.testing.assert_allclose(found.t, expected, rtol=1e-12)


def test_few_subjects_are_enumerated() -> None:
    found = permutation_test(GAINS[:, :1], n_permutations=512)
    assert found.exact
    assert found.n_permutations == 512
    means = [abs(np.dot(signs, GAINS[:, 0])) for signs in product((1, -1), repeat=9)]
    expected = np.mean(np.array(means) >= abs(GAINS[:, 0].sum()) - 1e-12)
    assert found.p[0] == expected


@pytest.mark.parametrize("tail", ["two-sided", "greater", "less"])
def test_exchanged_groups_are_enumerated(tail: str) -> None:
    values, n_reached = GAINS[:, 0], 0
    fold = {"two-sided": abs, "greater": float, "less": lambda t: -t}[tail]
    observed = fold(ttest_ind(values[:4], values[4:]).statistic)
    for chosen in combinations(range(9), 4):
        others = np.setdiff1d(np.arange(9), chosen)
        t = ttest_ind(values[list(chosen)], values[others]).statistic
        n_reached += fold(t) >= observed - 1e-12
    found = permutation_test(values, groups=list("aaaabbbbb"), tail=tail, n_permutations=1000)
    assert found.exact
    assert float(found.p) == n_reached / comb(9, 4)


def test_the_corrected_p_is_never_below_the_uncorrected() -> None:
    found = permutation_test(GAINS)
    assert (found.p_max >= found.p).all()
    assert found.p.min() >= 1 / found.n_permutations


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(9)), st.floats(0.1, 10))
def test_order_of_subjects_and_unit_do_not_matter(order: list[int], scale: float) -> None:
    first, second = permutation_test(GAINS), permutation_test(scale * GAINS[order])
    np.testing.assert_allclose(first.t, second.t, rtol=1e-9)
    np.testing.assert_array_equal(first.p, second.p)  # exact: 2^9 sign flips


def test_same_seed_gives_the_same_bytes() -> None:
    many = RNG.normal(size=(25, 3))
    first, again = (permutation_test(many, n_permutations=500, seed=3) for _ in range(2))
    assert first.p.tobytes() == again.p.tobytes()
    assert not first.exact


def test_a_planted_effect_is_one_significant_cluster() -> None:
    values = RNG.normal(size=(20, 60))
    values[:, 20:35] += 1.5
    found = cluster_test(values, n_permutations=1000)
    inside = np.flatnonzero(found.significant())
    assert len(np.unique(found.clusters[found.significant()])) == 1
    assert abs(inside.min() - 20) <= 2
    assert abs(inside.max() - 34) <= 2


def test_clusters_of_opposite_sign_stay_apart() -> None:
    values = 0.1 * RNG.normal(size=(10, 6)) + np.array([3, 3, 3, -3, -3, -3])
    found = cluster_test(values, threshold=2.0)
    assert found.clusters.tolist() == [1, 1, 1, 2, 2, 2]
    assert found.mass[0] > 0 > found.mass[1]
    one_sided = cluster_test(values, threshold=2.0, tail="less")
    assert one_sided.clusters.tolist() == [0, 0, 0, 1, 1, 1]


def test_clusters_over_two_axes_of_time_join_along_edges() -> None:
    values = 0.1 * RNG.normal(size=(12, 5, 5))
    values[:, 1:3, 1:3] += 2
    values[:, 4, 4] += 2
    found = cluster_test(values, threshold=10.0)
    assert sorted(np.unique(found.clusters, return_counts=True)[1][1:].tolist()) == [1, 4]


def test_mass_is_the_sum_of_t() -> None:
    found = cluster_test(GAINS, threshold=0.1)
    for number, mass in enumerate(found.mass, 1):
        assert found.t[found.clusters == number].sum() == pytest.approx(mass)


def test_no_point_above_threshold_gives_no_cluster() -> None:
    found = cluster_test(GAINS, threshold=100.0)
    assert found.mass.size == found.p.size == 0
    assert not found.significant().any()


@pytest.mark.slow
def test_error_rates_hold_under_the_null_on_simulated_time_courses() -> None:
    """Of 1000 simulated recordings without effect, at most 5 % (+ 2 s.e.) give a false alarm."""
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2) ** 2)
    alarms = np.zeros(3)
    for run in range(1000):
        noise = np.random.default_rng(run).normal(size=(12, 52))
        smooth = np.array([np.convolve(row, kernel, mode="valid") for row in noise])
        cluster = cluster_test(smooth, n_permutations=400, seed=run)
        points = permutation_test(smooth, n_permutations=400, seed=run)
        single = permutation_test(smooth[:, 0], n_permutations=400, seed=run)
        alarms += [
            cluster.p.size > 0 and cluster.p.min() <= 0.05,
            points.p_max.min() <= 0.05,
            float(single.p) <= 0.05,
        ]
    rates = alarms / 1000
    print("false alarms: cluster, max-T, one point:", rates)
    assert (rates <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)).all()
    assert (rates >= 0.02).all()


def test_related_matrices_are_found_and_unrelated_ones_are_not() -> None:
    patterns = RNG.normal(size=(20, 10))
    own = rdm(patterns)
    noisy = rdm(patterns + RNG.normal(size=patterns.shape))
    similarity, p = rdm_permutation_test(own, noisy, n_permutations=200)
    assert similarity == compare_rdms(own, noisy, method="spearman")
    assert p == 1 / 200
    unrelated = [
        rdm_permutation_test(own, rdm(RNG.normal(size=(20, 10))), n_permutations=100)[1]
        for _ in range(40)
    ]
    assert np.mean(np.array(unrelated) <= 0.05) <= 0.2


@pytest.mark.parametrize(
    ("values", "settings_", "message"),
    [
        (np.zeros((1, 3)), {}, "at least 2 subjects"),
        (np.zeros((0, 3)), {}, "at least 2 subjects"),
        (np.array([[1.0, np.nan], [1.0, 2.0]]), {}, "1 of 2 subjects hold NaN"),
        (np.ones((4, 2)), {}, "2 of 2 points have the same value"),
        (GAINS, {"groups": list("aaaaaaaaa")}, "of two kinds"),
        (GAINS, {"groups": list("abbbbbbbb")}, "at least two in each"),
        (GAINS, {"tail": "left"}, "expected one of"),
        (GAINS, {"n_permutations": 0}, "at least 1"),
    ],
)
def test_bad_input_is_explained(values: np.ndarray, settings_: dict, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        permutation_test(values, **settings_)


def test_a_cluster_needs_time_and_a_positive_threshold() -> None:
    with pytest.raises(ContractError, match="expected a time axis"):
        cluster_test(GAINS[:, 0])
    with pytest.raises(ContractError, match="positive"):
        cluster_test(GAINS, threshold=0.0)


def test_whole_numbers_do_not_overflow() -> None:
    small = RNG.integers(0, 120, size=(8, 4)).astype(np.int8)
    np.testing.assert_allclose(permutation_test(small).t, permutation_test(small * 1.0).t)


def test_groups_are_in_the_order_of_their_labels() -> None:
    """Numbers as numbers: 9 comes before 10, so the difference is that of group 9 minus 10."""
    values = np.array([0.1, 0.0, 0.2, 5.1, 5.0, 5.3])
    by_number = permutation_test(values, groups=[9, 9, 9, 10, 10, 10])
    assert by_number.t < 0
    assert permutation_test(values, groups=list("aaabbb")).t == by_number.t

"""Error consistency: Cohen's kappa, its bootstrap, and people on real images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score

from brainscore_lite.inference.dual_bootstrap import corrected_variance
from brainscore_lite.metrics.behaviour.error_consistency import (
    among,
    consistency_draws,
    error_consistency,
    mean_over_pairs,
)
from brainscore_lite.schema import ContractError


def observers(
    n: int, n_stimuli: int = 200, shared: float = 0.7, seed: int = 0
) -> NDArray[np.bool_]:
    """Observers that err where a shared and an own difficulty are large together."""
    rng = np.random.default_rng(seed)
    hard = shared * rng.normal(size=n_stimuli) + np.sqrt(1 - shared**2) * rng.normal(
        size=(n, n_stimuli)
    )
    return hard < 0.8


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.floats(0.1, 0.9), q=st.floats(0.1, 0.9))
def test_equals_cohens_kappa_of_scikit_learn(seed: int, p: float, q: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random(80) < p, rng.random(80) < q
    result = error_consistency(a, b)
    assert float(result.kappa) == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    assert float(result.observed) == pytest.approx(np.mean(a == b))
    assert float(error_consistency(b, a).kappa) == pytest.approx(float(result.kappa), abs=1e-12)
    assert float(error_consistency(~a, ~b).kappa) == pytest.approx(float(result.kappa), abs=1e-12)
    order = rng.permutation(80)
    assert float(error_consistency(a[order], b[order]).kappa) == pytest.approx(
        float(result.kappa), abs=1e-12
    )


def test_same_opposite_and_independent_observers() -> None:
    a = np.arange(100) % 2 == 0
    assert float(error_consistency(a, a).kappa) == 1
    assert float(error_consistency(a, ~a).kappa) == -1
    people = observers(2, n_stimuli=200_000, shared=0.0)
    assert abs(float(error_consistency(*people).kappa)) < 0.01


def test_undefined_where_nothing_is_left_to_agree_about() -> None:
    always = np.ones(20)
    some = np.arange(20) % 2
    result = error_consistency(np.stack([always, some]), np.stack([always, 1 - always, some]))
    assert np.isnan(result.kappa[0, 0])
    assert result.expected[0, 0] == 1
    # one always right and one always wrong agree exactly as often as expected: never
    assert result.kappa[0, 1] == 0
    assert result.kappa[0, 2] == 0
    assert result.kappa[1, 2] == 1


def test_unseen_stimuli_are_left_out_pair_by_pair() -> None:
    a, b = observers(2, n_stimuli=60).astype(float)
    a[:10], b[5:20] = np.nan, np.nan
    result = error_consistency(a, b)
    assert float(result.n_stimuli) == 40
    assert float(result.kappa) == pytest.approx(float(error_consistency(a[20:], b[20:]).kappa))
    nothing = error_consistency([1, np.nan], [np.nan, 0])
    assert np.isnan(nothing.kappa)


def test_weights_count_stimuli() -> None:
    people = observers(4, n_stimuli=40)
    counts = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 3)
    drawn = error_consistency(people, people, weights=counts).kappa
    assert drawn.shape == (3, 4, 4)
    for draw in range(3):
        repeated = np.repeat(people, counts[draw], axis=1)
        np.testing.assert_allclose(drawn[draw], error_consistency(repeated, repeated).kappa)


def test_mean_over_pairs_leaves_undefined_pairs_out() -> None:
    kappa = np.array([[[np.nan, 0.2, np.nan], [0.2, np.nan, 0.5], [np.nan, 0.5, np.nan]]])
    mean = mean_over_pairs(kappa, np.ones((1, 3)), np.ones((1, 3)))
    assert mean == pytest.approx(0.35)
    assert mean_over_pairs(kappa, np.array([[2.0, 1, 0]]), np.array([[2.0, 1, 0]])) == 0.2
    assert np.isnan(mean_over_pairs(kappa, np.zeros((1, 3)), np.zeros((1, 3))))


def test_draws_follow_what_is_drawn() -> None:
    people = observers(8)
    model = observers(1, seed=1)[0]
    draws = {
        over: consistency_draws(model, people, over=over, n_draws=300)
        for over in ("stimulus", "subject", "both")
    }
    expected = np.nanmean(among(people))
    spread = {}
    for over, drawn in draws.items():
        assert drawn.humans.mean() == pytest.approx(expected, abs=0.03)
        spread[over] = drawn.humans.std()
    assert spread["both"] > max(spread["stimulus"], spread["subject"])
    # by hand: the first draw of subjects, with pairs of one subject with herself left out
    again = consistency_draws(model, people, over="both", n_draws=300)
    np.testing.assert_array_equal(again.humans, draws["both"].humans)
    np.testing.assert_array_equal(again.model, draws["both"].model)


def test_blocks_of_draws_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    people, model = observers(5), observers(1, seed=1)[0]
    whole = consistency_draws(model, people, over="both", n_draws=50)
    monkeypatch.setattr(
        "brainscore_lite.metrics.behaviour.error_consistency._ENTRIES_AT_ONCE", 7000
    )
    parts = consistency_draws(model, people, over="both", n_draws=50)
    np.testing.assert_allclose(parts.humans, whole.humans, atol=1e-14)
    np.testing.assert_allclose(parts.model, whole.model, atol=1e-14)


@pytest.mark.slow
def test_intervals_over_stimuli_cover_the_truth() -> None:
    """The 95 % interval of a pair's kappa holds the population's in about 95 % of samples."""
    truth = float(error_consistency(*observers(2, n_stimuli=400_000, seed=99)).kappa)
    inside = 0
    for seed in range(500):
        first, second = observers(2, n_stimuli=150, seed=seed)
        drawn = consistency_draws(first, second[None].repeat(2, 0), over="stimulus", n_draws=400)
        lower, upper = np.quantile(drawn.model, [0.025, 0.975])
        inside += lower <= truth <= upper
    assert inside / 500 == pytest.approx(0.95, abs=0.03)


def world(n_subjects: int, n_stimuli: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A model (first row) and people who differ in skill and in how typical they are."""
    hard = rng.normal(size=n_stimuli)
    typical = np.vstack([[0.6], rng.uniform(0.3, 0.9, size=(n_subjects, 1))])
    skill = np.vstack([[0.8], rng.normal(0.8, 0.3, size=(n_subjects, 1))])
    own = rng.normal(size=(n_subjects + 1, n_stimuli))
    return typical * hard + np.sqrt(1 - typical**2) * own < skill


@pytest.mark.slow
def test_coverage_of_the_intervals() -> None:
    """Of 500 samples of 10 people and 160 images, for what holds of new people and images.

    Drawing both is conservative, since it counts the interaction of people and images three times;
    the corrected variance of the three bootstraps is nominal. Drawing one of them covers too
    little, since the variance of the other is left out.
    """
    many = world(200, 20_000, np.random.default_rng(0))
    truth = quantities(
        np.nanmean(among(many[1:])), error_consistency(many[0], many[1:]).kappa.mean()
    )
    inside = {over: np.zeros(3) for over in ("stimulus", "subject", "both", "corrected")}
    for seed in range(500):
        model, *people = world(10, 160, np.random.default_rng(1000 + seed))
        variance = {}
        for over in ("stimulus", "subject", "both"):
            drawn = consistency_draws(model, people, over=over, n_draws=300, seed=seed)
            draws = quantities(drawn.humans, drawn.model)
            lower, upper = np.quantile(draws, [0.025, 0.975], axis=1)
            inside[over] += (lower <= truth) & (truth <= upper)
            variance[over] = draws.var(axis=1)
        estimate = quantities(
            np.nanmean(among(people)), error_consistency(model, people).kappa.mean()
        )
        corrected = corrected_variance(
            variance["both"], variance["stimulus"], variance["subject"], n_first=160, n_second=10
        )
        inside["corrected"] += abs(estimate - truth) <= norm.ppf(0.975) * np.sqrt(corrected)
    coverage = {over: counted / 500 for over, counted in inside.items()}
    print(coverage)
    assert (coverage["both"] > 0.96).all()
    np.testing.assert_allclose(coverage["corrected"], 0.95, atol=0.03)
    assert (coverage["stimulus"] < 0.94).all()
    assert (coverage["subject"] < 0.91).all()


def quantities(humans: ArrayLike, model: ArrayLike) -> NDArray[np.float64]:
    """Stack people's and the model's mean kappa, and their difference."""
    return np.stack([humans, model, np.asarray(model) - np.asarray(humans)])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.float16])
def test_any_dtype_of_zero_and_one(dtype: type) -> None:
    a, b = observers(2, n_stimuli=300)
    expected = error_consistency(a.astype(float), b.astype(float)).kappa
    assert error_consistency(a.astype(dtype), b.astype(dtype)).kappa == expected


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 0, 2], [1, 0, 1], "first: 1 values are neither 0, 1 nor NaN; first: 2"),
        (["cat"], ["dog"], "expected numbers of shape"),
        ([], [], r"first: got float64 of shape \(0,\)"),
        ([1, 0], [1, 0, 1], "first has 2 stimuli and second 3"),
        (np.ones((2, 2, 2)), [1, 0], r"of shape \(2, 2, 2\)"),
        ([np.nan, np.nan], [1, 0], "first: 1 observers have seen no stimulus; first: observer 0"),
    ],
)
def test_bad_input(first: object, second: object, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        error_consistency(first, second)


def test_bad_settings() -> None:
    people = observers(3)
    with pytest.raises(ContractError, match="over is 'images' and n_draws 10"):
        consistency_draws(people[0], people, over="images", n_draws=10)
    with pytest.raises(ContractError, match="at least two subjects"):
        among(people[:1])
    with pytest.raises(ContractError, match="at least two subjects"):
        consistency_draws(people[0], people[:1], over="stimulus", n_draws=10)
    with pytest.raises(ContractError, match=r"weights have shape \(1, 3\)"):
        error_consistency(people[0], people[1], weights=np.ones((1, 3)))

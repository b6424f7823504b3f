"""Power: one factor is the t-test's, two factors agree with simulated experiments."""

import numpy as np
import pytest
from scipy.stats import t as student
from statsmodels.stats.power import TTestPower

from brainscore_lite.inference.model_comparison import compare_models
from brainscore_lite.inference.sample_size import power, power_table, sample_size
from brainscore_lite.metrics import RSA
from brainscore_lite.metrics.dissimilarities.comparison import compare_rdms
from brainscore_lite.schema import ContractError

VARIANCES = {"seeds": 0.02**2, "stimuli": 640 * 0.008**2}


@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("effect", [0.01, 0.03])
def test_one_factor_is_a_t_test(n: int, effect: float) -> None:
    expected = TTestPower().power(effect / 0.02, nobs=n, alpha=0.05)
    assert power(effect, {"seeds": 0.02**2}, levels={"seeds": n}) == pytest.approx(expected)


def test_no_effect_is_found_as_often_as_alpha_says() -> None:
    assert power(0.0, VARIANCES, levels={"seeds": 5, "stimuli": 640}) == pytest.approx(0.05)


def test_the_size_is_the_smallest_that_is_enough() -> None:
    n = sample_size(0.03, VARIANCES, levels={"stimuli": 640}, vary="seeds")
    assert power(0.03, VARIANCES, levels={"stimuli": 640, "seeds": n}) >= 0.8
    assert power(0.03, VARIANCES, levels={"stimuli": 640, "seeds": n - 1}) < 0.8


@pytest.mark.slow
def test_power_over_seeds_and_animals_agrees_with_simulated_experiments() -> None:
    """4000 simulated crossed experiments; the test uses estimated variances as a user would."""
    s2 = {"seeds": 1.0, "animals": 1.5}
    levels, effect, found = {"seeds": 10, "animals": 8}, 1.2, 0
    rng = np.random.default_rng(0)
    for _ in range(4000):
        seeds = rng.normal(0, s2["seeds"] ** 0.5, size=levels["seeds"])
        animals = rng.normal(0, s2["animals"] ** 0.5, size=levels["animals"])
        parts = [seeds.var(ddof=1) / len(seeds), animals.var(ddof=1) / len(animals)]
        error = sum(parts)
        freedom = error**2 / (parts[0] ** 2 / 9 + parts[1] ** 2 / 7)
        t = (effect + seeds.mean() + animals.mean()) / np.sqrt(error)
        found += abs(t) > student.ppf(0.975, freedom)
    expected = power(effect, s2, levels=levels)
    print("power", expected, "found", found / 4000)
    assert abs(found / 4000 - expected) < 0.02


def test_the_table_holds_every_combination() -> None:
    table = power_table(0.03, VARIANCES, levels={"seeds": [5, 10], "stimuli": [100, 640, 1000]})
    assert len(table) == 6
    row = table.query("seeds == 10 and stimuli == 640").iloc[0]
    assert row["power"] == power(0.03, VARIANCES, levels={"seeds": 10, "stimuli": 640})
    assert table.sort_values("standard_error")["power"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("variances", "levels", "message"),
    [
        ({"seeds": 1.0}, {"animals": 3}, "same factors"),
        ({}, {}, "at least one"),
        ({"seeds": -1.0}, {"seeds": 3}, "at least 0"),
        ({"seeds": 0.0}, {"seeds": 3}, "not all 0"),
        ({"seeds": np.nan}, {"seeds": 3}, "finite"),
        ({"animals": 1.0}, {"animals": 1}, "conditional on it"),
    ],
)
def test_bad_input_is_explained(variances: dict, levels: dict, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        power(0.1, variances, levels=levels)


def test_an_impossible_wish_is_refused_with_the_reason() -> None:
    with pytest.raises(ContractError, match=r"no number of seeds .* other factors leave too much"):
        sample_size(0.03, VARIANCES, levels={"stimuli": 50}, vary="seeds")
    with pytest.raises(ContractError, match="expected one of"):
        sample_size(0.03, VARIANCES, levels={"stimuli": 50}, vary="animals")


def pilot(*, n_stimuli: int, seed: int) -> tuple[np.ndarray, dict[str, list[np.ndarray]]]:
    """A recorded RDM and those of two models, a closer one and another, with 8 seeds each."""
    rng = np.random.default_rng(seed)
    pairs, signal = np.triu_indices(n_stimuli, k=1), rng.normal(size=(n_stimuli, 20))

    def rdm(noise: float) -> np.ndarray:
        return (1 - np.corrcoef(signal + noise * rng.normal(size=signal.shape)))[pairs]

    recorded = rdm(0.3)[None]
    return recorded, {
        name: [rdm(noise) for _ in range(8)] for name, noise in (("a", 1), ("b", 1.5))
    }


def variance_in(recorded: np.ndarray, models: dict, factor: str, n: int, n_draws: int) -> float:
    """Levels times the squared standard error that compare_models finds for one factor."""
    found = compare_models(
        models,
        target=recorded,
        metric=RSA(),
        generalise_to={factor},
        paired_seeds=True,
        n_draws=n_draws,
    )
    return n * found.pairs["standard_error"].item() ** 2


def test_variance_of_seeds_from_a_comparison_is_that_of_their_differences() -> None:
    """Up to the draws: 2000 give a variance with a relative error of 3 %."""
    recorded, models = pilot(n_stimuli=30, seed=0)
    scores = {
        name: [compare_rdms(each, recorded[0], method="spearman") for each in seeds]
        for name, seeds in models.items()
    }
    expected = np.var(np.subtract(scores["a"], scores["b"]), ddof=1)
    found = variance_in(recorded, models, "seeds", 8, n_draws=2000)
    assert found == pytest.approx(expected, rel=0.12)


@pytest.mark.slow
def test_a_smaller_pilot_does_not_promise_too_much() -> None:
    """For RDMs n SE^2 falls with n, since noise of single pairs adds terms of order 1 / n^2."""
    small, large = (
        np.mean([variance_in(*pilot(n_stimuli=n, seed=s), "stimuli", n, 300) for s in range(4)])
        for n in (60, 120)
    )
    print("60 stimuli", small, "120 stimuli", large)
    assert 0.5 * small < large < small


def test_numbers_that_are_none() -> None:
    with pytest.raises(ContractError, match="effect is nan"):
        power(np.nan, VARIANCES, levels={"seeds": 5, "stimuli": 640})
    with pytest.raises(ContractError, match="expected whole numbers"):
        power(0.1, VARIANCES, levels={"seeds": 5.5, "stimuli": 640})

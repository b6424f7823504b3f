"""Power: one factor is the t-test's, two factors agree with simulated experiments."""

import numpy as np
import pytest
from scipy.stats import t as student
from statsmodels.stats.power import TTestPower

from brainscore_lite.inference.sample_size import power, power_table, sample_size
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

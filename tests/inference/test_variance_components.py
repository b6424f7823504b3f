"""Variance components and intraclass correlation: published values, exact sums, coverage."""

import numpy as np
import pytest
import xarray as xr

from brainscore_lite.inference.variance_components import (
    intraclass_correlation,
    variance_components,
)
from brainscore_lite.schema import ContractError

# Shrout & Fleiss (1979), table 2: four judges rate six targets.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)


@pytest.mark.parametrize(
    ("form", "average", "published"),
    [
        ("one-way", False, 0.17),
        ("agreement", False, 0.29),
        ("consistency", False, 0.71),
        ("one-way", True, 0.44),
        ("agreement", True, 0.62),
        ("consistency", True, 0.91),
    ],
)
def test_published_values(form: str, average: bool, published: float) -> None:
    found = intraclass_correlation(JUDGES, form=form, average=average)
    assert round(found.value, 2) == published
    assert found.low < found.value < found.high


def test_published_interval_of_agreement() -> None:
    """The interval of ICC(2,1) of the same table, as McGraw & Wong's formula gives it."""
    found = intraclass_correlation(JUDGES, form="agreement")
    assert (round(found.low, 3), round(found.high, 3)) == (0.019, 0.761)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["one-way", "agreement", "consistency"])
def test_interval_covers_the_truth(form: str) -> None:
    """Of 1000 simulated tables of 8 models x 5 seeds, 95 % (+- 2.5 s.e.) hold the true value."""
    between, rater, noise = 1.0, 0.0 if form == "one-way" else 0.5, 1.0
    error = noise if form == "consistency" else noise + rater
    truth, covered = between / (between + error), 0
    for run in range(1000):
        rng = np.random.default_rng(run)
        values = rng.normal(0, between**0.5, size=(8, 1)) + rng.normal(0, noise**0.5, size=(8, 5))
        found = intraclass_correlation(values + rng.normal(0, rater**0.5, size=(1, 5)), form=form)
        covered += found.low <= truth <= found.high
    print(form, "coverage", covered / 1000)
    assert abs(covered / 1000 - 0.95) < 2.5 * np.sqrt(0.05 * 0.95 / 1000)


def test_estimates_are_unbiased() -> None:
    """Means over 300 simulated designs stay within 4 standard errors of the truth."""
    truth = {"model": 0.5, "seed": 0.2, "animal": 0.8, "model:seed": 0.3, "model:seed:animal": 1.0}
    shape = {"model": 4, "seed": 5, "animal": 6}
    found = []
    for run in range(300):
        rng = np.random.default_rng(run)
        values = np.zeros(tuple(shape.values()))
        for component, variance in truth.items():
            sizes = [n if name in component.split(":") else 1 for name, n in shape.items()]
            values = values + rng.normal(0, variance**0.5, size=sizes)
        table = variance_components(xr.DataArray(values, dims=tuple(shape)))
        found.append(table.set_index("component")["variance"])
    for component in found[0].index:
        estimates = np.array([f[component] for f in found])
        error = estimates.std(ddof=1) / np.sqrt(len(found))
        assert abs(estimates.mean() - truth.get(component, 0.0)) < 4 * error, component


def test_two_factors_agree_with_the_mean_squares_of_the_intraclass_correlation() -> None:
    table = variance_components(xr.DataArray(JUDGES, dims=("target", "judge")))
    target, judge, rest = table["variance"]
    assert target / (target + judge + rest) == pytest.approx(
        intraclass_correlation(JUDGES, form="agreement").value
    )
    assert target / (target + rest) == pytest.approx(
        intraclass_correlation(JUDGES, form="consistency").value
    )


def test_a_fixed_factor_takes_no_part_in_the_others_error() -> None:
    rng = np.random.default_rng(0)
    scores = xr.DataArray(rng.normal(size=(3, 10)), dims=("model", "seed"))
    free = variance_components(scores).set_index("component")
    given = variance_components(scores, fixed=["model"]).set_index("component")
    seed = scores.mean("model").values.var(ddof=1)
    assert given.loc["seed", "variance"] == pytest.approx(seed)
    assert free.loc["seed", "variance"] < given.loc["seed", "variance"]
    assert given.loc["model", "variance"] == free.loc["model", "variance"]


def test_order_of_dims_and_levels_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    scores = xr.DataArray(rng.normal(size=(3, 4, 5)), dims=("model", "seed", "animal"))
    first = variance_components(scores).set_index("component")["variance"]
    turned = variance_components(scores.transpose("animal", "model", "seed")[::-1])
    turned = {
        frozenset(c.split(":")): v for c, v in zip(turned.component, turned.variance, strict=True)
    }
    for component, value in first.items():
        assert turned[frozenset(component.split(":"))] == pytest.approx(value)


def test_bad_designs_are_explained() -> None:
    scores = xr.DataArray(np.ones((3, 1)), dims=("model", "seed"))
    with pytest.raises(ContractError, match="factor 'seed' has 1 level"):
        variance_components(scores)
    with pytest.raises(ContractError, match=r"fixed names \['rule'\]"):
        variance_components(scores, fixed=["rule"])
    holes = xr.DataArray([[1.0, np.nan], [2.0, 3.0]], dims=("model", "seed"))
    with pytest.raises(ContractError, match="1 of 4 cells are not finite"):
        variance_components(holes)
    with pytest.raises(ContractError, match="no dims"):
        variance_components(xr.DataArray(1.0))


@pytest.mark.parametrize(
    ("ratings", "settings", "message"),
    [
        (np.ones((1, 4)), {}, "at least 2 of each"),
        (np.ones(4), {}, "at least 2 of each"),
        (np.ones((3, 3)), {}, "all ratings are equal"),
        ([[1, np.inf], [2, 3]], {}, "1 of 4 ratings are not finite"),
        (JUDGES, {"form": "ICC3"}, "expected one of"),
        (JUDGES, {"level": 95}, "between 0 and 1"),
    ],
)
def test_bad_ratings_are_explained(ratings: object, settings: dict, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        intraclass_correlation(ratings, **settings)


def test_small_integers_do_not_overflow() -> None:
    table = (JUDGES * 12).astype(np.int8)
    assert intraclass_correlation(table).value == pytest.approx(
        intraclass_correlation(JUDGES).value
    )


def test_perfect_agreement_is_one() -> None:
    table = np.repeat(np.arange(4.0)[:, None], 3, axis=1)
    for form in ("one-way", "agreement", "consistency"):
        found = intraclass_correlation(table, form=form)
        assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_targets_that_do_not_differ_are_refused() -> None:
    for form in ("agreement", "consistency"):
        with pytest.raises(ContractError, match="every target has the same ratings"):
            intraclass_correlation([[1, 2, 3]] * 4, form=form)


def test_types_of_the_design() -> None:
    scores = xr.DataArray(np.zeros((2, 3)), dims=("model", "seed"))
    with pytest.raises(ContractError, match="a sequence of their names"):
        variance_components(scores, fixed="model")
    with pytest.raises(ContractError, match="scores are a ndarray"):
        variance_components(scores.values)

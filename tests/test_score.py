import numpy as np
import pytest
import xarray as xr

from brainscore_lite.schema import ContractError
from brainscore_lite.score import NORMALIZATIONS, Aggregation, Score, aggregate


def example(value=0.6, reliability=0.64, **changes):
    parts = xr.DataArray(np.full((2, 3), value), dims=("split", "neuroid"))
    ceiling = xr.Dataset(
        {
            "reliability": ("neuroid", np.full(3, reliability)),
            "ceiling": ("neuroid", np.full(3, np.sqrt(reliability))),
        }
    )
    settings = {"values": parts, "ceiling": ceiling, "unit": "pearson_r", "benchmark": "d.V4.ridge"}
    return Score(**(settings | changes))


def test_parts_are_averaged_over_splits_then_by_the_median_over_neuroids():
    parts = xr.DataArray([[0.0, 1.0, 5.0], [1.0, 2.0, 7.0]], dims=("split", "neuroid"))
    assert float(aggregate(parts)) == 1.5


def test_every_normalization_follows_its_formula():
    score = example()
    expected = {
        "r": 0.6,
        "r/sqrt(c)": 0.75,
        "r2/c": 0.5625,
        "(r/c)2": 0.87890625,
        "r2/c by neuroid": 0.5625,
    }
    assert set(expected) == set(NORMALIZATIONS)
    for kind, value in expected.items():
        assert score.normalized(kind) == pytest.approx(value, abs=1e-12)


def test_it_prints_as_one_line():
    assert str(example()) == "d.V4.ridge: 0.600 pearson_r (ceiling 0.800)"
    draws = xr.DataArray(np.full((3, 2, 3), 0.6), dims=("draw", "split", "neuroid"))
    shown = str(example(draws=draws, ceiling=None))
    assert shown == "d.V4.ridge: 0.600 [0.600, 0.600] pearson_r"
    over_time = xr.DataArray(np.zeros((2, 4)), dims=("split", "time_bin"))
    assert str(example(values=over_time)) == "d.V4.ridge: 4 time bins, pearson_r"


def test_nothing_is_clamped():
    assert example(value=0.9).normalized() == pytest.approx(1.125)


def test_the_interval_is_the_percentile_of_the_draws():
    draws = xr.DataArray(
        np.arange(101.0)[:, None, None] * np.ones((1, 2, 3)), dims=("draw", "split", "neuroid")
    )
    assert example(draws=draws).interval(0.9) == pytest.approx((5.0, 95.0))


def test_no_ceiling_is_nan_and_not_one():
    score = example(ceiling=None)
    assert np.isnan(score.normalized())
    assert np.isnan(score.ceiling_value)
    assert score.to_row()["raw"] == 0.6


def test_nothing_is_divided_by_a_ceiling_of_zero():
    assert np.isnan(example(reliability=0.0).normalized("r2/c"))


def drawn(values, dims=("draw", "neuroid")):
    return xr.DataArray(np.asarray(values, dtype=float)[:, None] * np.ones((1, 3)), dims=dims)


def test_the_ceiling_has_an_interval_of_its_own():
    draws = xr.Dataset({"ceiling": drawn(np.arange(101.0))})
    score = example(ceiling_draws=draws)
    assert score.ceiling_interval(0.9) == pytest.approx((5.0, 95.0))
    row = score.to_row()
    assert row["ceiling_interval_low"] == pytest.approx(2.5)
    assert row["ceiling_interval_high"] == pytest.approx(97.5)
    assert np.isnan(example().to_row()["ceiling_interval_low"])


def test_score_and_ceiling_are_drawn_together():
    """Where both rise and fall together, their ratio does not vary."""
    r = np.linspace(0.3, 0.6, 50)
    ceiling = xr.Dataset({"ceiling": drawn(2 * r), "reliability": drawn((2 * r) ** 2)})
    score = example(draws=drawn(r), ceiling_draws=ceiling)
    for kind, value in (("r/sqrt(c)", 0.5), ("r2/c", 0.25), ("r2/c by neuroid", 0.25)):
        assert score.normalized_interval(kind) == pytest.approx((value, value))
    assert score.normalized_interval("r") == score.interval()
    nothing = xr.Dataset({"ceiling": drawn(0 * r), "reliability": drawn(0 * r)})
    assert np.isnan(example(draws=drawn(r), ceiling_draws=nothing).normalized_interval()).all()


def test_neuroids_first_is_the_median_within_each_split():
    parts = xr.DataArray([[0.0, 1.0, 5.0], [1.0, 7.0, np.nan]], dims=("split", "neuroid"))
    assert float(Aggregation("neuroids_first")(parts)) == 2.5
    assert Aggregation("neuroids_first").description.startswith("median over neuroids, mean over")


def test_groups_are_normalised_one_by_one():
    animal = ("neuroid", ["a", "a", "b"])
    parts = xr.DataArray([[0.2, 0.4, 0.6]], dims=("split", "neuroid"), coords={"animal": animal})
    reliability = xr.DataArray([0.5, 0.5, 0.9], dims="neuroid", coords={"animal": animal})
    ceiling = xr.Dataset({"reliability": reliability, "ceiling": np.sqrt(reliability)})
    score = example(values=parts, ceiling=ceiling, aggregation=Aggregation(by="animal"))
    assert score.raw == pytest.approx((0.3 + 0.6) / 2)
    assert score.normalized("r2/c") == pytest.approx((0.09 / 0.5 + 0.36 / 0.9) / 2)
    with pytest.raises(ContractError, match="have no coordinate 'monkey' to group them by"):
        Aggregation(by="monkey")(parts)


def test_the_error_over_splits_is_that_of_brain_score():
    parts = xr.DataArray([[0.2, 0.2], [0.6, 0.6]], dims=("split", "neuroid"))
    assert example(values=parts).split_error == pytest.approx(0.2 / np.sqrt(2))
    assert np.isnan(example(values=parts.isel(split=0)).split_error)


def test_a_row_holds_what_a_table_needs():
    row = example(provenance={"model": "pixels", "caveats": ("alignment inferred",)}).to_row()
    assert (row["dataset"], row["region"], row["metric"]) == ("d", "V4", "ridge")
    assert row["caveats"] == "alignment inferred"
    assert row["n_neuroids"] == 3


def test_a_score_of_many_time_bins_is_not_one_value():
    parts = xr.DataArray(np.ones((2, 3)), dims=("time_bin", "neuroid"))
    with pytest.raises(ContractError, match=r"the score has 2 time bins, not one value"):
        _ = example(values=parts).raw


def test_errors_say_what_to_do():
    with pytest.raises(ContractError, match=r"unknown normalization 'r/c'; expected one of"):
        example().normalized("r/c")
    with pytest.raises(ContractError, match=r"scored without bootstrap draws; set n_draws"):
        example().interval()
    with pytest.raises(ContractError, match=r"level is 95, expected between 0 and 1"):
        example().interval(95)
    with pytest.raises(ContractError, match=r"there are no bootstrap draws of the ceiling"):
        example().ceiling_interval()
    with pytest.raises(ContractError, match=r"order is 'random', expected one of"):
        Aggregation("random")
    bounds = xr.Dataset({"ceiling": ("subject", [0.5]), "upper": ("subject", [0.5])})
    with pytest.raises(ContractError, match=r"has no reliability, so 'r2/c' is not defined"):
        example(ceiling=bounds).normalized("r2/c")

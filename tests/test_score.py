import numpy as np
import pytest
import xarray as xr

from brainscore_lite.schema import ContractError
from brainscore_lite.score import NORMALIZATIONS, Score, aggregate


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
    expected = {"r": 0.6, "r/sqrt(c)": 0.75, "r2/c": 0.5625, "(r/c)2": 0.87890625}
    assert set(expected) == set(NORMALIZATIONS)
    for kind, value in expected.items():
        assert score.normalized(kind) == pytest.approx(value, abs=1e-12)


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
    bounds = xr.Dataset({"ceiling": ("subject", [0.5]), "upper": ("subject", [0.5])})
    with pytest.raises(ContractError, match=r"has no reliability, so 'r2/c' is not defined"):
        example(ceiling=bounds).normalized("r2/c")

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest

from brainscore_lite.schema import ContractError
from brainscore_lite.tables import (
    COLUMNS,
    comparison_table,
    long_table,
    marks,
    results_table,
    score_interval,
    to_latex,
    to_markdown,
    write_tables,
)

V4 = {
    "benchmark": "cowley2023_v4_210325.V4.ridge",
    "unit": "pearson_r",
    "ceiling": 0.8,
    "reliability": 0.64,
    "n_stimuli": 640,
    "n_neuroids": 50,
    "simulated": False,
    "caveats": "",
}
MONKEY_IT = {
    "benchmark": "kriegeskorte2008_92.monkeyIT.rsa",
    "unit": "spearman_rho",
    "ceiling": None,
    "n_stimuli": 92,
    "simulated": False,
    "caveats": "one group RDM: no ceiling",
}
SITE = {
    "benchmark": "kar_it_site.IT.ridge",
    "unit": "pearson_r",
    "ceiling": 0.4,
    "ceiling_low": 0.35,
    "ceiling_high": 0.4,
    "simulated": True,
    "caveats": "Alignment inferred",
}


def row(benchmark: dict, model: str, raw: float, **more: object) -> dict:
    ceiling = benchmark["ceiling"]
    scores = {"raw": raw, "low": raw - 0.05, "high": raw + 0.05}
    normalized = None if ceiling is None else raw / ceiling
    return {**benchmark, "model": model, **scores, "normalized": normalized, **more}


@pytest.fixture
def table() -> pd.DataFrame:
    return results_table(
        [
            row(V4, "pixels", 0.2),
            row(V4, "small_cnn", 0.4, layer="area3", layer_choice="nested", accuracy=0.61),
            row(MONKEY_IT, "pixels", 0.1),
            row(SITE, "small_cnn", 0.44),
        ]
    )


def test_results_table_has_every_column_in_order_and_keeps_others_last() -> None:
    table = results_table([row(V4, "pixels", 0.2, seed=3)])
    assert list(table.columns) == [*COLUMNS, "seed"]


def test_results_table_keeps_each_digit_and_types_what_is_absent(table: pd.DataFrame) -> None:
    assert table["raw"].tolist() == [0.2, 0.4, 0.1, 0.44]
    assert np.isnan(table["ceiling"][2])
    assert table["layer"].tolist() == ["", "area3", "", ""]
    assert table["n_neuroids"][0] == 50
    assert table["n_neuroids"][2] is pd.NA
    assert table["simulated"].tolist() == [False, False, False, True]


def test_results_table_without_rows_says_so() -> None:
    with pytest.raises(ContractError, match=r"no rows\. Give at least one Score\.to_row\(\)"):
        results_table([])


def test_results_table_names_the_row_and_what_it_lacks() -> None:
    with pytest.raises(ContractError, match=r"row 1 lacks \['model', 'raw'\]\. Give rows as Score"):
        results_table([row(V4, "pixels", 0.2), {"benchmark": "b"}])


def test_marks_name_simulated_and_inferred_alignment(table: pd.DataFrame) -> None:
    assert marks(table.iloc[:3]) == ""
    assert marks(table.iloc[3:]) == "simulated, alignment inferred"


def test_normalized_interval_is_divided_by_the_ceiling(table: pd.DataFrame) -> None:
    interval = score_interval(table, "normalized").iloc[1]
    assert interval.to_numpy() == pytest.approx([0.5, 0.35 / 0.8, 0.45 / 0.8])


def test_unknown_value_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ContractError, match="value is 'r2', expected 'raw' or 'normalized'"):
        score_interval(table, "r2")


def test_comparison_shows_scores_intervals_and_ceilings(table: pd.DataFrame) -> None:
    shown = comparison_table(table)
    assert shown.index.tolist() == ["pixels", "small_cnn", "ceiling"]
    assert shown["cowley2023_v4_210325.V4.ridge"].tolist() == [
        "0.200 [0.150, 0.250]",
        "0.400 [0.350, 0.450]",
        "0.800",
    ]
    assert shown["kriegeskorte2008_92.monkeyIT.rsa"].tolist() == [
        "0.100 [0.050, 0.150]",
        "–",
        "none",
    ]


def test_comparison_marks_the_benchmark_and_prints_a_score_above_its_ceiling(
    table: pd.DataFrame,
) -> None:
    shown = comparison_table(table)["kar_it_site.IT.ridge (simulated, alignment inferred)"]
    assert shown["small_cnn"] == "0.440 [0.390, 0.490]"
    assert shown["ceiling"] == "0.350 to 0.400"
    normalized = comparison_table(table, value="normalized").iloc[:, 2]
    assert normalized["small_cnn"] == "1.100 [0.975, 1.225]"
    assert normalized["ceiling (raw)"] == "0.350 to 0.400"


def test_ceilings_that_differ_between_models_are_said_to() -> None:
    rows = [row(V4, "a", 0.2), row({**V4, "ceiling": 0.9}, "b", 0.2)]
    assert comparison_table(results_table(rows)).iloc[-1, 0] == "0.800 to 0.900 (by model)"


def test_a_ceiling_shows_its_interval() -> None:
    measured = {**V4, "ceiling_interval_low": 0.77, "ceiling_interval_high": 0.82}
    rows = [row(measured, "a", 0.2), row(measured, "b", 0.3)]
    assert comparison_table(results_table(rows)).iloc[-1, 0] == "0.800 [0.770, 0.820]"


def test_baseline_stands_above_the_ceiling() -> None:
    rows = [row(V4, "a", 0.2), row(SITE, "a", 0.2, baseline=0.31)]
    shown = comparison_table(results_table(rows))
    assert shown.index.tolist() == ["a", "baseline", "ceiling"]
    assert shown.loc["baseline"].tolist() == ["none", "0.310"]
    lines = to_latex(shown).splitlines()
    assert lines[lines.index(r"\midrule", 4) + 1].startswith("baseline & none & 0.310")


def test_comparison_refuses_several_scores_of_one_model() -> None:
    rows = [row(V4, "cnn", 0.2, layer="a"), row(V4, "cnn", 0.3, layer="b")]
    with pytest.raises(ContractError, match=r"'cnn' has several scores on 'cowley.*Keep one"):
        comparison_table(results_table(rows))


def test_long_table_shows_layer_ceiling_and_notes(table: pd.DataFrame) -> None:
    shown = long_table(table)
    second, last = shown.iloc[1], shown.iloc[3]
    assert (second["layer"], second["layer chosen"], second["accuracy"]) == (
        "area3",
        "nested",
        "0.610",
    )
    assert (second["score / ceiling"], second["ceiling"], second["reliability"]) == (
        "0.500",
        "0.800",
        "0.640",
    )
    assert (last["ceiling bounds"], last["notes"]) == (
        "0.350 to 0.400",
        "simulated; Alignment inferred",
    )
    assert shown.iloc[2]["ceiling"] == ""
    assert "task" not in shown


def test_markdown_is_a_table_and_escapes_bars() -> None:
    shown = pd.DataFrame({"a|b": ["1", "2"]}, index=pd.Index(["x", "ceiling"], name="model"))
    assert to_markdown(shown) == ("| model | a\\|b |\n| --- | --- |\n| x | 1 |\n| ceiling | 2 |\n")


def test_latex_uses_booktabs_sets_the_ceiling_apart_and_escapes(table: pd.DataFrame) -> None:
    lines = to_latex(comparison_table(table)).splitlines()
    assert lines[0] == r"\begin{tabular}{llll}"
    assert [line for line in lines if line.endswith("rule")] == [
        r"\toprule",
        r"\midrule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert r"cowley2023\_v4\_210325.V4.ridge" in lines[2]
    assert lines[-3].startswith("ceiling & ")
    assert lines[-4] == r"\midrule"
    assert not re.search(r"(?<!\\)_", "".join(lines))
    assert r"\textasciicircum{}\textbackslash{}\%" in to_latex(pd.DataFrame({"h": ["^\\%"]}))


def test_written_csv_gives_the_table_back(table: pd.DataFrame, tmp_path) -> None:
    written = write_tables(table, tmp_path / "made")
    assert {path.name for path in written} == {
        f"{name}.{kind}"
        for name in ("scores", "comparison", "comparison_normalized")
        for kind in ("csv", "md", "tex")
    }
    entries = list(csv.DictReader(io.StringIO((tmp_path / "made" / "scores.csv").read_text())))
    again = results_table(
        {key: entry[key] or None for key in ("benchmark", "model", "layer", "raw", "ceiling")}
        for entry in entries
    )
    for column in ("raw", "ceiling", "layer", "model"):
        pd.testing.assert_series_equal(again[column], table[column])
    assert "0.400 [0.350, 0.450]" in (tmp_path / "made" / "comparison.md").read_text()

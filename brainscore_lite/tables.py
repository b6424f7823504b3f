"""Tidy tables of scores, and the paper's table of models by benchmarks, as CSV, Markdown, LaTeX.

A tidy table has one row for each score. Numbers stay as they were computed: nothing is clamped,
and a score above its ceiling is printed as it is.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from brainscore_lite.schema import ContractError
from brainscore_lite.storage import atomic_write

Value = Literal["raw", "normalized"]

REQUIRED = ("benchmark", "model", "raw")
NAMES = ("benchmark", "dataset", "region", "metric", "model", "layer", "layer_choice")
BOUNDS, INTERVAL = (
    ("ceiling_low", "ceiling_high"),
    ("ceiling_interval_low", "ceiling_interval_high"),
)
CEILINGS = ("normalized", "reliability", "ceiling", *BOUNDS, *INTERVAL, "baseline")
COUNTS = ("n_stimuli", "n_neuroids", "n_subjects", "n_animals")
COLUMNS = {
    **dict.fromkeys(NAMES, "text"),
    **dict.fromkeys(("raw", "low", "high"), "number"),
    "unit": "text",
    **dict.fromkeys(CEILINGS, "number"),
    **dict.fromkeys(COUNTS, "count"),
    "simulated": "flag",
    "caveats": "text",
    "task": "text",
    "accuracy": "number",
}

ALIGNMENT_INFERRED = "alignment inferred"
NOT_THERE = "–"
SUMMARY_ROWS = ("baseline", "ceiling")
SAME = 1e-9
LATEX_SYMBOLS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
}


def results_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Collect scores in a tidy table.

    Parameters
    ----------
    rows : iterable of mapping
        What ``Score.to_row()`` returns. ``benchmark``, ``model`` and ``raw`` are required;
        whatever else is absent is left empty.

    Returns
    -------
    DataFrame
        One row for each score, in the order given; the columns are `COLUMNS`, then any others.

    Raises
    ------
    ContractError
        If there is no row, or a row lacks a required entry.

    Examples
    --------
    >>> row = {"benchmark": "simulated_v4_it.V4.ridge", "model": "pixels", "raw": 0.31}
    >>> results_table([row]).loc[0, "raw"]
    np.float64(0.31)
    """
    collected = [dict(row) for row in rows]
    if not collected:
        raise ContractError("results_table: no rows. Give at least one Score.to_row().")
    for i, row in enumerate(collected):
        absent = [key for key in REQUIRED if key not in row]
        if absent:
            raise ContractError(
                f"results_table: row {i} lacks {absent}. Give rows as Score.to_row() makes them."
            )
    table = pd.DataFrame(collected)
    table = table.reindex(columns=[*COLUMNS, *(c for c in table if c not in COLUMNS)])
    for column, kind in COLUMNS.items():
        if kind == "text":
            entries = table[column].astype(object)
            table[column] = entries.where(entries.notna(), "").astype(str)
        elif kind == "flag":
            table[column] = table[column].eq(True)
        else:
            table[column] = table[column].astype("float64" if kind == "number" else "Int64")
    return table


def marks(rows: pd.DataFrame) -> str:
    """Say what must stand beside any of these scores: "simulated", "alignment inferred" or nothing.

    Parameters
    ----------
    rows : DataFrame
        Some rows of a tidy table.

    Returns
    -------
    str
        The marks, joined by a comma.
    """
    inferred = rows["caveats"].str.contains(ALIGNMENT_INFERRED, case=False, regex=False).any()
    found = {"simulated": bool(rows["simulated"].any()), ALIGNMENT_INFERRED: bool(inferred)}
    return ", ".join(mark for mark, holds in found.items() if holds)


def score_interval(rows: pd.DataFrame, value: Value) -> pd.DataFrame:
    """Give scores with their interval, raw or divided by the ceiling.

    Parameters
    ----------
    rows : DataFrame
        A tidy table.
    value : {"raw", "normalized"}
        ``normalized`` is r / sqrt(c): score and interval both divided by the ceiling, taken as
        known.

    Returns
    -------
    DataFrame
        Columns ``value``, ``low``, ``high``; the index is that of `rows`.

    Raises
    ------
    ContractError
        If `value` is neither.
    """
    if value not in ("raw", "normalized"):
        raise ContractError(f"value is '{value}', expected 'raw' or 'normalized'.")
    if value == "raw":
        return rows[["raw", "low", "high"]].rename(columns={"raw": "value"})
    bounds = rows[["low", "high"]].div(rows["ceiling"], axis=0)
    return pd.DataFrame({"value": rows["normalized"], **bounds})


def long_table(table: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Format a tidy table for reading, one row for each score.

    Parameters
    ----------
    table : DataFrame
        From `results_table`.
    digits : int
        Decimals.

    Returns
    -------
    DataFrame of str
        Benchmark, model, layer and how it was chosen, score with interval, normalised score,
        ceiling, reliability, baseline, counts, accuracy, notes. Columns with no entry are left out.
    """

    def number(entry: float) -> str:
        return "" if math.isnan(entry) else f"{entry:.{digits}f}"

    scores = score_interval(table, "raw")
    readable = {
        "benchmark": table["benchmark"],
        "model": table["model"],
        "layer": table["layer"],
        "layer chosen": table["layer_choice"],
        "score": [_cell(*row, digits=digits) for row in scores.to_numpy(dtype=float)],
        "unit": table["unit"],
        "score / ceiling": table["normalized"].map(number),
        "ceiling": table["ceiling"].map(number),
        "ceiling bounds": [
            _bounds(*row, digits=digits)
            for row in table[["ceiling_low", "ceiling_high"]].to_numpy(dtype=float)
        ],
        "reliability": table["reliability"].map(number),
        "baseline": table["baseline"].map(number),
        **{
            name.replace("_", " "): table[name].map(lambda n: "" if pd.isna(n) else str(n))
            for name in COUNTS
        },
        "task": table["task"],
        "accuracy": table["accuracy"].map(number),
        "notes": [_notes(row) for row in table[["simulated", "caveats"]].itertuples(index=False)],
    }
    shown = pd.DataFrame(readable, dtype=object).reset_index(drop=True)
    return shown.loc[:, (shown != "").any()]


def comparison_table(table: pd.DataFrame, *, value: Value = "raw", digits: int = 3) -> pd.DataFrame:
    """Format the paper's table: models by benchmarks, the ceilings below.

    Parameters
    ----------
    table : DataFrame
        From `results_table`, with one score for each model and benchmark.
    value : {"raw", "normalized"}
        Score as it is, or divided by its ceiling.
    digits : int
        Decimals.

    Returns
    -------
    DataFrame of str
        Cells "value [low, high]"; columns are the benchmarks, marked "(simulated)" or
        "(alignment inferred)" where it holds. The last rows have the baselines, if there are any,
        and the ceilings, in the metric's unit whatever `value` is: "value [low, high]", or "lower
        to upper" for one with bounds.

    Raises
    ------
    ContractError
        If a model has several scores on one benchmark.
    """
    require_one_score_each(table, "comparison_table")
    numbers = score_interval(table, value).to_numpy(dtype=float)
    cells = {
        (model, benchmark): _cell(*row, digits=digits)
        for model, benchmark, row in zip(table["model"], table["benchmark"], numbers, strict=True)
    }
    models = list(dict.fromkeys(table["model"]))
    with_baseline = table["baseline"].notna().any()
    columns = {}
    for benchmark, rows in table.groupby("benchmark", sort=False):
        scores = [cells.get((model, benchmark), NOT_THERE) for model in models]
        baseline = [_range(rows[["baseline", "baseline"]], digits)] if with_baseline else []
        note = marks(rows)
        heading = f"{benchmark} ({note})" if note else str(benchmark)
        columns[heading] = [*scores, *baseline, _ceiling_cell(rows, digits)]
    unit = "" if value == "raw" else " (raw)"
    last = [*([f"baseline{unit}"] if with_baseline else []), f"ceiling{unit}"]
    return pd.DataFrame(columns, index=pd.Index([*models, *last], name="model"))


def require_one_score_each(table: pd.DataFrame, asker: str) -> None:
    """Refuse a table in which a model has several scores on one benchmark.

    Raises
    ------
    ContractError
        Naming `asker` and the first repeated pair.
    """
    repeated = table[table.duplicated(["model", "benchmark"])]
    if len(repeated):
        model, benchmark = repeated[["model", "benchmark"]].iloc[0]
        raise ContractError(
            f"{asker}: model '{model}' has several scores on '{benchmark}'. Keep one of them, for "
            "instance that of the chosen layer; layers side by side are for the layer heat map."
        )


def to_markdown(table: pd.DataFrame) -> str:
    """Write a formatted table as GitHub Markdown.

    Parameters
    ----------
    table : DataFrame of str
        From `long_table` or `comparison_table`. A named index becomes the first column.
    """
    shown = _index_as_column(table)
    lines = [list(map(str, shown.columns)), ["---"] * shown.shape[1], *shown.to_numpy().tolist()]
    escaped = ([str(cell).replace("|", r"\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def to_latex(table: pd.DataFrame) -> str:
    r"""Write a formatted table as a LaTeX ``tabular`` with the rules of booktabs.

    Parameters
    ----------
    table : DataFrame of str
        From `long_table` or `comparison_table`. A named index becomes the first column; rows
        "baseline" and "ceiling" are set apart by a rule. Needs ``\usepackage{booktabs}``.
    """
    shown = _index_as_column(table)
    pattern = re.compile("|".join(map(re.escape, LATEX_SYMBOLS)))

    def line(cells: Iterable[Any]) -> str:
        escaped = (pattern.sub(lambda found: LATEX_SYMBOLS[found[0]], str(c)) for c in cells)
        return " & ".join(escaped) + r" \\"

    body = [line(row) for row in shown.to_numpy().tolist()]
    summary = shown.iloc[:, 0].astype(str).str.startswith(SUMMARY_ROWS)
    if summary.any():
        body.insert(int(summary.argmax()), r"\midrule")
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * shown.shape[1]}}}",
            r"\toprule",
            line(shown.columns),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a tidy table as CSV, with every digit.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    _write(table.to_csv(index=False), Path(path))


def write_tables(table: pd.DataFrame, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a tidy table and the tables made of it into a folder.

    Parameters
    ----------
    table : DataFrame
        From `results_table`, with one score for each model and benchmark.
    folder : path
        Made if needed.

    Returns
    -------
    tuple of Path
        ``scores.csv`` (tidy, every digit), ``scores.md`` and ``scores.tex`` (one row for each
        score), ``comparison.*`` (models by benchmarks) and ``comparison_normalized.*``.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    place = Path(folder)
    write_csv(table, place / "scores.csv")
    written = [place / "scores.csv"]
    formatted = {
        "scores": long_table(table),
        "comparison": comparison_table(table),
        "comparison_normalized": comparison_table(table, value="normalized"),
    }
    for name, shown in formatted.items():
        texts = {"md": to_markdown(shown), "tex": to_latex(shown)}
        if name != "scores":
            texts["csv"] = shown.to_csv()
        for ending, text in texts.items():
            written.append(place / f"{name}.{ending}")
            _write(text, written[-1])
    return tuple(written)


def _write(text: str, path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cell(value: float, low: float, high: float, *, digits: int) -> str:
    if math.isnan(value):
        return NOT_THERE
    interval = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"


def _bounds(low: float, high: float, *, digits: int) -> str:
    if math.isnan(low) or math.isnan(high):
        return ""
    return " to ".join(dict.fromkeys([f"{low:.{digits}f}", f"{high:.{digits}f}"]))


def _ceiling_cell(rows: pd.DataFrame, digits: int) -> str:
    """Format the ceiling of one benchmark: its bounds, its value and interval, or none."""
    bounds = rows[[*BOUNDS]].dropna()
    if len(bounds):
        return _range(bounds, digits)
    interval = rows[[*INTERVAL]].dropna().drop_duplicates()
    if len(interval) == 1 and rows["ceiling"].nunique() == 1:
        return _cell(rows["ceiling"].iloc[0], *interval.iloc[0], digits=digits)
    return _range(rows[["ceiling", "ceiling"]], digits)


def _range(limits: pd.DataFrame, digits: int) -> str:
    """Format the widest of several (low, high) pairs, and say so if they differ."""
    pairs = limits.dropna().to_numpy(dtype=float)
    if not len(pairs):
        return "none"
    lowest, highest = pairs.min(axis=0), pairs.max(axis=0)
    by_model = " (by model)" if (highest - lowest).max() > SAME else ""
    return _bounds(lowest[0], highest[1], digits=digits) + by_model


def _notes(row: Any) -> str:
    """Join the caveats of a score, "simulated" first."""
    said = "simulated" in row.caveats.lower()
    return "; ".join(filter(None, ["simulated" if row.simulated and not said else "", row.caveats]))


def _index_as_column(table: pd.DataFrame) -> pd.DataFrame:
    return table.reset_index() if table.index.name else table

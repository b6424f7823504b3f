"""Figures for a paper: scores under their ceilings, layers by benchmarks, pairs of RDMs.

Every function returns a ``matplotlib.figure.Figure`` that belongs to no backend; `save_figure`
writes it as PDF, SVG and PNG, byte for byte the same each time. Colours are those of Okabe & Ito
and the map cividis, which people with any form of colour vision can tell apart.

References
----------
Okabe & Ito (2008), Color Universal Design, https://jfly.uni-koeln.de/color/.
Nunez, Anderton & Renslow (2018), doi:10.1371/journal.pone.0199239 (cividis).
"""

import os
import textwrap
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from scipy.stats import rankdata

from brainscore_lite.schema import ContractError, match_stimuli
from brainscore_lite.storage import atomic_write
from brainscore_lite.tables import Value, marks, require_one_score_each, score_interval

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F")
CONTROL_COLOUR = "#8A8A8A"
CEILING_COLOUR = "#D9D9D9"
CEILING_EDGE = "#6E6E6E"
WARNING_COLOUR = "#B03A00"
UNTRAINED = "untrained"
NO_BREAK_SPACE = "\u00a0"
PANELS_PER_ROW = 5
COLUMN_CHARACTERS = 18  # of a label under a column of the heat map
CONTROLS = ("pixels", "gabor")
UNITS = {
    "pearson_r": "Pearson r",
    "spearman_r": "Spearman r",
    "kendall_tau_a": "Kendall tau-a",
    "kendall_tau_b": "Kendall tau-b",
    "rho_a": "rho-a",
    "cosine": "cosine",
    "whitened_pearson_r": "whitened Pearson r",
    "whitened_cosine": "whitened cosine",
    "bures_similarity": "Bures similarity",
    "negative_riemannian_distance": "negative Riemannian distance",
    "cka": "CKA",
    "cca_r": "mean canonical correlation",
    "cca_r2": "mean squared canonical correlation",
    "pwcca_r": "PWCCA",
    "shape_cosine": "cosine of shapes",
}
STYLE: dict[Any, Any] = {
    "axes.labelsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.titlesize": 9,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "hatch.linewidth": 0.6,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "svg.hashsalt": "brainscore_lite",
    "xtick.labelsize": 7,
    "ytick.labelsize": 8,
}
# Dates would make two runs of one script differ.
METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {},
}


@dataclass(frozen=True)
class BarStyle:
    """How one model's bar is drawn."""

    colour: str | tuple[float, float, float]
    hatch: str
    edge: str | tuple[float, float, float]


def bar_styles(
    models: Sequence[str], *, controls: Collection[str] = CONTROLS
) -> dict[str, BarStyle]:
    """Give each model its bar: one colour for a network, lighter and hatched where untrained.

    Parameters
    ----------
    models : sequence of str
        ``name`` and ``name_untrained`` are copies of one network and share its colour.
    controls : collection of str
        Models without training of any kind; grey.

    Returns
    -------
    dict of str to BarStyle
        Ordered as drawn: the controls, then each network, untrained before trained.
    """
    families = list(dict.fromkeys(_family(m) for m in models if m not in controls))
    ordered = [m for m in models if m in controls]
    for family in families:
        copies = [m for m in models if m not in controls and _family(m) == family]
        ordered += sorted(copies, key=lambda m: not m.endswith(UNTRAINED))
    styles = {}
    for model in dict.fromkeys(ordered):
        if model in controls:
            styles[model] = BarStyle(CONTROL_COLOUR, "", CONTROL_COLOUR)
            continue
        colour = OKABE_ITO[families.index(_family(model)) % len(OKABE_ITO)]
        lighter = _lighten(colour) if model.endswith(UNTRAINED) else colour
        styles[model] = BarStyle(lighter, "////" if lighter != colour else "", colour)
    return styles


def score_bars(
    table: pd.DataFrame,
    *,
    value: Value = "raw",
    title: str = "",
    controls: Collection[str] = CONTROLS,
) -> Figure:
    """Draw models as bars under the ceiling, one panel for each benchmark.

    Parameters
    ----------
    table : DataFrame
        From `tables.results_table`, with one score for each model and benchmark.
    value : {"raw", "normalized"}
        Score as it is, or divided by its ceiling.
    title : str
        Title of the figure. "simulated" and "alignment inferred" are added where they hold.
    controls : collection of str
        Models drawn in grey.

    Returns
    -------
    Figure
        Bars with the 95 % bootstrap interval over stimuli as whiskers; the ceiling as a band from
        its lower to its upper bound, or as a line at sqrt(c); a score above it is drawn as it is.

    Raises
    ------
    ContractError
        If the table has no row, or several scores of one model on one benchmark.
    """
    _require_rows(table, "score_bars")
    require_one_score_each(table, "score_bars")
    styles = bar_styles(list(dict.fromkeys(table["model"])), controls=controls)
    panels = list(table.groupby("benchmark", sort=False))
    n_columns = min(len(panels), PANELS_PER_ROW)
    n_rows = -(-len(panels) // n_columns)
    with _style():
        width = 1.3 + 0.075 * max(map(len, styles)) + 1.45 * n_columns
        height = 0.75 + n_rows * (0.8 + 0.2 * len(styles))
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
        headings = _headings([rows for _, rows in panels])
        for axis, (_, rows), heading in zip(axes, panels, headings, strict=False):
            _draw_panel(axis, rows, styles, value)
            axis.set_title(heading, linespacing=1.3)
        for axis in axes[len(panels) :]:
            axis.remove()
        axes[0].set_yticks(range(len(styles)), list(styles))
        axes[0].set_ylim(len(styles) - 0.4, -0.6)
        _suptitle(figure, title, table)
        handles = _bar_legend(styles, table, controls)
        columns = max(2, int(width / 1.8))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def layer_heat_map(table: pd.DataFrame, *, value: Value = "raw", title: str = "") -> Figure:
    """Draw each layer's score on each benchmark, one block of rows for each model.

    Parameters
    ----------
    table : DataFrame
        From `tables.results_table`, with one score for each model, layer and benchmark. Layers are
        drawn from top to bottom in the order of the table, so give them from input to output.
    value : {"raw", "normalized"}
        Score as it is, or divided by its ceiling.
    title : str
        Title of the figure. "simulated" and "alignment inferred" are added where they hold.

    Returns
    -------
    Figure
        A frame marks each model's highest layer over all stimuli: a description, not the score,
        for which a layer is chosen on other stimuli. A layer without a score is left white.

    Raises
    ------
    ContractError
        If the table has no row, or several scores of one layer on one benchmark.
    """
    _require_rows(table, "layer_heat_map")
    grids = _layer_grids(table, value)
    benchmarks = list(dict.fromkeys(table["benchmark"]))
    headings = _column_labels([table[table["benchmark"] == name] for name in benchmarks])
    scores = score_interval(table, value)["value"]
    limits = (min(0.0, float(scores.min())), float(scores.max()))
    rows = [len(grid) for grid in grids.values()]
    longest = max(len(line) for heading in headings for line in heading.split("\n"))
    cell = max(1.0, 0.065 * longest)
    with _style():
        width = 1.6 + 0.07 * max(map(len, table["layer"])) + cell * len(benchmarks)
        figure = Figure(
            figsize=(width, 1.3 + 0.22 * sum(rows) + 0.22 * len(rows)), layout="constrained"
        )
        panels = figure.subplots(len(grids), 1, squeeze=False, height_ratios=rows)[:, 0]
        for axis, (model, grid) in zip(panels, grids.items(), strict=True):
            image = _draw_grid(axis, grid.reindex(columns=benchmarks), limits)
            axis.set_title(model, loc="left", fontweight="bold")
        panels[-1].set_xticks(range(len(benchmarks)), headings)
        bar = figure.colorbar(image, ax=list(panels), shrink=min(1.0, 6 / sum(rows)), aspect=12)
        bar.set_label(_value_label(table, value))
        bar.outline.set_visible(False)
        figure.supxlabel(
            "frame: highest layer of each model over all stimuli (description, not the score)",
            fontsize=7,
        )
        _suptitle(figure, title, table)
    return figure


def rdm_pair(
    model: xr.DataArray,
    recorded: xr.DataArray,
    *,
    names: tuple[str, str] = ("model", "recorded"),
    categories: Mapping[str, str] | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw a model's RDM beside the recorded one, each as percentiles of its own dissimilarities.

    Parameters
    ----------
    model, recorded : DataArray, dims ([subject,] stimulus, stimulus_other)
        Dissimilarities; those of several subjects are averaged. `model` is brought to the stimuli
        of `recorded` by its labels.
    names : (str, str)
        Headings of the two panels.
    categories : mapping of stimulus to category, optional
        Sorts the stimuli by category, in the order in which categories first occur; within one,
        stimuli keep their order. Both matrices are sorted alike.
    title : str
        Title of the figure.
    note : str
        What must stand beside it, such as "simulated" or "alignment inferred".

    Returns
    -------
    Figure

    Raises
    ------
    ContractError
        If stimuli are missing from `model`, or a stimulus has no category.
    """
    model, recorded = match_stimuli(_mean_over_subjects(model), _mean_over_subjects(recorded))
    labels = [str(label) for label in recorded["stimulus"].values]
    order, groups = _category_order(labels, categories)
    with _style():
        figure = Figure(figsize=(6.6, 3.6), layout="compressed")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, rdm, name in zip(axes, (model, recorded), names, strict=True):
            ranks = _percentiles(rdm.transpose("stimulus", "stimulus_other").values)
            image = axis.imshow(
                ranks[np.ix_(order, order)], cmap="cividis", vmin=0, vmax=100, interpolation="none"
            )
            axis.set_title(name)
            _draw_groups(axis, groups, len(labels))
        bar = figure.colorbar(image, ax=list(axes), shrink=0.8, aspect=20)
        bar.set_label("dissimilarity (percentile)")
        bar.outline.set_visible(False)
        _write_title(figure, title, note)
    return figure


def save_figure(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("pdf", "svg", "png"),
) -> tuple[Path, ...]:
    """Write a figure in several formats, the same bytes each time.

    Parameters
    ----------
    figure : Figure
    path : path
        Without an ending; ``.pdf``, ``.svg`` and ``.png`` (300 dots an inch) are added.
    formats : sequence of {"pdf", "svg", "png"}

    Returns
    -------
    tuple of Path

    Raises
    ------
    ContractError
        If a format is unknown.
    StorageError
        If a file cannot be written.
    """
    unknown = [kind for kind in formats if kind not in METADATA]
    if unknown:
        raise ContractError(f"save_figure: unknown formats {unknown}, expected {list(METADATA)}.")
    written = []
    for kind in formats:
        target = Path(f"{os.fspath(path)}.{kind}")
        with atomic_write(target) as temporary, _style():
            figure.savefig(temporary, format=kind, metadata=METADATA[kind])
        written.append(target)
    return tuple(written)


def _draw_panel(
    axis: Axes, rows: pd.DataFrame, styles: Mapping[str, BarStyle], value: Value
) -> None:
    """Draw one benchmark: bars, whiskers, ceiling and baseline."""
    scores = score_interval(rows, value).set_index(rows["model"]).reindex(list(styles))
    pairs = zip(styles.values(), scores.to_numpy(), strict=True)
    for place, (style, (score, low, high)) in enumerate(pairs):
        if np.isnan(score):
            axis.text(0, place, " no score", va="center", color=CEILING_EDGE, fontsize=7)
            continue
        axis.barh(
            place,
            score,
            height=0.72,
            color=style.colour,
            hatch=style.hatch,
            edgecolor=style.edge,
            linewidth=0.7,
            zorder=2,
        )
        if not np.isnan(low):
            axis.hlines(place, low, high, color="black", linewidth=1.0, zorder=4)
    scale = 1.0 if value == "raw" else rows["ceiling"]
    _draw_ceiling(axis, rows, [list(styles).index(model) for model in rows["model"]], scale)
    _draw_baseline(axis, rows["baseline"] / scale)
    axis.axvline(0, color="black", linewidth=0.7, zorder=3)
    axis.tick_params(axis="y", length=0)
    if scores["value"].isna().all():
        axis.set_xticks([])
    axis.set_xlabel(_value_label(rows, value))


def _draw_ceiling(
    axis: Axes, rows: pd.DataFrame, places: Sequence[int], scale: float | pd.Series
) -> None:
    """Draw each model's ceiling over the height of its bar, so that equal ones make one band."""
    limits = rows[["ceiling", "ceiling_low", "ceiling_high"]].div(scale, axis=0)
    for place, (ceiling, low, high) in zip(places, limits.to_numpy(dtype=float), strict=True):
        if not np.isnan([low, high]).any():
            band = Rectangle((low, place - 0.5), high - low, 1, color=CEILING_COLOUR, linewidth=0)
            axis.add_patch(band).set_zorder(0)
            axis.vlines([low, high], place - 0.5, place + 0.5, color=CEILING_COLOUR, zorder=0)
        elif not np.isnan(ceiling):
            ends = (place - 0.5, place + 0.5)
            axis.vlines(ceiling, *ends, color=CEILING_EDGE, linewidth=1.5, zorder=1)
    axis.autoscale_view()


def _draw_baseline(axis: Axes, baseline: pd.Series) -> None:
    for place in np.unique(baseline.dropna()):
        axis.axvline(place, color="black", linewidth=0.9, linestyle=":", zorder=5)


def _bar_legend(
    styles: Mapping[str, BarStyle], table: pd.DataFrame, controls: Collection[str]
) -> list[Any]:
    """Explain what the figure holds, and nothing that it does not hold."""
    colour = OKABE_ITO[0]
    networks = [model for model in styles if model not in controls]
    bounded = table[["ceiling_low", "ceiling_high"]].notna().all(axis=1)
    entries = {
        "control": (
            len(networks) < len(styles),
            Patch(facecolor=CONTROL_COLOUR, edgecolor=CONTROL_COLOUR),
        ),
        "untrained": (
            any(model.endswith(UNTRAINED) for model in networks),
            Patch(facecolor=_lighten(colour), edgecolor=colour, hatch="////"),
        ),
        "trained": (
            not all(model.endswith(UNTRAINED) for model in networks),
            Patch(facecolor=colour, edgecolor=colour),
        ),
        "95 % interval over stimuli": (
            bool(table["low"].notna().any()),
            Line2D([], [], color="black", linewidth=1.0),
        ),
        "ceiling, lower to upper bound": (bool(bounded.any()), Patch(facecolor=CEILING_COLOUR)),
        "ceiling": (
            bool((table["ceiling"].notna() & ~bounded).any()),
            Line2D([], [], color=CEILING_EDGE, linewidth=1.5),
        ),
        "baseline": (
            bool(table["baseline"].notna().any()),
            Line2D([], [], color="black", linestyle=":", linewidth=0.9),
        ),
    }
    for label, (_, handle) in entries.items():
        handle.set_label(label)
    return [handle for present, handle in entries.values() if present]


def _layer_grids(table: pd.DataFrame, value: Value) -> dict[str, pd.DataFrame]:
    """Arrange scores as layers by benchmarks, for each model."""
    keys = ["model", "layer", "benchmark"]
    repeated = table[table.duplicated(keys)]
    if len(repeated):
        model, layer, benchmark = repeated[keys].iloc[0]
        raise ContractError(
            f"layer_heat_map: layer '{layer}' of '{model}' has several scores on '{benchmark}'. "
            "Keep one of them."
        )
    scored = table[keys].assign(value=score_interval(table, value)["value"])
    grids = {}
    for model, rows in scored.groupby("model", sort=False):
        grid = rows.pivot(index="layer", columns="benchmark", values="value")
        grids[str(model)] = grid.reindex(index=list(dict.fromkeys(rows["layer"])))
    return grids


def _draw_grid(axis: Axes, grid: pd.DataFrame, limits: tuple[float, float]) -> Any:
    """Draw one model's layers by benchmarks, each cell with its number."""
    scores = grid.to_numpy(dtype=float)
    image = axis.imshow(scores, cmap="cividis", aspect="auto", vmin=limits[0], vmax=limits[1])
    middle = sum(limits) / 2
    for (row, column), score in np.ndenumerate(scores):
        colour = "white" if score < middle else "black"
        shown = "–" if np.isnan(score) else f"{score:.2f}"
        axis.text(column, row, shown, ha="center", va="center", color=colour, fontsize=7)
    for column in range(scores.shape[1]):
        if len(scores) > 1 and not np.isnan(scores[:, column]).all():
            best = int(np.nanargmax(scores[:, column]))
            frame = Rectangle((column - 0.47, best - 0.46), 0.94, 0.92, fill=False)
            axis.add_patch(frame).set(edgecolor=WARNING_COLOUR, linewidth=1.4)
    axis.set_yticks(range(len(grid)), list(grid.index))
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image


def _mean_over_subjects(rdm: xr.DataArray) -> xr.DataArray:
    return rdm.mean("subject") if "subject" in rdm.dims else rdm


def _category_order(
    labels: Sequence[str], categories: Mapping[str, str] | None
) -> tuple[list[int], list[tuple[str, int]]]:
    """Sort stimuli by category; give the order and each category with its number of stimuli."""
    if categories is None:
        return list(range(len(labels))), []
    absent = [label for label in labels if label not in categories]
    if absent:
        raise ContractError(
            f"rdm_pair: {len(absent)} of {len(labels)} stimuli have no category; first: "
            f"'{absent[0]}'. Give every stimulus one."
        )
    names = list(dict.fromkeys(categories[label] for label in labels))
    order = sorted(range(len(labels)), key=lambda i: names.index(categories[labels[i]]))
    counts = [sum(categories[label] == name for label in labels) for name in names]
    return order, list(zip(names, counts, strict=True))


def _percentiles(rdm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace dissimilarities by their percentile among all pairs, ties by the mean; diagonal 0."""
    upper = np.triu_indices(len(rdm), k=1)
    ranks = np.zeros_like(rdm, dtype=np.float64)
    ranks[upper] = 100 * rankdata(rdm[upper]) / len(upper[0])
    return ranks + ranks.T


def _draw_groups(axis: Axes, groups: Sequence[tuple[str, int]], n_stimuli: int) -> None:
    """Separate the categories by lines and name them along both axes."""
    ends = np.cumsum([count for _, count in groups])
    axis.spines[:].set_visible(True)
    axis.tick_params(length=0)
    if not groups:
        axis.set(xticks=[], yticks=[], xlabel=f"{n_stimuli} stimuli")
        return
    for end in ends[:-1]:
        axis.axhline(end - 0.5, color="white", linewidth=0.8)
        axis.axvline(end - 0.5, color="white", linewidth=0.8)
    middles = ends - np.array([count for _, count in groups]) / 2 - 0.5
    names = [name for name, _ in groups]
    axis.set_xticks(middles, names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(middles, names)


def _headings(panels: Sequence[pd.DataFrame]) -> list[str]:
    """Name each benchmark in lines, as many for each: its names, its marks, a missing ceiling."""
    headings = []
    for rows in panels:
        without = rows[["ceiling", "ceiling_high"]].isna().all(axis=None)
        headings.append([*_named(rows), *(["no ceiling"] if without else [])])
    n_lines = max(map(len, headings))
    padded = ([*lines, *[NO_BREAK_SPACE] * (n_lines - len(lines))] for lines in headings)
    return ["\n".join(lines) for lines in padded]


def _column_labels(panels: Sequence[pd.DataFrame]) -> list[str]:
    """Name each benchmark in lines that fit under a column, broken at spaces and underscores."""
    labels = []
    for rows in panels:
        broken = (
            textwrap.wrap(line.replace("_", "_ "), COLUMN_CHARACTERS, break_long_words=False)
            for line in _named(rows)
        )
        labels.append("\n".join(line.replace("_ ", "_") for lines in broken for line in lines))
    return labels


def _named(rows: pd.DataFrame) -> list[str]:
    """Lines that name a benchmark: region and metric, dataset, its marks."""
    dataset, region, metric = rows["benchmark"].iloc[0].split(".", 2)
    return [f"{region}, {metric}", dataset, *filter(None, marks(rows).split(", "))]


def _value_label(rows: pd.DataFrame, value: Value) -> str:
    units = [UNITS.get(unit, unit) for unit in dict.fromkeys(rows["unit"])]
    name = units[0] if len(units) == 1 and units[0] else "score"
    return name if value == "raw" else f"{name} / ceiling"


def _suptitle(figure: Figure, title: str, table: pd.DataFrame) -> None:
    """Set the title, with the marks of all benchmarks or of those that carry them."""
    each = [marks(rows).split(", ") for _, rows in table.groupby("benchmark")]
    found = filter(None, marks(table).split(", "))
    notes = [mark if all(mark in own for own in each) else f"{mark} where marked" for mark in found]
    _write_title(figure, title, ", ".join(notes))


def _write_title(figure: Figure, title: str, note: str) -> None:
    heading = f"{title} ({note})" if title and note else title or note
    if heading:
        figure.suptitle(heading, fontweight="bold")


def _family(model: str) -> str:
    return model.removesuffix(UNTRAINED).rstrip("_- (")


def _lighten(colour: str) -> tuple[float, float, float]:
    red, green, blue = (1 - 0.35 * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def _require_rows(table: pd.DataFrame, asker: str) -> None:
    if table.empty:
        raise ContractError(f"{asker}: the table has no scores. Score at least one model.")


def _style() -> AbstractContextManager[None]:
    return matplotlib.rc_context(STYLE)

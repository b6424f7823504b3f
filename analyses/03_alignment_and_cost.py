"""How close does each rule stay to the gradient as it learns, and what does its accuracy cost?

Reads the CSV files of scripts 01 and 02 and trains nothing. First figure: cosine between a rule's
update and the gradient over training, a panel for each rule, a line for each layer (paler: closer
to the image), mean over seeds. Second figure: test error against CPU time of an epoch, relative to
backprop on the same network, a panel for each family (bars: lowest to highest seed).

    python analyses/03_alignment_and_cost.py --experiment 01_rules_on_mnist
    python analyses/03_alignment_and_cost.py --experiment 02_rules_on_cifar10
"""

import argparse
import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from rule_grid import QUICK, RESULTS
from rule_recipes import NETWORKS
from rule_tables import FAMILIES, ordered, read_angles, read_rows

from brainscore_lite.figures import save_figure
from brainscore_lite.networks.convnet import ConvNet

#: Their CPU time is the unit of the cost.
GRADIENTS = ("backprop", "bptt")
PANELS_IN_A_ROW, FAMILIES_IN_A_ROW = 8, 3
DARK = (
    "#1F77B4", "#D95F02", "#2C8C2C", "#C4262E", "#7E57B2", "#7A4B3A", "#C2428F", "#555555",
    "#8A8B00", "#0E8FA0",
)  # fmt: skip
COLOURS = dict(zip(FAMILIES, DARK, strict=True))
NAMES = {family: family.replace("_", " ") for family in FAMILIES} | {"none": "controls"}
FAINT = "0.85"
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
SHARE_OF_POINTS = 0.42  # of the width of a panel; the rest is for names


def in_words(label: str, width: int) -> str:
    """Write a label on lines of at most so many letters."""
    rule, _, network = label.replace("_", " ").partition("@")
    return "\n".join(textwrap.wrap(f"{rule} ({network})" if network else rule, width))


def shades(colour: str, number: int) -> list[tuple[float, ...]]:
    """Return a colour for each layer, from pale to full."""
    full = np.array(to_rgb(colour))
    return [tuple(1 - (1 - full) * share) for share in np.linspace(1, 0.35, number)[::-1]]


def by_depth(layers: Iterable[str], network: str) -> list[str]:
    """Sort the layers of a network from the image to the readout."""
    settings = NETWORKS[network]
    if not isinstance(settings, ConvNet):
        return list(layers)
    places = [area.name for area in settings.single_areas]
    return sorted(layers, key=places.index)


def alignment_figure(angles: pd.DataFrame) -> Figure:
    """Draw the cosine over epochs: a panel for each rule, a line for each layer."""
    extra = (angles["rule"] == "backprop") & (angles["network"] != angles["network"].iloc[0])
    shown = ordered(angles[~extra], by="epoch")
    labels = list(dict.fromkeys(shown["label"]))
    n_rows = -(-len(labels) // PANELS_IN_A_ROW)
    figure = Figure(figsize=(11, 0.6 + 1.42 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, PANELS_IN_A_ROW, sharey=True, squeeze=False).flatten()
    for axis in axes[len(labels) :]:
        axis.set_visible(False)
    family = ""
    for axis, label in zip(axes, labels, strict=False):
        own = shown[shown["label"] == label]
        before, family = family, own["family"].iloc[0]
        course = own.pivot_table(index="epoch", columns="layer", values="cosine")
        course = course[by_depth(course.columns, own["network"].iloc[0])]
        for colour, (layer, values) in zip(
            shades(COLOURS[family], course.shape[1]), course.items(), strict=True
        ):
            axis.plot(values.index, values, color=colour, label=layer, lw=1.3)
        _frame(axis, label if own["rule"].iloc[0] != "backprop" else "backprop", family)
        axis.set_xlim(0, max(course.index.max(), 1))
        if family != before:
            axis.annotate(
                NAMES[family].upper(), (0, 1), (-2, 26), xycoords="axes fraction", fontsize=6.5,
                textcoords="offset points", color=COLOURS[family], weight="bold",
            )  # fmt: skip
    figure.supxlabel("epoch (a line for each layer, paler towards the image)", fontsize=8)
    figure.supylabel("cosine between update and gradient", fontsize=8)
    return figure


def _frame(axis: Axes, label: str, family: str) -> None:
    axis.axhline(0, color=FAINT, zorder=0, lw=0.8)
    axis.axhline(1, color=FAINT, zorder=0, lw=0.8)
    axis.set(ylim=(-1.05, 1.1), yticks=(-1, 0, 1))
    axis.set_title(in_words(label, 24), fontsize=6.5, color=COLOURS[family], loc="left", pad=3)
    axis.tick_params(labelsize=6, length=2)
    axis.xaxis.get_major_locator().set_params(integer=True, nbins=3)
    axis.spines[["top", "right"]].set_visible(False)


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds: error, and CPU time of an epoch in that of backprop's."""
    per_epoch = rows["cpu_seconds"] / rows["epochs"].where(rows["epochs"] > 0)
    units = per_epoch[rows["rule"].isin(GRADIENTS)].groupby(rows["network"]).mean()
    each = rows.assign(cost=per_epoch / rows["network"].map(units))
    groups = each.groupby("label", sort=False)
    return groups.agg(
        cost=("cost", "mean"),
        error=("test_error", "mean"),
        low=("test_error", "min"),
        high=("test_error", "max"),
        family=("family", "first"),
    )


def cost_figure(rows: pd.DataFrame) -> Figure:
    """Draw test error against cost: a panel for each family, all others in grey."""
    every = costs(rows)
    means, left_out = every.dropna(subset="cost"), every[every["cost"].isna()]
    families = [family for family in FAMILIES if family in set(means["family"])]
    n_rows = -(-len(families) // FAMILIES_IN_A_ROW)
    figure = Figure(figsize=(11, 0.8 + 2.4 * n_rows), layout="constrained")
    axes = figure.subplots(
        n_rows, FAMILIES_IN_A_ROW, sharex=True, sharey=True, squeeze=False
    ).flatten()
    _scale(axes[0], means)
    for axis in axes[len(families) :]:
        axis.set_visible(False)
    for axis, family in zip(axes, families, strict=False):
        own, colour = means[means["family"] == family], COLOURS[family]
        axis.scatter(means["cost"], means["error"], color=FAINT, s=10, lw=0, zorder=1)
        axis.vlines(own["cost"], own["low"], own["high"], color=colour, lw=1)
        axis.scatter(own["cost"], own["error"], color=colour, s=18, lw=0, zorder=3)
        axis.axvline(1, color=FAINT, lw=0.8, zorder=0)
        axis.set_title(NAMES[family], fontsize=9, color=colour, loc="left")
        axis.tick_params(labelsize=7, labelbottom=True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines["bottom"].set_bounds(*_range(means["cost"]))
        _name(axis, own)
    label = "CPU time of an epoch, relative to backprop on the same network"
    if len(left_out):
        names = ", ".join(in_words(label, 99) for label in left_out.index)
        note = f"Not shown, without training or without backprop on the same network: {names}."
        label = "\n".join((label, *textwrap.wrap(note, 150)))
    figure.supxlabel(label, fontsize=8)
    figure.supylabel("test error (%)", fontsize=8)
    return figure


def _range(costs: pd.Series) -> tuple[float, float]:
    return costs.min() / 1.2, costs.max() * 1.2


def _scale(axis: Axes, means: pd.DataFrame) -> None:
    """Set the axes that all panels share; names stand right of the highest cost."""
    low, high = _range(means["cost"])
    axis.set(xscale="log", xlim=(low, low * (high / low) ** (1 / SHARE_OF_POINTS)))
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    if means["error"].max() > 5 * means["error"].min():
        axis.set(yscale="log", ylim=(0.75 * means["low"].min(), 1.25 * means["high"].max()))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_yticks([], minor=True)


def _name(axis: Axes, points: pd.DataFrame) -> None:
    """Write the names in a column right of the points, none over another, with thin leaders."""
    ordered_points = points.sort_values("error")
    pixels = axis.transData.transform(ordered_points[["cost", "error"]].to_numpy())
    heights = axis.transAxes.inverted().transform(pixels)[:, 1]
    for (label, point), height in zip(ordered_points.iterrows(), spread(heights), strict=True):
        colour = COLOURS[point["family"]]
        axis.annotate(
            in_words(str(label), 99), (point["cost"], point["error"]),
            (SHARE_OF_POINTS + 0.04, height), textcoords="axes fraction",
            fontsize=6.5, va="center", color=colour,
            arrowprops={
                "arrowstyle": "-", "lw": 0.4, "color": colour, "alpha": 0.6,
                "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5),
            },
        )  # fmt: skip


def spread(wished: np.ndarray, *, gap: float = 0.065) -> np.ndarray:
    """Move sorted heights between 0 and 1 apart, each as little as its neighbours allow."""
    steps = gap * np.arange(len(wished))
    # With the gaps taken out, heights that are too close form blocks that share their mean.
    blocks: list[list[float]] = []
    for value in wished - steps:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    flat = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    return np.clip(flat, 0.06, max(0.06, 0.97 - steps[-1])) + steps


def main() -> None:
    """Draw both figures for an experiment."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--experiment", default="01_rules_on_mnist")
    parser.add_argument("--input", type=Path, default=RESULTS, help="where the CSV files are")
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--formats", nargs="+", default=["svg"], choices=("svg", "png", "pdf"))
    parser.add_argument("--quick", action="store_true", help="write to results/quick")
    arguments = parser.parse_args()
    output = arguments.output or (QUICK if arguments.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    file = arguments.input / f"{arguments.experiment}.csv"
    rows = read_rows(file)
    angles = read_angles(file, file.with_name(f"{file.stem}_alignment.csv"))
    number = arguments.experiment.partition("_")[2]
    for name, figure in (("alignment", alignment_figure(angles)), ("cost", cost_figure(rows))):
        save_figure(figure, output / f"03_{name}_{number}", formats=arguments.formats)


if __name__ == "__main__":
    main()

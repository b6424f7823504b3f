"""How close does each rule stay to the gradient as it learns, and what does its accuracy cost?

Reads the CSV files of scripts 01 and 02 and trains nothing. First figure: cosine between a rule's
update and the gradient over training, a panel for each rule, a line for each layer. Second figure:
test error against CPU time of training, relative to backprop on the same network.

    python analyses/03_alignment_and_cost.py --experiment 02_rules_on_cifar10
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from rule_grid import RESULTS

mpl.use("Agg")

COLUMNS_OF_PANELS = 7
FAMILIES = (
    "transport", "perturbation", "hebbian", "energy", "predictive_coding", "target", "local",
    "self_supervised", "temporal", "none",
)  # fmt: skip
COLOURS = dict(zip(FAMILIES, plt.get_cmap("tab10").colors, strict=True))


def alignment_figure(angles: pd.DataFrame, rules: list[str]) -> plt.Figure:
    """Draw the cosine over epochs: a panel for each rule, a line for each layer, seeds averaged."""
    rows = -(-len(rules) // COLUMNS_OF_PANELS)
    figure, axes = plt.subplots(
        rows, COLUMNS_OF_PANELS, figsize=(2.0 * COLUMNS_OF_PANELS, 1.6 * rows),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(rules) :]:
        axis.set_visible(False)
    for axis, rule in zip(axes.flat, rules, strict=False):
        own = angles[angles["rule"] == rule]
        course = own.pivot_table(index="epoch", columns="layer", values="cosine", sort=False)
        shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, course.shape[1]))
        for colour, (layer, values) in zip(shades, course.items(), strict=True):
            axis.plot(values.index, values, marker=".", color=colour, label=layer)
        axis.axhline(0, color="0.8", zorder=0)
        axis.set_ylim(-0.5, 1.05)
        axis.set_title(rule.replace("_", " "), fontsize=7)
        axis.tick_params(labelsize=6)
        axis.legend(fontsize=5, frameon=False, loc="lower right")
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("cosine of update and gradient", fontsize=9)
    return figure


def cost_figure(table: pd.DataFrame) -> plt.Figure:
    """Draw test error against CPU time per image, backprop on the same network being 1."""
    per_image = table["cpu_seconds"] / table["epochs"].where(table["epochs"] > 0)
    backprop = table["rule"] == "backprop"
    unit = per_image[backprop].groupby(table["network"]).mean()
    shown = table.assign(cost=per_image / table["network"].map(unit)).dropna(subset="cost")
    means = shown.groupby("rule", sort=False).agg(
        cost=("cost", "mean"), error=("test_error", "mean"), family=("family", "first")
    )
    figure, axis = plt.subplots(figsize=(8, 5.5), layout="constrained")
    for rule, row in means.iterrows():
        axis.scatter(row["cost"], row["error"], color=COLOURS[row["family"]], s=22, zorder=3)
        axis.annotate(
            str(rule).replace("_", " "), (row["cost"], row["error"]), fontsize=6,
            xytext=(3, 3), textcoords="offset points",
        )  # fmt: skip
    for family in dict.fromkeys(means["family"]):
        axis.scatter([], [], color=COLOURS[family], label=family.replace("_", " "))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("CPU time per epoch, relative to backprop on the same network")
    axis.set_ylabel("test error (%)")
    axis.legend(fontsize=7, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Draw both figures for an experiment."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--experiment", default="01_rules_on_mnist")
    parser.add_argument("--input", type=Path, default=RESULTS, help="where the CSV files are")
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="write to results/quick")
    arguments = parser.parse_args()
    output = arguments.output or (Path("results/quick") if arguments.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(arguments.input / f"{arguments.experiment}.csv")
    angles = pd.read_csv(arguments.input / f"{arguments.experiment}_alignment.csv")
    number = arguments.experiment.partition("_")[2]
    order = table.sort_values("family", key=lambda f: f.map(FAMILIES.index), kind="stable")
    rules = [rule for rule in dict.fromkeys(order["rule"]) if rule in set(angles["rule"])]
    for name, figure in (
        ("alignment", alignment_figure(angles, rules)),
        ("cost", cost_figure(table)),
    ):
        figure.savefig(output / f"03_{name}_{number}.svg")
        plt.close(figure)


if __name__ == "__main__":
    main()

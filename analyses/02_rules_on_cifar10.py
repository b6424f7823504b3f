"""How well does every learning rule train one and the same convolutional network on CIFAR-10?

All rules that can train it share the network `matched_v1_it` (bounded activations, average pooling,
no normalisation) on the JPEG copy of CIFAR-10; twelve rules have three seeds, the others one. Rules
that follow backprop's gradient exactly are one model with it and are not trained again. Checkpoints
before and after training are kept for the neural scores (script 08).

    python analyses/02_rules_on_cifar10.py --jobs 2 --hours 2   # resumable; again for what is left
    python analyses/02_rules_on_cifar10.py --table-only
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from rule_grid import Cell, Experiment, run_script
from rule_recipes import NETWORKS, TWELVE, Recipe
from rule_tables import (
    cost,
    markdown,
    number,
    ordered,
    own_settings,
    unless_said_otherwise,
    warned,
    without_row,
)

from brainscore_lite.learning_rules import LEARNING_RULES, distinct

NETWORK = "matched_v1_it"
SEEDS = (0, 1, 2)


def cells(found: Mapping[str, Recipe], asked: Sequence[str]) -> list[Cell]:
    """Return what is trained: seeds before rules, so that every rule has one seed first."""
    models = distinct(LEARNING_RULES[recipe.rule] for recipe in found.values())
    names = asked or [
        name
        for name, recipe in found.items()
        if recipe.rule in models
        and LEARNING_RULES[recipe.rule].supports(NETWORKS[recipe.network]).ok
    ]
    return [
        (found[name], seed)
        for seed in SEEDS
        for name in names
        if seed == SEEDS[0] or found[name].rule in TWELVE
    ]


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over the seeds of each network, with the lowest and the highest error."""
    settings = rows.assign(own=rows.apply(own_settings, axis=1))
    means = settings.groupby(["family", "label", "network"], sort=False).agg(
        seeds=("seed", "size"),
        epochs=("epochs", "first"),
        seconds=("cpu_seconds", "mean"),
        test_error=("test_error", "mean"),
        lowest=("test_error", "min"),
        highest=("test_error", "max"),
        settings=("own", "first"),
    )
    return ordered(means.reset_index())


def absent(rows: pd.DataFrame, found: Mapping[str, Recipe]) -> str:
    """Write why the other rules are not in the table."""
    rules = {recipe.rule for recipe in found.values()}
    exact, without_recipe, refused = [], [], []
    for name, rule in LEARNING_RULES.items():
        support = rule.supports(NETWORKS[NETWORK])
        if name in set(rows["rule"]):
            continue
        if not support.ok:
            refused.append(f"* {name}: {support.reason}")
        elif rule.exactness == "bp":
            exact.append(name)
        elif name not in rules:
            without_recipe.append(name)
    parts = (
        exact and f"One model with backprop, whose gradient they follow: {', '.join(exact)}.",
        without_recipe and f"No recipe here: {', '.join(without_recipe)}.",
        refused and f"Cannot train `{NETWORK}`:\n\n" + "\n".join(refused),
    )
    return "\n\n".join(part for part in parts if part)


def report(rows: pd.DataFrame, found: Mapping[str, Recipe]) -> str:
    """Write the table, what it cost and what is not in it."""
    shown = over_seeds(rows)
    spread = shown["lowest"].map(number) + " to " + shown["highest"].map(number)
    table = pd.DataFrame(
        {
            "family": shown["family"],
            "rule": shown["label"],
            "seeds": shown["seeds"],
            "epochs": shown["epochs"],
            "CPU s": shown["seconds"].round().astype(int),
            "test error (%)": shown["test_error"].map(number),
            "over seeds": spread.where(shown["seeds"] > 1, ""),
            "settings": shown["settings"],
        }
    )
    parts = (
        f"{unless_said_otherwise('cifar10')} CPU s: mean over seeds. {cost(rows)}",
        markdown(table),
        without_row(cells(found, ()), rows),
        absent(rows, found),
        warned(rows),
    )
    return "\n\n".join(part for part in parts if part)


EXPERIMENT = Experiment(
    name="02_rules_on_cifar10",
    recipes="cifar10",
    images="cifar10_jpeg",
    cells=cells,
    report=report,
    trial=("backprop",),
)

if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)

"""How well does every learning rule train on MNIST, and at what cost?

Each rule trains on all 60 000 images with the recipe in `recipes.toml` (network, settings, epochs),
seed 0, one thread; the test error stands beside the published one where the paper has MNIST, and
else beside that of backprop (through time, where the network is recurrent) on the same network.
Differences in network and epochs are in the table: a row compares the rule with its source, not
one rule with another.

    python analyses/01_rules_on_mnist.py --jobs 2      # every rule not yet in the CSV
    python analyses/01_rules_on_mnist.py --table-only  # rebuild the table from the CSV
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from rule_grid import Cell, Experiment, run_script
from rule_recipes import Recipe
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

SEED = 0
#: Backprop, and its form for recurrent networks.
GRADIENTS = ("backprop", "bptt")


def cells(found: Mapping[str, Recipe], asked: Sequence[str]) -> list[Cell]:
    """Return what is trained: one seed of each recipe."""
    return [(found[name], SEED) for name in asked or found]


def with_references(rows: pd.DataFrame) -> pd.DataFrame:
    """Add what a rule's error is compared with: the published error, or backprop's here."""
    ours = rows[rows["rule"].isin(GRADIENTS)].drop_duplicates("network").set_index("network")
    published = rows["published_error"].notna()
    error = rows["published_error"].fillna(rows["network"].map(ours["test_error"]))
    named = "our " + rows["network"].map(ours["rule"]) + ", same network"
    source = rows["source"].where(published, named.fillna("none"))
    return rows.assign(reference_error=error, reference=source)


def report(rows: pd.DataFrame, found: Mapping[str, Recipe]) -> str:
    """Write the table, what it cost and what is not in it."""
    shown = ordered(with_references(rows))
    table = pd.DataFrame(
        {
            "family": shown["family"],
            "rule": shown["rule"],
            "network": shown["network"],
            "epochs": shown["epochs"],
            "CPU s": shown["cpu_seconds"].round().astype(int),
            "test error (%)": shown["test_error"].map(number),
            "reference (%)": shown["reference_error"].map(number),
            "difference": (shown["test_error"] - shown["reference_error"]).map(number),
            "reference is": shown["reference"],
            "settings": shown.apply(own_settings, axis=1),
        }
    )
    parts = (
        f"{unless_said_otherwise('mnist')} {cost(rows)}",
        markdown(table),
        without_row(cells(found, ()), rows),
        warned(shown),
    )
    return "\n\n".join(part for part in parts if part)


EXPERIMENT = Experiment(
    name="01_rules_on_mnist",
    recipes="mnist",
    images="mnist",
    cells=cells,
    report=report,
    trial=("backprop", "untrained"),
)

if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)

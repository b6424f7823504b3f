"""How well does every learning rule train on MNIST, and at what cost?

Each rule trains on all 60 000 images with the recipe in `recipes.toml` (network, settings, epochs),
seed 0, one thread; the test error stands beside the published one where the paper has MNIST, and
else beside that of backprop on the same network. Differences in network and epochs are in the
table: a row compares the rule with its source, not one rule with another.

    python analyses/01_rules_on_mnist.py --jobs 2      # every rule not yet in the CSV
    python analyses/01_rules_on_mnist.py --table-only  # rebuild the table from the CSV
"""

import argparse
from pathlib import Path

import pandas as pd
from rule_grid import RESULTS, markdown, quickened, recipes, run_grid

NAME = "01_rules_on_mnist"
IMAGES = "mnist"
SEED = 0
N_IMAGES_OF_A_TRIAL = 256
RULES_OF_A_TRIAL = ("backprop", "untrained")
COLUMNS = (
    "rule", "network", "epochs", "cpu_seconds", "test_error", "reference_error", "difference",
    "reference", "settings",
)  # fmt: skip


def with_references(table: pd.DataFrame) -> pd.DataFrame:
    """Add what a rule's error is compared with: the published error, or backprop's here."""
    backprop = table[table["rule"] == "backprop"].groupby("network")["test_error"].first()
    ours = table["network"].map(backprop)
    reference = table["published_error"].fillna(ours)
    return table.assign(
        reference_error=reference,
        difference=(table["test_error"] - reference).round(2),
        reference=table["source"].where(table["published_error"].notna(), "our backprop, same net"),
    )


def main() -> None:
    """Train what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rules", nargs="*", default=None, help="only these")
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--hours", type=float, default=5.0, help="begin no run after so long")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two rules, few images, one epoch")
    arguments = parser.parse_args()
    found = recipes("mnist")
    output = arguments.output or (Path("results/quick") if arguments.quick else RESULTS)
    chosen = RULES_OF_A_TRIAL if arguments.quick else arguments.rules or tuple(found)
    wanted = [(found[rule], SEED) for rule in chosen if not arguments.table_only]
    if arguments.quick:
        wanted = [(quickened(recipe), seed) for recipe, seed in wanted]
    table = run_grid(
        wanted,
        images=IMAGES,
        output=output,
        name=NAME,
        jobs=arguments.jobs,
        hours=arguments.hours,
        n_images=N_IMAGES_OF_A_TRIAL if arguments.quick else None,
    )
    if table.empty:
        parser.exit(1, "nothing was trained, so there is no table\n")
    text = markdown(with_references(table), COLUMNS)
    (output / f"{NAME}.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""How well does every learning rule train one and the same convolutional network on CIFAR-10?

All rules that can train it share the network `matched_v1_it` (bounded activations, average pooling,
no normalisation) on the JPEG copy of CIFAR-10; twelve rules have three seeds, the others one. Rules
that follow backprop's gradient exactly are one model with it and are not trained again. Checkpoints
before and after training are kept for the neural scores (script 08).

    python analyses/02_rules_on_cifar10.py --jobs 2 --hours 2   # resumable; again for what is left
    python analyses/02_rules_on_cifar10.py --table-only
"""

import argparse
from pathlib import Path

import pandas as pd
from rule_grid import RESULTS, TWELVE, markdown, quickened, recipes, run_grid

from brainscore_lite.learning_rules import LEARNING_RULES, distinct

NAME = "02_rules_on_cifar10"
IMAGES = "cifar10_jpeg"
SEEDS = (0, 1, 2)
N_IMAGES_OF_A_TRIAL = 256
RULES_OF_A_TRIAL = ("backprop",)
COLUMNS = ("rule", "seeds", "epochs", "cpu_seconds", "test_error", "lowest", "highest", "settings")


def by_rule(table: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds, with the lowest and the highest."""
    groups = table.groupby("rule", sort=False)
    return (
        groups.agg(
            seeds=("seed", "size"),
            epochs=("epochs", "first"),
            cpu_seconds=("cpu_seconds", "mean"),
            test_error=("test_error", "mean"),
            lowest=("test_error", "min"),
            highest=("test_error", "max"),
            settings=("settings", "first"),
        )
        .round(2)
        .sort_values("test_error")
        .reset_index()
    )


def main() -> None:
    """Train what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rules", nargs="*", default=None, help="only these")
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--hours", type=float, default=5.0, help="begin no run after so long")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one rule, few images, one epoch")
    arguments = parser.parse_args()
    found = recipes("cifar10")
    models = distinct(LEARNING_RULES[rule] for rule in found)
    output = arguments.output or (Path("results/quick") if arguments.quick else RESULTS)
    chosen = RULES_OF_A_TRIAL if arguments.quick else arguments.rules or tuple(models)
    wanted = [
        (found[rule], seed)
        for seed in (SEEDS[:1] if arguments.quick else SEEDS)
        for rule in chosen
        if (seed == SEEDS[0] or rule in TWELVE) and not arguments.table_only
    ]
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
    text = markdown(by_rule(table), COLUMNS)
    (output / f"{NAME}.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

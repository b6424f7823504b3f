"""Which learning rule gives one and the same network the representations of visual cortex?

Scores the networks of script 02 (twelve rules, three seeds, before and after training) on the
recordings of the demo, layer chosen on stimuli kept apart. The table has the mean over seeds and
its spread; "gain" is trained minus the same seed before training, so its spread is over seeds too.
Three seeds say little about small differences: read the spread first.

    python analyses/02_rules_on_cifar10.py --jobs 2      # first: trains the networks
    python analyses/08_neural_scores_of_rules.py --jobs 2
"""

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rule_grid import RESULTS, TWELVE, Recipe, markdown, recipes, run_folder
from threadpoolctl import threadpool_limits

from brainscore_lite.benchmarks import benchmark
from brainscore_lite.demo import RECORDED, SIMULATED
from brainscore_lite.networks.architectures import SMALL_CNN
from brainscore_lite.seeding import torch_generator
from brainscore_lite.studies import score_model
from brainscore_lite.training import TrainedModel

NAME = "08_neural_scores_of_rules"
SEEDS = (0, 1, 2)
N_DRAWS, N_DRAWS_OF_A_TRIAL = 200, 10
KEPT = ("benchmark", "layer", "raw", "low", "high", "ceiling", "ceiling_low", "ceiling_high")


def rows_of(recipe: Recipe, seed: int, when: str) -> list[dict[str, Any]]:
    """Score a network before or after its training against the recordings."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        model = TrainedModel.load(run_folder(recipe, seed), epoch=0 if when == "before" else None)
        targets = [benchmark(name, n_draws=N_DRAWS) for name in RECORDED]
        found = [score.to_row() for score in score_model(model, *targets, seed=seed)]
    own = {"rule": recipe.rule, "seed": seed, "when": when, "epoch": model.epoch}
    accuracy = {"test_error": 100 * (1 - model.accuracies["test"])}
    return [{**own, **accuracy, **{key: row[key] for key in KEPT}} for row in found]


def trial() -> list[dict[str, Any]]:
    """Score one untrained network against the simulated recording."""
    network = SMALL_CNN.build(torch_generator(0, "network"))
    target = benchmark(SIMULATED[1], n_draws=N_DRAWS_OF_A_TRIAL)
    row = score_model(network, target)[0].to_row()
    own = {"rule": "untrained", "seed": 0, "when": "before", "epoch": 0, "test_error": 90.0}
    return [{**own, **{key: row[key] for key in KEPT}}]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds of each score after training, and of the gain."""
    wide = table.pivot_table(index=["rule", "benchmark", "seed"], columns="when", values="raw")
    after = wide.get("after", wide["before"])
    each = pd.DataFrame({"score": after, "gain": after - wide["before"]}).reset_index()
    groups = each.groupby(["rule", "benchmark"], sort=False)[["score", "gain"]]
    mean, spread, number = groups.mean(), groups.std().fillna(0.0), groups.size()
    cells = {
        key: [
            f"{m:.3f} ± {s:.3f} ({g:+.3f} ± {d:.3f}; {n} seeds)"
            for m, s, g, d, n in zip(
                mean["score"], spread["score"], mean["gain"], spread["gain"], number, strict=True
            )
        ]
        for key in ("cell",)
    }
    shown = pd.DataFrame(cells, index=mean.index).reset_index()
    return shown.pivot_table(
        index="rule", columns="benchmark", values="cell", aggfunc="first", sort=False
    ).reset_index()


def main() -> None:
    """Score what is trained and not yet in the CSV, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time, one thread each")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a simulated recording, no training")
    arguments = parser.parse_args()
    output = arguments.output or (Path("results/quick") if arguments.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    file, console = output / f"{NAME}.csv", Console(stderr=True)
    kept = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["rule", "seed", "when"])
    if arguments.quick:
        kept = pd.DataFrame(trial())
        kept.to_csv(file, index=False)
    done = set(kept[["rule", "seed", "when"]].itertuples(index=False, name=None))
    found = {} if arguments.quick or arguments.table_only else recipes("cifar10")
    with ProcessPoolExecutor(max_workers=arguments.jobs) as pool:
        cells = {
            pool.submit(rows_of, found[rule], seed, when): (rule, seed, when)
            for seed in SEEDS
            for rule in TWELVE
            for when in ("before", "after")
            if rule in found and (rule, seed, when) not in done
            if (run_folder(found[rule], seed) / "weights.safetensors").is_file()
        }
        for cell in as_completed(cells):
            rows = pd.DataFrame(cell.result())
            rows.to_csv(file, mode="a", header=not file.exists(), index=False)
            console.print(f"{cells[cell]}: " + ", ".join(f"{raw:.3f}" for raw in rows["raw"]))
    table = summary(pd.read_csv(file))
    text = markdown(table, list(table.columns))
    (output / f"{NAME}.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Do lateral and feedback connections make a network predict V4 and IT better, step by step?

The networks of `wirings.py` for natural images (B, BL, BT, BLT and feedforward controls with as
many parameters as BLT) are trained alike on CIFAR-10 (JPEG copy), 5 epochs, three seeds, errors
from every step. Each step is scored against the recordings of the demo, its layer chosen on stimuli
kept apart from scoring; a feedforward network has one step. Reported are the first and the last
step, and their difference seed by seed; few seeds say little about small differences.

Full run: about 100 CPU minutes to train a seed of all seven networks, and 2 CPU minutes to score a
recurrent one; it goes on where it stopped.

    python analyses/14_neural_scores_over_steps.py --jobs 2 --hours 2
    python analyses/14_neural_scores_over_steps.py --figure-only
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from rule_grid import QUICK, RESULTS, run_folder, run_grid
from rule_recipes import recipes
from rule_tables import markdown
from threadpoolctl import threadpool_limits
from wirings import WIRINGS, wired_networks

from brainscore_lite.benchmarks import benchmark
from brainscore_lite.demo import RECORDED, SIMULATED
from brainscore_lite.networks import Model
from brainscore_lite.seeding import torch_generator
from brainscore_lite.studies import score_model
from brainscore_lite.studies.scoring import Recording
from brainscore_lite.training import TrainedModel

NAME = "14_neural_scores_over_steps"
EXPERIMENT = "cifar10_wirings"
SEEDS = (0, 1, 2)
N_DRAWS, N_DRAWS_OF_A_TRIAL = 200, 10
KEPT = ("benchmark", "layer", "raw", "low", "high", "ceiling")
OWN = ("network", "seed", "step", "test_error")


def folder(wiring: str, seed: int) -> Path:
    """Return where a network is kept."""
    return run_folder(recipes(EXPERIMENT)[f"bptt@natural_{wiring}"], seed)


def scores(
    model: Model, names: tuple[str, ...], *, n_draws: int, layer: str = "auto"
) -> pd.DataFrame:
    """Score every step of a model."""
    targets = [benchmark(name, n_draws=n_draws) for name in names]
    rows = []
    with threadpool_limits(1):
        for step in range(model.n_steps):
            recording = Recording(step=step if model.n_steps > 1 else None)
            found = score_model(model, *targets, layer=layer, recording=recording)
            rows += [{**score.to_row(), "step": step} for score in found]
    return pd.DataFrame(rows)[[*KEPT, "step"]]


def score_missing(file: Path) -> None:
    """Score what is trained and not yet in the CSV."""
    done = set()
    if file.exists():
        done = set(pd.read_csv(file)[["network", "seed"]].itertuples(index=False, name=None))
    for seed in SEEDS:
        for wiring in WIRINGS:
            where = folder(wiring, seed)
            if (wiring, seed) not in done and (where / "weights.safetensors").is_file():
                model = TrainedModel.load(where)
                error = round(100 * (1 - model.accuracies["test"]), 3)
                rows = scores(model, RECORDED, n_draws=N_DRAWS)
                rows = rows.assign(network=wiring, seed=seed, test_error=error)[[*OWN, *KEPT]]
                rows.to_csv(file, mode="a", header=not file.exists(), index=False)
                print(f"{wiring} seed {seed}: scored", flush=True)


def quick(file: Path) -> None:
    """Score an untrained network against the simulated recording."""
    model = wired_networks()["natural_bl"].build(torch_generator(0, "network"))
    model.n_steps = 2
    rows = scores(model, SIMULATED[3:], n_draws=N_DRAWS_OF_A_TRIAL, layer="IT")
    rows.assign(network="bl", seed=0, test_error=90.0)[[*OWN, *KEPT]].to_csv(file, index=False)


def table(rows: pd.DataFrame) -> str:
    """Write first and last step, and their difference, mean and deviation over seeds."""
    last = rows[rows["step"] == rows.groupby("network")["step"].transform("max")]
    both = last.merge(
        rows[rows["step"] == 0], on=["network", "seed", "benchmark"], suffixes=("", "_first")
    )
    both = both.assign(gain=both["raw"] - both["raw_first"])
    order = [wiring for wiring in WIRINGS if wiring in set(rows["network"])]
    lines = []
    for wiring in order:
        own = both[both["network"] == wiring]
        costs = wired_networks()[f"natural_{wiring}"].costs()
        line = {
            "network": wiring,
            "parameters": f"{costs.parameters:,}",
            "MFLOP": f"{costs.flops / 1e6:.0f}",
            "seeds": str(own["seed"].nunique()),
            "test error (%)": f"{own['test_error'].mean():.1f}",
        }
        for name, found in own.groupby("benchmark", sort=False):
            spread = found["raw"].std()
            said = f"{found['raw'].mean():.3f}" + (f" ± {spread:.3f}" if len(found) > 1 else "")
            change = f" ({found['gain'].mean():+.3f})" if rows["step"].max() and wiring in (
                "bl", "bt", "blt"
            ) else ""  # fmt: skip
            line[str(name)] = said + change
        lines.append(line)
    note = "Last step, mean ± standard deviation over seeds; in brackets last step minus first."
    return f"{note}\n\n{markdown(pd.DataFrame(lines))}"


def figure(rows: pd.DataFrame) -> Figure:
    """Draw the score by step for each recording; controls as lines across."""
    names = list(dict.fromkeys(rows["benchmark"]))
    size = (3 * len(names), 3.2)
    made, axes = plt.subplots(1, len(names), figsize=size, layout="constrained", squeeze=False)
    colours = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
    for axis, name in zip(axes[0], names, strict=True):
        for wiring, colour in zip(WIRINGS, colours, strict=False):
            own = rows[(rows["benchmark"] == name) & (rows["network"] == wiring)]
            if own.empty:
                continue
            mean = own.groupby("step")["raw"].mean()
            if len(mean) == 1:
                axis.axhline(mean.iloc[0], color=colour, ls="--", lw=1, label=wiring)
            else:
                axis.plot(mean.index + 1, mean, "o-", color=colour, label=wiring)
            axis.plot(own["step"] + 1, own["raw"], ".", color=colour, alpha=0.4)
        axis.set(title=name.replace(".", "\n", 1), xlabel="step", ylabel="score")
        axis.title.set_fontsize(8)
    axes[0][-1].legend(frameon=False, fontsize=7, bbox_to_anchor=(1, 1), loc="upper left")
    return made


def main() -> None:
    """Train and score what is missing, and write the table and the figure."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
    parser.add_argument("--hours", type=float, default=5.0, help="begin no training after so long")
    parser.add_argument("--quick", action="store_true", help="a simulated recording, no training")
    parser.add_argument("--figure-only", action="store_true", help="from the CSV of earlier runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    output = given.output or (QUICK if given.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"{NAME}.csv"
    if given.quick:
        quick(file)
    elif not given.figure_only:
        found = recipes(EXPERIMENT)
        cells = [(found[f"bptt@natural_{wiring}"], seed) for seed in SEEDS for wiring in WIRINGS]
        print(
            run_grid(
                cells, images="cifar10_jpeg", output=output, name=f"{NAME}_runs",
                jobs=given.jobs, hours=given.hours,
            )
        )  # fmt: skip
        score_missing(file)
    if not file.exists():
        parser.exit(1, "no network is scored yet; the same command goes on\n")
    rows = pd.read_csv(file)
    file.with_suffix(".md").write_text(table(rows) + "\n", encoding="utf-8")
    figure(rows).savefig(file.with_suffix(".svg"))
    print(table(rows))


if __name__ == "__main__":
    main()

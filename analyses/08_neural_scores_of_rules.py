"""Which learning rule gives one and the same network the representations of visual cortex?

Scores the networks of script 02 (twelve rules, three seeds, before and after training) on the
recordings of the demo, layer chosen on stimuli kept apart. Rules of one seed begin with the same
weights, so their networks before training are the same model wherever they also answer the same
way; each such model is scored once, and the row "untrained" counts it once for each seed. A rule
whose network answers by dynamics of its own has its own row of the untrained control. "Gain" is
trained minus the same seed before training. Means and standard deviations are over seeds, and
three seeds say little about small differences: read the spread first. The CSV holds the layer and
the 95 % interval over stimuli of each score. About 20 CPU seconds a network, 40 networks.

    python analyses/02_rules_on_cifar10.py --jobs 2      # first: trains the networks
    python analyses/08_neural_scores_of_rules.py --jobs 2
"""

import argparse
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.console import Console
from rule_grid import QUICK, RESULTS, run_folder
from rule_recipes import TWELVE, recipes
from rule_tables import markdown, number
from threadpoolctl import threadpool_limits

from brainscore_lite.benchmarks import benchmark
from brainscore_lite.configuration import digest, digest_bytes
from brainscore_lite.demo import RECORDED, SIMULATED
from brainscore_lite.networks import Model
from brainscore_lite.networks.architectures import SMALL_CNN
from brainscore_lite.seeding import torch_generator
from brainscore_lite.studies import score_model
from brainscore_lite.training import TrainedModel

NAME = "08_neural_scores_of_rules"
SEEDS = (0, 1, 2)
N_DRAWS, N_DRAWS_OF_A_TRIAL = 200, 10
N_PROBES = 16
KEPT = ("benchmark", "layer", "raw", "low", "high", "ceiling", "ceiling_low", "ceiling_high")
OWN = ["rule", "seed", "when", "epoch", "test_error", "answers"]


class Which(NamedTuple):
    """A network that a rule trained with a seed, before or after training."""

    rule: str
    seed: int
    when: str

    @property
    def trained(self) -> bool:
        """Whether script 02 has finished it."""
        return (self.folder / "weights.safetensors").is_file()

    @property
    def folder(self) -> Path:
        """Where script 02 keeps it."""
        return run_folder(recipes("cifar10")[self.rule], self.seed)

    def load(self) -> TrainedModel:
        """Read it."""
        return TrainedModel.load(self.folder, epoch=0 if self.when == "before" else None)


@torch.no_grad()
def answers(model: Model) -> str:
    """Hash what decides a score: how images are prepared, and what all layers answer to noise."""
    size = model.image_size
    noise = torch.randn(N_PROBES, 3, size, size, generator=torch_generator(0, "probes"))
    parts = [digest((model.preprocessing, model.field_degrees)).encode()]
    for step in model.respond(noise):
        for layer, found in sorted(step.activations.items()):
            parts += [layer.encode(), found.contiguous().numpy().tobytes()]
    return digest_bytes(*parts)


def about(which: Which) -> dict[str, Any]:
    """Describe a network: the columns beside its scores."""
    model = which.load()
    error = 100 * (1 - model.accuracies["test"])
    found = (*which, model.epoch, round(error, 3), answers(model))
    return dict(zip(OWN, found, strict=True))


def scores(which: Which) -> pd.DataFrame:
    """Score a network against the recordings: one row for each."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        targets = [benchmark(name, n_draws=N_DRAWS) for name in RECORDED]
        found = [score.to_row() for score in score_model(which.load(), *targets)]
    return pd.DataFrame(found)[list(KEPT)]


def trial() -> pd.DataFrame:
    """Score one untrained network against the simulated recording."""
    network = SMALL_CNN.build(torch_generator(0, "network"))
    target = benchmark(SIMULATED[1], n_draws=N_DRAWS_OF_A_TRIAL)
    rows = pd.DataFrame([score_model(network, target)[0].to_row()])[list(KEPT)]
    own = dict(zip(OWN, ("backprop", 0, "before", 0, None, answers(network)), strict=True))
    return rows.assign(**own)[[*OWN, *KEPT]]


def controls(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep each network before training once, named by the first rule that answers like it."""
    before = rows[rows["when"] == "before"]
    place = before["rule"].map(TWELVE.index)
    first = place.groupby([before["seed"], before["answers"]]).transform("min")
    leader = first.groupby(before["rule"]).transform("min")
    own = "untrained, answering as in " + leader.map(dict(enumerate(TWELVE)))
    named = before.assign(rule=own.where(leader > leader.min(), "untrained"), place=leader)
    kept = named.sort_values("place", kind="stable").drop(columns="place")
    return kept.drop_duplicates(["seed", "answers", "benchmark"])


def over_seeds(values: pd.Series, form: str) -> str:
    """Write mean and standard deviation."""
    spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():{form}}{spread}"


def table(rows: pd.DataFrame, value: str, form: str = ".3f") -> pd.DataFrame:
    """Tabulate a value by rule and benchmark, with number of seeds and test error."""
    rules = rows.groupby("rule", sort=False)
    cells = rows.groupby(["rule", "benchmark"], sort=False)[value].agg(over_seeds, form=form)
    error = rules["test_error"].mean().map(lambda each: number(each, 1))
    head = pd.DataFrame({"seeds": rules["seed"].nunique().map(str), "test error (%)": error})
    benchmarks = list(dict.fromkeys(rows["benchmark"]))
    return head.join(cells.unstack("benchmark")[benchmarks]).reset_index()


def report(rows: pd.DataFrame) -> str:
    """Write the tables of scores and of gains."""
    rows = rows.sort_values("rule", key=lambda rule: rule.map(TWELVE.index), kind="stable")
    after = rows[rows["when"] == "after"]
    scored = table(pd.concat([after, controls(rows)]), "raw")
    ceilings = rows.groupby("benchmark")["ceiling"].mean().map(lambda each: number(each, 3))
    scored = pd.concat([scored, pd.DataFrame([{"rule": "ceiling", **ceilings}])])
    parts = ["Score, mean ± standard deviation over seeds:", markdown(scored)]
    cell = ["rule", "seed", "benchmark"]
    gains = after.merge(rows[rows["when"] == "before"], on=cell, suffixes=("", "_before"))
    if len(gains):
        gains = gains.assign(gain=gains["raw"] - gains["raw_before"])
        parts += [
            "Gain over the same seed before training:",
            markdown(table(gains, "gain", "+.3f")),
        ]
    return "\n\n".join(parts)


def score_missing(file: Path, *, jobs: int) -> int:
    """Score what is trained and not yet in the CSV, equal models once; return how many failed."""
    console, failed = Console(stderr=True, highlight=False), 0
    kept = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=[*OWN, *KEPT])
    done = set(kept[["rule", "seed", "when"]].itertuples(index=False, name=None))
    every = (Which(rule, s, when) for s in SEEDS for rule in TWELVE for when in ("before", "after"))
    missing = [about(which) for which in every if which not in done and which.trained]
    alike: dict[str, list[dict[str, Any]]] = {}
    for own in missing:
        alike.setdefault(own["answers"], []).append(own)

    def keep(members: Iterable[dict[str, Any]], found: pd.DataFrame) -> None:
        for own in members:
            rows = found[list(KEPT)].assign(**own)[[*OWN, *KEPT]]
            rows.to_csv(file, mode="a", header=not file.exists(), index=False)
            listed = ", ".join(f"{raw:.3f}" for raw in rows["raw"])
            console.print(f"{own['rule']} seed {own['seed']} {own['when']} training: {listed}")

    with ProcessPoolExecutor(max_workers=jobs) as pool:
        waiting = {}
        for key, members in alike.items():
            same = kept[kept["answers"] == key].drop_duplicates("benchmark")
            if len(same):
                keep(members, same)
            else:
                first = Which(*(members[0][column] for column in ("rule", "seed", "when")))
                waiting[pool.submit(scores, first)] = members
        for job in as_completed(waiting):
            if error := job.exception():
                failed += len(waiting[job])
                names = ", ".join(f"{own['rule']} seed {own['seed']}" for own in waiting[job])
                console.print(f"{names} failed: {error}", style="red", markup=False)
            else:
                keep(waiting[job], job.result())
    return failed


def main() -> None:
    """Score what is trained and not yet in the CSV, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time, one thread each")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a simulated recording, no training")
    arguments = parser.parse_args()
    output = arguments.output or (QUICK if arguments.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    file, failed = output / f"{NAME}.csv", 0
    if arguments.quick:
        trial().to_csv(file, index=False)
    elif not arguments.table_only:
        failed = score_missing(file, jobs=arguments.jobs)
    if not file.exists():
        parser.exit(1, "no network is scored, so there is no table; script 02 trains them\n")
    text = report(pd.read_csv(file))
    file.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)
    parser.exit(1 if failed else 0, f"{failed} networks could not be scored\n" if failed else "")


if __name__ == "__main__":
    main()

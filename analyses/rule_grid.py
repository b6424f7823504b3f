"""Training of many rules on one image set: resumable runs, tidy rows, and the scripts' options.

A run is a recipe with a seed. Its folder holds the trained network and can be resumed; its row and
its alignment over training go to CSV files from which tables and figures are made.
"""

import argparse
import dataclasses
import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rule_recipes import Recipe, network, quickened, recipe_digest, recipes
from rule_tables import read_rows
from wirings import IMAGES

from brainscore_lite.training import LabelledImages, TrainedModel, fit

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
QUICK = Path("results/quick")
RUNS = HERE.parent / "results" / "runs"
N_IMAGES_OF_A_TRIAL = 256

#: A recipe and a seed.
Cell = tuple[Recipe, int]
Row = tuple[dict[str, Any], pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What one script trains and what it says about it.

    Parameters
    ----------
    name : str
        Of the script and its files.
    recipes, images : str
        The table of `recipes.toml` and the key of `IMAGES`.
    cells : callable
        From the recipes and the names asked for (none: all that make sense) to what is trained.
    report : callable
        From the rows and the recipes to the text of the table.
    trial : tuple of str
        Recipes of a trial of the script.
    """

    name: str
    recipes: str
    images: str
    cells: Callable[[Mapping[str, Recipe], Sequence[str]], list[Cell]]
    report: Callable[[pd.DataFrame, Mapping[str, Recipe]], str]
    trial: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call of `run_grid` ended: how many runs are finished, and which are not."""

    finished: int = 0
    failed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return not self.failed and not self.left

    def __str__(self) -> str:
        said = [f"Runs finished in this call: {self.finished}"]
        if self.failed:
            said.append(f"failed: {len(self.failed)} ({', '.join(self.failed)})")
        if self.left:
            said.append(f"left: {len(self.left)} ({', '.join(self.left)})")
        if not self.complete:
            said.append("the same command goes on where they stopped")
        return "; ".join(said) + "."


def few(images: LabelledImages, n_images: int) -> LabelledImages:
    """Keep the first images of a set, for a trial of the script."""
    kept: Any = dataclasses.replace(
        images,  # type: ignore[type-var]
        train_images=images.train_images[:n_images],
        train_labels=images.train_labels[:n_images],
        test_images=images.test_images[:n_images],
        test_labels=images.test_labels[:n_images],
    )
    return kept


def run_folder(recipe: Recipe, seed: int) -> Path:
    """Return where a run is kept."""
    return RUNS / recipe.experiment / f"{recipe.name}_seed{seed}"


def trained(recipe: Recipe, seed: int, *, images: str, n_images: int | None = None) -> TrainedModel:
    """Train a recipe with a seed, go on where an earlier call stopped, or read the finished run."""
    loaded: LabelledImages = IMAGES[images]()
    return fit(
        network(recipe, seed),
        recipe.learning_rule(),
        images=loaded if n_images is None else few(loaded, n_images),
        config=recipe.config(seed),
        folder=None if n_images else run_folder(recipe, seed),
    )


def rows_of(recipe: Recipe, seed: int, model: TrainedModel) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the row of a run, and its alignment over training: epoch, layer, cosine."""
    card = model.card
    row = {
        "experiment": recipe.experiment,
        "rule": recipe.rule,
        "family": card.family,
        "exactness": card.exactness,
        "network": recipe.network,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "seed": seed,
        "epochs": int(card.budget["epochs"]),
        "updates": int(card.budget["updates"]),
        "cpu_seconds": round(card.budget["cpu_seconds"], 1),
        "train_error": round(100 * (1 - card.accuracy["train"]), 3),
        "test_error": round(100 * (1 - card.accuracy["test"]), 3),
        "published_error": recipe.published_error,
        "source": recipe.source,
        "settling_residual": card.settling_residual,
        "warnings": "; ".join(card.warnings),
        "settings": json.dumps({"rule": recipe.settings, "training": recipe.training}),
        "digest": recipe_digest(recipe, seed),
    }
    angles = model.history.alignment().reset_index().melt("epoch", var_name="layer")
    angles = angles.rename(columns={"value": "cosine"}).dropna()
    return row, angles.assign(rule=recipe.rule, network=recipe.network, seed=seed)


def run_grid(
    wanted: Sequence[Cell],
    *,
    images: str,
    output: Path,
    name: str,
    jobs: int = 1,
    hours: float = float("inf"),
    n_images: int | None = None,
) -> Outcome:
    """Train what is wanted and not yet in the CSV.

    A run whose digest is in ``<name>.csv`` is not repeated. A failure is printed and the others go
    on; no run is begun after `hours` have passed; after Ctrl-C all workers are stopped. What is
    finished is in the CSV, and runs that were stopped go on after their last finished epoch.
    """
    console, started = Console(stderr=True, highlight=False), time.monotonic()
    kept = _digests(output / f"{name}.csv")
    cells = [(r, s) for r, s in wanted if recipe_digest(r, s) not in kept]
    waiting: dict[Future[Row | None], str] = {}
    failed, finished, late = [], 0, []
    with ProcessPoolExecutor(max_workers=jobs, initializer=_ignore_interrupts) as pool:
        try:
            for recipe, seed in cells:
                job = pool.submit(_measured, recipe, seed, images, n_images, started, hours)
                waiting[job] = f"{recipe.name} seed {seed}"
            for done in as_completed(list(waiting)):
                run, error = waiting[done], done.exception()
                spent = (time.monotonic() - started) / 3600
                if error is not None:
                    failed.append(run)
                    console.print(f"{run} failed: {error!r}", style="red", markup=False)
                elif (result := done.result()) is None:
                    late.append(run)
                else:
                    with _uninterrupted():
                        _keep(result, output, name)
                    finished += 1
                    progress = f"{finished} of {len(cells)} done, {spent:.2f} hours"
                    console.print(f"{progress}: {run}, {_gist(result[0])}")
                del waiting[done]
        except KeyboardInterrupt:
            console.print("interrupted: stopping the runs under way")
            _stop(pool)
    return Outcome(finished=finished, failed=tuple(failed), left=(*late, *waiting.values()))


def _stop(pool: ProcessPoolExecutor) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in multiprocessing.active_children():
        worker.terminate()


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the one that started them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C while the files of a run are written, so that none is without the other."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _measured(
    recipe: Recipe, seed: int, images: str, n_images: int | None, started: float, hours: float
) -> Row | None:
    if time.monotonic() - started > 3600 * hours:
        return None
    return rows_of(recipe, seed, trained(recipe, seed, images=images, n_images=n_images))


def _gist(row: dict[str, Any]) -> str:
    return (
        f"test error {row['test_error']:.2f} % after {row['epochs']} epochs, "
        f"{row['cpu_seconds']:.0f} CPU s"
    )


def _digests(file: Path) -> set[str]:
    return set(pd.read_csv(file)["digest"]) if file.exists() else set()


def _keep(result: Row, output: Path, name: str) -> None:
    row, angles = result
    output.mkdir(parents=True, exist_ok=True)
    for rows, file in (
        (pd.DataFrame([row]), output / f"{name}.csv"),
        (angles, output / f"{name}_alignment.csv"),
    ):
        rows.to_csv(file, mode="a", header=not file.exists(), index=False)


def run_script(experiment: Experiment, description: str) -> None:
    """Read the options, train what is missing, write and print the table."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--rules", nargs="*", default=[], help="recipes; by default all")
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--hours", type=float, default=5.0, help="begin no run after so long")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    parser.add_argument("--quick", action="store_true", help="few rules and images, one epoch")
    given = parser.parse_args()
    found = recipes(experiment.recipes)
    if unknown := [name for name in given.rules if name not in found]:
        parser.error(f"no recipes for {', '.join(unknown)}; there are {', '.join(found)}")
    if given.quick:
        found = {name: quickened(found[name]) for name in experiment.trial}
    output = given.output or (QUICK if given.quick else RESULTS)
    outcome = Outcome()
    if not given.table_only:
        cells = experiment.cells(found, () if given.quick else given.rules)
        outcome = run_grid(
            [cell for cell in cells if not given.quick or cell[1] == 0],
            images=experiment.images,
            output=output,
            name=experiment.name,
            jobs=given.jobs,
            hours=given.hours,
            n_images=N_IMAGES_OF_A_TRIAL if given.quick else None,
        )
    file = output / f"{experiment.name}.csv"
    if file.exists():
        text = experiment.report(read_rows(file), found)
        file.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
        print(text)
    if not given.table_only:
        print(outcome)
    parser.exit(0 if outcome.complete and file.exists() else 1)

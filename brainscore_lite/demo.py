"""The main job from end to end: models scored against recorded V4 and IT, as table and figure."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from brainscore_lite.activations import record
from brainscore_lite.benchmarks import Benchmark, benchmark
from brainscore_lite.configuration import digest, digest_bytes
from brainscore_lite.datasets import load_images
from brainscore_lite.datasets.download import Unreachable
from brainscore_lite.figures import layer_heat_map, rdm_pair, save_figure, score_bars
from brainscore_lite.metrics import RSA
from brainscore_lite.schema import ContractError, MissingExtraError
from brainscore_lite.storage import atomic_write, load_json, save_json
from brainscore_lite.studies import MODELS, NamedModel, Recording, load_model, score_layers
from brainscore_lite.tables import (
    comparison_table,
    marks,
    results_table,
    to_markdown,
    write_tables,
)

RECORDED = (
    "cowley2023_v4_210325.V4.ridge",
    "cowley2023_v4_210325.V4.rsa",
    "kriegeskorte2008_92.monkeyIT.rsa",
    "algonauts2019_92.IT.rsa",
    "algonauts2019_92.EVC.rsa",
)
RECORDED_FULL = (
    *RECORDED[:2],
    "cowley2023_v4_210325.V4.ridge_new_objects",
    "cowley2023_v4_210325.V4.pls",
    "cowley2023_v4_210325.V4.cka",
    *(
        f"cowley2023_v4_{session}.V4.{metric}"
        for session in ("190923", "210224", "210225")
        for metric in ("ridge", "pls", "rsa", "cka")
    ),
    "kar_it_site.IT.ridge",
    *RECORDED[2:],
    "kriegeskorte2008_92.humanIT.rsa",
    *(f"ratan_murty2021_rois.{region}.ridge" for region in ("FFA", "OFA", "EBA", "PPA")),
)
# The images on white are not to be had from an address; the same recording with those on gray is.
ALTERNATIVES = {
    f"algonauts2019_92.{region}.rsa": (f"algonauts2019_92_grey.{region}.rsa",)
    for region in ("IT", "EVC")
}
SIMULATED = tuple(
    f"simulated_v4_it.{region}.{metric}" for region in ("V4", "IT") for metric in ("ridge", "rsa")
)
# From controls to trained networks; "small_cnn" is trained by the demo itself.
NETWORKS = (
    "pixels",
    "gabor",
    "small_cnn_untrained",
    "small_cnn",
    "squeezenet1_1_untrained",
    "squeezenet1_1",
    "efficientnet_lite0_untrained",
    "efficientnet_lite0",
)
PIPED_WIDTH = 200
# What is merely absent is left out; a broken file or a full disk ends the demo.
NOT_TO_BE_HAD = (Unreachable, MissingExtraError)
NETWORKS_FULL = (
    *NETWORKS,
    "alexnet_untrained",
    *(f"resnet{depth}_cifar{copy}" for depth in (20, 56) for copy in ("_untrained", "")),
)


@dataclass(frozen=True)
class Demo:
    """Settings of the demo.

    Parameters
    ----------
    full : bool
        All sessions, regions and metrics, more models.
    simulated : bool
        The simulated recording only.
    seed : int
        Root of everything random.
    n_draws : int
        Bootstrap draws over stimuli.
    recording : Recording
    """

    full: bool = False
    simulated: bool = False
    seed: int = 0
    n_draws: int = 500
    recording: Recording = Recording()


def run_demo(
    settings: Demo, *, output: str | Path = "results/demo", progress: bool = True
) -> list[dict[str, Any]]:
    """Score the demo's models and write table and figures.

    Whatever is finished is kept: after a kill the same call goes on where it was.

    Parameters
    ----------
    settings : Demo
    output : path
        Folder for tables, figures and the network trained here.
    progress : bool
        Show what is being done, and print the table.

    Returns
    -------
    list of dict
        One row for each model and benchmark.

    Raises
    ------
    ContractError
        If nothing can be scored, or a file at hand is broken.
    """
    folder = Path(output)
    console = Console(stderr=True, quiet=not progress, highlight=False)
    targets = _benchmarks(settings, console)
    models: dict[str, NamedModel] = {}
    scored: dict[str, dict[str, Any]] = {}
    for name in NETWORKS_FULL if settings.full else NETWORKS:
        try:
            model = _model(name, settings, folder, console, progress=progress)
        except NOT_TO_BE_HAD as error:
            console.print(f"[bold]left out[/bold] {name}: {error}")
            continue
        models[name] = model
        scored[name] = _scored(model, targets, settings, folder, console, progress=progress)
    if not scored:
        raise ContractError("no model could be loaded; the log above says why for each.")
    rows = [row for each in scored.values() for row in each["rows"]]
    layers = [row for each in scored.values() for row in each["layers"]]
    table, gains = results_table(rows), _gains(models, scored)
    write_tables(table, folder)
    with atomic_write(folder / "gains.md") as temporary:
        temporary.write_text(to_markdown(gains), encoding="utf-8")
    _draw(table, results_table(layers), folder)
    _draw_rdms(table, models, targets, settings, folder)
    save_json([each.provenance for each in targets], folder / "provenance.json")
    if progress:
        _show(comparison_table(table), "score [95 % interval over stimuli]")
        _show(gains, "trained minus untrained copy [95 % interval over stimuli, paired]")
        console.print(f"tables and figures: {folder}")
    return rows


def _benchmarks(settings: Demo, console: Console) -> list[Benchmark]:
    found: list[Benchmark] = []
    if not settings.simulated:
        for name in RECORDED_FULL if settings.full else RECORDED:
            for each in (name, *ALTERNATIVES.get(name, ())):
                try:
                    found.append(benchmark(each, n_draws=settings.n_draws))
                    break
                except NOT_TO_BE_HAD as error:
                    console.print(f"[bold]left out[/bold] {each}: {error}")
    if not found:
        console.print(
            "[bold]simulated:[/bold] no recordings are used; scores are against a simulated "
            "recording and say nothing about the brain."
        )
        found = [benchmark(name, n_draws=settings.n_draws) for name in SIMULATED]
    return found


def _model(
    name: str, settings: Demo, folder: Path, console: Console, *, progress: bool
) -> NamedModel:
    if name != "small_cnn":
        return load_model(name, seed=settings.seed)
    trained = f"{name}_{_training_images(console)}"
    console.print(f"training {name} on {MODELS[trained].task}")
    model = load_model(trained, seed=settings.seed, folder=folder / "models", progress=progress)
    return replace(model, name=name)


def _training_images(console: Console) -> str:
    try:
        load_images("cifar10_jpeg")
    except NOT_TO_BE_HAD as error:
        console.print(f"no CIFAR-10 (JPEG copy), training on scikit-learn's digits: {error}")
        return "digits"
    return "cifar10_jpeg"


def _scored(
    model: NamedModel,
    targets: Sequence[Benchmark],
    settings: Demo,
    folder: Path,
    console: Console,
    *,
    progress: bool,
) -> dict[str, Any]:
    """Score one model, or read the scores that an earlier call with equal settings has left."""
    path = folder / "scores" / f"{model.name}.json"
    key = digest(
        {
            "settings": settings,
            "benchmarks": [[each.name, each.provenance] for each in targets],
            "model": [model.name, model.task, model.accuracy],
            "responses": _probe(model, targets[0]),
        }
    )
    if path.is_file():
        kept: dict[str, Any] = load_json(path)
        if kept["key"] == key:
            console.print(f"{model.name}: scored before, kept")
            return kept
    console.print(f"scoring {model.name}")
    rows: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    draws: dict[str, list[float]] = {}
    for target, result in zip(
        targets,
        score_layers(model, targets, recording=settings.recording, progress=progress),
        strict=True,
    ):
        row = result.score.to_row()
        rows.append(row)
        draws[target.name] = result.score.drawn().tolist()
        layers += [
            row | {"layer": layer, "raw": raw, "low": None, "high": None, "normalized": None}
            for layer, raw in result.by_layer.items()
        ]
        console.print(f"  {target.name}: {row['raw']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")
    done = {"key": key, "rows": rows, "layers": layers, "draws": draws}
    save_json(done, path)
    return done


def _probe(model: NamedModel, target: Benchmark) -> str:
    """Digest what the model makes of one image, so that other weights are never mistaken for it."""
    first = target.stimuli.select(target.stimuli.ids[:1])
    with warnings.catch_warnings(action="ignore"):  # one image says nothing of constant layers
        return digest_bytes(record(model.model, first).values.tobytes())


def _gains(models: dict[str, NamedModel], scored: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Compare trained networks with their untrained copies, drawn on the same stimuli."""
    cells: dict[str, dict[str, str]] = {}
    for name, copy in ((name, model.untrained_copy) for name, model in models.items()):
        if copy not in scored:
            continue
        cells[name] = {}
        for row, other in zip(scored[name]["rows"], scored[copy]["rows"], strict=True):
            target = row["benchmark"]
            difference = np.subtract(*(scored[each]["draws"][target] for each in (name, copy)))
            low, high = np.nanquantile(difference, [0.025, 0.975])
            cells[name][target] = f"{row['raw'] - other['raw']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("model")


def _draw(table: pd.DataFrame, layers: pd.DataFrame, folder: Path) -> None:
    bars = score_bars(table, title="Models against recordings of the ventral stream")
    save_figure(bars, folder / "scores")
    heat_map = layer_heat_map(layers, title="Every layer against every recording")
    save_figure(heat_map, folder / "layers")


def _draw_rdms(
    table: pd.DataFrame,
    models: dict[str, NamedModel],
    targets: Sequence[Benchmark],
    settings: Demo,
    folder: Path,
) -> None:
    """Draw the best model's dissimilarities beside the recorded ones."""
    for target in targets:
        if not isinstance(target.metric, RSA) or "subject" not in target.target.dims:
            continue
        rows = table[table["benchmark"] == target.name]
        best = rows.iloc[int(rows["raw"].argmax())]
        activations = settings.recording(
            models[best["model"]].model, target.stimuli, layers=[best["layer"]]
        )
        figure = rdm_pair(
            target.metric.matrix(activations),
            target.target,
            names=(f"{best['model']}, {best['layer']}", f"recorded {target.region}"),
            categories=_categories(target),
            title=target.name,
            note=marks(rows),
        )
        save_figure(figure, folder / f"rdm_{target.region}")


def _categories(target: Benchmark) -> dict[str, str] | None:
    labels = target.stimuli.coords.get("category")
    return None if labels is None else dict(zip(target.stimuli.ids, labels, strict=True))


def _show(table: pd.DataFrame, title: str) -> None:
    printed = Table(title=title, title_justify="left", box=None, pad_edge=False)
    printed.add_column("model")
    for column in table.columns:
        printed.add_column(str(column).replace(".", "\n"), justify="right")
    for name, row in table.iterrows():
        printed.add_row(str(name), *map(str, row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(printed)

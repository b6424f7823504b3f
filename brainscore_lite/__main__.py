"""The command line `brainscore-lite`.

The parts of the package are imported inside the commands that use them, so that ``--help``
answers at once.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import brainscore_lite

FAILED, INTERRUPTED = 1, 130
PIPED_WIDTH = 200
VALIDATION_FRACTION = 0.1

ALWAYS_AT_HAND: tuple[dict[str, Any], ...] = (
    {
        "name": "simulated_v4_it",
        "title": "Simulated V4 and IT with known tuning, noise and ceiling",
        "species": "simulated",
        "licence": "BSD-3-Clause",
        "citation": "this package",
    },
    {
        "name": "digits",
        "title": "Handwritten digits that come with scikit-learn, 8 x 8",
        "species": "",
        "licence": "as scikit-learn states it: CC BY 4.0 (UCI)",
        "citation": "Alpaydin & Kaynak (1998), doi:10.24432/C50P49",
    },
)

app = typer.Typer(
    name="brainscore-lite",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train networks with plausible learning rules and score them against recorded V4 and IT.",
    epilog="Example: brainscore-lite score --model gabor --benchmark algonauts2019_92.EVC.rsa",
)


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no log.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(brainscore_lite.__version__)
        raise typer.Exit


@app.command(epilog="Example: brainscore-lite datasets --json")
def datasets(as_json: AsJson = False) -> None:
    """List the recordings and image sets: contents, licence, citation, and whether at hand."""
    from brainscore_lite.datasets.registry import at_hand, dataset_names, describe

    rows = []
    for name in dataset_names():
        entry = describe(name)
        sizes = [file.bytes for file in entry.files.values()]
        megabytes = round(sum(sizes) / 1e6, 1)
        rows.append(
            {
                "name": name,
                "title": entry.title,
                "species": entry.species,
                "megabytes": megabytes if any(sizes) else "unknown",
                "at_hand": f"{at_hand(name)} of {len(entry.files)}",
                "licence": entry.licence,
                "citation": entry.citation,
            }
        )
    rows += [row | {"megabytes": 0.0, "at_hand": "always"} for row in ALWAYS_AT_HAND]
    _print(rows, as_json, columns=("name", "title", "species", "megabytes", "at_hand", "licence"))


@app.command(epilog="Example: brainscore-lite benchmarks")
def benchmarks(as_json: AsJson = False) -> None:
    """List the benchmarks: recording x region x metric."""
    from brainscore_lite.benchmarks import BENCHMARKS
    from brainscore_lite.configuration import to_json

    rows = [
        {
            "name": name,
            "dataset": entry.dataset,
            "region": entry.region,
            "unit": entry.metric.unit,
            "settings": json.loads(to_json(entry.metric)),
        }
        for name, entry in BENCHMARKS.items()
    ]
    _print(rows, as_json, columns=("name", "dataset", "region", "unit"))


@app.command(epilog="Example: brainscore-lite models")
def models(as_json: AsJson = False) -> None:
    """List the models: what they are, what they were trained on, their candidate layers."""
    from brainscore_lite.studies.models import MODELS

    rows = [
        {
            "name": name,
            "trained on": entry.task,
            "description": entry.description,
            "layers": list(entry.layers),
        }
        for name, entry in MODELS.items()
    ]
    _print(rows, as_json, columns=("name", "trained on", "description", "layers"))


@app.command(epilog="Example: brainscore-lite rules --architecture small_cnn")
def rules(
    architecture: Annotated[
        str | None, typer.Option(help="Say which rules can train this architecture.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the learning rules: what they follow, what they make local, what they can train."""
    from brainscore_lite.learning_rules import LEARNING_RULES
    from brainscore_lite.networks import ARCHITECTURES

    if architecture is not None and architecture not in ARCHITECTURES:
        raise brainscore_lite.ContractError(
            f"no architecture is called '{architecture}'; there are: {', '.join(ARCHITECTURES)}."
        )
    rows = []
    for name, rule in LEARNING_RULES.items():
        row: dict[str, Any] = {
            "name": name,
            "family": rule.family,
            "exactness": rule.exactness,
            "ngrad": rule.ngrad,
            "requires": sorted(rule.requires),
            "makes_local": sorted(rule.makes_local),
            "citation": rule.citation,
        }
        if architecture is not None:
            support = rule.supports(ARCHITECTURES[architecture])
            row["supported"] = "yes" if support.ok else f"no: {support.reason}"
        rows.append(row)
    shown = ("name", "family", "exactness", "ngrad", "makes_local", "citation")
    _print(rows, as_json, columns=("name", "supported") if architecture else shown)


@app.command(
    epilog="Examples: brainscore-lite score --model efficientnet_lite0 --benchmark "
    "cowley2023_v4_210325.V4.ridge --layer auto  |  brainscore-lite score --model gabor "
    "--responses my.nc --images pictures/ --region IT"
)
def score(
    model: Annotated[
        list[str],
        typer.Option(
            help="A name that 'models' lists, or a folder written by 'train'; repeatable."
        ),
    ],
    benchmark: Annotated[
        list[str] | None, typer.Option(help="A name that 'benchmarks' lists; repeatable.")
    ] = None,
    responses: Annotated[
        Path | None, typer.Option(help="Your own recording: netCDF (.nc) or .npz.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of your images, named like the stimulus labels.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Region of your recording to score.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="For your recording: ridge (default), pls, rsa or cka.")
    ] = None,
    degrees: Annotated[
        float | None, typer.Option(help="Size of your images in degrees of visual angle.")
    ] = None,
    layer: Annotated[
        str, typer.Option(help="A layer's name, or 'auto': chosen on stimuli kept apart.")
    ] = "auto",
    step: Annotated[
        int | None, typer.Option(help="Of a model that answers over time; -1 is the last.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Bootstrap draws over stimuli.", min=0)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of models that are drawn at random.", min=0)] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Also write the tidy table here (.csv).")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score models against benchmarks or against your own recording."""
    from brainscore_lite.benchmarks import benchmark as load_benchmark
    from brainscore_lite.benchmarks import benchmark_of
    from brainscore_lite.stimuli import StimulusSet
    from brainscore_lite.storage import load_responses
    from brainscore_lite.studies.models import load_model
    from brainscore_lite.studies.scoring import Recording, score_model
    from brainscore_lite.tables import results_table, write_csv

    if (responses is None) == (not benchmark) or (responses is None) != (images is None):
        raise brainscore_lite.ContractError(
            "give either --benchmark NAME, or --responses FILE together with --images DIR."
        )
    if benchmark and (region, metric, degrees) != (None, None, None):
        raise brainscore_lite.ContractError(
            "--region, --metric and --degrees describe your own recording; a benchmark has its own."
        )
    if responses is not None and images is not None:
        chosen = [
            benchmark_of(
                load_responses(responses),
                stimuli=StimulusSet.from_folder(images, degrees=degrees),
                metric=metric or "ridge",
                region=region,
                name=responses.stem.replace(".", "_"),
                n_draws=draws,
            )
        ]
    else:
        chosen = [load_benchmark(name, n_draws=draws) for name in benchmark or []]
    rows = []
    for name in model:
        loaded = load_model(name, seed=seed, progress=not quiet)
        scores = score_model(
            loaded, *chosen, layer=layer, recording=Recording(step=step), progress=not quiet
        )
        rows += [each.to_row() for each in scores]
    if output is not None:
        write_csv(results_table(rows), output)
    shown = ["model", "benchmark", "layer", "raw", "low", "high", "ceiling", "normalized"]
    shown += ["baseline"] if any(row["baseline"] == row["baseline"] for row in rows) else []
    shown += ["caveats"] if any(row["caveats"] for row in rows) else []
    _print(rows, as_json, columns=tuple(shown))


@app.command(
    epilog="Examples: brainscore-lite train --architecture small_cnn --rule backprop --images "
    "digits --output runs/digits  |  brainscore-lite train --architecture matched_mlp --images "
    "mnist --rule equilibrium_propagation --set beta=0.5 --optimizer adam --lr 1e-3 --output "
    "runs/ep"
)
def train(
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, history and weights.")],
    architecture: Annotated[str, typer.Option(help="A ready-made architecture.")] = "small_cnn",
    rule: Annotated[str, typer.Option(help="A learning rule; 'rules' lists them.")] = "backprop",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the rule, as in beta=0.5; repeatable."),
    ] = None,
    images: Annotated[str, typer.Option(help="An image set with labels.")] = "cifar10",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.", min=1)] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="'sgd' or 'adam'; some rules have their own.")
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate at its peak, unless the rule has its own.", min=0),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a batch.", min=1)] = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(help="Stop at this accuracy on a tenth of the training images kept apart."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The one seed of everything random.", min=0)] = 0,
    threads: Annotated[
        int,
        typer.Option(
            help="Threads; a setting, since it can change the last bits of the numbers.", min=1
        ),
    ] = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a network; run the same command again to go on after a kill."""
    from dataclasses import replace

    from brainscore_lite.studies.models import DIGITS_RECIPE, RECIPE, Training
    from brainscore_lite.studies.models import train as train_network
    from brainscore_lite.training import CardWarning

    recipe = DIGITS_RECIPE if images in ("digits", "mnist") else RECIPE  # digits are not mirrored
    asked = {"epochs": epochs, "optimizer": optimizer, "lr": lr, "batch_size": batch_size}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    config = replace(
        recipe,
        **given,
        target_accuracy=target_accuracy,
        validation_fraction=0.0 if target_accuracy is None else VALIDATION_FRACTION,
        seed=seed,
        n_threads=threads,
    )
    training = Training(architecture, images, config, _rule(rule, settings or []))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CardWarning)  # the card below says the same
        trained = train_network(training, folder=output, progress=not quiet)
    row = {"model": trained.name, "images": images, "epochs": trained.epoch, "folder": str(output)}
    row |= {f"{k} accuracy": v for k, v in trained.accuracies.items()}
    _print([row | {"card": trained.card.to_dict()} if as_json else row], as_json)
    if not as_json:
        print(trained.card)


@app.command(epilog="Example: brainscore-lite demo --output results/demo")
def demo(
    output: Annotated[
        Path, typer.Option(help="Folder for the table, the figures and the models.")
    ] = Path("results/demo"),
    full: Annotated[
        bool, typer.Option("--full", help="More sessions, models and metrics; takes much longer.")
    ] = False,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Use the simulated recording only.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The one seed of everything random.", min=0)] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score pixels, Gabors, trained and untrained networks against recorded V4 and IT."""
    from brainscore_lite.demo import Demo, run_demo

    rows = run_demo(
        Demo(full=full, simulated=simulated, seed=seed), output=output, progress=not quiet
    )
    if as_json:
        _print(rows, as_json)


def main() -> None:
    """Run the command line; errors of the user's making end with one sentence and code 1."""
    try:
        app()
    except (ValueError, RuntimeError) as error:
        if not _is_of_the_users_making(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("Run the same command again to go on.", file=sys.stderr)
        raise


def _rule(name: str, settings: list[str]) -> Any:
    """Return a rule of the registry, with settings given as name=value."""
    from dataclasses import fields, replace

    from brainscore_lite.learning_rules import LEARNING_RULES

    if name not in LEARNING_RULES or not settings:
        return name
    rule: Any = LEARNING_RULES[name]
    known = [field.name for field in fields(rule)]
    given = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if not text:
            raise brainscore_lite.ContractError(
                f"--set {setting}: expected name=value, as in beta=0.5."
            )
        if key not in known:
            raise brainscore_lite.ContractError(
                f"--set {setting}: '{name}' has no setting '{key}'. It has: "
                f"{', '.join(known) or 'none'}."
            )
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        given[key] = tuple(value) if isinstance(value, list) else value
    try:
        return replace(rule, **given)
    except TypeError as error:
        raise brainscore_lite.ContractError(
            f"--set: '{name}' cannot take {given} ({error}). Give numbers as 0.5, lists as "
            "[0.1,0.2]."
        ) from error


def _is_of_the_users_making(error: Exception) -> bool:
    if isinstance(error, brainscore_lite.ContractError):
        return True
    return isinstance(error, RuntimeError) and isinstance(
        error, brainscore_lite.TrainingDivergedError
    )


def _print(
    rows: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...] | None = None
) -> None:
    if as_json:
        print(json.dumps(_without_nan(rows), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    names = columns or tuple(rows[0])
    for position, name in enumerate(names):
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what is not there is null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


if __name__ == "__main__":
    main()

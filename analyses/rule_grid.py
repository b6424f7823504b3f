"""Training of many rules on one image set: recipes, resumable runs, and tidy rows.

A recipe is one entry of `recipes.toml`: the network, the rule's settings and how it is trained. A
run is a recipe with a seed; its folder holds the trained network and can be resumed, its row and
its alignment over training go to CSV files from which tables and figures are made.
"""

import dataclasses
import json
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from torch import nn

from brainscore_lite.configuration import digest
from brainscore_lite.datasets import load_images
from brainscore_lite.learning_rules import LEARNING_RULES, LearningRule
from brainscore_lite.learning_rules.hebbian import SOFTHEBB_CNN, SOFTHEBB_MLP
from brainscore_lite.networks.architectures import ARCHITECTURES, INK, MATCHED_MLP
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.elman import ElmanNetwork
from brainscore_lite.seeding import torch_generator
from brainscore_lite.training import Augmentation, LabelledImages, TrainedModel, TrainingConfig, fit

HERE = Path(__file__).resolve().parent
RECIPES = HERE / "recipes.toml"
RESULTS = HERE / "results"
RUNS = HERE.parent / "results" / "runs"

#: The rules whose networks are compared over three seeds and scored against recordings.
TWELVE = (
    "backprop",
    "feedback_alignment",
    "direct_feedback_alignment",
    "sign_symmetry_usf",
    "kolen_pollack",
    "predictive_coding",
    "equilibrium_propagation",
    "local_difference_reconstruction",
    "forward_forward",
    "softhebb",
    "local_losses_predsim",
    "dual_propagation",
)

_AVERAGED = Pool("average", 2)


def _mlp(name: str, *widths: int, activation: str = "relu") -> ConvNet:
    areas = tuple(
        Dense(f"hidden{i + 1}", width, activation=activation) for i, width in enumerate(widths)
    )
    return ConvNet(
        areas=areas, n_classes=10, image_size=28, in_channels=1, preprocessing=INK, name=name
    )


def _elman(n_units: int) -> Callable[[torch.Generator], nn.Module]:
    def make(generator: torch.Generator) -> nn.Module:
        return ElmanNetwork(
            n_units, 10, generator=generator, preprocessing=INK, tau=2.0, name=f"elman_{n_units}"
        )

    return make


#: Networks of the analyses beside the ready-made ones. `matched_v1_it` is the CIFAR-10 network that
#: all rules share: bounded activations, average pooling, no normalisation.
NETWORKS: dict[str, ConvNet | Callable[[torch.Generator], nn.Module]] = {
    **ARCHITECTURES,
    "matched_v1_it": ConvNet(
        areas=(
            Area("V1", 16, kernel=5, pool_out=_AVERAGED, activation="clipped_relu"),
            Area("V2", 32, pool_out=_AVERAGED, activation="clipped_relu"),
            Area("V4", 64, pool_out=_AVERAGED, activation="clipped_relu"),
            Dense("IT", 128, activation="clipped_relu"),
        ),
        n_classes=10,
        image_size=32,
        # Weights a little weaker than usual, so that areas that drive each other settle.
        initial_gain=0.7,
        name="matched_v1_it",
    ),
    "relu_mlp_500": _mlp("relu_mlp_500", 500, 500, 500),
    "relu_mlp_1000": _mlp("relu_mlp_1000", 1000, 1000, 1000),
    "relu_mlp_2000": _mlp("relu_mlp_2000", 2000, 2000, 2000, 2000),
    # Weights half as strong, for areas that drive each other until they settle.
    "matched_mlp_half": dataclasses.replace(MATCHED_MLP, initial_gain=0.5, name="matched_mlp_half"),
    "tanh_mlp_half": dataclasses.replace(
        _mlp("tanh_mlp_half", 256, 256, activation="tanh"), initial_gain=0.5
    ),
    "sigmoid_mlp": _mlp("sigmoid_mlp", 256, 256, activation="sigmoid"),
    "elman_16": _elman(16),
    "elman_64": _elman(64),
    "softhebb_mlp": SOFTHEBB_MLP,
    # The first two of the three areas of Journe et al. (2023), a third as wide.
    "softhebb_cnn_32_128": dataclasses.replace(
        SOFTHEBB_CNN,
        areas=tuple(
            dataclasses.replace(area, channels=channels)
            for area, channels in zip(SOFTHEBB_CNN.areas, (32, 128), strict=False)
        ),
        name="softhebb_cnn_32_128",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a rule is trained in an experiment.

    Parameters
    ----------
    name : str
        Its key: the rule, or rule@network where a rule is trained on several.
    experiment, rule : str
    network : str
        A key of `NETWORKS`.
    settings : dict
        Of the rule, where they are not its defaults.
    training : dict
        Of the `TrainingConfig`, without the seed.
    published_error : float or None
        Test error in percent that a paper reports, and in `source` which.
    """

    name: str
    experiment: str
    rule: str
    network: str
    settings: dict[str, Any]
    training: dict[str, Any]
    published_error: float | None = None
    source: str = ""

    def learning_rule(self) -> LearningRule:
        """Return the rule with its settings."""
        rule: Any = LEARNING_RULES[self.rule]
        found: LearningRule = dataclasses.replace(rule, **_tuples(self.settings))
        return found

    def config(self, seed: int) -> TrainingConfig:
        """Return the training settings with a seed."""
        given = _tuples(self.training)
        if "augmentation" in given:
            given["augmentation"] = Augmentation(**_tuples(given["augmentation"]))
        return TrainingConfig(seed=seed, **given)


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def recipes(experiment: str) -> dict[str, Recipe]:
    """Read the recipes of an experiment, by name."""
    with RECIPES.open("rb") as file:
        kept = tomllib.load(file)[experiment]
    shared = kept.pop("all", {})
    found = {}
    for name, own in kept.items():
        rule, _, network = name.partition("@")
        given = {**shared, **({"network": network} if network else {}), **own}
        training = {**shared.get("training", {}), **own.get("training", {})}
        found[name] = Recipe(
            name=name,
            experiment=experiment,
            rule=rule,
            network=given["network"],
            settings=given.get("settings", {}),
            training=training,
            published_error=given.get("published_error"),
            source=given.get("source", ""),
        )
    return found


def quickened(recipe: Recipe) -> Recipe:
    """Shorten a recipe to one epoch, for a trial of the script."""
    return dataclasses.replace(recipe, training={**recipe.training, "epochs": 1})


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


def network(recipe: Recipe, seed: int) -> ConvNet | nn.Module:
    """Return the network of a recipe: settings, or a module drawn with the seed."""
    found = NETWORKS[recipe.network]
    return found if isinstance(found, ConvNet) else found(torch_generator(seed, "network"))


def run_folder(recipe: Recipe, seed: int) -> Path:
    """Return where a run is kept."""
    return RUNS / recipe.experiment / f"{recipe.name}_seed{seed}"


def trained(recipe: Recipe, seed: int, *, images: str, n_images: int | None = None) -> TrainedModel:
    """Train a recipe with a seed, go on where an earlier call stopped, or read the finished run."""
    loaded: LabelledImages = load_images(images)
    return fit(
        network(recipe, seed),
        recipe.learning_rule(),
        images=loaded if n_images is None else few(loaded, n_images),
        config=recipe.config(seed),
        folder=None if n_images else run_folder(recipe, seed),
    )


def recipe_digest(recipe: Recipe, seed: int) -> str:
    """Hash all that decides a run but the images: network, rule, training and seed."""
    found = NETWORKS[recipe.network]
    kept = found if isinstance(found, ConvNet) else recipe.network
    return digest((kept, recipe.learning_rule(), recipe.config(seed)))


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
    return row, angles.assign(rule=recipe.rule, seed=seed)


def run_grid(
    wanted: Iterable[tuple[Recipe, int]],
    *,
    images: str,
    output: Path,
    name: str,
    jobs: int = 1,
    hours: float = float("inf"),
    n_images: int | None = None,
) -> pd.DataFrame:
    """Train what is wanted and not yet in the CSV, and return all rows.

    A run whose digest is in ``<name>.csv`` is not repeated. Failures are printed and left out of
    the table; no run is begun after `hours` have passed.
    """
    console, started = Console(stderr=True), time.monotonic()
    cells = [(r, s) for r, s in wanted if not _kept(output, name, r, s)]
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        waiting = {}
        for recipe, seed in cells:
            waiting[pool.submit(_measured, recipe, seed, images, n_images, started, hours)] = recipe
        for done in as_completed(waiting):
            recipe = waiting[done]
            if done.exception() is not None:
                console.print(f"[red]{recipe.rule}: {done.exception()}")
            elif done.result() is None:
                console.print(f"{recipe.rule}: left for a later call, {hours:g} hours are over")
            else:
                row, angles = done.result()
                _append(output / f"{name}.csv", pd.DataFrame([row]))
                _append(output / f"{name}_alignment.csv", angles)
                console.print(
                    f"{row['rule']} seed {row['seed']}: test error {row['test_error']:.2f} % "
                    f"after {row['epochs']} epochs, {row['cpu_seconds']:.0f} CPU s"
                )
    file = output / f"{name}.csv"
    return pd.read_csv(file) if file.exists() else pd.DataFrame()


def _measured(
    recipe: Recipe, seed: int, images: str, n_images: int | None, started: float, hours: float
) -> tuple[dict[str, Any], pd.DataFrame] | None:
    if time.monotonic() - started > 3600 * hours:
        return None
    return rows_of(recipe, seed, trained(recipe, seed, images=images, n_images=n_images))


def _kept(output: Path, name: str, recipe: Recipe, seed: int) -> bool:
    file = output / f"{name}.csv"
    if not file.exists():
        return False
    return recipe_digest(recipe, seed) in set(pd.read_csv(file)["digest"])


def _append(file: Path, rows: pd.DataFrame) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(file, mode="a", header=not file.exists(), index=False)


def markdown(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """Write some columns of a table as Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for _, row in table.iterrows():
        cells = ["" if pd.isna(row[c]) else f"{row[c]}" for c in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)

"""Recipes of the analyses: which network a rule trains, with which settings, and for how long.

A recipe is one entry of `recipes.toml`.
"""

import dataclasses
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from wirings import wired_networks

from brainscore_lite.configuration import digest
from brainscore_lite.learning_rules import LEARNING_RULES, LearningRule
from brainscore_lite.learning_rules.hebbian import SOFTHEBB_CNN, SOFTHEBB_MLP
from brainscore_lite.networks.architectures import ARCHITECTURES, INK, MATCHED_MLP
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.elman import ElmanNetwork
from brainscore_lite.seeding import torch_generator
from brainscore_lite.training import Augmentation, TrainingConfig

RECIPES = Path(__file__).resolve().parent / "recipes.toml"

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
        A key of `NETWORKS` or of `wired_networks`.
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
    kept = _experiment(experiment)
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


def shared_training(experiment: str) -> dict[str, Any]:
    """Return the training settings that all recipes of an experiment have unless they say so."""
    found: dict[str, Any] = _experiment(experiment)["all"]["training"]
    return found


def _experiment(name: str) -> dict[str, Any]:
    with RECIPES.open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)[name]
    return found


def quickened(recipe: Recipe) -> Recipe:
    """Shorten a recipe to one epoch, for a trial of the script."""
    return dataclasses.replace(recipe, training={**recipe.training, "epochs": 1})


def network(recipe: Recipe, seed: int) -> ConvNet | nn.Module:
    """Return the network of a recipe: settings, or a module drawn with the seed."""
    found = _network(recipe.network)
    return found if isinstance(found, ConvNet) else found(torch_generator(seed, "network"))


def _network(name: str) -> ConvNet | Callable[[torch.Generator], nn.Module]:
    return NETWORKS[name] if name in NETWORKS else wired_networks()[name]


def recipe_digest(recipe: Recipe, seed: int) -> str:
    """Hash all that decides a run but the images: network, rule, training and seed."""
    found = _network(recipe.network)
    kept = found if isinstance(found, ConvNet) else recipe.network
    return digest((kept, recipe.learning_rule(), recipe.config(seed)))

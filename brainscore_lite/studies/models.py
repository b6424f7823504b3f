"""The catalogue of models: controls, untrained copies, and trained networks, by name."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pooch

from brainscore_lite.configuration import digest
from brainscore_lite.datasets import load_images
from brainscore_lite.learning_rules import LEARNING_RULES, LearningRule
from brainscore_lite.learning_rules.learning_rule import check_support
from brainscore_lite.networks import ARCHITECTURES, GaborEnergy, GaborNetwork, Model, Pixels
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.pretrained import (
    CIFAR_WEIGHTS,
    EFFICIENTNET_LAYERS,
    SQUEEZENET_LAYERS,
    efficientnet_lite0,
    resnet_cifar,
    resnet_cifar_layers,
    squeezenet1_1,
)
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator
from brainscore_lite.storage import load_json
from brainscore_lite.training import Augmentation, TrainedModel, TrainingConfig, fit
from brainscore_lite.training.fitting import found

UNTRAINED = "nothing (random weights)"
FIXED = "nothing (fixed filters)"

RECIPE = TrainingConfig(
    epochs=2,
    batch_size=64,
    lr=0.03,
    warmup_epochs=0.2,
    weight_decay=5e-4,
    augmentation=Augmentation(flip=True, shift=1),
    n_threads=2,
)
"""Settings by which the demo's small network learns CIFAR-10."""

DIGITS_RECIPE = TrainingConfig(
    epochs=8,
    batch_size=32,
    lr=0.03,
    warmup_epochs=1.0,
    weight_decay=5e-4,
    augmentation=Augmentation(shift=3),
    n_threads=2,
)
"""The same for the small set of digits that comes with scikit-learn."""


@dataclass(frozen=True)
class Training:
    """How a network of the catalogue is trained when it is first asked for."""

    architecture: str
    images: str
    config: TrainingConfig
    rule: LearningRule | str = "backprop"


@dataclass(frozen=True)
class ModelEntry:
    """One line of the catalogue.

    Parameters
    ----------
    description : str
    task : str
        What it was trained on.
    make : callable or Training
        Seed -> model (models without randomness ignore the seed), or how to train it.
    layers : tuple of str
        Candidates, from input to output.
    untrained_copy : str
        The model that shares everything with this one but training.
    """

    description: str
    task: str
    make: Callable[[int], Model] | Training
    layers: tuple[str, ...]
    untrained_copy: str = ""


@dataclass(frozen=True, eq=False)
class NamedModel:
    """A model with what a table says about it.

    Parameters
    ----------
    name : str
    model : Model
    task : str
        What it was trained on.
    accuracy : float or None
        On the test images of its task, where it was measured here; between 0 and 1.
    untrained_copy : str
        The model of the catalogue that shares everything with this one but training.
    """

    name: str
    model: Model
    task: str = ""
    accuracy: float | None = None
    untrained_copy: str = ""


SMALL_CNN_LAYERS = (*(area.name for area in ARCHITECTURES["small_cnn"].areas), READOUT)
ALEXNET_LAYERS = (*(area.name for area in ARCHITECTURES["alexnet"].areas), READOUT)
PRETRAINED: tuple[tuple[str, str, str, Callable[..., Model], tuple[str, ...]], ...] = (
    ("squeezenet1_1", "SqueezeNet 1.1", "ImageNet", squeezenet1_1, SQUEEZENET_LAYERS),
    (
        "efficientnet_lite0",
        "EfficientNet-Lite0",
        "ImageNet",
        efficientnet_lite0,
        EFFICIENTNET_LAYERS,
    ),
    *(
        (
            f"resnet{depth}_cifar",
            f"ResNet-{depth} for 32 x 32 pixels",
            "CIFAR-10",
            partial(resnet_cifar, depth),
            resnet_cifar_layers(depth),
        )
        for depth in CIFAR_WEIGHTS
    ),
)


def _with_copy(
    name: str, description: str, task: str, make: Callable[..., Model], layers: tuple[str, ...]
) -> dict[str, ModelEntry]:
    """List a network that others have trained, and its untrained copy."""

    def untrained(seed: int) -> Model:
        return make(untrained=torch_generator(seed, "network", name))

    copy = f"{name}_untrained"
    return {
        copy: ModelEntry(f"{description}, random weights", UNTRAINED, untrained, layers),
        name: ModelEntry(description, task, lambda _: make(), layers, untrained_copy=copy),
    }


def _architecture(name: str) -> Callable[[int], Model]:
    return lambda seed: ARCHITECTURES[name].build(torch_generator(seed, "network"))


def _small_cnn(images: str, task: str, config: TrainingConfig) -> ModelEntry:
    return ModelEntry(
        "four convolutional areas, trained by backprop when first asked for",
        task,
        Training("small_cnn", images, config),
        SMALL_CNN_LAYERS,
        untrained_copy="small_cnn_untrained",
    )


MODELS: dict[str, ModelEntry] = {
    "pixels": ModelEntry("the image itself, 32 x 32 RGB", FIXED, lambda _: Pixels(), ("pixels",)),
    "gabor": ModelEntry(
        "V1-like Gabor simple and complex cells, 4 scales x 8 orientations",
        FIXED,
        lambda _: GaborEnergy().build(),
        GaborNetwork.layer_names,
    ),
    "small_cnn_untrained": ModelEntry(
        "four convolutional areas, random weights",
        UNTRAINED,
        _architecture("small_cnn"),
        SMALL_CNN_LAYERS,
    ),
    "small_cnn_cifar10": _small_cnn("cifar10", "CIFAR-10", RECIPE),
    "small_cnn_cifar10_jpeg": _small_cnn("cifar10_jpeg", "CIFAR-10 (JPEG copy)", RECIPE),
    "small_cnn_digits": _small_cnn("digits", "digits of scikit-learn", DIGITS_RECIPE),
    "alexnet_untrained": ModelEntry(
        "AlexNet (one column), random weights", UNTRAINED, _architecture("alexnet"), ALEXNET_LAYERS
    ),
    **{key: entry for each in PRETRAINED for key, entry in _with_copy(*each).items()},
}


def load_model(
    name: str, *, seed: int = 0, folder: str | Path | None = None, progress: bool = False
) -> NamedModel:
    """Make or read a model of the catalogue, or one that ``train`` has written.

    Parameters
    ----------
    name : str
        A name of ``MODELS``, or a folder that ``fit`` or ``brainscore-lite train`` has written.
    seed : int
        Of random weights and of training.
    folder : path, optional
        Below which models that are trained here are kept, each in a folder named after its
        settings; by default in the user's cache.
    progress : bool
        Show a progress bar while training.

    Returns
    -------
    NamedModel

    Raises
    ------
    ContractError
        If there is no such model, or its weights or training images cannot be had.
    """
    if (Path(name) / "config.json").is_file():
        trained, images = TrainedModel.load(name), load_json(Path(name) / "config.json")["images"]
        return NamedModel(Path(name).name, trained, images["name"], trained.accuracies.get("test"))
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.4)
        raise ContractError(
            f"unknown model '{name}', and no folder of a trained one. Closest: "
            f"{', '.join(near) or 'none'}. List them with 'brainscore-lite models'."
        )
    entry = MODELS[name]
    if not isinstance(entry.make, Training):
        made = entry.make(seed)
        return NamedModel(name, made, entry.task, untrained_copy=entry.untrained_copy)
    training = replace(entry.make, config=replace(entry.make.config, seed=seed))
    root = Path(folder or pooch.os_cache("brainscore_lite") / "models")
    place = root / f"{name}_{digest(training)[:12]}"
    trained = train(training, folder=place, progress=progress)
    accuracy = trained.accuracies.get("test")
    return NamedModel(name, trained, entry.task, accuracy, entry.untrained_copy)


def train(training: Training, *, folder: str | Path, progress: bool = False) -> TrainedModel:
    """Train a network, or go on where an earlier call was stopped, or read it if it is done."""
    architecture = found(training.architecture, ARCHITECTURES, "architecture")
    rule = training.rule
    if isinstance(rule, str):
        rule = found(rule, LEARNING_RULES, "learning rule")
    check_support(rule, architecture)  # before images are fetched
    return fit(
        architecture,
        rule,
        images=load_images(training.images),
        config=training.config,
        folder=folder,
        progress=progress,
    )

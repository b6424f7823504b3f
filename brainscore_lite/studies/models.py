"""The catalogue of models: controls, untrained copies, and trained networks, by name."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pooch

from brainscore_lite.configuration import digest
from brainscore_lite.datasets import load_images
from brainscore_lite.networks import (
    ARCHITECTURES,
    GaborEnergy,
    Model,
    Pixels,
    efficientnet_lite0,
    resnet_cifar,
    squeezenet1_1,
)
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator
from brainscore_lite.storage import load_json
from brainscore_lite.training import Augmentation, TrainedModel, TrainingConfig, fit

DEPTHS = (20, 32, 44, 56)
UNTRAINED = "nothing (random weights)"
FIXED = "nothing (fixed filters)"

RECIPE = TrainingConfig(
    epochs=3,
    batch_size=64,
    lr=0.03,
    warmup_epochs=0.3,
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
    rule: str = "backprop"


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
    untrained_copy : str
        The model that shares everything with this one but training.
    """

    description: str
    task: str
    make: Callable[[int], Model] | Training
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
    """

    name: str
    model: Model
    task: str = ""
    accuracy: float | None = None


def _untrained(make: Callable[..., Model], name: str) -> Callable[[int], Model]:
    return lambda seed: make(untrained=torch_generator(seed, "network", name))


def _architecture(name: str) -> Callable[[int], Model]:
    return lambda seed: ARCHITECTURES[name].build(torch_generator(seed, "network"))


def _small_cnn(images: str, task: str, config: TrainingConfig) -> ModelEntry:
    return ModelEntry(
        "four convolutional areas, trained by backprop when first asked for",
        task,
        Training("small_cnn", images, config),
        untrained_copy="small_cnn_untrained",
    )


MODELS: dict[str, ModelEntry] = {
    "pixels": ModelEntry("the image itself, 32 x 32 RGB", FIXED, lambda seed: Pixels()),
    "gabor": ModelEntry(
        "V1-like Gabor simple and complex cells, 4 scales x 8 orientations",
        FIXED,
        lambda seed: GaborEnergy().build(),
    ),
    "small_cnn_untrained": ModelEntry(
        "four convolutional areas, random weights", UNTRAINED, _architecture("small_cnn")
    ),
    "small_cnn_cifar10": _small_cnn("cifar10", "CIFAR-10", RECIPE),
    "small_cnn_cifar10_jpeg": _small_cnn("cifar10_jpeg", "CIFAR-10 (JPEG copy)", RECIPE),
    "small_cnn_digits": _small_cnn("digits", "digits of scikit-learn", DIGITS_RECIPE),
    "squeezenet1_1_untrained": ModelEntry(
        "SqueezeNet 1.1, random weights", UNTRAINED, _untrained(squeezenet1_1, "squeezenet1_1")
    ),
    "squeezenet1_1": ModelEntry(
        "SqueezeNet 1.1",
        "ImageNet",
        lambda seed: squeezenet1_1(),
        untrained_copy="squeezenet1_1_untrained",
    ),
    "efficientnet_lite0_untrained": ModelEntry(
        "EfficientNet-Lite0, random weights",
        UNTRAINED,
        _untrained(efficientnet_lite0, "efficientnet_lite0"),
    ),
    "efficientnet_lite0": ModelEntry(
        "EfficientNet-Lite0",
        "ImageNet",
        lambda seed: efficientnet_lite0(),
        untrained_copy="efficientnet_lite0_untrained",
    ),
    "alexnet_untrained": ModelEntry(
        "AlexNet (one column), random weights", UNTRAINED, _architecture("alexnet")
    ),
    **{
        f"resnet{depth}_cifar_untrained": ModelEntry(
            f"ResNet-{depth} for 32 x 32 pixels, random weights",
            UNTRAINED,
            _untrained(partial(resnet_cifar, depth), f"resnet{depth}_cifar"),
        )
        for depth in DEPTHS
    },
    **{
        f"resnet{depth}_cifar": ModelEntry(
            f"ResNet-{depth} for 32 x 32 pixels",
            "CIFAR-10",
            lambda seed, depth=depth: resnet_cifar(depth),  # type: ignore[misc]
            untrained_copy=f"resnet{depth}_cifar_untrained",
        )
        for depth in DEPTHS
    },
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
        return _named(TrainedModel.load(name), Path(name), Path(name).name)
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.4)
        raise ContractError(
            f"unknown model '{name}', and no folder of a trained one. Closest: "
            f"{', '.join(near) or 'none'}. List them with 'brainscore-lite models'."
        )
    entry = MODELS[name]
    if not isinstance(entry.make, Training):
        return NamedModel(name, entry.make(seed), entry.task)
    training = replace(entry.make, config=replace(entry.make.config, seed=seed))
    root = Path(folder or pooch.os_cache("brainscore_lite") / "models")
    place = root / f"{name}_{digest(training)[:12]}"
    return _named(train(training, folder=place, progress=progress), place, name)


def train(training: Training, *, folder: str | Path, progress: bool = False) -> TrainedModel:
    """Train a network, or go on where an earlier call was stopped, or read it if it is done."""
    return fit(
        training.architecture,
        training.rule,
        images=load_images(training.images),
        config=training.config,
        folder=folder,
        progress=progress,
    )


def _named(trained: TrainedModel, folder: Path, name: str) -> NamedModel:
    images = load_json(folder / "config.json")["images"]["name"]
    return NamedModel(name, trained, images, trained.accuracies.get("test"))

"""Everything that decides how a network is trained, apart from the rule and the network."""

import re
from dataclasses import dataclass
from typing import Literal

from brainscore_lite.schema import ContractError

#: Whether "sgd" looks ahead along its momentum.
NESTEROV = True
#: Decay of the running means of the gradient and of its square in "adam", per step.
ADAM_BETAS = (0.9, 0.999)
#: Added to the root of the running mean square in "adam".
ADAM_EPSILON = 1e-8
#: Training images, drawn once, on which loss and accuracy of the split "train" are taken.
N_TRAINING_IMAGES_MEASURED = 2000
#: Of these, the first so many are the batch on which alignment is measured.
N_IMAGES_FOR_ALIGNMENT = 128


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of a training image that leave its class as it is.

    Parameters
    ----------
    flip : bool
        Mirror left and right with probability 1/2.
    shift : int
        Largest shift in pixels, uniform in both directions; edges are filled by reflection.
    crop_scale : float
        Smallest share of the image's area that a crop keeps, uniform from there to 1. Crops are
        resized to the size of the image, bilinearly; 1 keeps the whole image.
    crop_aspect : float
        Largest ratio of a crop's sides; its logarithm is uniform, wide and tall alike.
    brightness, contrast, saturation : float
        The image is scaled by a factor between 1 - brightness and 1 + brightness, then its distance
        to its own mean luminance by one of 1 -+ contrast, and that to its gray version by one of
        1 -+ saturation; all uniform. 0 changes nothing.
    gray : float
        Probability that an image loses its colour.

    Raises
    ------
    ContractError
        If a setting is out of its range.
    """

    flip: bool = False
    shift: int = 0
    crop_scale: float = 1.0
    crop_aspect: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    gray: float = 0.0

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise ContractError(f"augmentation: shift is {self.shift}, expected at least 0 pixels.")
        if not 0 < self.crop_scale <= 1:
            raise ContractError(
                f"augmentation: crop_scale is {self.crop_scale}, expected a share of the image's "
                "area above 0 and at most 1."
            )
        if not 1 <= self.crop_aspect < float("inf"):
            raise ContractError(
                f"augmentation: crop_aspect is {self.crop_aspect}, expected a ratio of at least 1."
            )
        for name in ("brightness", "contrast", "saturation", "gray"):
            if not 0 <= getattr(self, name) <= 1:
                raise ContractError(
                    f"augmentation: {name} is {getattr(self, name)}, expected a number from 0 to 1."
                )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training run.

    Parameters
    ----------
    epochs : int
        Passes through the training images, for each phase of the rule that names no number.
    batch_size : int
    optimizer : {"sgd", "adam"}
        Stochastic gradient descent with Nesterov momentum, or Adam with decoupled weight decay.
    lr : float
        Learning rate at its peak.
    momentum : float
        Of "sgd".
    weight_decay : float
    schedule : {"constant", "cosine"}
        How the learning rate goes on after the warm-up: it stays, or falls to 0 as half a cosine
        over the phase.
    warmup_epochs : float
        Epochs over which the learning rate rises linearly, from one step's share of the peak at
        the first step.
    augmentation : Augmentation
        Applied to training images and to views.
    validation_fraction : float
        Share of the training images, the same of every class, kept apart to decide when to stop.
    target_accuracy : float, optional
        Stop after the first epoch of the last phase whose validation accuracy reaches it.
    checkpoint_epochs : tuple of int
        After which epochs the weights are kept and the test accuracy is taken; 0 is before
        training. The last epoch is always kept. `fit` refuses epochs that neither `epochs` nor
        the phases of the rule reach.
    seed : int
        Root of all randomness: weights, order, validation split, augmentation, the rule's own.
    n_threads : int
        Threads of torch; the same number gives the same bits.
    device : str
        Where to train: "cpu", "cuda", or a numbered GPU such as "cuda:1".

    Raises
    ------
    ContractError
        If a setting is out of its range.

    Notes
    -----
    Fixed, as constants of this module: `NESTEROV`, `ADAM_BETAS`, `ADAM_EPSILON`, and the numbers of
    images that are measured after each epoch, `N_TRAINING_IMAGES_MEASURED` and
    `N_IMAGES_FOR_ALIGNMENT`.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: float = 0.0
    augmentation: Augmentation = Augmentation()
    validation_fraction: float = 0.0
    target_accuracy: float | None = None
    checkpoint_epochs: tuple[int, ...] = (0,)
    seed: int = 0
    n_threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1), ("seed", 0), ("n_threads", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ContractError(
                    f"training: {name} is {value!r}, expected a whole number of at least {least}."
                )
        self._check_between("lr", 0.0, float("inf"))
        self._check_between("momentum", 0.0, 1.0)
        self._check_between("weight_decay", 0.0, float("inf"))
        self._check_between("warmup_epochs", 0.0, float("inf"))
        self._check_between("validation_fraction", 0.0, 0.5)
        self._check_choice("optimizer", ("sgd", "adam"))
        self._check_choice("schedule", ("constant", "cosine"))
        if not re.fullmatch(r"cpu|cuda(:\d+)?", str(self.device)):
            raise ContractError(
                f"training: device is {self.device!r}, expected 'cpu', 'cuda' or a numbered GPU "
                "such as 'cuda:1'."
            )
        if any(epoch < 0 for epoch in self.checkpoint_epochs):
            raise ContractError(
                f"training: checkpoint_epochs are {self.checkpoint_epochs}, expected 0 or more."
            )
        if self.target_accuracy is not None:
            self._check_between("target_accuracy", 0.0, 1.0)
            if self.validation_fraction == 0:
                raise ContractError(
                    "training: target_accuracy needs validation images to be judged on (test "
                    "accuracy is only reported). Set validation_fraction, for example to 0.1."
                )

    def _check_between(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high or value == float("inf"):
            raise ContractError(
                f"training: {name} is {value}, expected a number from {low:g} to {high:g}."
            )

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            raise ContractError(
                f"training: {name} is '{getattr(self, name)}', expected one of {list(choices)}."
            )

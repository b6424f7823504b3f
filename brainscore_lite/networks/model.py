"""What can be recorded: the `Model` protocol and the `Step` it yields."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

READOUT = "readout"


@dataclass(frozen=True, eq=False)
class Step:
    """One time step of a model's response to a batch of images.

    Parameters
    ----------
    index : int
        Number of the step, from 0.
    activations : mapping of str to Tensor
        Activations by layer, each of shape (batch, ...). A layer that no signal has reached at this
        step is absent; it is never filled with NaN here.
    residual : float or None
        How far a settling network still is from its fixed point; None where nothing settles.
    """

    index: int
    activations: Mapping[str, Tensor]
    residual: float | None = None


@runtime_checkable
class Model(Protocol):
    """Whatever can be recorded: a `Network`, a trained model, a wrapped foreign module.

    `respond` takes images that `preprocessing` has made: float32, (batch, channels, image_size,
    image_size). It runs in evaluation mode (and restores the mode it found), and yields one `Step`
    after another so that not all of them need be held. `field_degrees` is the visual field that
    `image_size` pixels span, in degrees of visual angle, or None where the model has none.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Layers that can be recorded, from early to late."""
        ...

    @property
    def n_steps(self) -> int:
        """Steps that `respond` yields."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width of the input in pixels."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the input."""
        ...

    @property
    def field_degrees(self) -> float | None:
        """Visual field that the input spans, in degrees of visual angle."""
        ...

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the activations of the named layers (all by default), step after step."""
        ...


def check_layers(
    layers: Sequence[str] | None, available: Sequence[str], *, model: str
) -> tuple[str, ...]:
    """Return the layers asked for (all where None), in the order asked.

    Raises
    ------
    ContractError
        If a layer is unknown (the message lists the nearest names and all layers), named twice, or
        none is named.
    """
    if layers is None:
        return tuple(available)
    if isinstance(layers, str):
        raise ContractError(
            f"layers of model '{model}' were given as the string '{layers}'. Give a sequence of "
            f"names: ['{layers}']."
        )
    chosen = tuple(layers)
    if not chosen:
        raise ContractError(
            f"No layer of model '{model}' was named. Name one of {list(available)}."
        )
    for layer in chosen:
        if layer not in available:
            near = difflib.get_close_matches(layer, available, n=3)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ContractError(
                f"Model '{model}' has no layer '{layer}'.{hint} Its layers are: "
                f"{', '.join(available)}."
            )
    if len(set(chosen)) < len(chosen):
        raise ContractError(f"A layer of model '{model}' is named twice in {list(chosen)}.")
    return chosen


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and restore each submodule's own mode afterwards.

    Raises
    ------
    ContractError
        If a submodule stays in training mode (its batch statistics or dropout would make the
        response depend on the batch).
    """
    found = {submodule: submodule.training for submodule in module.modules()}
    module.eval()
    try:
        stuck = [name for name, part in module.named_modules() if part.training]
        if stuck:
            raise ContractError(
                f"{type(module).__name__} stays in training mode after eval() (submodule "
                f"'{stuck[0] or 'itself'}'). Its responses would depend on the batch; let its "
                "train(False) take effect."
            )
        yield
    finally:
        for submodule, training in found.items():
            submodule.training = training


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's first parameter or buffer (CPU where it has none)."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")

"""Any foreign torch module as a `Model`, by hooks."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from brainscore_lite.networks.model import Step, check_layers, device_of, evaluation_mode
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing


def wrap(
    module: nn.Module,
    layers: Sequence[str],
    preprocessing: Preprocessing,
    *,
    name: str,
    n_steps: int = 1,
    field_degrees: float | None = None,
    channels_last: bool = False,
) -> "WrappedModel":
    """Make a `Model` of a torch module.

    Parameters
    ----------
    module : nn.Module
        Takes images of shape (batch, channels, size, size); it is not changed. To be trained by
        `fit` it must return one score for each class, of shape (batch, n_classes).
    layers : sequence of str
        Names of submodules, as in ``module.named_modules()``, from early to late.
    preprocessing : Preprocessing
        How an image becomes the module's input.
    name : str
    n_steps : int
        The most often that a layer is called in one pass. With more than 1 the k-th call of a
        layer is its step k, and a layer called less often is absent at the later steps.
    field_degrees : float, optional
        Visual field that the input spans, in degrees of visual angle.
    channels_last : bool
        Hand the images over in the memory layout in which convolutions are faster on a CPU. Not
        for modules that use ``Tensor.view`` on maps.

    Returns
    -------
    WrappedModel

    Raises
    ------
    ContractError
        If the module has no such layer (the message lists near names), or none is named.

    Examples
    --------
    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    >>> model = wrap(module, ["1"], Preprocessing(size=32), name="tiny")
    >>> model.layer_names
    ('1',)
    """
    known = {layer: part for layer, part in module.named_modules() if layer}
    for layer in layers:
        if layer not in known:
            near = difflib.get_close_matches(layer, known, n=5, cutoff=0.4) or list(known)[:10]
            raise ContractError(
                f"{type(module).__name__} ('{name}') has no submodule '{layer}'. Near names: "
                f"{', '.join(near)}. module.named_modules() lists all {len(known)}."
            )
    chosen = check_layers(layers, tuple(known), model=name)
    if n_steps < 1:
        raise ContractError(f"Model '{name}' has n_steps={n_steps}; it must be at least 1.")
    return WrappedModel(
        name,
        module,
        layer_names=chosen,
        preprocessing=preprocessing,
        n_steps=n_steps,
        field_degrees=field_degrees,
        channels_last=channels_last,
    )


class WrappedModel(nn.Module):
    """A torch module whose submodules are recorded by hooks; made by `wrap`."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        *,
        layer_names: tuple[str, ...],
        preprocessing: Preprocessing,
        n_steps: int = 1,
        field_degrees: float | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.module = module
        self.layer_names = layer_names
        self.preprocessing = preprocessing
        self.n_steps = n_steps
        self.field_degrees = field_degrees
        self.channels_last = channels_last

    @property
    def image_size(self) -> int:
        """Height and width of the input in pixels."""
        return self.preprocessing.size

    def forward(self, images: Tensor) -> Any:
        """Return what the module returns for images of shape (batch, channels, size, size)."""
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        return self.module(images.to(device_of(self.module), memory_format=layout))

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the outputs of the named layers, in evaluation mode (see `Model`).

        Outputs are copies, so that an operation in place further up cannot change them.

        Raises
        ------
        ContractError
            If a layer is not called, is called more than `n_steps` times, returns no single
            tensor, or changes its shape between calls.
        """
        chosen = check_layers(layers, self.layer_names, model=self.name)
        calls: dict[str, list[Tensor]] = {layer: [] for layer in chosen}
        with evaluation_mode(self.module), _hooked(self.module, calls, model=self.name):
            self(images)
        for layer, outputs in calls.items():
            self._check_calls(layer, outputs)
        for index in range(self.n_steps):
            reached = {layer: out[index] for layer, out in calls.items() if index < len(out)}
            yield Step(index, reached)

    def _check_calls(self, layer: str, outputs: Sequence[Tensor]) -> None:
        if not outputs:
            raise ContractError(
                f"Layer '{layer}' of model '{self.name}' is not called in a forward pass. Choose a "
                "layer that the images pass through."
            )
        if len(outputs) > self.n_steps:
            raise ContractError(
                f"Layer '{layer}' of model '{self.name}' is called {len(outputs)} times in a "
                f"forward pass, but n_steps={self.n_steps}. Give n_steps={len(outputs)} to record "
                "the calls as steps."
            )
        shapes = list(dict.fromkeys(tuple(output.shape) for output in outputs))
        if len(shapes) > 1:
            raise ContractError(
                f"Layer '{layer}' of model '{self.name}' changes its shape from call to call "
                f"({shapes[0]}, then {shapes[1]}), so its calls are not steps of the same units. "
                "Record a layer whose calls have equal shapes."
            )


@contextmanager
def _hooked(module: nn.Module, calls: dict[str, list[Tensor]], *, model: str) -> Iterator[None]:
    parts = dict(module.named_modules())
    handles = []
    try:
        for layer, outputs in calls.items():
            hook = _copy_into(outputs, layer=layer, model=model)
            handles.append(parts[layer].register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _copy_into(
    outputs: list[Tensor], *, layer: str, model: str
) -> Callable[[nn.Module, object, object], None]:
    def hook(module: nn.Module, inputs: object, output: object) -> None:
        outputs.append(_single_tensor(output, layer=layer, model=model).clone())

    return hook


def _single_tensor(output: object, *, layer: str, model: str) -> Tensor:
    if isinstance(output, Tensor):
        return output
    tensors = (
        [each for each in output if isinstance(each, Tensor)] if isinstance(output, tuple) else []
    )
    if len(tensors) != 1:
        raise ContractError(
            f"Layer '{layer}' of model '{model}' returns a {type(output).__name__} with "
            f"{len(tensors)} tensors beside each other; one tensor is expected. Record a submodule "
            "of it that returns a single tensor."
        )
    return tensors[0]

"""Record a model's activations for a stimulus set, streamed in batches."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from scipy import sparse
from torch import Tensor, nn

from brainscore_lite import schema
from brainscore_lite.configuration import digest, to_json
from brainscore_lite.networks.model import Model, check_layers, evaluation_mode
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator
from brainscore_lite.stimuli import StimulusSet

Array = NDArray[np.float32]
NOWHERE = -1  # channel, row or column of a neuroid that has none


@dataclass(frozen=True)
class RandomProjection:
    """Project wide layers onto few random directions that keep inner products.

    Every unit is added to one component, drawn at random, with a random sign, so that

        E[<P x, P y>] = <x, y>,   Var[<P x, P y>] <= (|x|^2 |y|^2 + <x, y>^2) / n_components.

    The mean over units is taken apart and comes back as the mean over components,

        z = C P (x - m 1) + m sqrt(n_units / n_components) 1,   m = mean(x),

    C centring over components: so distances, correlations between patterns and what regression
    sees are all kept. Layers of at most `n_components` units are left as they are.

    Parameters
    ----------
    n_components : int
        Directions per layer.
    seed : int
        Root seed; every layer has its own stream, named after it.

    References
    ----------
    Charikar, Chen & Farach-Colton (2004), doi:10.1016/S0304-3975(03)00400-6;
    Weinberger et al. (2009), doi:10.1145/1553374.1553516.
    """

    n_components: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_components < 1:
            raise ContractError(
                f"A projection onto {self.n_components} components keeps nothing; at least 1 is "
                "expected."
            )

    def matrix(self, layer: str, n_units: int) -> sparse.csr_array:
        """Return P of a layer, shape (n_components, n_units): one entry, +-1, in each column."""
        rng = generator(self.seed, "projection", layer)
        components = rng.integers(0, self.n_components, size=n_units)
        signs = rng.integers(0, 2, size=n_units, dtype=np.int8).astype(np.float32) * 2 - 1
        entries = (signs, (components, np.arange(n_units)))
        return sparse.csr_array(entries, shape=(self.n_components, n_units))


def projected(patterns: Array, matrix: sparse.csr_array) -> Array:
    """Project patterns, their means kept (see :class:`RandomProjection`).

    Parameters
    ----------
    patterns : float32 array, shape (n, n_units)
    matrix : sparse array, shape (n_components, n_units)

    Returns
    -------
    float32 array, shape (n, n_components)
    """
    n_components, n_units = matrix.shape
    mean = patterns.mean(axis=1, keepdims=True)
    directions: Array = (matrix @ np.ascontiguousarray((patterns - mean).T)).T
    directions -= directions.mean(axis=1, keepdims=True)
    return directions + mean * np.float32(math.sqrt(n_units / n_components))


def record(
    model: Model,
    stimuli: StimulusSet,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 32,
    pooling: Literal["average"] | None = None,
    projection: RandomProjection | None = None,
    progress: bool = False,
) -> xr.DataArray:
    """Record layers of a model, all in one pass over the stimuli.

    Images are placed in the model's visual field (`Model.field_degrees`) where both sizes are
    known. The model runs in evaluation mode. Memory holds the result and one batch.

    Parameters
    ----------
    model : Model
    stimuli : StimulusSet
    layers : sequence of str, optional
        All layers by default.
    batch_size : int
        Images per pass; it does not change the result beyond rounding.
    pooling : {"average"}, optional
        Average each feature map over its places.
    projection : RandomProjection, optional
        Applied, after pooling, to layers wider than its number of components.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataArray, dims (stimulus, neuroid[, step])
        float32; neuroid coordinates layer, channel, row, column (-1 where there is none, as in a
        projected layer). A model of more than one step has the dim `step`, with NaN where no
        signal has reached a layer. Its attributes say how it was made.

    Raises
    ------
    ContractError
        If a layer is unknown, or its activations hold NaN or inf (the message names the layer and
        the first stimulus), change their number, or appear at some images and not at others.

    Warns
    -----
    UserWarning
        If a layer is constant over the images (at a step).

    Examples
    --------
    >>> from brainscore_lite.networks import Pixels
    >>> images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    >>> stimuli = StimulusSet.from_arrays("noise", images, ids=["a", "b"])
    >>> record(Pixels(image_size=8), stimuli).shape
    (2, 192)
    """
    if pooling not in (None, "average"):
        raise ContractError(f"Pooling '{pooling}' is unknown. Use 'average' or None.")
    if not isinstance(model, Model):
        raise ContractError(
            f"a {type(model).__name__} cannot be recorded as it is. Wrap it: brainscore_lite.wrap("
            "module, layers, Preprocessing(size=...), name=...)."
        )
    chosen = check_layers(layers, model.layer_names, model=model.name)
    recorded = {layer: _LayerRecord(layer, len(stimuli), model.n_steps) for layer in chosen}
    for first, ids, index, activations in _passes(
        model, stimuli, layers=chosen, batch_size=batch_size, progress=progress
    ):
        for layer in activations:
            if layer in recorded:
                flat, shape = _flattened(activations[layer], pooling=pooling)
                _check_finite(flat, layer, ids=ids, step=index, model=model.name)
                recorded[layer].add(flat, shape, first=first, step=index, projection=projection)
    for layer_record in recorded.values():
        layer_record.check(stimuli, model=model.name)
    result = _assembled(list(recorded.values()), stimuli, has_steps=model.n_steps > 1)
    result.name = model.name
    result.attrs = _provenance(model, stimuli, pooling=pooling, projection=projection)
    return result


@dataclass(eq=False)
class _LayerRecord:
    """What has been recorded of one layer."""

    layer: str
    n_stimuli: int
    n_steps: int
    _: KW_ONLY
    shape: tuple[int, ...] = ()
    values: Array = field(default_factory=lambda: np.empty((0, 0, 0), dtype=np.float32))
    matrix: sparse.csr_array | None = None
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0), dtype=bool))

    def add(
        self,
        flat: Array,
        shape: tuple[int, ...],
        *,
        first: int,
        step: int,
        projection: RandomProjection | None,
    ) -> None:
        """Keep the activations of a batch, shape (batch, n_units), at a step."""
        if not self.shape:
            self._open(shape, projection)
        if shape != self.shape:
            raise ContractError(
                f"Layer '{self.layer}' changes its shape from {self.shape} to {shape} between "
                "batches or steps, so its units cannot be followed. Record another layer."
            )
        if self.matrix is not None:
            flat = projected(flat, self.matrix)
        batch = slice(first, first + len(flat))
        self.values[step, batch] = flat
        self.seen[step, batch] = True

    def check(self, stimuli: StimulusSet, *, model: str) -> None:
        """Refuse a layer that is missing; warn where it does not depend on the image."""
        if not self.shape:
            raise ContractError(f"Layer '{self.layer}' of model '{model}' gave no activations.")
        for step in range(self.n_steps):
            if self.seen[step].all():
                values = self.values[step]
                if self.n_stimuli > 1 and (values == values[:1]).all():
                    where = f" at step {step}" if self.n_steps > 1 else ""
                    warnings.warn(
                        f"Layer '{self.layer}' of model '{model}' is constant over the "
                        f"{self.n_stimuli} images{where}.",
                        stacklevel=3,
                    )
            elif self.seen[step].any():
                absent = stimuli.ids[int(np.argmin(self.seen[step]))]
                raise ContractError(
                    f"Layer '{self.layer}' of model '{model}' is present at step {step} for some "
                    f"images and absent for others (first: '{absent}')."
                )

    def positions(self) -> NDArray[np.int32]:
        """Return channel, row and column of each neuroid, shape (3, n_neuroids)."""
        shape = self.shape
        if self.matrix is not None or len(shape) not in (1, 3):
            return np.full((3, self.values.shape[2]), NOWHERE, dtype=np.int32)
        if len(shape) == 1:
            places = np.full((3, *shape), NOWHERE, dtype=np.int32)
            places[0] = np.arange(shape[0])
            return places
        return np.indices(shape, dtype=np.int32).reshape(3, -1)

    def _open(self, shape: tuple[int, ...], projection: RandomProjection | None) -> None:
        self.shape = shape
        width = math.prod(shape)
        if projection is not None and width > projection.n_components:
            self.matrix = projection.matrix(self.layer, width)
            width = projection.n_components
        self.values = np.full((self.n_steps, self.n_stimuli, width), np.nan, dtype=np.float32)
        self.seen = np.zeros((self.n_steps, self.n_stimuli), dtype=bool)


def _passes(
    model: Model,
    stimuli: StimulusSet,
    *,
    layers: tuple[str, ...],
    batch_size: int,
    progress: bool,
) -> Iterator[tuple[int, tuple[str, ...], int, dict[str, Tensor]]]:
    """Yield the place of a batch's first image, its ids, the step and the activations."""
    parts = model if isinstance(model, nn.Module) else nn.Identity()
    batches = stimuli.batches(
        model.preprocessing, batch_size=batch_size, field_degrees=model.field_degrees
    )
    bar = Progress(console=Console(stderr=True), disable=not progress, transient=True)
    with bar, torch.inference_mode(), evaluation_mode(parts):
        task = bar.add_task(f"{model.name} on {stimuli.name}", total=len(stimuli))
        first = 0
        for ids, images in batches:
            for step in model.respond(torch.from_numpy(images), layers):
                yield first, ids, step.index, dict(step.activations)
            first += len(ids)
            bar.advance(task, len(ids))


def _flattened(activations: Tensor, *, pooling: str | None) -> tuple[Array, tuple[int, ...]]:
    """Return activations as (batch, n_units), and the shape of one image's."""
    if pooling == "average" and activations.ndim > 2:
        activations = activations.flatten(2).mean(2)
    flat = activations.flatten(1).float().cpu().numpy()
    return flat, tuple(activations.shape[1:])


def _check_finite(flat: Array, layer: str, *, ids: tuple[str, ...], step: int, model: str) -> None:
    finite = np.isfinite(flat).all(axis=1)
    if not finite.all():
        raise ContractError(
            f"Layer '{layer}' of model '{model}' gives NaN or inf at step {step}, first for "
            f"stimulus '{ids[int(np.argmin(finite))]}'. Check the weights and the preprocessing."
        )


def _assembled(
    records: list[_LayerRecord], stimuli: StimulusSet, *, has_steps: bool
) -> xr.DataArray:
    widths = [each.values.shape[2] for each in records]
    channel, row, column = np.concatenate([each.positions() for each in records], axis=1)
    values = np.empty((*records[0].values.shape[:2], sum(widths)), dtype=np.float32)
    end = 0
    for each, width in zip(records, widths, strict=True):
        values[:, :, end : end + width] = each.values
        each.values = np.empty(
            (0, 0, 0), dtype=np.float32
        )  # give the memory back: no second copy of all layers
        end += width
    return schema.activations(
        np.moveaxis(values, 0, 2) if has_steps else values[0],
        stimulus=stimuli.ids,
        layer=np.repeat([each.layer for each in records], widths),
        channel=channel,
        row=row,
        column=column,
    )


def _provenance(
    model: Model,
    stimuli: StimulusSet,
    *,
    pooling: str | None,
    projection: RandomProjection | None,
) -> dict[str, str]:
    return {
        "model": model.name,
        "preprocessing": to_json(model.preprocessing),
        "preprocessing_digest": digest(model.preprocessing),
        "stimuli": stimuli.name,
        "stimuli_digest": stimuli.digest,
        "degrees": stimuli.placement(field_degrees=model.field_degrees),
        "pooling": pooling or "none",
        "projection": "none" if projection is None else to_json(projection),
    }

"""Activations on disk: written batch by batch, read by layer and step."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5netcdf
import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite import schema
from brainscore_lite.schema import ContractError
from brainscore_lite.storage import StorageError

ActivationType = Literal["float32", "float16"]
VALUES = "activations"
NEUROID_COORDS = ("layer", "channel", "row", "column")


@dataclass(frozen=True, eq=False)
class ActivationForm:
    """The labels and sizes of activations that are to be written.

    Parameters
    ----------
    stimulus : sequence of str
    neuroids : mapping of str to array, shape (n_neuroids,)
        Coordinates layer, channel, row and column.
    n_steps : int
    attributes : mapping of str to str
    """

    stimulus: Sequence[str]
    neuroids: Mapping[str, NDArray[Any]]
    n_steps: int
    attributes: Mapping[str, str]

    @contextmanager
    def written(
        self, file: Path, dtype: ActivationType, *, n: int
    ) -> Iterator[Callable[[int, NDArray[np.float32]], None]]:
        """Open a file, and lend what writes a batch into it.

        Parameters
        ----------
        file : Path
        dtype : {"float32", "float16"}
        n : int
            Images that are stored together.

        Yields
        ------
        callable
            Takes the place of a batch's first image and its activations, of shape (n_steps, batch,
            n_neuroids).

        Raises
        ------
        ContractError
            If the type is unknown, or activations exceed its range.
        """
        if dtype not in ("float32", "float16"):
            raise ContractError(
                f"Activations cannot be stored as {dtype!r}. Use 'float32' or 'float16'."
            )
        n_neuroids = len(self.neuroids["layer"])
        with warnings.catch_warnings(), h5netcdf.File(file, "w", invalid_netcdf=True) as opened:
            warnings.filterwarnings("ignore", "You are writing invalid netcdf")  # half precision
            opened.dimensions = {
                "stimulus": len(self.stimulus), "neuroid": n_neuroids, "step": self.n_steps,
            }  # fmt: skip
            text = h5py.string_dtype()
            opened.create_variable("stimulus", ("stimulus",), dtype=text)[:] = list(self.stimulus)
            for name, values in self.neuroids.items():
                kind = text if name == "layer" else values.dtype
                opened.create_variable(name, ("neuroid",), dtype=kind)[:] = values.tolist()
            stored = opened.create_variable(
                VALUES,
                ("step", "stimulus", "neuroid"),
                dtype=dtype,
                chunks=(1, min(n, len(self.stimulus)), n_neuroids),
            )
            for name, said in self.attributes.items():
                stored.attrs[name] = said

            def write(first: int, blocks: NDArray[np.float32]) -> None:
                limit = float(np.finfo(dtype).max)
                largest = max(np.nanmax(blocks, initial=0.0), -np.nanmin(blocks, initial=0.0))
                if largest > limit:
                    raise ContractError(
                        f"Activations reach {largest:g}, beyond the {limit:g} of {dtype}. Store "
                        "them as float32."
                    )
                stored[:, first : first + blocks.shape[1]] = blocks.astype(dtype, copy=False)

            yield write


def load_activations(
    file: str | os.PathLike[str],
    *,
    layers: Sequence[str] | None = None,
    steps: Sequence[int] | None = None,
) -> xr.DataArray:
    """Read layers and steps of a recording that `record_to_file` wrote.

    Parameters
    ----------
    file : path
    layers : sequence of str, optional
        All by default.
    steps : sequence of int, optional
        All by default.

    Returns
    -------
    DataArray, dims (stimulus, neuroid[, step])
        float32. A recording of one step has no dim `step`.

    Raises
    ------
    StorageError
        If the file is missing or holds no activations.
    ContractError
        If a layer or a step is not in it.
    """
    source = Path(file)
    if not source.is_file():
        raise StorageError(f"{source} does not exist. Write it with record_to_file(...).")
    try:
        opened = h5netcdf.File(source, "r", invalid_netcdf=True, decode_vlen_strings=True)
    except OSError as error:
        raise StorageError(
            f"cannot read {source}: {error}. Write it with record_to_file(...)."
        ) from error
    with opened:
        if VALUES not in opened.variables:
            raise StorageError(f"{source} holds no activations. Write it with record_to_file(...).")
        stored = opened.variables[VALUES]
        attributes = {name: str(said) for name, said in stored.attrs.items() if name[0] != "_"}
        neuroids = {name: np.asarray(opened.variables[name][:]) for name in NEUROID_COORDS}
        neuroids["layer"] = neuroids["layer"].astype(str)
        n_steps = stored.shape[0]
        chosen = list(range(n_steps)) if steps is None else list(steps)
        _check_there("step", chosen, range(n_steps), source)
        names = list(dict.fromkeys(neuroids["layer"]))
        wanted = names if layers is None else list(layers)
        _check_there("layer", wanted, names, source)
        kept = np.flatnonzero(np.isin(neuroids["layer"], wanted))
        first, last = int(kept[0]), int(kept[-1]) + 1
        values = np.stack(
            [stored[step, :, first:last][:, kept - first] for step in chosen], axis=2
        ).astype(np.float32)
        stimulus = [str(label) for label in opened.variables["stimulus"][:]]
    array = schema.activations(
        values if n_steps > 1 else values[..., 0],
        stimulus=stimulus,
        **{name: coords[kept] for name, coords in neuroids.items()},
        name=attributes.pop("name"),
    )
    array.attrs = attributes
    return array.assign_coords(step=chosen) if n_steps > 1 else array


def _check_there(what: str, asked: Sequence[Any], there: Sequence[Any], source: Path) -> None:
    missing = [each for each in asked if each not in there]
    if missing or not asked:
        raise ContractError(
            f"{source} has no {what} {missing[0] if missing else '(none was named)'!r}. It has: "
            f"{', '.join(str(each) for each in there)}."
        )

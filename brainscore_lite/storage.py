"""Files written whole or not at all: netCDF, JSON, safetensors."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import xarray as xr

from brainscore_lite.schema import ContractError, check_responses, responses

if TYPE_CHECKING:
    import torch


class StorageError(ContractError):
    """A file could not be written or read."""


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Lend a temporary path beside `path`; rename it into place when the block succeeds.

    A kill or an error inside the block leaves what was at `path` before, and no half of a file.

    Parameters
    ----------
    path : path
        The final place. Missing parent folders are made.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    StorageError
        If the disk is full or the place cannot be written.
    """
    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise StorageError(
            f"cannot write {target}: {error.strerror or error}. Nothing was left there; free "
            "space or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def save_netcdf(array: xr.DataArray | xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write an array or a dataset as netCDF-4."""
    with atomic_write(path) as temporary:
        array.to_netcdf(temporary, engine="h5netcdf")


def load_netcdf(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a netCDF-4 file into memory.

    Raises
    ------
    StorageError
        If the file is missing or is no netCDF-4.
    """
    source = _existing(path)
    try:
        with xr.open_dataset(source, engine="h5netcdf") as opened:
            return opened.load()
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"cannot read {source} as netCDF-4: {error}. Write it with "
            "DataArray.to_netcdf(path, engine='h5netcdf')."
        ) from error


def load_responses(path: str | os.PathLike[str]) -> xr.DataArray:
    """Read recorded responses from netCDF or npz and check them.

    Parameters
    ----------
    path : path
        netCDF-4 (``.nc``): one variable with the dims and coords of the contract, as
        ``responses(...).to_netcdf(path, engine="h5netcdf")`` writes it.
        NumPy (``.npz``): arrays ``values``, ``stimulus``, ``neuroid``, ``region``, ``animal`` and,
        with a time axis, ``time_bins``; they are the arguments of ``responses(...)``.

    Returns
    -------
    DataArray, dims (repetition, stimulus, neuroid[, time_bin])

    Raises
    ------
    StorageError
        If the file is missing, of another kind, or lacks an array.
    ContractError
        If the responses break the contract.
    """
    source = _existing(path)
    if source.suffix == ".npz":
        return _responses_from_npz(source)
    if source.suffix not in (".nc", ".nc4", ".netcdf", ".h5"):
        raise StorageError(f"{source} ends in '{source.suffix}'; expected .nc (netCDF-4) or .npz.")
    opened = load_netcdf(source)
    if len(opened.data_vars) != 1:
        raise StorageError(
            f"{source} holds the variables {sorted(map(str, opened.data_vars))}; expected one, the "
            "responses."
        )
    array = next(iter(opened.data_vars.values()))
    for name, coord in array.coords.items():
        if coord.dtype == object:
            array = array.assign_coords({name: (coord.dims, coord.values.astype(str))})
    return check_responses(array, name=source.stem)


def save_json(content: Any, path: str | os.PathLike[str]) -> None:
    """Write plain content as indented JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON.

    Raises
    ------
    StorageError
        If the file is missing or is no JSON.
    """
    source = _existing(path)
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StorageError(f"cannot read {source} as JSON: {error}.") from error


def save_safetensors(
    tensors: Mapping[str, torch.Tensor],
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named tensors; ``metadata`` is text kept in the file's header."""
    from safetensors.torch import save_file

    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(whole, temporary, metadata=dict(metadata or {}))


def load_safetensors(
    path: str | os.PathLike[str],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read named tensors and the text beside them.

    Returns
    -------
    tensors : dict of str to Tensor
    metadata : dict of str to str

    Raises
    ------
    StorageError
        If the file is missing, truncated or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    source = _existing(path)
    try:
        with safe_open(source, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, dict(  # noqa: SIM118
                opened.metadata() or {}
            )
    except (SafetensorError, OSError) as error:
        raise StorageError(f"cannot read {source} as safetensors: {error}.") from error


def _responses_from_npz(source: Path) -> xr.DataArray:
    needed, optional = ("values", "stimulus", "neuroid", "region", "animal"), ("time_bins",)
    try:
        with np.load(source, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in (*needed, *optional) if name in opened}
    except (OSError, ValueError, BadZipFile) as error:
        raise StorageError(
            f"cannot read {source} as npz: {error}. Write it with numpy.savez; labels as arrays "
            "of strings, not of objects."
        ) from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise StorageError(f"{source} lacks the arrays {missing}; expected {list(needed)}.")
    for name in ("region", "animal"):
        if arrays[name].ndim == 0:
            arrays[name] = str(arrays[name])
    return responses(arrays.pop("values"), **arrays, name=source.stem)


def _existing(path: str | os.PathLike[str]) -> Path:
    source = Path(path)
    if not source.is_file():
        raise StorageError(f"no file {source}. Check the path.")
    return source

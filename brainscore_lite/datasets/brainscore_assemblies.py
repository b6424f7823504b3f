"""Read and write Brain-Score's assemblies: netCDF with flattened presentation and neuroid indexes.

Such a file holds one variable with the dims presentation, neuroid and perhaps time_bin, in any
order. What Brain-Score calls the levels of an index are coordinates along these dims: stimulus_id
(image_id in older files), repetition and labels of the stimulus along ``presentation``;
neuroid_id, region and animal along ``neuroid``; time_bin_start and time_bin_end, in ms from
stimulus onset, along ``time_bin``.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.datasets.presentations import RESERVED, Coords, Presentations, arrange
from brainscore_lite.schema import ContractError, Labels, check_responses, responses
from brainscore_lite.stimuli import StimulusSet
from brainscore_lite.storage import StorageError, save_netcdf

_DIMS = ("presentation", "neuroid")
_STIMULUS_IDS = ("stimulus_id", "image_id")
_ANIMALS = ("animal", "subject")
_BINS = ("time_bin_start", "time_bin_end")
_PLAIN = (str, int, float, np.number)
_BLOCK_BYTES = 2**27


def read_brainscore_assembly(
    path: str | os.PathLike[str],
    *,
    stimuli: StimulusSet | None = None,
    region: str | Labels | None = None,
    animal: str | Labels | None = None,
    window_ms: tuple[float, float] | None = None,
    neuroid_from: Sequence[str] = ("neuroid_id",),
    repetition: str | None = "repetition",
    name: str | None = None,
) -> xr.DataArray:
    """Read an assembly of Brain-Score's as responses.

    Parameters
    ----------
    path : path
        netCDF-4, as brainscore_core packages it. Read block by block where a window is asked for.
    stimuli : StimulusSet, optional
        Adds its labels to the stimuli, where the assembly has none of that name.
    region, animal : str or sequence of str, optional
        For files that state none: one for all neuroids, or one for each.
    window_ms : (start, end), optional
        Average over the time bins from `start` to `end`, each weighted by its length, and leave
        out the time axis.
    neuroid_from : sequence of str
        Coordinates along ``neuroid`` whose values, joined by "_", are the labels: more than one
        where neuroid_id alone is not unique.
    repetition : str or None
        Coordinate that numbers the repetitions of a stimulus. Where the file lacks it, and with
        None, presentations are counted in the order of the file.
    name : str, optional
        By default the file's name.

    Returns
    -------
    DataArray, dims (repetition, stimulus, neuroid[, time_bin])
        Stimuli in the order in which they first appear; NaN where one was shown less often.
        Coordinates along ``presentation`` that are constant for each stimulus become its labels,
        those that are constant for each repetition (a session, a run) labels of that; others are
        not kept. Further coordinates along ``neuroid`` are kept. Left out are those named as the
        contract of responses names its own.

    Raises
    ------
    StorageError
        If the file is missing or no netCDF-4 with one variable.
    ContractError
        If it lacks a coordinate that no argument supplies, labels are not unique, or the window
        is not made of whole time bins.

    Examples
    --------
    >>> stimuli = read_brainscore_stimulus_set("stimulus.csv", "stimulus.zip")  # doctest: +SKIP
    >>> trials = read_brainscore_assembly("assy.nc", stimuli=stimuli)  # doctest: +SKIP
    >>> bench = benchmark_of(trials, stimuli=stimuli, region="IT", metric="pls")  # doctest: +SKIP
    """
    source = Path(path)
    context = f"assembly '{source.name}'"
    with _opened(source) as array:
        shown = _presentations(array, repetition, context)
        values, bins = _read_values(array, window_ms, context)
        of_stimuli, of_repetitions = _presentation_coords(array, shown, repetition)
        recording = responses(
            shown.grid.filled(values),
            stimulus=shown.stimuli,
            neuroid=_neuroid_labels(array, neuroid_from, context),
            region=_stated(array, ("region",), region, context),
            animal=_stated(array, _ANIMALS, animal, context),
            time_bins=bins,
            stimulus_coords=_labels_of_set(stimuli, shown, context) | of_stimuli,
            neuroid_coords=_neuroid_coords(array),
            name=source.stem if name is None else name,
        ).assign_coords({key: ("repetition", labels) for key, labels in of_repetitions.items()})
        recording.attrs.update({str(key): value for key, value in array.attrs.items()})
    return recording


def write_brainscore_assembly(recording: xr.DataArray, path: str | os.PathLike[str]) -> None:
    """Write responses as an assembly that Brain-Score loads.

    Presentations are written stimulus by stimulus, so that `read_brainscore_assembly` gives back
    the same array. Repetitions in which a stimulus was not recorded are left out, and so are
    attributes that are no text or number, and coordinates without a dim or along two. A label that
    consists of digits is text in the assembly, but brainscore_core reads such a column of a
    stimulus set as numbers: choose others.

    Parameters
    ----------
    recording : DataArray, dims (repetition, stimulus, neuroid[, time_bin])
    path : path
        Ends in ``.nc``.

    Raises
    ------
    ContractError
        If `recording` breaks the contract of responses, or has a coordinate named as the labels
        of an assembly are.
    StorageError
        If the place cannot be written.

    Examples
    --------
    >>> write_brainscore_assembly(trials, "assy_lab_Name2026.nc")  # doctest: +SKIP
    >>> again = read_brainscore_assembly("assy_lab_Name2026.nc")  # doctest: +SKIP
    >>> xr.testing.assert_equal(again, trials)  # doctest: +SKIP
    """
    check_responses(recording)
    values = recording.values
    recorded = np.isfinite(values).reshape(*values.shape[:2], -1).any(axis=-1)
    stimulus, repetition = np.nonzero(recorded.T)
    coords: dict[Hashable, Any] = {
        "stimulus_id": ("presentation", recording["stimulus"].values[stimulus]),
        "repetition": ("presentation", repetition),
        "neuroid_id": ("neuroid", recording["neuroid"].values),
    }
    for key, coord in recording.coords.items():
        if key in ("stimulus", "neuroid", "repetition"):
            continue
        if key in (*_STIMULUS_IDS, "neuroid_id"):
            raise ContractError(
                f"responses '{recording.name}': the coordinate '{key}' has the name of the labels "
                "of an assembly. Drop or rename it."
            )
        if coord.dims == ("stimulus",):
            coords[key] = ("presentation", coord.values[stimulus])
        elif coord.dims == ("repetition",):
            coords[key] = ("presentation", coord.values[repetition])
        elif coord.dims == ("neuroid",):
            coords[key] = ("neuroid", coord.values)
    dims: tuple[str, ...] = _DIMS
    if "time_bin" in recording.dims:
        dims = (*_DIMS, "time_bin")
        for key, edge in zip(_BINS, ("start_ms", "end_ms"), strict=True):
            coords[key] = ("time_bin", _whole(recording[edge].values))
    written = xr.DataArray(values[repetition, stimulus], dims=dims, coords=coords)
    plain = {key: note for key, note in recording.attrs.items() if isinstance(note, _PLAIN)}
    assembly = written.to_dataset(name="data").assign_attrs(plain)
    assembly["data"].encoding = {"zlib": True, "complevel": 4}
    save_netcdf(assembly, path)


def neuroid_coordinates(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """List what an assembly states of its neuroids, without reading its values.

    Raises
    ------
    StorageError
        If the file is missing or no netCDF-4 with one variable.
    """
    with _opened(Path(path)) as array:
        return tuple(_along(array, "neuroid"))


@contextmanager
def _opened(source: Path) -> Iterator[xr.DataArray]:
    """Lend the one variable of a file, unread, with the attributes of the file."""
    if not source.is_file():
        raise StorageError(f"no file {source}. Check the path.")
    try:
        opened = xr.open_dataset(source, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"cannot read {source} as netCDF-4: {error}. Fetch or package the assembly again."
        ) from error
    with opened:
        if len(opened.data_vars) != 1:
            raise StorageError(
                f"{source} holds the variables {sorted(map(str, opened.data_vars))}; expected one, "
                "the assembly."
            )
        array = next(iter(opened.data_vars.values()))
        dims = (*_DIMS, "time_bin")
        if set(array.dims) not in (set(_DIMS), set(dims)):
            raise ContractError(
                f"assembly '{source.name}': dims are {array.dims}, expected {_DIMS} and perhaps "
                "'time_bin'. Behaviour and spike times are other kinds of assemblies."
            )
        yield array.assign_attrs({**opened.attrs, **array.attrs})


def _presentations(array: xr.DataArray, repetition: str | None, context: str) -> Presentations:
    labels = _column(array, _STIMULUS_IDS, "presentation")
    if labels is None:
        raise ContractError(
            f"{context}: no coordinate {' or '.join(_STIMULUS_IDS)} along 'presentation'; it has "
            f"{_listed(array, 'presentation')}. Without it nothing says which image was shown."
        )
    numbers = None if repetition is None else _column(array, (repetition,), "presentation")
    return arrange(labels.astype(str), repetition=numbers, context=context)


def _read_values(
    array: xr.DataArray, window_ms: tuple[float, float] | None, context: str
) -> tuple[NDArray[np.float64], list[tuple[float, float]] | None]:
    """Read (presentation, neuroid[, time_bin]) values and their time bins."""
    if "time_bin" not in array.dims:
        if window_ms is not None:
            raise ContractError(f"{context}: no time bins to average. Leave out window_ms.")
        return array.load().transpose(*_DIMS).values.astype(np.float64), None
    edges = [_column(array, (name,), "time_bin") for name in _BINS]
    if edges[0] is None or edges[1] is None:
        raise ContractError(
            f"{context}: needs the coordinates {_BINS} along 'time_bin'; it has "
            f"{_listed(array, 'time_bin')}."
        )
    starts, ends = (edge.astype(np.float64) for edge in edges if edge is not None)
    if window_ms is None:
        bins = list(zip(starts.tolist(), ends.tolist(), strict=True))
        ordered = array.load().transpose(*_DIMS, "time_bin")
        return ordered.values.astype(np.float64), bins
    inside = _bins_inside(starts, ends, window_ms, context)
    return _averaged(array.isel(time_bin=inside), (ends - starts)[inside]), None


def _bins_inside(
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    window_ms: tuple[float, float],
    context: str,
) -> slice | NDArray[np.int64]:
    """Find the time bins that together make a window."""
    first, last = window_ms
    inside = np.flatnonzero((starts >= first) & (ends <= last))
    inside = inside[np.argsort(starts[inside])]
    edges = np.concatenate([[first], ends[inside]])
    if not len(inside) or edges[-1] != last or not np.array_equal(edges[:-1], starts[inside]):
        raise ContractError(
            f"{context}: no time bins make up {first:g} to {last:g} ms; it has {len(starts)} from "
            f"{starts.min():g} to {ends.max():g} ms, the first {starts[0]:g} to {ends[0]:g}."
        )
    if np.array_equal(inside, np.arange(inside[0], inside[0] + len(inside))):
        return slice(int(inside[0]), int(inside[-1]) + 1)
    return inside


def _averaged(array: xr.DataArray, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over time bins, a block of neuroids at a time: the file may exceed the memory."""
    weights = lengths / lengths.sum()
    averaged = np.empty((array.sizes["presentation"], array.sizes["neuroid"]))
    row = 8 * array.sizes["presentation"] * array.sizes["time_bin"]
    step = max(1, _BLOCK_BYTES // row)
    for start in range(0, array.sizes["neuroid"], step):
        block = slice(start, start + step)
        # Transposed once it is in memory: a file that is not read yet would be read cell by cell.
        loaded = array.isel(neuroid=block).load().transpose(*_DIMS, "time_bin")
        averaged[:, block] = loaded.values.astype(np.float64) @ weights
    return averaged


def _neuroid_labels(array: xr.DataArray, names: Sequence[str], context: str) -> NDArray[np.str_]:
    columns = [_column(array, (name,), "neuroid") for name in names]
    kept = [column.astype(str) for column in columns if column is not None]
    if not kept or len(kept) < len(columns):
        raise ContractError(
            f"{context}: neuroids are to be named from {tuple(names)}; along 'neuroid' it has "
            f"{_listed(array, 'neuroid')}. Name them with neuroid_from=(...)."
        )
    labels = np.array(["_".join(parts) for parts in zip(*kept, strict=True)])
    unique, times = np.unique(labels, return_counts=True)
    if len(unique) < len(labels):
        raise ContractError(
            f"{context}: neuroids are not unique by {tuple(names)} ({len(labels)} neuroids, "
            f"{len(unique)} labels; first repeated: '{unique[times > 1][0]}'). Add coordinates to "
            f"neuroid_from=(...); it has {_listed(array, 'neuroid')}."
        )
    return labels


def _stated(
    array: xr.DataArray, names: Sequence[str], given: str | Labels | None, context: str
) -> str | Labels:
    """Return what the file states of each neuroid, or what was given in its place."""
    found = _column(array, names, "neuroid")
    if found is None:
        scalars = [array.coords[name] for name in names if name in array.coords]
        found = np.full(array.sizes["neuroid"], scalars[0].item()) if scalars else None
    if found is None and given is None:
        raise ContractError(
            f"{context}: states no {names[0]}; along 'neuroid' it has {_listed(array, 'neuroid')}. "
            f"Give {names[0]}=, one for all neuroids or one for each."
        )
    if found is not None and given is not None:
        raise ContractError(
            f"{context}: states the {names[0]} of its neuroids itself ({np.unique(found)[:4]}). "
            f"Leave out {names[0]}=."
        )
    return given if found is None and given is not None else np.asarray(found).astype(str)


def _presentation_coords(
    array: xr.DataArray, shown: Presentations, repetition: str | None
) -> tuple[Coords, Coords]:
    """Collect the labels of the stimuli and of the repetitions."""
    left_out = {"presentation", repetition, *_STIMULUS_IDS}
    names = [name for name in _along(array, "presentation") if name not in left_out]
    return shown.labels({name: _values(array, name) for name in names})


def _labels_of_set(stimuli: StimulusSet | None, shown: Presentations, context: str) -> Coords:
    """Return the labels that a stimulus set has of the stimuli shown."""
    if stimuli is None:
        return {}
    missing = sorted(set(shown.stimuli.tolist()) - set(stimuli.ids))
    if missing:
        raise ContractError(
            f"{context}: {len(missing)} of its {len(shown.stimuli)} stimuli are not in the "
            f"stimulus set '{stimuli.name}'; first: '{missing[0]}'. Read the one that belongs."
        )
    coords = stimuli.select(shown.stimuli.tolist()).coords
    return {name: np.asarray(labels) for name, labels in coords.items() if name not in RESERVED}


def _neuroid_coords(array: xr.DataArray) -> Coords:
    left_out = {"neuroid_id", *RESERVED}
    return {name: _values(array, name) for name in _along(array, "neuroid") if name not in left_out}


def _column(array: xr.DataArray, names: Sequence[str], dim: str) -> NDArray[Any] | None:
    """Return the first of some coordinates that lies along a dim, or None."""
    found = [name for name in names if name in _along(array, dim)]
    return _values(array, found[0]) if found else None


def _values(array: xr.DataArray, name: str) -> NDArray[Any]:
    values: NDArray[Any] = array.coords[name].values
    return values if values.dtype.kind in "biuf" else values.astype(str)


def _along(array: xr.DataArray, dim: str) -> list[str]:
    return [str(name) for name, coord in array.coords.items() if coord.dims == (dim,)]


def _listed(array: xr.DataArray, dim: str) -> str:
    return ", ".join(_along(array, dim)) or "none"


def _whole(edges: NDArray[np.float64]) -> NDArray[Any]:
    """Write whole ms as integers, as Brain-Score's own files and selections do."""
    rounded = edges.astype(np.int64)
    return rounded if np.array_equal(rounded, edges) else edges

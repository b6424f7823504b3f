"""Convert labelled arrays to rsatoolbox's objects and back.

==========================================  ================================================
ours                                        rsatoolbox
==========================================  ================================================
responses, activations                      ``Dataset``; a row for each recorded trial or stimulus
the same with ``time_bin`` or ``step``      ``TemporalDataset``
rdms                                        ``RDMs``; one for each subject (and time bin)
==========================================  ================================================

Coordinates become descriptors of the same name and come back as coordinates. rsatoolbox sorts
alphabetically where it averages by a descriptor, and by first appearance elsewhere; labels travel
along, so compare its matrices with ours by label (``match_stimuli``), never by position.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainscore_lite.datasets.presentations import Presentations, arrange
from brainscore_lite.datasets.row_grid import RowGrid, counted
from brainscore_lite.datasets.rsatoolbox_descriptors import (
    Labels,
    columns_of,
    describe,
    describe_all,
    take_column,
)
from brainscore_lite.schema import (
    ContractError,
    activations,
    check_activations,
    check_rdms,
    check_responses,
    rdms,
    responses,
)


def to_rsatoolbox(array: xr.DataArray) -> Any:
    """Convert responses, activations or dissimilarity matrices to rsatoolbox's type.

    Parameters
    ----------
    array : DataArray
        Responses (trials that were not recorded are left out; single missing values stay NaN),
        activations, or rdms.

    Returns
    -------
    rsatoolbox.data.Dataset, rsatoolbox.data.TemporalDataset or rsatoolbox.rdm.RDMs
        Rows are in the order of stimuli, and of repetitions within a stimulus. The descriptor
        ``time`` of a time bin is its centre, in ms.

    Raises
    ------
    ContractError
        If the array breaks its contract.

    Examples
    --------
    >>> trials = responses(np.ones((2, 3, 1)), stimulus=list("abc"), neuroid=["n"], region="IT",
    ...                    animal="m")
    >>> to_rsatoolbox(trials).obs_descriptors["stimulus"].tolist()
    ['a', 'a', 'b', 'b', 'c', 'c']
    """
    if "stimulus_other" in array.dims:
        return _to_rdms(check_rdms(array))
    if "repetition" in array.dims:
        return _to_dataset(check_responses(array), ("stimulus", "repetition"))
    return _to_dataset(check_activations(array), ("stimulus",))


def from_rsatoolbox(
    given: Any,
    *,
    stimulus: str = "stimulus",
    neuroid: str = "neuroid",
    repetition: str | None = "repetition",
    subject: str = "subject",
    region: str | None = None,
    animal: str | None = None,
    layer: str | None = None,
    species: str | None = None,
    time_bins: Sequence[tuple[float, float]] | None = None,
) -> xr.DataArray:
    """Convert an rsatoolbox Dataset, TemporalDataset or RDMs to a labelled array.

    Parameters
    ----------
    given : rsatoolbox.data.Dataset, rsatoolbox.data.TemporalDataset or rsatoolbox.rdm.RDMs
    stimulus : str
        Descriptor of rows (patterns) that names the stimulus.
    neuroid, repetition, subject : str
        Descriptors of channels, rows and matrices. Where there is none of that name, channels and
        subjects are numbered, and the rows of a stimulus are its repetitions in their order, as
        they are with ``repetition=None``.
    region, animal, layer, species : str, optional
        Where the object has no descriptor of that name. With a layer the result is activations,
        else responses.
    time_bins : sequence of (start_ms, end_ms), optional
        Where time has no descriptors ``start_ms`` and ``end_ms``.

    Returns
    -------
    DataArray
        Responses, activations or rdms. Descriptors that are constant for each stimulus or for
        each repetition become coordinates along it, others along both.

    Raises
    ------
    ContractError
        If a descriptor is missing, or a trial occurs twice.
    """
    if hasattr(given, "dissimilarities"):
        asked = {"region": region, "species": species}
        return _from_rdms(
            given, stimulus=stimulus, subject=subject, asked=asked, time_bins=time_bins
        )
    channels, rows = columns_of(given.channel_descriptors), columns_of(given.obs_descriptors)
    numbered = np.array([f"channel{i}" for i in range(given.n_channel)])
    channels["neuroid"] = take_column(channels, "neuroid", neuroid, fallback=numbered).astype(str)
    rows["stimulus"] = take_column(rows, "stimulus", stimulus).astype(str)
    if layer is not None or "layer" in channels:
        return _from_activations(given, rows, channels=channels, layer=layer)
    numbers = None
    if repetition in rows or repetition not in ("repetition", None):
        numbers = take_column(rows, "repetition", str(repetition))
    shown = arrange(rows["stimulus"], repetition=numbers, context="rsatoolbox's dataset")
    asked = {"region": region, "animal": animal}
    return _from_responses(
        given, rows, shown=shown, channels=channels, asked=asked, time_bins=time_bins
    )


def _to_dataset(array: xr.DataArray, rows: tuple[str, ...]) -> Any:
    from rsatoolbox.data import dataset

    time = next((str(dim) for dim in array.dims if dim in ("time_bin", "step")), None)
    ordered = array.transpose(*rows, "neuroid", ...)
    n_rows = int(np.prod([array.sizes[dim] for dim in rows]))
    values = ordered.values.reshape(n_rows, *ordered.shape[len(rows) :])
    recorded = np.isfinite(values).reshape(n_rows, -1).any(axis=1)
    descriptors: dict[str, dict[str, Any]] = {
        "descriptors": {
            "name": str(array.name or ""),
            **{str(name): c.item() for name, c in array.coords.items() if not c.ndim},
        },
        "obs_descriptors": {
            name: labels[recorded] for name, labels in _spread_over(array, rows).items()
        },
        "channel_descriptors": _spread_over(array, ("neuroid",)),
    }
    if time is None:
        plain: Any = dataset.Dataset
        return plain(values[recorded], **descriptors)
    times = _spread_over(array, (time,))
    if time == "time_bin":
        times["time"] = (times["start_ms"] + times["end_ms"]) / 2
    else:
        times["time"] = times.get("step", np.arange(array.sizes["step"]))
    temporal: Any = dataset.TemporalDataset
    return temporal(values[recorded], **descriptors, time_descriptors=times)


def _spread_over(array: xr.DataArray, dims: tuple[str, ...]) -> dict[str, Labels]:
    """Return each coordinate along `dims` with one entry for each of their combinations."""
    shape = {dim: array.sizes[dim] for dim in dims}
    spread = {}
    for name, coord in array.coords.items():
        if coord.dims and set(coord.dims) <= set(dims):
            plain = xr.DataArray(coord.values, dims=coord.dims)
            spread[str(name)] = (
                plain.expand_dims({dim: n for dim, n in shape.items() if dim not in coord.dims})
                .transpose(*dims)
                .values.ravel()
            )
    return spread


def _to_rdms(array: xr.DataArray) -> Any:
    from rsatoolbox.rdm import rdms as rsatoolbox_rdms

    make: Any = rsatoolbox_rdms.RDMs
    dims = ("subject", "time_bin") if "time_bin" in array.dims else ("subject",)
    values = array.transpose(*dims, "stimulus", "stimulus_other").values
    scalars = {str(name): c.item() for name, c in array.coords.items() if not c.ndim}
    by_matrix = _spread_over(array, dims)
    if "time_bin" in dims and {"start_ms", "end_ms"} <= set(by_matrix):
        by_matrix["time"] = (by_matrix["start_ms"] + by_matrix["end_ms"]) / 2
    return make(
        values.reshape(-1, *values.shape[-2:]),
        descriptors={"name": str(array.name or ""), **scalars},
        rdm_descriptors=by_matrix,
        pattern_descriptors=_spread_over(array, ("stimulus",)),
    )


def _from_activations(
    given: Any, rows: dict[str, Labels], *, channels: dict[str, Labels], layer: str | None
) -> xr.DataArray:
    if len(np.unique(rows["stimulus"])) < given.n_obs:
        raise ContractError(
            f"{given.n_obs} rows hold {len(np.unique(rows['stimulus']))} stimuli, expected one row "
            "for each stimulus of a model. Average them, or read responses (no layer)."
        )
    array = activations(
        given.measurements,
        stimulus=rows["stimulus"],
        neuroid=channels["neuroid"],
        layer=describe("layer", layer, columns=channels, given=given),
        name=_name_of(given, "activations"),
    )
    steps = columns_of(getattr(given, "time_descriptors", {}))
    return check_activations(
        _with_coords(
            array,
            {key: ("stimulus", column) for key, column in rows.items()}
            | {key: ("neuroid", column) for key, column in channels.items()}
            | {key: ("step", column) for key, column in steps.items() if key != "time"},
            given,
        )
    )


def _from_responses(
    given: Any,
    rows: dict[str, Labels],
    *,
    shown: Presentations,
    channels: dict[str, Labels],
    asked: Mapping[str, str | None],
    time_bins: Sequence[tuple[float, float]] | None,
) -> xr.DataArray:
    values = shown.grid.filled(given.measurements)
    times = columns_of(getattr(given, "time_descriptors", {}))
    array = responses(
        values,
        stimulus=shown.stimuli,
        neuroid=channels["neuroid"],
        region=describe("region", asked["region"], columns=channels, given=given),
        animal=describe("animal", asked["animal"], columns=channels, given=given),
        time_bins=_time_bins(times, time_bins) if values.ndim == 4 else None,
        name=_name_of(given, "responses"),
    ).assign_coords(repetition=shown.repetitions)
    return check_responses(
        _with_coords(
            array,
            {key: shown.grid.coord(column) for key, column in rows.items()}
            | {key: ("neuroid", column) for key, column in channels.items()}
            | {key: ("time_bin", column) for key, column in times.items() if key != "time"},
            given,
        )
    )


def _from_rdms(
    given: Any,
    *,
    stimulus: str,
    subject: str,
    asked: Mapping[str, str | None],
    time_bins: Sequence[tuple[float, float]] | None,
) -> xr.DataArray:
    patterns, columns = columns_of(given.pattern_descriptors), columns_of(given.rdm_descriptors)
    grid, names = _lay_out_matrices(given, columns, subject)
    matrices = grid.filled(given.get_matrices())
    scalars = {
        key: describe_all(key, value, columns=columns, given=given) for key, value in asked.items()
    }
    labels = take_column(patterns, "stimulus", stimulus).astype(str)
    parts = [
        rdms(part, stimulus=labels, subject=names, name=_name_of(given, "rdms"), **scalars)
        for part in matrices.swapaxes(0, 1)
    ]
    new: dict[str, tuple[Any, Labels]]
    new = {key: ("stimulus", column) for key, column in patterns.items() if key != "index"}
    columns = {key: column for key, column in columns.items() if key not in ("index", "name")}
    if len(parts) == 1 and "start_ms" not in columns and time_bins is None:
        new |= {key: ("subject", column) for key, column in columns.items()}
        return check_rdms(_with_coords(parts[0], new, given))
    first = np.unique(grid.at[1], return_index=True)[1]
    times = {key: column[first] for key, column in columns.items()}
    bins = np.asarray(_time_bins(times, time_bins), dtype=np.float64)
    if bins.shape != (len(parts), 2):
        raise ContractError(
            f"time_bins has shape {bins.shape}, but there are {len(parts)} times. Give one "
            "(start_ms, end_ms) for each, in their order."
        )
    movie = xr.concat(parts, dim="time_bin").transpose(..., "time_bin")
    new |= {key: grid.coord(column) for key, column in columns.items()}
    new |= {"start_ms": ("time_bin", bins[:, 0]), "end_ms": ("time_bin", bins[:, 1])}
    return check_rdms(_with_coords(movie, new, given))


def _lay_out_matrices(
    given: Any, columns: dict[str, Labels], subject: str
) -> tuple[RowGrid, Labels]:
    """Find each matrix's subject and time, and the subjects' names; take out their columns."""
    times = columns.pop("time", columns.get("start_ms", np.zeros(given.n_rdm)))
    moments, when = np.unique(times, return_inverse=True)
    numbered = np.array([f"subject{i}" for i in counted(times)])
    subjects = take_column(columns, "subject", subject, fallback=numbered).astype(str)
    names = pd.unique(subjects)
    grid = RowGrid(
        dims=("subject", "time_bin"),
        shape=(len(names), len(moments)),
        at=(pd.Index(names).get_indexer(subjects), when.ravel()),
    )
    if grid.occupied < given.n_rdm or given.n_rdm < len(names) * len(moments):
        raise ContractError(
            f"{given.n_rdm} matrices are not one for each of {len(names)} subjects and "
            f"{len(moments)} times. Name the descriptor that tells subjects apart with subject=."
        )
    return grid, names


def _with_coords(
    array: xr.DataArray, coords: Mapping[str, tuple[Any, Labels]], given: Any
) -> xr.DataArray:
    """Add what has no coordinate yet; single descriptors become coordinates without a dim."""
    scalars = {
        key: value
        for key, value in given.descriptors.items()
        if key != "name" and isinstance(value, str | int | float | np.generic)
    }
    return array.assign_coords(
        {key: coord for key, coord in {**scalars, **coords}.items() if key not in array.coords}
    )


def _time_bins(
    times: Mapping[str, Labels], asked: Sequence[tuple[float, float]] | None
) -> Sequence[tuple[float, float]]:
    if asked is not None:
        return asked
    if not {"start_ms", "end_ms"} <= set(times):
        raise ContractError(
            f"time has the descriptors {sorted(times)}, but neither 'start_ms' nor 'end_ms'. Give "
            "time_bins=[(start_ms, end_ms), ...]."
        )
    return list(zip(times["start_ms"].tolist(), times["end_ms"].tolist(), strict=True))


def _name_of(given: Any, default: str) -> str:
    return str(given.descriptors.get("name", default))

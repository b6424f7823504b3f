"""Read spikes and trials of Neurodata Without Borders (NWB) files as responses.

References
----------
Rübel et al. (2022) The Neurodata Without Borders ecosystem. eLife 11:e78362.
doi:10.7554/eLife.78362
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.datasets.presentations import Coords, Presentations, arrange
from brainscore_lite.schema import ContractError, MissingExtraError, responses
from brainscore_lite.storage import StorageError

Response = Literal["count", "rate"]

# Times are compared in whole ns: an edge, a sum of a start in s and a bin in ms, is then exact.
_NS_PER_S, _NS_PER_MS = 10**9, 10**6


def read_nwb(
    path: str | os.PathLike[str],
    *,
    stimulus_column: str,
    window_ms: tuple[float, float] | None = None,
    time_bins_ms: Sequence[tuple[float, float]] | None = None,
    response: Response = "count",
    table: str | None = None,
    start_column: str = "start_time",
    where: Mapping[str, Any] | None = None,
    leave_out: Sequence[str] = (),
    region_column: str | None = None,
    region: str | None = None,
    animal: str | None = None,
) -> xr.DataArray:
    """Count the spikes of sorted units after each presentation of a stimulus.

    count = #{spikes s: start + from_ms <= s < start + to_ms}; rate = count / (to_ms - from_ms)

    Parameters
    ----------
    path : path
        An NWB file in HDF5, with a units table that has ``spike_times``.
    stimulus_column : str
        Column of the table of presentations that names the stimulus; values become text.
    window_ms : (from_ms, to_ms), optional
        One window after each start; the result has no time axis.
    time_bins_ms : sequence of (from_ms, to_ms), optional
        Several; they may overlap. Give either this or `window_ms`.
    response : {"count", "rate"}
        Spikes, or spikes per second.
    table : str, optional
        Table of intervals, such as ``"trials"`` or ``"stimulus_presentations"``. By default
        ``trials``, or the only table there is.
    start_column : str
        Column with the onset of the stimulus, in s.
    where : mapping of column to value, optional
        Keep the rows that have these values: ``{"correct": True}``.
    leave_out : sequence of str
        Stimuli to leave out; ``""`` stands for rows that name none.
    region_column : str, optional
        Column of the units table. By default the ``location`` of the unit's electrodes.
    region, animal : str, optional
        For all units, in files that state none. By default the animal is the subject's id.

    Returns
    -------
    DataArray, dims (repetition, stimulus, neuroid[, time_bin])
        Repetitions in the order of their onsets; NaN where a stimulus was shown less often, and
        where a window is not within a unit's ``obs_intervals``. Neuroids are labelled
        ``<animal>_<session>_<unit>`` and have the coords region, animal, session and unit.
        Columns that are constant for each stimulus become its labels, those that are constant for
        each repetition (a block) labels of that, but for those named as the coords of neuroids or
        as the contract of responses names its own.

    Raises
    ------
    MissingExtraError
        If the extra `nwb` is not installed.
    StorageError
        If the file is missing or no NWB file.
    ContractError
        If a table, column, region or animal is missing, rows name no stimulus, or times are not
        finite.

    Examples
    --------
    >>> trials = read_nwb("sub-m1.nwb", stimulus_column="image", window_ms=(70, 170))
    ... # doctest: +SKIP
    >>> images = StimulusSet.from_folder("images")  # doctest: +SKIP
    >>> bench = benchmark_of(trials, stimuli=images, region="IT", metric="pls")  # doctest: +SKIP
    """
    bins = _bins_ms(window_ms, time_bins_ms)
    if response not in get_args(Response):
        raise ContractError(f"response is {response!r}, expected one of {get_args(Response)}.")
    with _opened(Path(path)) as content:
        context = f"NWB file '{Path(path).name}'"
        rows = _rows(content, table, stimulus_column, start_column, where, leave_out, context)
        starts = rows[start_column].to_numpy(dtype=np.float64)
        labels = rows[stimulus_column].to_numpy(dtype=str)
        shown = arrange(labels, context=context)
        units = _units(content, context)
        values = _counts(units, starts, bins, context)
        if response == "rate":
            values /= np.diff(bins, axis=1)[:, 0] / 1000
        numbers = np.asarray(units.id[:]).astype(str)
        session = str(content.session_id or content.identifier)
        subject = _animal(content, animal, context)
        of_stimuli, of_repetitions = _presentation_coords(rows, shown, stimulus_column)
        recording = responses(
            shown.grid.filled(values if window_ms is None else values[..., 0]),
            stimulus=shown.stimuli,
            neuroid=[f"{subject}_{session}_{number}" for number in numbers],
            region=_regions(units, region_column, region, context),
            animal=subject,
            time_bins=None if window_ms is not None else [tuple(edges) for edges in bins.tolist()],
            stimulus_coords=of_stimuli,
            neuroid_coords={"session": [session] * len(numbers), "unit": numbers},
            name=Path(path).stem,
        ).assign_coords({key: ("repetition", labels) for key, labels in of_repetitions.items()})
    recording.attrs["response"] = "spikes" if response == "count" else "spikes per second"
    return recording


@contextmanager
def _opened(source: Path) -> Iterator[Any]:
    """Lend the content of a file; an NWBFile."""
    if not find_spec("pynwb"):
        raise MissingExtraError(
            "pynwb is not installed: it comes with the extra 'nwb'. Install it with: "
            "pip install 'brainscore-lite[nwb]'."
        )
    from pynwb import NWBHDF5IO

    if not source.is_file():
        raise StorageError(f"no file {source}. Check the path.")
    try:
        stream = NWBHDF5IO(str(source), mode="r", load_namespaces=True)
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise StorageError(f"cannot read {source} as an NWB file: {error}.") from error
    with stream:
        try:
            content = stream.read()
        except (OSError, TypeError, ValueError, KeyError) as error:
            raise StorageError(f"cannot read {source} as an NWB file: {error}.") from error
        yield content


def _bins_ms(
    window_ms: tuple[float, float] | None, time_bins_ms: Sequence[tuple[float, float]] | None
) -> NDArray[np.float64]:
    """Return the bins, shape (n_bins, 2), in ms."""
    if (window_ms is None) == (time_bins_ms is None):
        raise ContractError("give either window_ms=(from, to) or time_bins_ms=[(from, to), ...].")
    bins = np.asarray([window_ms] if time_bins_ms is None else time_bins_ms, dtype=np.float64)
    pairs = bins.ndim == 2 and bins.shape[1:] == (2,) and bool(np.isfinite(bins).all())
    if not pairs or not (bins[:, 0] < bins[:, 1]).all():
        raise ContractError(f"bins are {bins.tolist()} ms, expected finite pairs with from < to.")
    return bins


def _rows(
    content: Any,
    table: str | None,
    stimulus_column: str,
    start_column: str,
    where: Mapping[str, Any] | None,
    leave_out: Sequence[str],
    context: str,
) -> pd.DataFrame:
    """Read the rows of the table of presentations that are asked for, in the order of onset."""
    name, intervals = _table(content, table, context)
    columns = [each for each in intervals.colnames if each != "timeseries"]
    lacking = [
        each for each in (stimulus_column, start_column, *(where or {})) if each not in columns
    ]
    if lacking:
        raise ContractError(
            f"{context}: table '{name}' has no column {lacking}; it has {', '.join(columns)}."
        )
    rows = pd.DataFrame({each: pd.Series(list(intervals[each][:])) for each in columns})
    for column, value in (where or {}).items():
        rows = rows[rows[column] == value]
    rows[stimulus_column] = [_text(value) for value in rows[stimulus_column]]
    rows = rows[~rows[stimulus_column].isin(list(leave_out))]
    nameless = int((rows[stimulus_column] == "").sum())
    if nameless:
        raise ContractError(
            f"{context}: {nameless} rows of '{name}' name no stimulus in '{stimulus_column}'. "
            "Leave them out with leave_out=('',)."
        )
    starts = pd.to_numeric(rows[start_column], errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(starts).all():
        raise ContractError(
            f"{context}: {int((~np.isfinite(starts)).sum())} values of '{start_column}' in "
            f"'{name}' are no finite times. Choose rows with where=, or another start_column."
        )
    return rows.iloc[np.argsort(starts, kind="stable")]


def _table(content: Any, name: str | None, context: str) -> tuple[str, Any]:
    own = {"trials": content.trials, "epochs": content.epochs}
    tables = {key: found for key, found in own.items() if found is not None}
    tables |= dict(content.intervals or {})
    if name is None and ("trials" in tables or len(tables) == 1):
        name = "trials" if "trials" in tables else next(iter(tables))
    if name is None or name not in tables:
        raise ContractError(
            f"{context}: {'no table is named' if name is None else f'no table {name!r}'}; it has "
            f"{', '.join(sorted(tables)) or 'no table of intervals'}. Name one with table=."
        )
    return name, tables[name]


def _units(content: Any, context: str) -> Any:
    units = content.units
    if units is None or "spike_times" not in units.colnames:
        raise ContractError(f"{context}: no units with spike_times. Sort the spikes first.")
    return units


def _counts(
    units: Any, starts: NDArray[np.float64], bins: NDArray[np.float64], context: str
) -> NDArray[np.float64]:
    """Count spikes, (presentation, unit, bin); NaN outside of a unit's observed intervals."""
    onsets = _nanoseconds(starts)[:, np.newaxis, np.newaxis]
    edges = onsets + np.rint(bins * _NS_PER_MS).astype(np.int64)
    counts = np.empty((len(starts), len(units), len(bins)))
    observed = "obs_intervals" in units.colnames
    for i in range(len(units)):
        times = np.asarray(units["spike_times"][i], dtype=np.float64)
        if not np.isfinite(times).all():
            raise ContractError(f"{context}: unit {units.id[i]} has spike times that are no times.")
        below = np.searchsorted(np.sort(_nanoseconds(times)), edges, side="left")
        counts[:, i] = below[..., 1] - below[..., 0]
        if observed:
            # Without a row where the unit was never observed.
            intervals = np.asarray(units["obs_intervals"][i], dtype=np.float64).reshape(-1, 2)
            spans = _nanoseconds(intervals)
            within = (edges[..., :1] >= spans[:, 0]) & (edges[..., 1:] <= spans[:, 1])
            counts[:, i][~within.any(axis=-1)] = np.nan
    return counts


def _nanoseconds(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(seconds * _NS_PER_S).astype(np.int64)


def _animal(content: Any, animal: str | None, context: str) -> str:
    stated = None if content.subject is None else content.subject.subject_id
    if stated is None and animal is None:
        raise ContractError(f"{context}: states no subject_id. Give animal=.")
    if stated is not None and animal is not None:
        raise ContractError(f"{context}: states the subject_id '{stated}'. Leave out animal=.")
    return str(animal if stated is None else stated)


def _regions(units: Any, column: str | None, region: str | None, context: str) -> list[str]:
    """Return the region of each unit: the one given, a column's, or its electrodes' location."""
    known = ", ".join(units.colnames)
    if region is not None:
        if column is not None:
            raise ContractError("give either region= or region_column=.")
        return [region] * len(units)
    if column is not None:
        if column not in units.colnames:
            raise ContractError(f"{context}: units have no column '{column}'; they have {known}.")
        return [_text(value) for value in units[column][:]]
    if "electrodes" not in units.colnames:
        raise ContractError(
            f"{context}: units have no electrodes, so no location; they have {known}. Give "
            "region_column= or region=."
        )
    regions = []
    for i in range(len(units)):
        locations = sorted({str(each) for each in units["electrodes"][i]["location"]})
        if len(locations) != 1:
            raise ContractError(
                f"{context}: the electrodes of unit {units.id[i]} lie in {locations}, expected one "
                "location. Give region_column=."
            )
        regions += locations
    return regions


def _presentation_coords(
    rows: pd.DataFrame, shown: Presentations, stimulus_column: str
) -> tuple[Coords, Coords]:
    """Collect the columns that hold one plain value for each stimulus, or each repetition."""
    columns = {}
    left_out = [stimulus_column, "start_time", "stop_time", "session", "unit"]
    for name in rows.columns.difference(left_out, sort=False):
        values = rows[name].to_numpy()
        if values.dtype.kind == "O":
            if not all(isinstance(value, str | bytes) for value in values):
                continue
            values = np.array([_text(value) for value in values])
        columns[str(name)] = values
    return shown.labels(columns)


def _text(value: Any) -> str:
    """Write a label as text; nothing for what is missing."""
    if isinstance(value, bytes):
        return value.decode()
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    return str(value)

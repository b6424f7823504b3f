"""Read spikes of 132 macaque IT neurons over time: 7 objects at 3 positions.

References
----------
Zhang, Meyers, Bichot, Serre, Poggio & Desimone (2011) PNAS 108:8850. doi:10.1073/pnas.1100999108
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import rdata
from numpy.typing import NDArray
from rdata.conversion import DEFAULT_CLASS_MAP, dataframe_constructor
from rich.console import Console
from rich.progress import track

from brainscore_lite.datasets.archives import iterate_members, member_names
from brainscore_lite.datasets.dataset import Dataset, DatasetError
from brainscore_lite.datasets.registry import fetch, source_of
from brainscore_lite.schema import responses

NAME = "zhang_desimone_it"
START_MS, END_MS = -500, 500
_FILE = "Zhang_Desimone_7object_raster_data_rda.zip"
_OBJECT, _POSITION = "labels.stimulus_ID", "labels.stimulus_position"
_SUFFIX = "_raster_data.rda"


def load(*, bin_ms: int = 10, cache: Path | None = None, progress: bool | None = None) -> Dataset:
    """Read the spikes, counted in bins.

    Memory: one neuron's trials at 1 ms, and the result, which holds 20 x 21 x 132 x 1000 / `bin_ms`
    numbers of 8 bytes (44 MB at 10 ms).

    Parameters
    ----------
    bin_ms : int
        Width of a time bin, in ms; divides 500, so that stimulus onset is an edge.
    cache : Path, optional
        Folder for fetched files; the user's cache folder if not given.
    progress : bool, optional
        Show a progress bar (reading takes about 10 s); by default where standard error is a
        terminal.

    Returns
    -------
    Dataset
        Region "IT": spike counts, dims (repetition 20, stimulus 21, neuroid 132, time_bin), from
        -500 to 500 ms of stimulus onset. Stimulus labels are ``object_position``, with coords
        ``object_name`` and ``position``. Repetitions are in the order of recording; where a
        neuron has 19, the last is NaN. No images.

    Raises
    ------
    DatasetError
        If `bin_ms` does not divide 500, or the file is missing or not as expected.

    Examples
    --------
    >>> it = load(bin_ms=50)["IT"]  # doctest: +SKIP
    >>> it.sel(stimulus="car_upper").sizes["time_bin"]  # doctest: +SKIP
    20
    """
    if bin_ms < 1 or END_MS % bin_ms:
        raise DatasetError(
            f"dataset '{NAME}': bin_ms is {bin_ms}; expected a whole number that divides {END_MS}, "
            "such as 10, 50 or 100, so that stimulus onset is an edge."
        )
    path = fetch(NAME, _FILE, cache=cache, progress=progress)
    n_neurons = sum(name.endswith(_SUFFIX) for name in member_names(path))
    members = (each for each in iterate_members(path) if each[0].endswith(_SUFFIX))
    shown = sys.stderr.isatty() if progress is None else progress
    counts = {
        PurePosixPath(name).name.removesuffix(_SUFFIX): count_spikes(
            read_raster(content, name), bin_ms=bin_ms
        )
        for name, content in track(
            members,
            description="Reading spikes",
            total=n_neurons,
            console=Console(stderr=True),
            transient=True,
            disable=not shown,
        )
    }
    return _dataset(counts, bin_ms)


def read_raster(content: bytes, name: str) -> pd.DataFrame:
    """Read one neuron's trials from an R data file.

    Parameters
    ----------
    content : bytes
        A .rda file that holds ``raster_data``.
    name : str
        Its name, for messages.

    Returns
    -------
    DataFrame
        One row for each trial; columns ``labels.*`` and ``time.START_END`` (0 or 1 spike).

    Raises
    ------
    DatasetError
        If the file is damaged or holds no ``raster_data`` with the labels and 1000 bins.
    """
    classes = {**DEFAULT_CLASS_MAP, "raster_data": dataframe_constructor}
    try:
        parsed = rdata.parser.parse_data(content, extension=".rda")
        held = rdata.conversion.convert(parsed, classes)
    except (ValueError, EOFError, OSError, NotImplementedError, IndexError) as error:
        raise DatasetError(
            f"dataset '{NAME}': '{name}' cannot be read as R data: it is truncated or damaged "
            f"({error}). Delete the archive and fetch it again."
        ) from error
    table = held.get("raster_data")
    if not isinstance(table, pd.DataFrame) or not {_OBJECT, _POSITION} <= set(table.columns):
        raise DatasetError(
            f"dataset '{NAME}': '{name}' holds {sorted(held)}; expected a table 'raster_data' with "
            f"the columns '{_OBJECT}' and '{_POSITION}'. Get the archive named in the registry."
        )
    n_bins = sum(str(column).startswith("time.") for column in table.columns)
    if n_bins != END_MS - START_MS:
        raise DatasetError(
            f"dataset '{NAME}': '{name}' has {n_bins} time bins of 1 ms; expected "
            f"{END_MS - START_MS}. Get the archive named in the registry."
        )
    return table


def count_spikes(table: pd.DataFrame, *, bin_ms: int) -> dict[str, NDArray[np.float64]]:
    """Count one neuron's spikes in bins, by condition.

    Parameters
    ----------
    table : DataFrame
        As `read_raster` returns it.
    bin_ms : int

    Returns
    -------
    dict of str to array, shape (n_trials, n_bins)
        Keys are ``object_position``, sorted; trials in the order of recording.
    """
    times = [column for column in table.columns if str(column).startswith("time.")]
    spikes = table[times].to_numpy(dtype=np.float64)
    counts = spikes.reshape(len(table), -1, bin_ms).sum(axis=2)
    labels = (table[_OBJECT].astype(str) + "_" + table[_POSITION].astype(str)).to_numpy(dtype=str)
    return {str(label): counts[labels == label] for label in np.unique(labels)}


def _dataset(counts: dict[str, dict[str, NDArray[np.float64]]], bin_ms: int) -> Dataset:
    neuroids = sorted(counts)
    conditions = sorted({condition for neuron in counts.values() for condition in neuron})
    n_repetitions = max(len(trials) for neuron in counts.values() for trials in neuron.values())
    starts = range(START_MS, END_MS, bin_ms)
    shape = (n_repetitions, len(conditions), len(neuroids), len(starts))
    values = np.full(shape, np.nan)
    for column, neuroid in enumerate(neuroids):
        for condition, trials in counts[neuroid].items():
            values[: len(trials), conditions.index(condition), column] = trials
    objects, positions = zip(*(each.split("_") for each in conditions), strict=True)
    return Dataset(
        name=NAME,
        recordings={
            "IT": responses(
                values,
                stimulus=conditions,
                neuroid=neuroids,
                region="IT",
                animal="bp",
                time_bins=[(start, start + bin_ms) for start in starts],
                stimulus_coords={"object_name": objects, "position": positions},
                neuroid_coords={"session": [each[2:6] for each in neuroids]},
                name=f"{NAME}.IT",
            )
        },
        stimuli=None,
        simulated=False,
        caveats=(
            "no images: no scoring of networks on images",
            "neurons recorded one at a time: no noise correlations",
            "animal read off the file names",
        ),
        **source_of(NAME, _FILE),
    )

"""Read recordings that Brain-Score publishes in its own format: assembly, table and images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from brainscore_lite.datasets.brainscore_assemblies import (
    neuroid_coordinates,
    read_brainscore_assembly,
)
from brainscore_lite.datasets.brainscore_stimuli import read_brainscore_stimulus_set
from brainscore_lite.datasets.dataset import Dataset, DatasetError
from brainscore_lite.datasets.registry import describe, fetch_recorded

NOT_READ_HERE = "reader proven on synthetic files of the format, not on the source's own"


@dataclass(frozen=True)
class Published:
    """Describe one published recording.

    Parameters
    ----------
    registered_as : str
        Its name in the registry.
    assembly : str
        File of the responses.
    stimuli : str
        Name of the files of the stimulus set, without ``.csv`` and ``.zip``.
    regions : tuple of str
    degrees : float
        Size at which the images were shown, in degrees of visual angle.
    labels : tuple of str
        Labels that every stimulus must have.
    """

    registered_as: str
    assembly: str
    stimuli: str
    regions: tuple[str, ...]
    degrees: float
    labels: tuple[str, ...]


def load_published(
    published: Published,
    *,
    name: str,
    window_ms: tuple[float, float] | None,
    repetition: str | None,
    cache: Path | None,
) -> Dataset:
    """Fetch and read a published recording.

    Parameters
    ----------
    published : Published
    name : str
        Name of the dataset.
    window_ms : (start, end) or None
        Average over the time bins from `start` to `end`; None keeps them.
    repetition : str or None
        As in `read_brainscore_assembly`.
    cache : Path, optional
        Folder for fetched files.

    Returns
    -------
    Dataset
        One recording for each region.

    Raises
    ------
    DatasetError
        If a file is missing or not as expected.
    """
    names = (published.assembly, f"{published.stimuli}.csv", f"{published.stimuli}.zip")
    fetched = {file: fetch_recorded(published.registered_as, file, cache=cache) for file in names}
    assembly, table, archive = (path for path, _ in fetched.values())
    stimuli = read_brainscore_stimulus_set(table, archive, degrees=published.degrees, name=name)
    stated = {"animal", "subject"} & set(neuroid_coordinates(assembly))
    recording = read_brainscore_assembly(
        assembly,
        stimuli=stimuli,
        animal=None if stated else "not stated",
        window_ms=window_ms,
        repetition=repetition,
        name=name,
    )
    _check(recording, published, name)
    unstated = () if stated else ("animals not stated: neuroids cannot be grouped by animal",)
    entry = describe(published.registered_as)
    return Dataset(
        name=name,
        recordings={
            region: recording.isel(neuroid=recording["region"].values == region)
            for region in published.regions
        },
        stimuli=stimuli.select(recording["stimulus"].values.tolist()),
        simulated=False,
        species=entry.species,
        reference=entry.reference,
        licence=entry.licence,
        caveats=(*unstated, NOT_READ_HERE),
        sha256={file: sha256 for file, (_, sha256) in fetched.items()},
    )


def _check(recording: xr.DataArray, published: Published, name: str) -> None:
    found = set(np.unique(recording["region"].values).tolist())
    lacking = [each for each in published.labels if each not in recording.coords]
    if lacking or not found >= set(published.regions):
        raise DatasetError(
            f"dataset '{name}': '{published.assembly}' holds the regions {sorted(found)}, expected "
            f"{list(published.regions)}, and its stimuli lack the labels {lacking}. Get the files "
            "named in the registry."
        )

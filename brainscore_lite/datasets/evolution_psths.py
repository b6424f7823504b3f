"""Read response time courses of 170 macaque V1, V4 and IT sites during image evolution.

Each PSTH is the mean over a whole generation of evolved images: it pairs with no single image.
The source is the repository Animadversio/NeuralEvolutionExplorer, which states no publication.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import xarray as xr

from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.delimited import read_table
from brainscore_lite.datasets.registry import fetch, source_of

NAME = "evolution_psths"
_PSTHS, _EXPERIMENTS = "psth_means.npz", "experiments.csv"
_COLUMNS = ("experiment", "animal", "unit", "area", "date", "n_generations")


@dataclass(frozen=True, eq=False)
class EvolutionPsths:
    """Hold mean response time courses, and the table of experiments (one site each).

    Parameters
    ----------
    name : str
    psths : DataArray, dims (psth, time_bin)
        Rate in Hz, in 1-ms bins from stimulus onset (coords ``start_ms``, ``end_ms``). Coords on
        ``psth``: ``experiment``, ``generation``, ``thread``, ``area``, ``animal`` and ``evoked_hz``
        (mean rate from 50 to 200 ms).
    experiments : DataFrame
        One row for each experiment: experiment, animal, unit, area, date, n_generations, and the
        image space of each thread.
    species, reference, licence : str
    caveats : tuple of str
    sha256 : mapping of str to str
        Checksum of every file that was read.
    """

    name: str
    psths: xr.DataArray
    experiments: pd.DataFrame
    species: str
    reference: str
    licence: str
    caveats: tuple[str, ...]
    sha256: Mapping[str, str]

    def by_experiment(self) -> xr.DataArray:
        """Average over generations and threads.

        Returns
        -------
        DataArray, dims (experiment, time_bin)
            Rate in Hz, with the coords ``area`` and ``animal`` on ``experiment``.
        """
        means = self.psths.groupby("experiment").mean()
        sites = self.experiments.set_index("experiment").loc[means["experiment"].to_numpy()]
        return means.assign_coords(
            experiment=means["experiment"].to_numpy().astype(str),
            area=("experiment", sites["area"].to_numpy(dtype=str)),
            animal=("experiment", sites["animal"].to_numpy(dtype=str)),
        )


def load(*, cache: Path | None = None) -> EvolutionPsths:
    """Read 9786 mean PSTHs and the table of 170 experiments.

    Returns
    -------
    EvolutionPsths

    Raises
    ------
    DatasetError
        If a file is missing or not as expected.

    Examples
    --------
    >>> sites = load().by_experiment()  # doctest: +SKIP
    >>> sites.sel(experiment=sites.area == "IT").mean("experiment")  # doctest: +SKIP
    """
    experiments = read_table(fetch(NAME, _EXPERIMENTS, cache=cache), _COLUMNS, dataset=NAME)
    return EvolutionPsths(
        name=NAME,
        psths=read_psths(fetch(NAME, _PSTHS, cache=cache), experiments=experiments),
        experiments=experiments,
        caveats=("each PSTH is the mean over a generation of images: pairs with no single image",),
        **source_of(NAME, _PSTHS, _EXPERIMENTS),
    )


def read_psths(path: Path, *, experiments: pd.DataFrame) -> xr.DataArray:
    """Read the PSTHs and label them by experiment.

    Parameters
    ----------
    path : Path
        An .npz file: ``mean`` (n, n_bins), ``evoked`` (n,), ``paths`` (n,), the last as
        ``experiment/gen_NN/THREAD_psth.json``.
    experiments : DataFrame
        One row for each experiment; see `EvolutionPsths`.

    Returns
    -------
    DataArray, dims (psth, time_bin)

    Raises
    ------
    DatasetError
        If the file is damaged, lacks an array, or names an unknown experiment.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            means, evoked, paths = file["mean"], file["evoked"], file["paths"]
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise DatasetError(
            f"'{path}' cannot be read: {error}. Delete it and fetch it again."
        ) from error
    parts = pd.Series(paths).str.extract(
        r"^(?P<experiment>[^/]+)/gen_(?P<generation>\d+)/(?P<thread>.+)_psth\.json$"
    )
    sites = experiments.set_index("experiment").reindex(parts["experiment"])
    unknown = np.flatnonzero(sites["area"].isna())
    if unknown.size:
        raise DatasetError(
            f"dataset '{NAME}': {unknown.size} PSTHs belong to no experiment of the table; first: "
            f"'{paths[unknown[0]]}'. Get both files of the registry."
        )
    start = np.arange(means.shape[1], dtype=np.float64)
    return xr.DataArray(
        means.astype(np.float64),
        dims=("psth", "time_bin"),
        coords={
            "experiment": ("psth", parts["experiment"].to_numpy(dtype=str)),
            "generation": ("psth", parts["generation"].to_numpy(dtype=int)),
            "thread": ("psth", parts["thread"].to_numpy(dtype=str)),
            "area": ("psth", sites["area"].to_numpy(dtype=str)),
            "animal": ("psth", sites["animal"].to_numpy(dtype=str)),
            "evoked_hz": ("psth", evoked),
            "start_ms": ("time_bin", start),
            "end_ms": ("time_bin", start + 1),
        },
        name=NAME,
    )

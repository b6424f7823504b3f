"""Read the archive of Cadieu et al. (2014): mean responses of macaque V4 and IT to 1960 images.

Layout as documented by the source's README and as public scripts read it; unverified, since this
project has not had the archive. ``NeuralData_<region>_<units>.mat`` (MATLAB 5) holds ``features``,
(images, units), and ``meta``, one line of text for each image: its file (``images/<id>.png``), its
category and ten flags, 1 where a split of the paper trains on the image and 0 where it tests.

References
----------
Cadieu, Hong, Yamins, Pinto, Ardila, Solomon, Majaj & DiCarlo (2014) PLoS Comput Biol 10:e1003963.
doi:10.1371/journal.pcbi.1003963
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from brainscore_lite.datasets.archives import member_names, read_member
from brainscore_lite.datasets.dataset import Dataset, DatasetError
from brainscore_lite.datasets.registry import describe, fetch_recorded
from brainscore_lite.schema import responses
from brainscore_lite.stimuli import StimulusSet

NAME = "cadieu2014"
ARCHIVE = "PLoSCB2014_data_20141216.zip"
N_SPLITS = 10
REGIONS = ("V4", "IT")
Units = Literal["multiunits", "singleunits"]


def load(units: Units = "multiunits", *, cache: Path | None = None) -> Dataset:
    """Fetch and read the archive.

    Parameters
    ----------
    units : {"multiunits", "singleunits"}
    cache : Path, optional
        Folder for fetched files.

    Returns
    -------
    Dataset
        As `read_cadieu2014`.

    Raises
    ------
    DatasetError
        If the archive is missing or not as expected.
    """
    path, sha256 = fetch_recorded(NAME, ARCHIVE, cache=cache)
    return read_cadieu2014(path, units=units, sha256={ARCHIVE: sha256})


def read_cadieu2014(
    archive: Path, *, units: Units = "multiunits", sha256: dict[str, str] | None = None
) -> Dataset:
    """Read the archive as it is distributed, without unpacking it.

    Parameters
    ----------
    archive : Path
        ``PLoSCB2014_data_20141216.zip``; whatever folder its files lie in.
    units : {"multiunits", "singleunits"}
    sha256 : dict of str to str, optional
        Kept with the result.

    Returns
    -------
    Dataset
        Regions "V4" and "IT": dims (repetition 1, stimulus, neuroid), in the source's units;
        stimulus coords ``category_name`` and ``train_0`` ... ``train_9`` (1 or 0).

    Raises
    ------
    DatasetError
        If a file or an image is missing, or rows and lines are not as many.

    Examples
    --------
    >>> dataset = read_cadieu2014(Path("PLoSCB2014_data_20141216.zip"))  # doctest: +SKIP
    >>> trials, images = dataset["IT"], dataset.stimuli  # doctest: +SKIP
    >>> bench = benchmark_of(trials, stimuli=images, metric="pls")  # doctest: +SKIP
    """
    if units not in get_args(Units):
        raise DatasetError(f"{NAME} has no '{units}'. It has: {', '.join(get_args(Units))}.")
    members = member_names(archive)
    recordings = {region: _recording(archive, members, region, units) for region in REGIONS}
    entry = describe(NAME)
    return Dataset(
        name=NAME if units == "multiunits" else f"{NAME}_{units}",
        recordings=recordings,
        stimuli=_stimuli(archive, members, recordings),
        simulated=False,
        species=entry.species,
        reference=entry.reference,
        licence=entry.licence,
        caveats=(
            "averaged over repetitions at the source: no trial-based ceiling",
            "animals not stated: neuroids cannot be grouped by animal",
            "layout as documented by the source, not verified on its archive",
        ),
        sha256=sha256 or {},
    )


def _recording(archive: Path, members: tuple[str, ...], region: str, units: str) -> xr.DataArray:
    file = f"NeuralData_{region}_{units}.mat"
    content = _matlab(read_member(archive, _member(archive, members, file)), file)
    features = np.asarray(content["features"], dtype=np.float64)
    lines = [str(line).split() for line in np.ravel(content["meta"])]
    if features.ndim != 2 or len(features) != len(lines):
        raise DatasetError(
            f"{NAME}: '{file}' holds features of shape {features.shape} and {len(lines)} lines of "
            "meta; expected one line for each row (images, units)."
        )
    wrong = [number for number, line in enumerate(lines) if not _is_described(line)]
    if wrong:
        raise DatasetError(
            f"{NAME}: '{file}' has {len(wrong)} lines of meta that are not a file, a category and "
            f"{N_SPLITS} flags; first: line {wrong[0]}, '{' '.join(lines[wrong[0]])}'."
        )
    files, categories, *flags = zip(*lines, strict=True)
    train = {f"train_{i}": np.array(column, dtype=int) for i, column in enumerate(flags)}
    return responses(
        features,
        stimulus=[PurePosixPath(each).stem for each in files],
        neuroid=[f"{region}_{units}_{i:03d}" for i in range(features.shape[1])],
        region=region,
        animal="not stated",
        stimulus_coords={"category_name": categories, **train},
        name=f"{NAME}.{region}",
    )


def _matlab(content: bytes, file: str) -> dict[str, NDArray[Any]]:
    try:
        variables = loadmat(io.BytesIO(content), variable_names=["features", "meta"])
    except (ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise DatasetError(
            f"{NAME}: '{file}' cannot be read as MATLAB 5: {error}. Fetch the archive again."
        ) from error
    missing = [name for name in ("features", "meta") if name not in variables]
    if missing:
        raise DatasetError(f"{NAME}: '{file}' lacks the variables {missing}.")
    return dict(variables)


def _is_described(line: list[str]) -> bool:
    return len(line) == 2 + N_SPLITS and set(line[2:]) <= {"0", "1"}


def _stimuli(
    archive: Path, members: tuple[str, ...], recordings: Mapping[str, xr.DataArray]
) -> StimulusSet:
    """Pair the labels of all regions with the images of the archive, by name."""
    categories = {
        str(label): str(category)
        for each in recordings.values()
        for label, category in zip(
            each["stimulus"].values, each["category_name"].values, strict=True
        )
    }
    images = {PurePosixPath(each).stem: each for each in members if each.endswith(".png")}
    missing = sorted(set(categories) - set(images))
    if missing:
        raise DatasetError(
            f"{NAME}: '{archive.name}' lacks {len(missing)} of {len(categories)} images; first: "
            f"'{missing[0]}.png'. Get the archive named in the registry."
        )
    return StimulusSet.from_zip(
        archive,
        [images[label] for label in categories],
        name=NAME,
        ids=tuple(categories),
        coords={"category_name": tuple(categories.values())},
    )


def _member(archive: Path, members: tuple[str, ...], file: str) -> str:
    """Find a file in whatever folder of the archive it lies."""
    found = [each for each in members if PurePosixPath(each).name == file]
    if len(found) != 1:
        raise DatasetError(
            f"{NAME}: '{archive.name}' holds {len(found)} files '{file}', expected one. Get the "
            "archive named in the registry."
        )
    return found[0]

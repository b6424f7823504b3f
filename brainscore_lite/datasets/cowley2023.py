"""Read macaque V4 sessions of Cowley et al. (2023): spike counts of single neurons, with images.

References
----------
Cowley, Stan, Pillow & Smith (2023) Compact deep neural network models of the visual cortex.
bioRxiv. doi:10.1101/2023.11.22.568315
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from brainscore_lite.datasets.archives import member_names
from brainscore_lite.datasets.dataset import Dataset, DatasetError
from brainscore_lite.datasets.download import Unreachable
from brainscore_lite.datasets.registry import (
    checksums,
    data_folder,
    describe,
    fetch,
    fetch_unlisted,
)
from brainscore_lite.schema import responses
from brainscore_lite.stimuli import StimulusSet

REGISTERED_AS = "cowley2023_v4"
OBJECT_SESSION = "210325"
# One object per block of 80 images of session 210325; named by eye, the source ships no labels.
OBJECTS = ("bear", "elephant", "face", "car", "dog", "apple", "chair", "plane")
IMAGES_PER_OBJECT = 80
_LEAKING_KINDS = ("active learning", "validation")


@dataclass(frozen=True)
class Session:
    """Describe one session as the source's table does.

    Parameters
    ----------
    name : str
        Date, yymmdd.
    animal : str
        WE, PE or RA.
    n_neurons, n_repetitions, n_images : int
        Repetitions are typical: images of a session differ.
    images : str
        Kinds of images, with their numbers.
    """

    name: str
    animal: str
    n_neurons: int
    n_repetitions: int
    n_images: int
    images: str


@functools.cache
def sessions() -> dict[str, Session]:
    """List the sessions of the source, by name."""
    table = data_folder() / "cowley2023_v4_sessions.tsv"
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return {
        row["session"]: Session(
            name=row["session"],
            animal=row["animal"],
            n_neurons=int(row["n_neurons"]),
            n_repetitions=int(row["n_repetitions"]),
            n_images=int(row["n_images"]),
            images=row["images"],
        )
        for row in rows
    }


def holds_near_duplicates(session: str) -> bool:
    """Say whether random folds of a session would hold near-duplicates of images in both parts.

    True of sessions with images made by active learning or for validation. The source does not say
    which images belong together, so no groups of them can be given; use `sessions` only.

    Parameters
    ----------
    session : str
        Date, yymmdd. Nothing but the table of sessions is read.

    Raises
    ------
    DatasetError
        If there is no such session.
    """
    return any(kind in _described(session).images for kind in _LEAKING_KINDS)


def load(session: str = OBJECT_SESSION, *, cache: Path | None = None) -> Dataset:
    """Read one session.

    Parameters
    ----------
    session : str
        Date, yymmdd; see `sessions`. Sessions that the registry does not list are read from the
        mirror or the cache or fetched at the same commit, and their checksums recorded.
    cache : Path, optional
        Folder for fetched files.

    Returns
    -------
    Dataset
        Region "V4": spike counts in 100 ms, dims (repetition, stimulus, neuroid), NaN where an
        image was shown less often; one repetition where the source has only averages. Session
        210325 has the stimulus coords ``block`` and ``object_name``.

    Raises
    ------
    DatasetError
        If there is no such session, or a file is missing or not as expected.
    """
    described = _described(session)
    counts_file, counts_path, counts_sha256 = _counts(session, cache)
    images_file, images_path, images_sha256 = _file(f"images/images_{session}.zip", cache)
    counts = _read_counts(counts_path)
    ids = tuple(f"{session}/image{number:04d}" for number in range(1, counts.shape[1] + 1))
    coords = _object_coords(session)
    entry = describe(REGISTERED_AS)
    return Dataset(
        name=f"{REGISTERED_AS}_{session}",
        recordings={
            "V4": responses(
                counts.transpose(2, 1, 0),
                stimulus=ids,
                neuroid=[f"{described.animal}_{session}_{i:03d}" for i in range(len(counts))],
                region="V4",
                animal=described.animal,
                stimulus_coords=coords,
                neuroid_coords={"session": [session] * len(counts)},
                name=f"{REGISTERED_AS}_{session}.V4",
            )
        },
        stimuli=_stimuli(images_path, session, ids, coords),
        simulated=False,
        species=entry.species,
        reference=entry.reference,
        licence=entry.licence,
        caveats=_caveats(described, counts_file),
        sha256={counts_file: counts_sha256, images_file: images_sha256},
    )


def load_stimuli(session: str = OBJECT_SESSION, *, cache: Path | None = None) -> StimulusSet:
    """Read the images of one session, without its responses."""
    described = _described(session)
    _, path, _ = _file(f"images/images_{session}.zip", cache)
    ids = tuple(f"{session}/image{number:04d}" for number in range(1, described.n_images + 1))
    return _stimuli(path, session, ids, _object_coords(session))


def _described(session: str) -> Session:
    if session not in sessions():
        raise DatasetError(
            f"cowley2023_v4 has no session '{session}'. It has: {', '.join(sessions())}."
        )
    return sessions()[session]


def _counts(session: str, cache: Path | None) -> tuple[str, Path, str]:
    """Find the trials of a session, or its averages where there are no trials."""
    raw = f"responses_raw/responses_{session}.npy"
    averaged = f"responses_repeat_averaged/responses_{session}.npy"
    listed = describe(REGISTERED_AS).files
    if raw not in listed and averaged in listed:
        return _file(averaged, cache)
    try:
        return _file(raw, cache)
    except Unreachable:
        if raw in listed:
            raise
        return _file(averaged, cache)


def _file(file: str, cache: Path | None) -> tuple[str, Path, str]:
    """Return a file's name, path and checksum, listed in the registry or not."""
    entry = describe(REGISTERED_AS)
    if file in entry.files:
        return file, fetch(REGISTERED_AS, file, cache=cache), checksums(REGISTERED_AS, file)[file]
    stem, _, session = PurePosixPath(file).stem.rpartition("_")
    template = file.replace(f"{stem}_{session}", f"{stem}_{{session}}")
    url = (entry.templates or {})[template].format(session=session)
    path, sha256 = fetch_unlisted(REGISTERED_AS, file, url=url, cache=cache)
    return file, path, sha256


def _read_counts(path: Path) -> NDArray[np.float64]:
    """Read (neuron, image[, repetition]) spike counts; averages get one repetition."""
    try:
        counts = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DatasetError(
            f"'{path}' cannot be read: it is truncated or no NumPy array ({error}). "
            "Delete it and fetch it again."
        ) from error
    counts = np.atleast_3d(np.asarray(counts, dtype=np.float64))
    recorded = np.isfinite(counts).any(axis=(0, 1))
    return np.asarray(counts[:, :, recorded])


def _stimuli(
    path: Path, session: str, ids: tuple[str, ...], coords: dict[str, tuple[str, ...]]
) -> StimulusSet:
    """Pair image i with column i: by the names of the images, not by the order of the archive."""
    named = {PurePosixPath(name).stem: name for name in member_names(path) if name.endswith(".jpg")}
    missing = [each for each in ids if each.partition("/")[2] not in named]
    if missing or len(named) != len(ids):
        raise DatasetError(
            f"cowley2023_v4 session {session}: '{path.name}' holds {len(named)} images for "
            f"{len(ids)} columns of responses; first missing: {missing[:1]}. "
            "Get the archive named in the registry."
        )
    return StimulusSet.from_zip(
        path,
        [named[each.partition("/")[2]] for each in ids],
        name=f"{REGISTERED_AS}_{session}",
        ids=ids,
        coords=coords,
    )


def _object_coords(session: str) -> dict[str, tuple[str, ...]]:
    if session != OBJECT_SESSION:
        return {}
    blocks = np.repeat(np.arange(len(OBJECTS)), IMAGES_PER_OBJECT)
    return {
        "block": tuple(f"block{block + 1}" for block in blocks),
        "object_name": tuple(OBJECTS[block] for block in blocks),
    }


def _caveats(session: Session, counts_file: str) -> tuple[str, ...]:
    listed = describe(REGISTERED_AS).files
    caveats = []
    if counts_file.startswith("responses_repeat_averaged"):
        caveats.append("averaged over repetitions at the source: no trial-based ceiling")
    if holds_near_duplicates(session.name):
        caveats.append("near-duplicate images: group them or leave them out of random folds")
    if session.name == OBJECT_SESSION:
        caveats.append("objects named by eye: the source ships no labels")
    if counts_file not in listed:
        caveats.append("checksums recorded, not registered")
    return tuple(caveats)

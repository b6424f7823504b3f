"""Find, fetch and verify the files of every dataset listed in ``data/registry.toml``.

A file is looked for in the folder `BRAINSCORE_LITE_MIRROR` (as ``<dataset>/<file>``), then in the
user's cache, then fetched into the cache from `BRAINSCORE_LITE_MIRROR` where that is a URL, then
from its source. The checksum decides what a file is, so the place cannot change a number.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

import pooch

from brainscore_lite.datasets.archives import iterate_members, write_zip
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.download import Unreachable, download
from brainscore_lite.storage import StorageError, atomic_write

MIRROR_VARIABLE = "BRAINSCORE_LITE_MIRROR"

__all__ = [
    "MIRROR_VARIABLE",
    "Entry",
    "File",
    "Source",
    "at_hand",
    "cache_folder",
    "checksums",
    "dataset_names",
    "describe",
    "fetch",
    "fetch_recorded",
    "fetch_unlisted",
    "source_of",
]


@dataclass(frozen=True)
class File:
    """Describe one file of a dataset.

    Parameters
    ----------
    path : str
        Place inside the dataset's folder, also in a mirror.
    bytes : int
        Size; 0 where it is not known.
    sha256 : str
        Checksum, in hex; empty where this project has not had the file.
    sha1 : str
        Checksum that the source publishes, in hex, for a file without `sha256`.
    url : str or None
        Where the source has this very file; None if it has not, or if that is not known.
    members : str or None
        For an archive that was packed from many small files: the table of its members (path,
        bytes, sha256) in ``data/members/``.
    member_url : str or None
        Where the source has each member: a template with ``{member}``.
    note : str
        Why there is no URL, or what else must be known.
    """

    path: str
    bytes: int = 0
    sha256: str = ""
    sha1: str = ""
    url: str | None = None
    members: str | None = None
    member_url: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """Describe one dataset of the registry: its files, source, licence and citation.

    ``licence`` is what the source states; "none stated" where it states none.
    """

    name: str
    title: str
    species: str
    files: Mapping[str, File]
    source: str
    licence: str
    citation: str
    doi: str = ""
    commit: str = ""
    derived: bool = False
    note: str = ""
    templates: Mapping[str, str] | None = None

    @property
    def reference(self) -> str:
        """The citation, with its DOI where there is one."""
        return f"{self.citation}. doi:{self.doi}" if self.doi else self.citation


class Source(TypedDict):
    """What every reader's result says about where it comes from."""

    species: str
    reference: str
    licence: str
    sha256: Mapping[str, str]


def dataset_names() -> tuple[str, ...]:
    """List the datasets of the registry."""
    return tuple(_entries())


def describe(dataset: str) -> Entry:
    """Return the registry's entry of a dataset.

    Raises
    ------
    DatasetError
        If the registry has no such dataset.
    """
    entries = _entries()
    if dataset not in entries:
        raise DatasetError(
            f"the registry has no dataset '{dataset}'. It has: {', '.join(sorted(entries))}."
        )
    return entries[dataset]


def checksums(dataset: str, *files: str) -> dict[str, str]:
    """Return the registered SHA-256 of files, by path; `fetch_recorded` finds those of others."""
    return {file: _listed(dataset, file).sha256 for file in files}


def source_of(dataset: str, *files: str) -> Source:
    """Return what a result made of these files says about its source."""
    entry = describe(dataset)
    return Source(
        species=entry.species,
        reference=entry.reference,
        licence=entry.licence,
        sha256=checksums(dataset, *files),
    )


def at_hand(dataset: str, *, cache: Path | None = None) -> int:
    """Count the dataset's files that lie in the mirror's folder or in the cache, unchecked."""
    files = describe(dataset).files
    return sum(_at_hand(dataset, file, cache_folder(cache)) is not None for file in files)


def fetch(
    dataset: str, file: str, *, cache: Path | None = None, progress: bool | None = None
) -> Path:
    """Return the path of a file whose checksum is right, fetching it if it is not at hand.

    Parameters
    ----------
    dataset, file : str
        As named in the registry.
    cache : Path, optional
        Folder for fetched files; the user's cache folder if not given.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.

    Returns
    -------
    Path
        The file; for an archive that the source keeps as many small files, and that no mirror
        holds, a zip in the cache with the same members, each with the checksum listed.

    Raises
    ------
    DatasetError
        If the file is not listed, cannot be fetched, is truncated or has the wrong checksum, or
        does not fit on the disk.
    """
    listed = _listed(dataset, file)
    folder = cache_folder(cache)
    found = _at_hand(dataset, file, folder)
    if found is not None:
        return _verified(found, listed, dataset)
    if listed.member_url is None or listed.url is not None:
        return _fetched(dataset, listed, folder, progress)
    try:
        return _fetched(dataset, listed, folder, progress)
    except Unreachable:
        return _assembled(dataset, listed, folder, progress)


def fetch_recorded(
    dataset: str, file: str, *, cache: Path | None = None, progress: bool | None = None
) -> tuple[Path, str]:
    """Return a file as `fetch` does, and its SHA-256, to be kept with the result.

    For files whose SHA-256 the registry does not list: they are checked by the SHA-1 that their
    source publishes, or not at all where it publishes none.

    Raises
    ------
    DatasetError
        As `fetch`.
    """
    found = fetch(dataset, file, cache=cache, progress=progress)
    return found, pooch.file_hash(str(found), alg="sha256")


def fetch_unlisted(
    dataset: str, file: str, *, url: str, cache: Path | None = None, progress: bool | None = None
) -> tuple[Path, str]:
    """Return a file that the registry does not list, and its SHA-256, to be kept with the result.

    Parameters
    ----------
    dataset, file : str
        Where the file lies in a mirror and in the cache.
    url : str
        Its source, at a pinned commit.
    cache, progress
        As in `fetch`.

    Raises
    ------
    DatasetError
        If the file cannot be fetched or does not fit on the disk.
    """
    folder = cache_folder(cache)
    found = _at_hand(dataset, file, folder)
    if found is None:
        unchecked = File(path=file, url=url)
        found = _fetched(dataset, unchecked, folder, progress)
    return found, pooch.file_hash(str(found), alg="sha256")


def cache_folder(cache: Path | None) -> Path:
    """Return the folder for fetched files: the one given, or the user's cache folder."""
    return Path(cache) if cache is not None else Path(pooch.os_cache("brainscore_lite"))


def data_folder() -> Path:
    """Return the folder of ``registry.toml``: inside an installed wheel, or beside the package."""
    packaged = Path(str(resources.files("brainscore_lite"))) / "data"
    return packaged if packaged.is_dir() else packaged.parents[1] / "data"


@functools.cache
def _entries() -> dict[str, Entry]:
    with (data_folder() / "registry.toml").open("rb") as stream:
        tables = tomllib.load(stream)
    return {name: _entry(name, table) for name, table in tables.items()}


def _entry(name: str, table: dict[str, object]) -> Entry:
    rows = table.pop("files", [])
    files = [File(**row) for row in rows] if isinstance(rows, list) else []
    return Entry(name=name, files={file.path: file for file in files}, **table)  # type: ignore[arg-type]


def _listed(dataset: str, file: str) -> File:
    files = describe(dataset).files
    if file not in files:
        raise DatasetError(
            f"dataset '{dataset}': the registry lists no file '{file}'. "
            f"It lists: {', '.join(files)}."
        )
    return files[file]


def _mirror() -> str | None:
    """Return the mirror: a URL, a folder that exists, or None."""
    place = os.environ.get(MIRROR_VARIABLE)
    if not place:
        return None
    if not place.startswith(("http://", "https://")) and not Path(place).is_dir():
        raise DatasetError(
            f"{MIRROR_VARIABLE} is '{place}', which is no folder and no URL. "
            "Correct it, or unset it to fetch from the sources."
        )
    return place


def _at_hand(dataset: str, file: str, cache: Path) -> Path | None:
    mirror = _mirror()
    folders = [] if mirror is None or "://" in mirror else [Path(mirror)]
    for folder in (*folders, cache):
        if (folder / dataset / file).is_file():
            return folder / dataset / file
    return None


def _fetched(dataset: str, listed: File, cache: Path, progress: bool | None) -> Path:
    """Download into the cache from a mirror's URL, else from the source; verify; then rename."""
    mirror = _mirror()
    urls = [] if listed.url is None else [listed.url]
    if mirror is not None and "://" in mirror:
        urls.insert(0, f"{mirror.rstrip('/')}/{dataset}/{quote(listed.path)}")
    failures = []
    for url in urls:
        target = cache / dataset / listed.path
        try:
            with atomic_write(target) as temporary:
                download(url, temporary, progress=progress)
                _verified(temporary, listed, dataset)
        except Unreachable as error:
            failures.append(f"{url} ({error})")
        except StorageError as error:
            raise DatasetError(f"dataset '{dataset}', file '{listed.path}': {error}") from error
        else:
            return target
    raise Unreachable(_nowhere(dataset, listed, failures))


def _nowhere(dataset: str, listed: File, failures: list[str]) -> str:
    reason = f"could not be fetched from {' or '.join(failures)}" if failures else "is not at hand"
    if listed.url is None and listed.member_url is None:
        reason += ", and there is no source to fetch it from"
    note = f" {listed.note}" if listed.note else ""
    return (
        f"dataset '{dataset}': '{listed.path}' {reason}.{note} Set {MIRROR_VARIABLE} to a folder "
        f"or URL that holds '{dataset}/{listed.path}', or connect to the network."
    )


def _assembled(dataset: str, listed: File, cache: Path, progress: bool | None) -> Path:
    """Pack the members of an archive, each found or fetched by itself, into a zip in the cache."""
    members = _members(listed)
    target = cache / dataset / f"{listed.path}.members.zip"
    if target.is_file():
        return _verified_members(target, members, dataset)
    paths = {}
    for member in members:
        found = _at_hand(dataset, member.path, cache)
        paths[member.path] = (
            _fetched(dataset, member, cache, progress)
            if found is None
            else _verified(found, member, dataset)
        )
    try:
        write_zip(target, ((name, path.read_bytes()) for name, path in paths.items()))
    except StorageError as error:
        raise DatasetError(f"dataset '{dataset}', file '{listed.path}': {error}") from error
    return target


def _members(listed: File) -> tuple[File, ...]:
    table = data_folder() / "members" / str(listed.members)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    template = str(listed.member_url)
    return tuple(
        File(
            path=row["path"],
            bytes=int(row["bytes"]),
            sha256=row["sha256"],
            url=template.format(member=quote(row["path"])),
        )
        for row in rows
    )


def _verified(path: Path, listed: File, dataset: str) -> Path:
    """Return `path` if its size and checksum are those listed; files without one pass."""
    algorithm = "sha256" if listed.sha256 else "sha1"
    expected = listed.sha256 or listed.sha1
    if not expected:
        return path
    size, actual = path.stat().st_size, pooch.file_hash(str(path), alg=algorithm)
    if actual == expected:
        return path
    stated = f"{listed.bytes} bytes with " if listed.bytes else ""
    what = "is truncated" if size < listed.bytes else "is not the file listed"
    where = "what was fetched" if path.name.startswith(".") else str(path)
    raise DatasetError(
        f"dataset '{dataset}': '{listed.path}' {what} ({where}): {size} bytes with {algorithm} "
        f"{actual}, expected {stated}{algorithm} {expected}. "
        "Delete it and fetch it again; if it comes out the same, its source has changed."
    )


def _verified_members(path: Path, members: tuple[File, ...], dataset: str) -> Path:
    expected = {member.path: member.sha256 for member in members}
    actual = {name: hashlib.sha256(content).hexdigest() for name, content in iterate_members(path)}
    if actual != expected:
        wrong = sorted(name for name in expected if actual.get(name) != expected[name])
        raise DatasetError(
            f"dataset '{dataset}': {len(wrong)} members of '{path}' are not those listed "
            f"(first: {wrong[:1]}). Delete it and fetch it again."
        )
    return path

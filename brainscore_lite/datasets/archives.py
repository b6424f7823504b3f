"""Read members of zip and tar archives into memory; nothing is ever extracted to disk."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.storage import atomic_write

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold: same members, same bytes
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,
)


def member_names(path: Path) -> tuple[str, ...]:
    """List the files of an archive, sorted by name (archive order is not name order).

    Parameters
    ----------
    path : Path
        A .zip, .tar, .tar.gz or .tar.xz file.

    Returns
    -------
    tuple of str
        Names of regular files; folders are left out.

    Raises
    ------
    DatasetError
        If the archive is damaged, or holds a path outside its folder, a link or a repeated name.
    """
    with _explained(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        else:
            with tarfile.open(path) as archive:
                names = [_regular(path, entry) for entry in archive if not entry.isdir()]
    return tuple(sorted(_checked_names(path, names)))


def read_member(path: Path, name: str) -> bytes:
    """Read one file of an archive.

    Raises
    ------
    DatasetError
        If the archive is damaged or has no such member.
    """
    return next(iter(read_members(path, (name,)).values()))


def read_members(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Read several files of an archive in one pass, returned in the order asked for.

    Raises
    ------
    DatasetError
        If the archive is damaged, unsafe, or lacks one of the members.
    """
    wanted = tuple(names)
    missing = sorted(set(wanted) - set(member_names(path)))
    if missing:
        raise DatasetError(
            f"archive '{path.name}' has no member '{missing[0]}' ({len(missing)} of "
            f"{len(wanted)} missing). Get the archive named in the registry, or the member itself."
        )
    found = dict(iterate_members(path, only=frozenset(wanted)))
    return {name: found[name] for name in wanted}


def iterate_members(
    path: Path, *, only: frozenset[str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) in archive order: one pass, one member in memory at a time.

    Parameters
    ----------
    path : Path
        A .zip, .tar, .tar.gz or .tar.xz file.
    only : frozenset of str, optional
        Names to yield; every regular file if not given.

    Raises
    ------
    DatasetError
        If the archive is damaged, or holds a path outside its folder or a link.
    """
    with _explained(path):
        if zipfile.is_zipfile(path):
            yield from _iterate_zip(path, only)
        else:
            yield from _iterate_tar(path, only)


def read_gzip(path: Path) -> bytes:
    """Read a single file compressed with gzip.

    Raises
    ------
    DatasetError
        If the file is truncated or not gzip.
    """
    with _explained(path), gzip.open(path) as stream:
        return stream.read()


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write members, uncompressed and with a fixed date, to a zip that appears whole or not at all.

    Raises
    ------
    DatasetError
        If a name points outside the archive's folder.
    StorageError
        If the disk is full.
    """
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members:
            _checked_names(path, [name])
            archive.writestr(zipfile.ZipInfo(name, date_time=_FIXED_DATE), content)


def _iterate_zip(path: Path, only: frozenset[str] | None) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir() or (only is not None and entry.filename not in only):
                continue
            _checked_names(path, [entry.filename])
            yield entry.filename, archive.read(entry)


def _iterate_tar(path: Path, only: frozenset[str] | None) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for entry in archive:
            if entry.isdir() or (only is not None and entry.name not in only):
                continue
            _checked_names(path, [_regular(path, entry)])
            stream = archive.extractfile(entry) or io.BytesIO()
            yield entry.name, stream.read()


def _regular(path: Path, entry: tarfile.TarInfo) -> str:
    if not entry.isfile():
        raise DatasetError(
            f"archive '{path.name}' holds '{entry.name}', which is a link or a device, not a "
            "file. Do not use this archive; get the one named in the registry."
        )
    return entry.name


def _checked_names(path: Path, names: list[str]) -> list[str]:
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            raise DatasetError(
                f"archive '{path.name}' holds the path '{name}', which lies outside its folder. "
                "Do not use this archive; get the one named in the registry."
            )
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DatasetError(
            f"archive '{path.name}' holds '{repeated}' more than once. "
            "Get the archive named in the registry."
        )
    return names


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what a damaged archive raises into one sentence."""
    try:
        yield
    except _DAMAGE as error:
        raise DatasetError(
            f"archive '{path.name}' cannot be read: it is truncated or damaged "
            f"({type(error).__name__}: {error}). Delete it and fetch it again."
        ) from error

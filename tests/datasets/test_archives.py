"""Archives: members by name, and a clear word about the broken and the unsafe."""

import errno
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from brainscore_lite.datasets.archives import (
    iterate_members,
    member_names,
    read_gzip,
    read_member,
    read_members,
    write_zip,
)
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.storage import StorageError

MEMBERS = {"folder/b.txt": b"b" * 5000, "folder/a.txt": b"a" * 5000}
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tar.xz")


def _archive(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/", b"")
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    kind = {".tar": "w", ".gz": "w:gz", ".xz": "w:xz"}[path.suffix]
    with tarfile.open(path, kind) as archive:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_members_are_read_by_name_whatever_their_order(tmp_path: Path, suffix: str) -> None:
    path = _archive(tmp_path / f"archive{suffix}", MEMBERS)
    assert member_names(path) == ("folder/a.txt", "folder/b.txt")
    assert read_member(path, "folder/a.txt") == MEMBERS["folder/a.txt"]
    assert list(read_members(path, ("folder/a.txt", "folder/b.txt"))) == list(member_names(path))
    assert dict(iterate_members(path)) == MEMBERS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_member_is_named(tmp_path: Path, suffix: str) -> None:
    path = _archive(tmp_path / f"archive{suffix}", MEMBERS)
    with pytest.raises(DatasetError, match=r"no member 'c\.txt' \(1 of 2 missing\)\. Get the"):
        read_members(path, ("folder/a.txt", "c.txt"))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_a_truncated_archive_says_so(tmp_path: Path, suffix: str, kept: float) -> None:
    path = _archive(tmp_path / f"archive{suffix}", MEMBERS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DatasetError, match=r"cannot be read: it is truncated or damaged"):
        dict(iterate_members(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt"])
def test_a_path_outside_the_folder_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    path = _archive(tmp_path / f"archive{suffix}", {name: b"evil"})
    for read in (member_names, lambda each: dict(iterate_members(each))):
        with pytest.raises(DatasetError, match=r"lies outside its folder\. Do not use"):
            read(path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DatasetError, match=r"'link', which is a link or a device"):
        member_names(path)


def test_a_repeated_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("same"))
    with pytest.raises(DatasetError, match=r"holds 'same' more than once"):
        member_names(path)


def test_gzip_is_read_and_its_truncation_told(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(b"pixels" * 1000))
    assert read_gzip(path) == b"pixels" * 1000
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DatasetError, match=r"'images\.gz' cannot be read: it is truncated"):
        read_gzip(path)


def test_equal_members_make_equal_archives(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        write_zip(tmp_path / name, MEMBERS.items())
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert dict(iterate_members(tmp_path / "one.zip")) == MEMBERS


def test_an_archive_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetError, match="lies outside its folder"):
        write_zip(tmp_path / "archive.zip", {"a": b"a", "../b": b"b"}.items())

    def fill(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fill)
    with pytest.raises(StorageError, match="No space left on device"):
        write_zip(tmp_path / "archive.zip", MEMBERS.items())
    assert not list(tmp_path.iterdir())

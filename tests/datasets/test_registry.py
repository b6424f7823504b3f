"""The registry: where files are looked for, and what is said when they are not as expected."""

import errno
import hashlib
import re
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import pytest

from brainscore_lite.datasets import registry
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.delimited import read_table
from brainscore_lite.datasets.registry import (
    MIRROR_VARIABLE,
    at_hand,
    cache_folder,
    checksums,
    dataset_names,
    describe,
    fetch,
    fetch_recorded,
    fetch_unlisted,
    source_of,
)

CONTENT = b"spikes" * 1000
MEMBERS = {"images/a.png": b"first", "images/b.png": b"second"}
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the URL at which this machine serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A registry of one dataset whose sources do not answer; returns the cache folder."""
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    _write_registry(tmp_path / "data", NOWHERE)
    monkeypatch.setattr(registry, "data_folder", lambda: tmp_path / "data")
    registry._entries.cache_clear()
    yield tmp_path / "cache"
    registry._entries.cache_clear()


def _write_registry(folder: Path, source: str) -> None:
    (folder / "members").mkdir(parents=True, exist_ok=True)
    (folder / "registry.toml").write_text(
        f"""
[toy]
title = "Toy"
species = "none"
source = "{source}"
licence = "none stated"
citation = "nobody"
[[toy.files]]
path = "spikes.npy"
bytes = {len(CONTENT)}
sha256 = "{_sha256(CONTENT)}"
url = "{source}/spikes.npy"
[[toy.files]]
path = "images.zip"
bytes = 1
sha256 = "{_sha256(b"archive")}"
members = "toy.tsv"
member_url = "{source}/{{member}}"
[[toy.files]]
path = "derived.csv"
bytes = 1
sha256 = "{_sha256(b"derived")}"
note = "Derived from the source's tables."
""",
        encoding="utf-8",
    )
    rows = [f"{path}\t{len(body)}\t{_sha256(body)}" for path, body in MEMBERS.items()]
    (folder / "members" / "toy.tsv").write_text("\n".join(["path\tbytes\tsha256", *rows]) + "\n")


def _nothing_left(cache: Path) -> bool:
    return not [path for path in cache.rglob("*") if path.is_file()]


def test_every_entry_is_complete() -> None:
    assert {"cowley2023_v4", "mnist", "fashion_mnist", "cifar10", "weights"} <= set(dataset_names())
    for name in dataset_names():
        entry = describe(name)
        assert entry.licence
        assert entry.citation
        assert entry.files
        for file in entry.files.values():
            if file.sha256:
                assert re.fullmatch("[0-9a-f]{64}", file.sha256)
                assert file.bytes > 0
            else:
                assert re.fullmatch("[0-9a-f]{40}", file.sha1) or "no checksum" in file.note
                assert file.bytes == 0
            assert file.url or file.member_url or file.note, f"{name}/{file.path} says no source"
            if file.members:
                assert registry._members(file)


def test_licences_are_as_stated() -> None:
    silent = ("algonauts2019_92", "kar_it_site", "ratan_murty2021_rois", "grootswagers2024_eeg")
    assert {describe(name).licence for name in silent} == {"none stated"}
    assert describe("cowley2023_v4").licence == "GPL-3.0"
    assert describe("kriegeskorte2008_92").licence == "MIT"


def test_every_file_of_the_mirror_is_listed_and_right(mirror: Path) -> None:
    checked = 0
    for name in dataset_names():
        for file in describe(name).files:
            if (mirror / name / file).is_file():
                assert fetch(name, file) == mirror / name / file
                checked += 1
    assert checked >= 30


def test_members_of_packed_archives_have_the_listed_checksums(mirror: Path) -> None:
    for name in dataset_names():
        for file in describe(name).files.values():
            if file.members and (mirror / name / file.path).is_file():
                registry._verified_members(mirror / name / file.path, registry._members(file), name)


def test_an_installed_wheel_brings_its_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "brainscore_lite"
    monkeypatch.setattr(resources, "files", lambda name: package)
    assert registry.data_folder() == tmp_path / "site-packages" / "data"
    (package / "data").mkdir(parents=True)
    assert registry.data_folder() == package / "data"


def test_unknown_names_list_the_known(listed: Path) -> None:
    with pytest.raises(DatasetError, match=r"no dataset 'toys'\. It has: toy"):
        describe("toys")
    with pytest.raises(DatasetError, match=r"lists no file 'x'\. It lists: spikes\.npy"):
        fetch("toy", "x", cache=listed)


def test_the_mirror_comes_before_the_cache(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (listed, tmp_path / "mirror"):
        (folder / "toy").mkdir(parents=True)
        (folder / "toy" / "spikes.npy").write_bytes(CONTENT)
    assert fetch("toy", "spikes.npy", cache=listed) == listed / "toy" / "spikes.npy"
    assert at_hand("toy", cache=listed) == 1
    assert at_hand("toy", cache=tmp_path) == 0
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    found = fetch("toy", "spikes.npy", cache=listed)
    assert found == tmp_path / "mirror" / "toy" / "spikes.npy"


def test_a_mirror_that_is_missing_is_an_error(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(DatasetError, match=r"gone', which is no folder and no URL\. Correct it"):
        fetch("toy", "spikes.npy", cache=listed)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(CONTENT[:-1], "is truncated"), (CONTENT[:-1] + b"!", "is not the file listed")],
)
def test_truncated_and_wrong_files_are_told_apart(
    listed: Path, content: bytes, sentence: str
) -> None:
    (listed / "toy").mkdir(parents=True)
    (listed / "toy" / "spikes.npy").write_bytes(content)
    expected = (
        f"'spikes.npy' {sentence} .* {len(content)} bytes with sha256 {_sha256(content)}, expected "
        f"{len(CONTENT)} bytes with sha256 {_sha256(CONTENT)}. Delete it and fetch it again"
    )
    with pytest.raises(DatasetError, match=expected):
        fetch("toy", "spikes.npy", cache=listed)


def test_offline_says_to_set_the_mirror(listed: Path) -> None:
    sentence = (
        r"'spikes\.npy' could not be fetched from http://127\.0\.0\.1:9/spikes\.npy \(no "
        r"connection.*Set BRAINSCORE_LITE_MIRROR to a folder or URL that holds 'toy/spikes\.npy'"
    )
    with pytest.raises(DatasetError, match=sentence):
        fetch("toy", "spikes.npy", cache=listed)
    assert _nothing_left(listed)


def test_a_file_without_a_source_says_why(listed: Path) -> None:
    sentence = r"no source to fetch it from\. Derived from the source's tables\. Set BRAINSCORE"
    with pytest.raises(DatasetError, match=sentence):
        fetch("toy", "derived.csv", cache=listed)


@pytest.mark.parametrize(
    ("dataset", "file", "sentence"),
    [
        ("evolution_psths", "psth_means.npz", "must come from a mirror"),
        ("maniquet2025_occlusion", "human_persons.csv", "must come from a mirror"),
        ("cifar10_jpeg", "cifar10_jpg.tar.xz", "'cifar10', the original archive, is the default"),
        ("algonauts2019_92", "92images.zip", "'algonauts2019_92_grey' uses the same 92 images"),
    ],
)
def test_derived_files_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, file: str, sentence: str
) -> None:
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    with pytest.raises(DatasetError, match=sentence):
        fetch(dataset, file, cache=tmp_path)


def test_a_full_disk_leaves_no_file(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(url: str, path: Path, *, progress: bool | None) -> None:
        path.write_bytes(CONTENT[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(registry, "download", fill)
    with pytest.raises(DatasetError, match=r"'spikes\.npy': cannot write .*No space left.*free"):
        fetch("toy", "spikes.npy", cache=listed)
    assert _nothing_left(listed)


def test_a_download_is_verified_before_it_is_kept(
    listed: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    monkeypatch.setenv(MIRROR_VARIABLE, url)
    (folder / "toy").mkdir()
    (folder / "toy" / "spikes.npy").write_bytes(CONTENT[:10])
    with pytest.raises(DatasetError, match=r"is truncated \(what was fetched\): 10 bytes"):
        fetch("toy", "spikes.npy", cache=listed)
    assert _nothing_left(listed)
    (folder / "toy" / "spikes.npy").write_bytes(CONTENT)
    assert fetch("toy", "spikes.npy", cache=listed, progress=True).read_bytes() == CONTENT
    (folder / "toy" / "spikes.npy").unlink()
    assert fetch("toy", "spikes.npy", cache=listed).read_bytes() == CONTENT  # from the cache


def test_what_a_mirror_lacks_comes_from_the_source(
    listed: Path, served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    _write_registry(tmp_path / "data", url)
    (folder / "spikes.npy").write_bytes(CONTENT)
    monkeypatch.setenv(MIRROR_VARIABLE, f"{url}/mirror")
    assert fetch("toy", "spikes.npy", cache=listed).read_bytes() == CONTENT
    (folder / "spikes.npy").unlink()
    with pytest.raises(DatasetError, match=r"mirror/toy/spikes\.npy \(HTTP status 404\) or http"):
        fetch("toy", "spikes.npy", cache=tmp_path / "other")


def test_a_packed_archive_is_put_together_from_its_members(
    listed: Path, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = served
    _write_registry(tmp_path / "data", url)
    (folder / "images").mkdir()
    for path, body in MEMBERS.items():
        (folder / path).write_bytes(body)
    archive = fetch("toy", "images.zip", cache=listed)
    with zipfile.ZipFile(archive) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == MEMBERS
    (folder / "images" / "b.png").unlink()
    assert fetch("toy", "images.zip", cache=listed) == archive  # nothing is fetched again
    archive.write_bytes(archive.read_bytes().replace(b"second", b"SECOND"))
    with pytest.raises(DatasetError, match=r"truncated or damaged|are not those listed"):
        fetch("toy", "images.zip", cache=listed)


def test_a_member_with_a_wrong_checksum_is_refused(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    (tmp_path / "mirror" / "toy" / "images").mkdir(parents=True)
    for path in MEMBERS:
        (tmp_path / "mirror" / "toy" / path).write_bytes(b"other!")
    with pytest.raises(DatasetError, match=r"'images/a\.png' is not the file listed"):
        fetch("toy", "images.zip", cache=listed)
    assert _nothing_left(listed)


def test_an_unlisted_file_comes_with_its_checksum(listed: Path, served: tuple[Path, str]) -> None:
    folder, url = served
    (folder / "session.npy").write_bytes(CONTENT)
    path, sha256 = fetch_unlisted("toy", "session.npy", url=f"{url}/session.npy", cache=listed)
    assert path.read_bytes() == CONTENT
    assert sha256 == _sha256(CONTENT)


def test_a_file_known_by_sha1_is_verified_and_its_sha256_recorded(
    listed: Path, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = served
    table = tmp_path / "data" / "registry.toml"
    sha1 = hashlib.sha1(CONTENT).hexdigest()
    rows = f'[[toy.files]]\npath = "published.nc"\nsha1 = "{sha1}"\nurl = "{url}/published.nc"\n'
    table.write_text(table.read_text() + rows)
    (folder / "published.nc").write_bytes(CONTENT[:-1])
    sentence = rf"'published\.nc' is not the file listed .* sha1 \w+, expected sha1 {sha1}\."
    with pytest.raises(DatasetError, match=sentence):
        fetch_recorded("toy", "published.nc", cache=listed)
    assert _nothing_left(listed)
    (folder / "published.nc").write_bytes(CONTENT)
    path, sha256 = fetch_recorded("toy", "published.nc", cache=listed)
    assert path == listed / "toy" / "published.nc"
    assert sha256 == _sha256(CONTENT)


def test_source_of_a_result() -> None:
    name, file = "zhang_desimone_it", "Zhang_Desimone_7object_raster_data_rda.zip"
    source = source_of(name, file)
    assert source["reference"].endswith("PNAS 108:8850. doi:10.1073/pnas.1100999108")
    assert source["sha256"] == checksums(name, file)
    assert source["species"] == describe(name).species
    assert "doi" not in source_of("kar_it_site")["reference"]


def test_cache_folder_is_the_one_given_or_the_users(tmp_path: Path) -> None:
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder(None).name == "brainscore_lite"


def test_table_is_read_and_its_columns_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("person,accuracy\na,0.5\n")
    assert read_table(path, ("person",), dataset="d")["accuracy"].tolist() == [0.5]
    with pytest.raises(DatasetError, match=r"'d': 'people\.csv' lacks the columns \['rt'\]"):
        read_table(path, ("person", "rt"), dataset="d")
    for damaged in (b"", b"person\n\xff\xfe\n"):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"people\.csv' cannot be read: .*fetch it again"):
            read_table(path, ("person",), dataset="d")

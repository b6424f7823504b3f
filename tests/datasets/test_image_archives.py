"""idx files, CIFAR-10 binary archives and tars of JPEGs, written here in the sources' formats."""

import errno
import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.image_archives import (
    cifar10_from_binary,
    cifar10_from_jpegs,
    read_idx,
)
from brainscore_lite.storage import StorageError

CLASSES = ("airplane", "bird")


def idx_bytes(array: np.ndarray, *, kind: int = 0x08) -> bytes:
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_tar(path: Path, members: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def jpeg(color: tuple[int, int, int], side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), color).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def cifar_members(rng: np.random.Generator, n: int = 3) -> dict[str, bytes]:
    names = [f"data_batch_{index}.bin" for index in range(1, 6)] + ["test_batch.bin"]
    members = {
        f"cifar-10-batches-bin/{name}": np.column_stack(
            [rng.integers(0, 2, n), rng.integers(0, 256, (n, 3072))]
        )
        .astype(np.uint8)
        .tobytes()
        for name in names
    }
    members["cifar-10-batches-bin/batches.meta.txt"] = b"airplane\nbird\n\n"
    return members


def jpeg_members() -> dict[str, bytes]:
    colors = {"airplane": (200, 30, 30), "bird": (30, 30, 200)}
    return {
        f"{split}/{name}/{number:04d}.jpg": jpeg(colors[name])
        for split, n in (("train", 2), ("test", 1))
        for name in CLASSES
        for number in range(n)
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_idx_comes_back_as_written(tmp_path: Path, compressed: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    content = idx_bytes(array)
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if compressed else content)
    read, sha256 = read_idx(path)
    np.testing.assert_array_equal(read, array)
    assert sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (idx_bytes(np.zeros((4, 3), np.uint8))[:-1], r"is truncated: 23 bytes, expected 24 by its"),
        (idx_bytes(np.zeros((4, 3), np.uint8))[:7], r"is truncated: 7 bytes, expected 12 by its"),
        (idx_bytes(np.zeros(4, np.uint8)) + b"x", r"is too long: 13 bytes, expected 12"),
        (b"\x93NUMPY", r"is no idx file: it begins with 93 4e 55 4d, expected 00 00 08"),
        (b"", r"is no idx file: it begins with nothing"),
        (idx_bytes(np.zeros(4, np.float32), kind=0x0D), r"idx type 0x0d; expected 0x08"),
        (gzip.compress(idx_bytes(np.zeros(400, np.uint8)))[:-12], r"truncated or damaged"),
    ],
)
def test_broken_idx_says_what_is_wrong(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "labels-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=sentence):
        read_idx(path)


def test_missing_idx_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent' cannot be read: No such file"):
        read_idx(tmp_path / "absent")


def test_cifar10_binary_record_is_label_then_planes(tmp_path: Path) -> None:
    members = cifar_members(np.random.default_rng(1))
    path = write_tar(tmp_path / "cifar-10-binary.tar.gz", members, "w:gz")
    (images, labels), (test_images, test_labels), names = cifar10_from_binary(path)
    assert images.shape == (15, 32, 32, 3)
    assert test_images.shape == (3, 32, 32, 3)
    assert names == CLASSES
    second = members["cifar-10-batches-bin/data_batch_2.bin"][:3073]
    assert labels[3] == second[0]
    assert images[3, 5, 7, 1] == second[1 + 1024 + 5 * 32 + 7]
    assert labels.dtype == test_labels.dtype == np.int64


def test_cifar10_binary_needs_every_batch(tmp_path: Path) -> None:
    members = cifar_members(np.random.default_rng(1))
    del members["cifar-10-batches-bin/data_batch_4.bin"]
    path = write_tar(tmp_path / "cifar-10-binary.tar.gz", members, "w:gz")
    with pytest.raises(DatasetError, match=r"has no member 'cifar-10-batches-bin/data_batch_4"):
        cifar10_from_binary(path)


def test_cifar10_binary_batch_of_broken_records(tmp_path: Path) -> None:
    members = cifar_members(np.random.default_rng(1))
    members["cifar-10-batches-bin/test_batch.bin"] += b"x"
    path = write_tar(tmp_path / "cifar-10-binary.tar.gz", members, "w:gz")
    with pytest.raises(DatasetError, match=r"has 9220 bytes; expected a multiple of 3073"):
        cifar10_from_binary(path)


def test_cifar10_binary_cut_short(tmp_path: Path) -> None:
    members = cifar_members(np.random.default_rng(1))
    path = write_tar(tmp_path / "cifar-10-binary.tar.gz", members, "w:gz")
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DatasetError, match=r"truncated or damaged"):
        cifar10_from_binary(path)


def test_jpegs_are_decoded_once_and_kept(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "jpegs.tar.xz", jpeg_members(), "w:xz")
    cache = tmp_path / "cache"
    first = cifar10_from_jpegs(path, sha256="abc", cache=cache)
    (images, labels), (_, test_labels), names = first
    assert names == CLASSES
    assert labels.tolist() == [0, 1, 0, 1]  # every class once, then again
    assert test_labels.tolist() == [0, 1]
    np.testing.assert_allclose(images[1].mean(axis=(0, 1)), (30, 30, 200), atol=4)
    kept = cache / "cifar10_jpeg" / "decoded_abc.npz"
    assert kept.is_file()
    path.unlink()
    again = cifar10_from_jpegs(path, sha256="abc", cache=cache)
    np.testing.assert_array_equal(again[0][0], images)
    assert again[2] == names


def test_damaged_kept_images_are_an_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "jpegs.tar.xz", jpeg_members(), "w:xz")
    cifar10_from_jpegs(path, sha256="abc", cache=tmp_path)
    kept = tmp_path / "cifar10_jpeg" / "decoded_abc.npz"
    kept.write_bytes(kept.read_bytes()[:500])
    with pytest.raises(DatasetError, match=r"Delete it, and the images are decoded again"):
        cifar10_from_jpegs(path, sha256="abc", cache=tmp_path)


def test_full_disk_leaves_no_half_of_the_decoded_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, **_: np.ndarray) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write_tar(tmp_path / "jpegs.tar.xz", jpeg_members(), "w:xz")
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(StorageError, match=r"No space left on device. Nothing was left there"):
        cifar10_from_jpegs(path, sha256="abc", cache=tmp_path)
    assert list((tmp_path / "cifar10_jpeg").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train/bird/0001.jpg": b"no image"}, r"cannot read the image 'train/bird/0001.jpg'"),
        ({"train/bird/0001.jpg": jpeg((0, 0, 0), 16)}, r"images of different sizes in 'train'"),
        ({"test/cat/0000.jpg": jpeg((0, 0, 0))}, r"of classes that 'test' alone has: \['cat'\]"),
        ({"readme.txt": b"?"}, r"holds 'readme.txt'; expected only train/CLASS/NUMBER.jpg"),
        ({"../evil/bird/0000.jpg": b"?"}, r"lies outside its folder"),
    ],
)
def test_broken_jpeg_archive_leaves_nothing(
    tmp_path: Path, changes: dict[str, bytes], sentence: str
) -> None:
    path = write_tar(tmp_path / "jpegs.tar.xz", jpeg_members() | changes, "w:xz")
    with pytest.raises(DatasetError, match=sentence):
        cifar10_from_jpegs(path, sha256="abc", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_jpeg_archive_without_a_split(tmp_path: Path) -> None:
    members = {k: v for k, v in jpeg_members().items() if k.startswith("train")}
    path = write_tar(tmp_path / "jpegs.tar.xz", members, "w:xz")
    with pytest.raises(DatasetError, match=r"0 images in 'test'"):
        cifar10_from_jpegs(path, sha256="abc", cache=tmp_path)

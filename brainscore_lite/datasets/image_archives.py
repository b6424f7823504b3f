"""Decode the file formats that labelled images come in: idx, CIFAR-10 binary, tar of JPEGs."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import sys
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from brainscore_lite.datasets.archives import iterate_members, read_gzip, read_members
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.registry import cache_folder
from brainscore_lite.stimuli import Pixels
from brainscore_lite.storage import atomic_write

Split = tuple[Pixels, NDArray[np.int64]]
CIFAR10_FOLDER = "cifar-10-batches-bin"
_CIFAR_SIDE = 32
_CIFAR_RECORD = 1 + 3 * _CIFAR_SIDE**2
_IDX_UINT8 = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_JPEG_MEMBER = re.compile(r"(?:.*/)?(train|test)/([^/]+)/(\d+)\.jpe?g")


def read_idx(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Read an array of unsigned bytes from an idx file, compressed with gzip or not.

    An idx file begins with two zero bytes, the type (0x08 for unsigned bytes) and the number of
    axes; then the length of each axis as a big-endian 32-bit integer; then the values.

    Parameters
    ----------
    path : Path

    Returns
    -------
    array : uint8 array
    sha256 : str
        Checksum of the uncompressed content, in hex.

    Raises
    ------
    DatasetError
        If the file is missing, is no idx file, holds another type, or is truncated.
    """
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
        content = read_gzip(path) if compressed else path.read_bytes()
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DatasetError(
            f"'{path}' is no idx file: it begins with {content[:4].hex(' ') or 'nothing'}, "
            "expected 00 00 08 and the number of axes. Delete it and fetch it again."
        )
    if content[2] != _IDX_UINT8:
        raise DatasetError(
            f"'{path}' holds values of idx type 0x{content[2]:02x}; expected 0x08, unsigned bytes. "
            "Give the file of images or labels."
        )
    n_axes = content[3]
    start = 4 + 4 * n_axes
    if len(content) < start:
        raise DatasetError(_truncated(path, len(content), start))
    shape = struct.unpack(f">{n_axes}I", content[4:start])
    expected = start + int(np.prod(shape))
    if len(content) != expected:
        raise DatasetError(_truncated(path, len(content), expected))
    values = np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
    return values, hashlib.sha256(content).hexdigest()


def cifar10_from_binary(path: Path) -> tuple[Split, Split, tuple[str, ...]]:
    """Read the original CIFAR-10 archive in its binary form.

    Each record is one byte of label and 3072 of pixels: red, green, blue, each 32 x 32 by rows.

    Parameters
    ----------
    path : Path
        ``cifar-10-binary.tar.gz``.

    Returns
    -------
    train, test : tuple of (uint8 array (n, 32, 32, 3), int64 array (n,))
    class_names : tuple of str

    Raises
    ------
    DatasetError
        If the archive is damaged, lacks a batch, or a batch is no whole number of records.
    """
    batches = [f"{CIFAR10_FOLDER}/data_batch_{index}.bin" for index in range(1, 6)]
    test_batch, names = f"{CIFAR10_FOLDER}/test_batch.bin", f"{CIFAR10_FOLDER}/batches.meta.txt"
    members = read_members(path, (*batches, test_batch, names))
    train = [_cifar_batch(members[batch], batch) for batch in batches]
    pixels = np.concatenate([images for images, _ in train])
    labels = np.concatenate([labels for _, labels in train])
    test = _cifar_batch(members[test_batch], test_batch)
    return (pixels, labels), test, tuple(members[names].decode("ascii").split())


def cifar10_from_jpegs(
    path: Path, *, sha256: str, cache: Path | None = None, progress: bool | None = None
) -> tuple[Split, Split, tuple[str, ...]]:
    """Decode an archive of JPEGs, or read what an earlier call decoded and kept in the cache.

    Images are ordered by their number within the class, then by class, so that every run of ten
    holds each class once.

    Parameters
    ----------
    path : Path
        A tar with ``train/CLASS/NUMBER.jpg`` and ``test/CLASS/NUMBER.jpg``.
    sha256 : str
        Checksum of the archive: the key of the decoded images in the cache.
    cache : Path, optional
        The user's cache folder if not given.
    progress : bool, optional
        Show a progress bar (decoding 60 000 images takes about 20 s); by default where standard
        error is a terminal.

    Returns
    -------
    train, test : tuple of (uint8 array (n, height, width, 3), int64 array (n,))
    class_names : tuple of str
        Sorted, which is CIFAR-10's own order.

    Raises
    ------
    DatasetError
        If the archive or an image is damaged, or there is no image of a split.
    StorageError
        If the decoded images do not fit on the disk.
    """
    decoded = cache_folder(cache) / "cifar10_jpeg" / f"decoded_{sha256}.npz"
    if not decoded.is_file():
        train, test, class_names = _decoded(path, progress)
        with atomic_write(decoded) as temporary:
            np.savez(
                temporary,
                train_images=train[0],
                train_labels=train[1],
                test_images=test[0],
                test_labels=test[1],
                class_names=np.array(class_names),
            )
        return train, test, class_names
    try:
        with np.load(decoded, allow_pickle=False) as file:
            train, test = (
                (file[f"{split}_images"], file[f"{split}_labels"]) for split in ("train", "test")
            )
            return train, test, tuple(str(name) for name in file["class_names"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DatasetError(
            f"'{decoded}' cannot be read: {error}. Delete it, and the images are decoded again."
        ) from error


def _truncated(path: Path, n_bytes: int, expected: int) -> str:
    what = "is truncated" if n_bytes < expected else "is too long"
    return (
        f"'{path}' {what}: {n_bytes} bytes, expected {expected} by its header. "
        "Delete it and fetch it again."
    )


def _cifar_batch(content: bytes, name: str) -> Split:
    if not content or len(content) % _CIFAR_RECORD:
        raise DatasetError(
            f"'{name}' has {len(content)} bytes; expected a multiple of {_CIFAR_RECORD}, one label "
            "and 32 x 32 x 3 pixels for each image. Delete the archive and fetch it again."
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _CIFAR_RECORD)
    planes = records[:, 1:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE)
    return np.ascontiguousarray(np.moveaxis(planes, 1, 3)), records[:, 0].astype(np.int64)


def _decoded(path: Path, progress: bool | None) -> tuple[Split, Split, tuple[str, ...]]:
    shown = sys.stderr.isatty() if progress is None else progress
    images: dict[str, dict[tuple[int, str], Pixels]] = {"train": {}, "test": {}}
    for name, content in track(
        iterate_members(path),
        description="Decoding images",
        total=None,
        console=Console(stderr=True),
        transient=True,
        disable=not shown,
    ):
        match = _JPEG_MEMBER.fullmatch(name)
        if match is None:
            raise DatasetError(
                f"archive '{path.name}' holds '{name}'; expected only train/CLASS/NUMBER.jpg and "
                "test/CLASS/NUMBER.jpg. Get the archive named in the registry."
            )
        split, category, number = match.groups()
        images[split][int(number), category] = _decode_jpeg(content, name)
    class_names = tuple(sorted({category for _, category in images["train"]}))
    train, test = (_ordered(images[split], class_names, path, split) for split in images)
    return train, test, class_names


def _ordered(
    images: dict[tuple[int, str], Pixels], class_names: tuple[str, ...], path: Path, split: str
) -> Split:
    strange = {category for _, category in images} - set(class_names)
    if strange or not images:
        raise DatasetError(
            f"archive '{path.name}': {len(images)} images in '{split}', of classes that '{split}' "
            f"alone has: {sorted(strange)}. Get the archive named in the registry."
        )
    keys = sorted(images)
    shapes = {image.shape for image in images.values()}
    if len(shapes) > 1:
        raise DatasetError(
            f"archive '{path.name}': images of different sizes in '{split}': {sorted(shapes)[:3]}. "
            "Get the archive named in the registry."
        )
    labels = np.array([class_names.index(category) for _, category in keys], dtype=np.int64)
    return np.stack([images[key] for key in keys]), labels


def _decode_jpeg(content: bytes, name: str) -> Pixels:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as opened:
            return np.asarray(opened.convert("RGB"), dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(
            f"cannot read the image '{name}': {error}. Delete the archive and fetch it again."
        ) from error

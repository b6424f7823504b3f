"""Image sets to train on: from small files in the sources' formats, and from the sources."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from brainscore_lite.datasets import image_sets
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.download import Unreachable
from brainscore_lite.datasets.image_sets import IMAGE_SETS, ImageDataset, load_images


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes())


def fetch_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(dataset: str, file: str, **_: Any) -> Path:
        if not (folder / file).is_file():
            raise Unreachable(f"dataset '{dataset}': '{file}' is not at hand.")
        return folder / file

    monkeypatch.setattr(image_sets, "fetch", fetch)


def write_idx_files(folder: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte.gz": rng.integers(0, 256, (20, 6, 6), dtype=np.uint8),
        "train-labels-idx1-ubyte.gz": np.arange(20, dtype=np.uint8) % 10,
        "t10k-images-idx3-ubyte.gz": rng.integers(0, 256, (10, 6, 6), dtype=np.uint8),
        "t10k-labels-idx1-ubyte.gz": np.arange(10, dtype=np.uint8),
    }
    for name, array in arrays.items():
        (folder / name).write_bytes(idx(array))
    return arrays


def counts(labels: np.ndarray) -> set[int]:
    return set(np.bincount(labels).tolist())


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DatasetError, match=r"no image set 'imagenet'. There are: mnist, fashion"):
        load_images("imagenet")


def test_mnist_from_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {
        "x_train": np.arange(2 * 36, dtype=np.uint8).reshape(2, 6, 6),
        "y_train": np.array([3, 9], dtype=np.uint8),
        "x_test": np.zeros((1, 6, 6), dtype=np.uint8),
        "y_test": np.array([0], dtype=np.uint8),
    }
    np.savez(tmp_path / "mnist.npz", **arrays)
    fetch_from(tmp_path, monkeypatch)
    mnist = load_images("mnist")
    assert mnist.train_images.shape == (2, 6, 6, 3)
    np.testing.assert_array_equal(mnist.train_images[..., 2], arrays["x_train"])
    assert mnist.train_labels.tolist() == [3, 9]
    np.savez(tmp_path / "mnist.npz", **{k: v for k, v in arrays.items() if k != "y_test"})
    with pytest.raises(DatasetError, match=r"mnist.npz' cannot be read: .*y_test"):
        load_images("mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_sets_of_idx_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    arrays = write_idx_files(tmp_path)
    fetch_from(tmp_path, monkeypatch)
    monkeypatch.setattr(image_sets, "FASHION_MNIST_FOLDER", tmp_path / "absent")
    read = load_images(name)
    np.testing.assert_array_equal(read.train_images[..., 0], arrays["train-images-idx3-ubyte.gz"])
    np.testing.assert_array_equal(read.test_labels, arrays["t10k-labels-idx1-ubyte.gz"])
    assert set(read.sha256) == set(arrays)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(9, dtype=np.uint8)))
    with pytest.raises(DatasetError, match=r"test split: 10 images and 9 labels"):
        load_images(name)


def test_fashion_mnist_nowhere_names_the_debian_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_from(tmp_path, monkeypatch)
    monkeypatch.setattr(image_sets, "FASHION_MNIST_FOLDER", tmp_path / "absent")
    with pytest.raises(DatasetError, match=r"Or install the Debian package dataset-fashion-mnist"):
        load_images("fashion_mnist")


def test_fashion_mnist_of_debian_is_checked_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx_files(tmp_path)
    monkeypatch.setattr(image_sets, "FASHION_MNIST_FOLDER", tmp_path)
    with pytest.raises(DatasetError, match=r"is not the file of Fashion-MNIST: unpacked, its"):
        load_images("fashion_mnist")


def test_image_set_checks_what_it_is_made_of() -> None:
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1])
    fields: dict[str, Any] = {
        "name": "mine",
        "train_images": images,
        "train_labels": labels,
        "test_images": images,
        "test_labels": labels,
        "class_names": ("a", "b"),
        "note": "",
        "sha256": {},
    }
    assert ImageDataset(**fields).name == "mine"
    with pytest.raises(DatasetError, match=r"training split: images are float64 of shape"):
        ImageDataset(**fields | {"train_images": images.astype(float)})
    with pytest.raises(DatasetError, match=r"test split: labels run from 0 to 2; expected 0 to 1"):
        ImageDataset(**fields | {"test_labels": np.array([0, 2])})


def test_digits_split_is_fixed_and_stratified() -> None:
    digits, again = load_images("digits"), load_images("digits")
    assert digits.train_images.shape == (1438, 8, 8, 3)
    assert digits.test_images.shape == (359, 8, 8, 3)
    assert digits.train_images.max() == 255
    share = np.bincount(digits.test_labels) / np.bincount(
        np.concatenate([digits.train_labels, digits.test_labels])
    )
    assert np.abs(share - 0.2).max() < 0.003
    np.testing.assert_array_equal(digits.test_images, again.test_images)
    original = load_digits().images
    both = np.concatenate([digits.train_images, digits.test_images])[..., 0]
    restored = np.rint(both * (16 / 255))
    assert sorted(map(bytes, restored)) == sorted(map(bytes, original))  # each image once


def test_every_set_is_listed() -> None:
    assert list(IMAGE_SETS) == ["mnist", "fashion_mnist", "cifar10", "cifar10_jpeg", "digits"]


def test_mnist(mirror: Path) -> None:
    mnist = load_images("mnist")
    assert mnist.train_images.shape == (60_000, 28, 28, 3)
    assert mnist.test_images.shape == (10_000, 28, 28, 3)
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist.test_labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    # known mean and deviation of the training pixels: 0.1307, 0.3081
    pixels = mnist.train_images[..., 0] / np.float32(255)
    assert round(float(pixels.mean(dtype=np.float64)), 4) == 0.1307
    assert round(float(pixels.std(dtype=np.float64)), 4) == 0.3081


@pytest.mark.skipif(
    not image_sets.FASHION_MNIST_FOLDER.is_dir(),
    reason="needs the Debian package dataset-fashion-mnist",
)
def test_fashion_mnist_of_the_installed_package() -> None:
    fashion = load_images("fashion_mnist")
    assert fashion.train_images.shape == (60_000, 28, 28, 3)
    assert fashion.class_names[fashion.train_labels[0]] == "ankle boot"
    assert counts(fashion.train_labels) == {6000}
    assert counts(fashion.test_labels) == {1000}


@pytest.mark.slow
def test_cifar10_jpeg(mirror: Path, tmp_path: Path) -> None:
    cifar = load_images("cifar10_jpeg", cache=tmp_path)
    assert cifar.train_images.shape == (50_000, 32, 32, 3)
    assert cifar.test_images.shape == (10_000, 32, 32, 3)
    assert counts(cifar.train_labels) == {5000}
    assert counts(cifar.test_labels) == {1000}
    assert cifar.class_names[3] == "cat"
    assert cifar.note == "CIFAR-10 (JPEG copy), lossy"
    assert cifar.train_labels[:10].tolist() == list(range(10))
    # known channel means of the original training images: 0.4914, 0.4822, 0.4465
    means = cifar.train_images.mean(axis=(0, 1, 2), dtype=np.float64) / 255
    np.testing.assert_allclose(means, (0.4914, 0.4822, 0.4465), atol=0.002)
    again = load_images("cifar10_jpeg", cache=tmp_path)
    np.testing.assert_array_equal(again.test_images, cifar.test_images)

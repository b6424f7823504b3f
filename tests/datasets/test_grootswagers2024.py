"""Decoding of grating features from EEG: peaks and reliability of the time courses."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from brainscore_lite.datasets import grootswagers2024
from brainscore_lite.datasets.dataset import DatasetError

FEATURES = ("ori", "sf", "color", "contrast")


def subject_file(samples: np.ndarray, *, features: tuple[str, ...] = FEATURES) -> bytes:
    """Write what MATLAB writes: text as references to arrays of character codes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["res/samples"] = samples
        file["res/sa/soaduration"] = np.repeat([0.15, 0.05], 4)[np.newaxis]
        names = file.create_dataset("res/sa/targetname", (1, 8), dtype=h5py.ref_dtype)
        for column, name in enumerate(features * 2):
            text = file.create_dataset(f"#refs#/{column}", data=[[ord(letter)] for letter in name])
            names[0, column] = text.ref
    return buffer.getvalue()


def image_names() -> list[str]:
    return [f"stim00{i}_ori{i}_sf1_color2_contrast3.png" for i in range(2)]


def offer(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    subjects: dict[str, bytes],
    images: list[str] | None = None,
) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (6, 6), (1, 2, 3)).save(picture, "PNG")
    with zipfile.ZipFile(folder / "results.zip", "w") as archive:
        archive.writestr("results/stats_decoding.mat", b"not read")
        for name, content in subjects.items():
            archive.writestr(f"results/{name}_decoding.mat", content)
    with zipfile.ZipFile(folder / "stimuli.zip", "w") as archive:
        for name in image_names() if images is None else images:
            archive.writestr(f"stimuli/{name}", picture.getvalue())

    def fetch(dataset: str, file: str, **_: Any) -> Path:
        return folder / file

    monkeypatch.setattr(grootswagers2024, "fetch", fetch)


def test_small_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).random((2, 175, 8))
    files = {f"sub-0{i + 1}": subject_file(each) for i, each in enumerate(samples)}
    offer(tmp_path, monkeypatch, subjects=files)
    dataset = grootswagers2024.load()
    assert dataset.accuracy.dims == ("subject", "time", "feature", "rate")
    assert dataset.accuracy["subject"].values.tolist() == ["sub-01", "sub-02"]
    fast_colour = dataset.accuracy.sel(subject="sub-02", feature="colour", rate="fast", time=-96)
    assert fast_colour == samples[1, 1, 6]
    assert dataset.accuracy["onset_asynchrony_ms"].values.tolist() == [150, 50]
    assert dataset.stimuli.coords["orientation"] == ("0", "1")
    assert dataset.stimuli.image(dataset.stimuli.ids[0])[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"MATLAB 5.0", r"decoding file of 'sub-01' cannot be read"),
        (subject_file(np.zeros((175, 7))), r"has \(175, 7\) samples .* expected \(175, 8\)"),
        (
            subject_file(np.zeros((175, 8)), features=("ori", "sf", "color", "shape")),
            r"\('shape', 150\)",
        ),
    ],
)
def test_broken_subject_file(content: bytes, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        grootswagers2024.read_subject(content, "sub-01")


def test_archive_without_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch, subjects={})
    with pytest.raises(DatasetError, match=r"results.zip' has no 'sub-NN_decoding.mat'"):
        grootswagers2024.load()


def test_image_of_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch, subjects={}, images=[*image_names(), "extra.png"])
    with pytest.raises(DatasetError, match=r"'stimuli/extra.png' is not named as stimNNN_oriA"):
        grootswagers2024.load_stimuli()


@pytest.mark.parametrize(
    ("feature", "peak", "peak_ms", "reliability"),
    [
        ("orientation", 0.266, 124, 0.859),
        ("spatial_frequency", 0.381, 112, 0.983),
        ("colour", 0.342, 112, 0.974),
        ("contrast", 0.350, 96, 0.972),
    ],
)
def test_peaks_and_reliability_at_the_slow_rate(
    mirror: Path, feature: str, peak: float, peak_ms: int, reliability: float
) -> None:
    courses = grootswagers2024.load().accuracy.sel(feature=feature, rate="slow")
    assert courses.sizes == {"subject": 16, "time": 175}
    mean = courses.mean("subject")
    assert round(float(mean.max()), 3) == peak
    assert int(mean["time"][mean.values.argmax()]) == peak_ms
    rng = np.random.default_rng(0)
    correlations = []
    for _ in range(200):
        order = rng.permutation(16)
        halves = [courses.values[order[start::2]].mean(axis=0) for start in (0, 1)]
        correlations.append(np.corrcoef(*halves)[0, 1])
    assert np.mean(correlations) == pytest.approx(reliability, abs=0.01)


def test_images(mirror: Path) -> None:
    stimuli = grootswagers2024.load_stimuli()
    assert len(stimuli) == 256
    levels = list(zip(*stimuli.coords.values(), strict=True))
    assert len(set(levels)) == 4**4
    assert stimuli.image(stimuli.ids[-1]).ndim == 3

"""Macaque V4 of Cowley et al. (2023): shapes, pairing, reliability, a pixel baseline, errors."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainscore_lite.datasets import cowley2023, load_dataset, registry
from brainscore_lite.datasets.cowley2023 import holds_near_duplicates, sessions
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.download import Unreachable
from brainscore_lite.schema import average_repetitions
from brainscore_lite.seeding import generator
from brainscore_lite.stimuli import StimulusSet

Array = NDArray[np.float64]


def _columnwise_r(a: Array, b: Array) -> Array:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return np.asarray((a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0)))


def _spearman_brown(r: Array) -> Array:
    return np.asarray(2 * r / (1 + r))


def _random_halves(trials: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """Average two equally large random halves of each image's repetitions."""
    halves = []
    for image in range(trials.shape[1]):
        shown = trials[np.isfinite(trials[:, image, 0]), image]
        order, half = random.permutation(len(shown)), len(shown) // 2
        halves.append(
            (shown[order[:half]].mean(axis=0), shown[order[half : 2 * half]].mean(axis=0))
        )
    first, second = zip(*halves, strict=True)
    return np.array(first), np.array(second)


def _condensed_rdm(responses: Array) -> Array:
    standard = (responses - responses.mean(axis=0)) / responses.std(axis=0)
    return np.asarray(1 - np.corrcoef(standard)[np.triu_indices(len(standard), 1)])


def _pixel_features(stimuli: StimulusSet) -> Array:
    """Compute 16 x 16 grey pixels and the contrast of 8 x 8 blocks of each 112 x 112 image."""
    grey = np.stack([stimuli.read(i).mean(axis=2) for i in range(len(stimuli))])
    pixels = grey.reshape(-1, 16, 7, 16, 7).mean(axis=(2, 4))
    contrast = grey.reshape(-1, 8, 14, 8, 14).std(axis=(2, 4))
    return np.concatenate([pixels.reshape(len(grey), -1), contrast.reshape(len(grey), -1)], axis=1)


def test_the_object_session_is_as_described(mirror: Path) -> None:
    dataset = load_dataset("cowley2023_v4_210325")
    trials = dataset["V4"]
    assert trials.shape == (10, 640, 50)
    shown = np.isfinite(trials.values).sum(axis=0)
    assert (shown.min(), shown.max()) == (6, 10)
    assert set(trials.animal.values) == {"PE"}
    assert set(trials.session.values) == {"210325"}
    assert not dataset.simulated
    assert dataset.licence == "GPL-3.0"
    assert dataset.stimuli is not None
    assert dataset.stimuli.ids == tuple(trials.stimulus.values)
    assert dataset.stimuli.ids[0] == "210325/image0001"
    assert dataset.stimuli.image("210325/image0640").shape == (112, 112, 3)
    assert dataset.stimuli.degrees is None
    assert set(dataset.sha256) == {
        "responses_raw/responses_210325.npy",
        "images/images_210325.zip",
    }


def test_blocks_are_eight_objects_of_eighty_images(mirror: Path) -> None:
    trials = load_dataset("cowley2023_v4_210325")["V4"]
    blocks, starts, counts = np.unique(trials.block.values, return_index=True, return_counts=True)
    assert list(blocks) == [f"block{i}" for i in range(1, 9)]
    assert list(starts) == list(range(0, 640, 80))
    assert set(counts) == {80}
    assert trials.object_name.values[80] == "elephant"


def test_averages_of_the_source_are_the_mean_of_its_trials(mirror: Path) -> None:
    averaged = np.load(
        mirror / "cowley2023_v4" / "responses_repeat_averaged" / "responses_210325.npy"
    )
    read = average_repetitions(load_dataset("cowley2023_v4_210325")["V4"])
    np.testing.assert_allclose(read.values.T, averaged, rtol=1e-12)


@pytest.mark.parametrize(
    ("session", "animal", "shape"),
    [
        ("190923", "WE", (1, 1200, 33)),
        ("210224", "PE", (1, 800, 67)),
        ("210225", "PE", (1, 1200, 55)),
    ],
)
def test_averaged_sessions_have_one_repetition_and_say_so(
    mirror: Path, session: str, animal: str, shape: tuple[int, int, int]
) -> None:
    dataset = load_dataset(f"cowley2023_v4_{session}")
    assert dataset["V4"].shape == shape
    assert set(dataset["V4"].animal.values) == {animal}
    assert any("no trial-based ceiling" in caveat for caveat in dataset.caveats)


def test_image_i_is_column_i_whatever_the_order_of_the_archive(mirror: Path) -> None:
    stimuli = cowley2023.load_stimuli("190923")
    path = mirror / "cowley2023_v4" / "images" / "images_190923.zip"
    with zipfile.ZipFile(path) as archive:
        content = archive.read("images_190923/image0007.jpg")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(stimuli.image("190923/image0007"), expected)
    assert stimuli.ids[6] == "190923/image0007"


def test_split_half_reliability(mirror: Path) -> None:
    trials = load_dataset("cowley2023_v4_210325")["V4"].values
    random = generator(0, "test", "halves")
    halves = [_random_halves(trials, random) for _ in range(20)]
    reliability = np.mean([_spearman_brown(_columnwise_r(*pair)) for pair in halves], axis=0)
    assert np.median(reliability) == pytest.approx(0.748, abs=0.01)
    assert np.percentile(reliability, [25, 75]) == pytest.approx([0.626, 0.823], abs=0.01)
    assert (reliability > 0.5).all()
    between = np.mean(
        [np.corrcoef(_condensed_rdm(a), _condensed_rdm(b))[0, 1] for a, b in halves[:4]]
    )
    assert between == pytest.approx(0.562, abs=0.01)
    assert _spearman_brown(between) == pytest.approx(0.720, abs=0.01)


@pytest.mark.parametrize(
    ("session", "expected"),
    [("210325", 0.345), ("190923", 0.277), ("210224", 0.238), ("210225", 0.259)],
)
def test_pixels_predict_responses_and_shuffled_images_do_not(
    mirror: Path, session: str, expected: float
) -> None:
    dataset = load_dataset(f"cowley2023_v4_{session}")
    assert dataset.stimuli is not None
    responses = average_repetitions(dataset["V4"]).values
    features = _pixel_features(dataset.stimuli)
    ridge = make_pipeline(
        StandardScaler(), RidgeCV(alphas=np.logspace(0, 6, 13), alpha_per_target=True)
    )
    folds = KFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(ridge, features, responses, cv=folds)
    assert np.median(_columnwise_r(predicted, responses)) == pytest.approx(expected, abs=0.02)
    shuffled = generator(0, "test", "shuffle").permutation(features)
    predicted = cross_val_predict(ridge, shuffled, responses, cv=folds)
    assert np.median(_columnwise_r(predicted, responses)) == pytest.approx(-0.05, abs=0.03)


def test_the_table_of_sessions_is_that_of_the_source() -> None:
    assert len(sessions()) == 50
    assert {each.animal for each in sessions().values()} == {"WE", "PE", "RA"}


def test_near_duplicates_are_known_from_the_table_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cowley2023, "fetch", None)  # nothing may be read
    monkeypatch.setattr(cowley2023, "fetch_unlisted", None)
    assert not holds_near_duplicates("210325")
    assert holds_near_duplicates("190924")  # active learning
    assert holds_near_duplicates("210305")  # validation experiments
    assert sum(map(holds_near_duplicates, sessions())) == 22
    with pytest.raises(DatasetError, match=r"no session '123456'\. It has: 190923"):
        holds_near_duplicates("123456")


def test_an_unknown_session_lists_the_known() -> None:
    with pytest.raises(DatasetError, match=r"no session '123456'\. It has: 190923, .*211103"):
        load_dataset("cowley2023_v4_123456")


@pytest.fixture
def small_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with session 210305 (unlisted, 400 images, near-duplicates); returns its folder."""
    folder = tmp_path / "cowley2023_v4"
    for part in ("images", "responses_raw", "responses_repeat_averaged"):
        (folder / part).mkdir(parents=True)
    counts = generator(0, "test", "counts").poisson(3.0, (2, 400, 3)).astype(float)
    np.save(folder / "responses_raw" / "responses_210305.npy", counts)
    with zipfile.ZipFile(folder / "images" / "images_210305.zip", "w") as archive:
        for number in range(400, 0, -1):
            picture = io.BytesIO()
            Image.new("RGB", (4, 4), (number % 256, 0, 0)).save(picture, "JPEG", quality=95)
            archive.writestr(f"image{number:04d}.jpg", picture.getvalue())
    monkeypatch.setenv(registry.MIRROR_VARIABLE, str(tmp_path))
    return folder


def test_an_unlisted_session_records_its_checksums(small_session: Path, tmp_path: Path) -> None:
    dataset = cowley2023.load("210305", cache=tmp_path / "cache")
    assert dataset["V4"].shape == (3, 400, 2)
    assert "checksums recorded, not registered" in dataset.caveats
    assert any("near-duplicate" in caveat for caveat in dataset.caveats)
    assert all(len(sha256) == 64 for sha256 in dataset.sha256.values())
    assert dataset.stimuli is not None
    assert abs(int(dataset.stimuli.image("210305/image0200")[0, 0, 0]) - 200) < 8


def test_an_unlisted_session_without_trials_is_read_as_averages(
    small_session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = np.load(small_session / "responses_raw" / "responses_210305.npy")
    (small_session / "responses_raw" / "responses_210305.npy").unlink()
    np.save(small_session / "responses_repeat_averaged" / "responses_210305.npy", trials.mean(2))

    def unreachable(url: str, path: Path, *, progress: bool | None) -> None:
        raise Unreachable("HTTP status 404")

    monkeypatch.setattr(registry, "download", unreachable)
    dataset = cowley2023.load("210305", cache=tmp_path / "cache")
    assert dataset["V4"].shape == (1, 400, 2)
    assert any("no trial-based ceiling" in caveat for caveat in dataset.caveats)


def test_a_missing_image_is_named(small_session: Path, tmp_path: Path) -> None:
    path = small_session / "images" / "images_210305.zip"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "new.zip", "w") as new:
        for name in old.namelist()[1:]:
            new.writestr(name, old.read(name))
    shutil.move(tmp_path / "new.zip", path)
    with pytest.raises(DatasetError, match=r"holds 399 images for 400 columns.*image0400"):
        cowley2023.load("210305", cache=tmp_path / "cache")


def test_truncated_responses_say_so(small_session: Path, tmp_path: Path) -> None:
    path = small_session / "responses_raw" / "responses_210305.npy"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match=r"truncated or no NumPy array .* Delete it and fetch"):
        cowley2023.load("210305", cache=tmp_path / "cache")

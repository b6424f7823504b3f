"""The archive of Cadieu et al. (2014), on a synthetic archive in the layout documented."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from brainscore_lite.benchmarks import benchmark_of
from brainscore_lite.datasets import load_dataset
from brainscore_lite.datasets.cadieu2014 import ARCHIVE, N_SPLITS, load, read_cadieu2014
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.registry import MIRROR_VARIABLE, describe
from brainscore_lite.schema import activations

N_IMAGES = 40
DRAWS = np.random.default_rng(0)
IDS = [f"{i:040x}" for i in DRAWS.integers(1, 2**62, N_IMAGES)]
FEATURES = {
    ("V4", "multiunits"): DRAWS.normal(size=(N_IMAGES, 4)),
    ("IT", "multiunits"): DRAWS.normal(size=(N_IMAGES, 6)),
    ("V4", "singleunits"): DRAWS.normal(size=(N_IMAGES, 2)),
    ("IT", "singleunits"): DRAWS.normal(size=(N_IMAGES, 3)),
}
TRAIN = DRAWS.integers(0, 2, size=(N_IMAGES, N_SPLITS))
CATEGORY = [("Animals", "Cars", "Faces")[i % 3] for i in range(N_IMAGES)]
META = np.array(
    [
        f"images/{name}.png {category} {' '.join(map(str, flags))}"
        for name, category, flags in zip(IDS, CATEGORY, TRAIN, strict=True)
    ]
)
PIXELS = DRAWS.integers(0, 256, size=(N_IMAGES, 5, 5, 3), dtype=np.uint8)


def archive(
    path: Path, *, folder: str = "PLoSCB2014_data_20141216/", meta=META, features=FEATURES, n=40
) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for (region, units), values in features.items():
            matrix = io.BytesIO()
            savemat(matrix, {"features": values, "meta": meta})
            opened.writestr(f"{folder}NeuralData_{region}_{units}.mat", matrix.getvalue())
        for name, image in list(zip(IDS, PIXELS, strict=True))[:n][::-1]:
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, format="PNG")
            opened.writestr(f"{folder}images/{name}.png", encoded.getvalue())
    return path


@pytest.mark.parametrize("folder", ["", "PLoSCB2014_data_20141216/"])
def test_rows_images_categories_and_splits_belong_together(tmp_path: Path, folder: str) -> None:
    dataset = read_cadieu2014(archive(tmp_path / "a.zip", folder=folder))
    assert dataset.regions == ("V4", "IT")
    for region in dataset.regions:
        recording = dataset[region]
        np.testing.assert_array_equal(recording.values[0], FEATURES[region, "multiunits"])
        assert recording["stimulus"].values.tolist() == IDS
        assert recording["category_name"].values.tolist() == CATEGORY
        for i in range(N_SPLITS):
            np.testing.assert_array_equal(recording[f"train_{i}"].values, TRAIN[:, i])
    for name, image in zip(IDS, PIXELS, strict=True):
        np.testing.assert_array_equal(dataset.stimuli.image(name), image)
    assert dataset.stimuli.coords["category_name"] == tuple(CATEGORY)


def test_single_units_are_a_dataset_of_their_own(tmp_path: Path) -> None:
    dataset = read_cadieu2014(archive(tmp_path / "a.zip"), units="singleunits")
    assert dataset.name == "cadieu2014_singleunits"
    np.testing.assert_array_equal(dataset["IT"].values[0], FEATURES["IT", "singleunits"])
    with pytest.raises(DatasetError, match=r"no 'units'\. It has: multiunits, singleunits"):
        read_cadieu2014(tmp_path / "a.zip", units="units")


def test_the_archive_is_loaded_by_name_and_its_checksum_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    (tmp_path / "cadieu2014").mkdir()
    path = archive(tmp_path / "cadieu2014" / ARCHIVE)
    dataset = load_dataset("cadieu2014")
    assert dataset.sha256 == {ARCHIVE: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert load("singleunits").regions == ("V4", "IT")
    assert "not verified on its archive" in " ".join(dataset.caveats)
    assert "no trial-based ceiling" in " ".join(dataset.caveats)
    listed = describe("cadieu2014").files[ARCHIVE]
    assert "no checksum" in listed.note


def test_a_model_is_scored_without_a_ceiling(tmp_path: Path) -> None:
    dataset = read_cadieu2014(archive(tmp_path / "a.zip"))
    made = benchmark_of(dataset["IT"], stimuli=dataset.stimuli, metric="pls", n_draws=0)
    model = activations(DRAWS.normal(size=(N_IMAGES, 30)), stimulus=IDS, layer="conv")
    assert np.isfinite(made(model).raw)
    assert made.no_ceiling == "no repetitions of the images at hand"


def test_archives_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with pytest.raises(DatasetError, match=r"shape \(40, 4\) and 39 lines of meta"):
        read_cadieu2014(archive(path, meta=META[1:]))
    with pytest.raises(DatasetError, match=r"40 lines of meta that are not a file, a category"):
        read_cadieu2014(archive(path, meta=np.array([line[:-2] for line in META])))
    with pytest.raises(DatasetError, match=r"holds 0 files 'NeuralData_IT_multiunits\.mat'"):
        read_cadieu2014(
            archive(path, features={("V4", "multiunits"): FEATURES["V4", "multiunits"]})
        )
    with pytest.raises(DatasetError, match=r"lacks 4 of 40 images; first: '"):
        read_cadieu2014(archive(path, n=36))
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("NeuralData_V4_multiunits.mat", b"no MATLAB file" * 20)
    with pytest.raises(DatasetError, match=r"cannot be read as MATLAB 5"):
        read_cadieu2014(path)
    matrix = io.BytesIO()
    savemat(matrix, {"features": FEATURES["V4", "multiunits"]})
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("NeuralData_V4_multiunits.mat", matrix.getvalue())
    with pytest.raises(DatasetError, match=r"lacks the variables \['meta'\]"):
        read_cadieu2014(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match=r"'a\.zip' cannot be read"):
        read_cadieu2014(path)

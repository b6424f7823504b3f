"""MajajHong2015 and FreemanZiemba2013, on synthetic files that brainscore_core wrote."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from brainscore_lite.benchmarks import benchmark_of
from brainscore_lite.datasets import freemanziemba2013, load_dataset, majajhong2015, registry
from brainscore_lite.datasets.brainscore_published import NOT_READ_HERE
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.registry import MIRROR_VARIABLE, describe
from brainscore_lite.schema import activations

FILES = Path(__file__).parent / "files"
NO_APERTURE = {
    "assy_movshon_FreemanZiemba2013_public.nc": (
        "assy_movshon_FreemanZiemba2013_noaperture_public.nc"
    ),
    "stimulus_FreemanZiemba2013_aperture-public.csv": "stimulus_FreemanZiemba2013_public.csv",
    "stimulus_FreemanZiemba2013_aperture-public.zip": "stimulus_FreemanZiemba2013_public.zip",
}


@pytest.fixture
def synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mirror of the synthetic files under the names of the real, registered by their SHA-1."""
    lines = []
    for name in ("majajhong2015", "freemanziemba2013"):
        folder = tmp_path / "mirror" / name
        folder.mkdir(parents=True)
        lines += [f"[{name}]", 'title = "t"', 'species = "macaque"', 'source = "s"']
        lines += ['licence = "none stated"', 'citation = "c"']
        for file in describe(name).files:
            original = {new: old for old, new in NO_APERTURE.items()}.get(file, file)
            shutil.copy(FILES / original, folder / file)
            sha1 = hashlib.sha1((folder / file).read_bytes()).hexdigest()
            lines += [f"[[{name}.files]]", f'path = "{file}"', f'sha1 = "{sha1}"']
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registry.toml").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(registry, "data_folder", lambda: tmp_path / "data")
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    registry._entries.cache_clear()
    yield tmp_path / "mirror"
    registry._entries.cache_clear()


def model_of(recording, n_features: int = 30):
    names = list(recording["stimulus"].values)
    features = np.random.default_rng(0).normal(size=(len(names), n_features))
    return activations(features, stimulus=names, layer="conv")


def test_majajhong_has_two_regions_and_animals_and_strata(synthetic: Path) -> None:
    dataset = load_dataset("majajhong2015")
    assert dataset.regions == ("V4", "IT")
    assert dataset["V4"]["neuroid"].values.tolist() == ["Tito_L_P_8_0", "Tito_L_P_0_1"]
    assert dataset["IT"]["animal"].values.tolist() == ["Chabo", "Chabo", "Tito"]
    assert dataset["IT"].dims == ("repetition", "stimulus", "neuroid")
    shown = np.isfinite(dataset["IT"].values[..., 0]).sum(axis=0)
    variation = dataset["IT"]["variation"].values.astype(int)
    np.testing.assert_array_equal(shown, np.where(variation == 3, 4, 3))
    assert set(dataset["V4"]["object_name"].values) == {"alfa155", "bear"}
    assert dataset.stimuli.degrees == 8
    assert list(dataset.stimuli.ids) == dataset["IT"]["stimulus"].values.tolist()
    assert dataset.caveats == (NOT_READ_HERE,)
    for file, sha256 in dataset.sha256.items():
        content = (synthetic / "majajhong2015" / file).read_bytes()
        assert sha256 == hashlib.sha256(content).hexdigest()
    assert len(dataset.sha256) == 3


def test_freemanziemba_is_averaged_from_50_to_200_ms(synthetic: Path) -> None:
    dataset = load_dataset("freemanziemba2013")
    assert dataset.regions == ("V1", "V2")
    file = synthetic / "freemanziemba2013" / "assy_movshon_FreemanZiemba2013_public.nc"
    with h5py.File(file) as content:
        values = content["data"][:].astype(float)  # neuroid, presentation, ms
        stimulus = content["image_id"].asstr()[:]
        repetition = content["repetition"][:]
    expected = values[:, :, 50:200].mean(axis=-1).T
    for region, columns in (("V1", slice(0, 3)), ("V2", slice(3, 5))):
        for trial, name, number in zip(expected, stimulus, repetition, strict=True):
            found = dataset[region].sel(stimulus=name).values[number]
            np.testing.assert_allclose(found, trial[columns], rtol=1e-14)
    assert set(dataset["V2"]["texture_type"].values) == {"noise", "texture"}
    assert set(dataset["V2"]["animal"].values) == {"not stated"}
    assert dataset.stimuli.degrees == 4
    assert any(caveat.startswith("animals not stated") for caveat in dataset.caveats)


def test_freemanziemba_keeps_its_bins_when_asked_and_has_squares(synthetic: Path) -> None:
    bins = freemanziemba2013.load(window_ms=None)
    assert bins["V1"].sizes["time_bin"] == 300
    squares = load_dataset("freemanziemba2013_noaperture")
    assert squares.name == "freemanziemba2013_noaperture"
    assert "assy_movshon_FreemanZiemba2013_noaperture_public.nc" in squares.sha256
    with pytest.raises(DatasetError, match=r"no images 'round'\. It has: aperture, noaperture"):
        freemanziemba2013.load("round")


@pytest.mark.parametrize(("name", "region"), [("majajhong2015", "V4"), ("freemanziemba2013", "V1")])
@pytest.mark.filterwarnings("ignore:.*reliabilities are not positive")
def test_a_model_is_scored_on_them(synthetic: Path, name: str, region: str) -> None:
    dataset = load_dataset(name)
    made = benchmark_of(dataset[region], stimuli=dataset.stimuli, metric="pls", n_draws=0)
    assert np.isfinite(made(model_of(dataset[region])).raw)


def test_other_variations_and_regions_are_refused(
    synthetic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(majajhong2015, "PUBLIC_VARIATIONS", (0,))
    with pytest.raises(DatasetError, match=r"images of the variations \[0, 3\], expected \[0\]"):
        load_dataset("majajhong2015")
    squares = freemanziemba2013.PUBLIC["noaperture"]
    asked = squares.__class__(
        **{**vars(squares), "regions": ("V1", "V4"), "labels": ("texture_type", "contrast")}
    )
    monkeypatch.setitem(freemanziemba2013.PUBLIC, "noaperture", asked)
    with pytest.raises(DatasetError, match=r"\['V1', 'V2'\], expected .* labels \['contrast'\]"):
        load_dataset("freemanziemba2013_noaperture")


def test_another_file_of_the_same_name_is_refused_by_its_sha1(synthetic: Path) -> None:
    path = synthetic / "majajhong2015" / "stimulus_hvm-public.csv"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DatasetError, match=r"not the file listed .* bytes with sha1 \w+, expected"):
        load_dataset("majajhong2015")


@pytest.mark.parametrize("name", ["majajhong2015", "freemanziemba2013"])
def test_the_registry_says_what_is_known_of_the_real_files(name: str) -> None:
    entry = describe(name)
    assert entry.licence == "none stated"
    assert "have not been read by this project" in entry.note
    for file in entry.files.values():
        assert file.sha1
        assert not file.sha256
        assert file.bytes == 0
        assert f"/{file.path}?versionId=" in str(file.url)


@pytest.mark.parametrize("published", [majajhong2015.PUBLIC, *freemanziemba2013.PUBLIC.values()])
def test_every_file_of_a_reader_is_registered(published) -> None:
    files = describe(published.registered_as).files
    names = (published.assembly, f"{published.stimuli}.csv", f"{published.stimuli}.zip")
    assert set(names) <= set(files)

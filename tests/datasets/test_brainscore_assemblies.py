"""Brain-Score's assemblies and stimulus sets, read from files that brainscore_core wrote."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainscore_lite.benchmarks import benchmark_of
from brainscore_lite.datasets import brainscore_assemblies
from brainscore_lite.datasets.brainscore_assemblies import (
    neuroid_coordinates,
    read_brainscore_assembly,
    write_brainscore_assembly,
)
from brainscore_lite.datasets.brainscore_stimuli import read_brainscore_stimulus_set
from brainscore_lite.schema import ContractError, activations, responses
from brainscore_lite.storage import StorageError

FILES = Path(__file__).parent / "files"
TOY = FILES / "assy_lab_Toy2026.nc"
MAJAJ = FILES / "assy_dicarlo_MajajHong2015_public.nc"
FREEMAN = FILES / "assy_movshon_FreemanZiemba2013_public.nc"


@pytest.fixture
def toy_stimuli():
    stem = FILES / "stimulus_lab_Toy2026"
    return read_brainscore_stimulus_set(f"{stem}.csv", f"{stem}.zip")


def own_recording(*, n_bins: int | None = None, seed: int = 0) -> xr.DataArray:
    draws = np.random.default_rng(seed)
    values = draws.normal(size=(4, 6, 3) if n_bins is None else (4, 6, 3, n_bins))
    values[2:, 1] = np.nan  # shown twice
    values[0, 2] = np.nan  # not recorded the first time
    values[1, 4, 1] = np.nan  # one neuroid lost in one trial
    return responses(
        values,
        stimulus=[f"im{i}" for i in (3, 1, 2, 0, 5, 4)],
        neuroid=["a_1", "a_2", "b_1"],
        region=["V4", "IT", "IT"],
        animal=["a", "a", "b"],
        time_bins=None if n_bins is None else [(10.5 * i, 10.5 * (i + 1)) for i in range(n_bins)],
        stimulus_coords={
            "object_name": list("xyzxyz"),
            "variation": np.arange(6) % 2,
            "new": np.arange(6) > 3,
        },
        neuroid_coords={"session": ["s1", "s1", "s2"]},
        name="own",
    )


def written(path: Path, array: xr.DataArray) -> Path:
    array.to_dataset(name="data").to_netcdf(path, engine="h5netcdf")
    return path


def raw(**changes: object) -> xr.DataArray:
    """A small assembly as it lies in a file; a change of None leaves a coordinate out."""
    coords = {
        "stimulus_id": ("presentation", ["a", "b", "a", "b"]),
        "repetition": ("presentation", [0, 0, 1, 1]),
        "neuroid_id": ("neuroid", ["u1", "u2"]),
        "region": ("neuroid", ["IT", "IT"]),
        "animal": ("neuroid", ["m", "m"]),
    } | changes
    kept = {name: coord for name, coord in coords.items() if coord is not None}
    values = np.arange(8.0).reshape(4, 2)
    return xr.DataArray(values, dims=("presentation", "neuroid"), coords=kept)


def test_what_brainscore_core_packages_is_read_trial_by_trial(toy_stimuli) -> None:
    found = read_brainscore_assembly(TOY, stimuli=toy_stimuli)
    assert dict(found.sizes) == {"repetition": 3, "stimulus": 5, "neuroid": 4, "time_bin": 2}
    with h5py.File(TOY) as content:
        values = content["data"][:]
        stimulus = content["stimulus_id"].asstr()[:]
        repetition = content["repetition"][:]
    assert np.isfinite(found.values).sum() == values.size
    for trial, name, number in zip(values, stimulus, repetition, strict=True):
        np.testing.assert_array_equal(found.sel(stimulus=name).values[number], trial)
    assert found["region"].values.tolist() == ["V4", "IT", "IT", "V4"]
    assert found["animal"].values.tolist() == ["a", "a", "b", "b"]
    assert found["array"].values.tolist() == ["P", "A", "A", "P"]
    assert found["start_ms"].values.tolist() == [70, 170]
    assert found["end_ms"].values.tolist() == [170, 270]
    assert found["object_name"].values.tolist() == ["cat", "dog", "cat", "dog", "cat"]
    assert "session" not in found.coords  # differs between the presentations of a stimulus
    assert found.attrs["stimulus_set_identifier"] == "lab.Toy2026"
    assert np.isfinite(found.values[..., 0, 0]).sum(axis=0).tolist() == [3, 2, 3, 1, 3]


def test_older_files_have_other_dims_types_and_image_id() -> None:
    found = read_brainscore_assembly(MAJAJ)
    with h5py.File(MAJAJ) as content:
        values = content["dicarlo.MajajHong2015.public"][:]
        stimulus = content["image_id"].asstr()[:]
        repetition = content["repetition"][:]
    assert values.dtype == np.float32
    assert found.dtype == np.float64
    for trial, name, number in zip(values.swapaxes(0, 1), stimulus, repetition, strict=True):
        np.testing.assert_array_equal(found.sel(stimulus=name).values[number], trial)
    assert "image_id" not in found.coords


@pytest.mark.parametrize("block", [1, 2**27])
def test_a_window_is_the_mean_of_its_bins(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(brainscore_assemblies, "_BLOCK_BYTES", block)
    found = read_brainscore_assembly(FREEMAN, animal="m", window_ms=(50, 200))
    bins = read_brainscore_assembly(FREEMAN, animal="m")
    assert bins.sizes["time_bin"] == 300
    expected = bins.isel(time_bin=slice(50, 200)).mean("time_bin")
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-14, atol=1e-16)
    assert found.dims == ("repetition", "stimulus", "neuroid")
    assert found["neuroid"].values.tolist() == ["1", "2", "3", "4", "5"]


def test_bins_of_unequal_length_are_weighted_by_it(tmp_path: Path) -> None:
    values = np.array([[[1.0, 4.0, 9.0]]])
    array = xr.DataArray(
        values,
        dims=("presentation", "neuroid", "time_bin"),
        coords={
            "stimulus_id": ("presentation", ["a"]),
            "neuroid_id": ("neuroid", ["u"]),
            "time_bin_start": ("time_bin", [10, 30, 0]),
            "time_bin_end": ("time_bin", [30, 40, 10]),
        },
    )
    path = written(tmp_path / "a.nc", array)
    given = {"region": "IT", "animal": "m"}
    found = read_brainscore_assembly(path, window_ms=(0, 30), **given)
    assert found.item() == pytest.approx((9 * 10 + 1 * 20) / 30, rel=1e-15)
    with pytest.raises(ContractError, match=r"no time bins make up 5 to 30 ms; it has 3 from 0 to"):
        read_brainscore_assembly(path, window_ms=(5, 30), **given)


@pytest.mark.parametrize("n_bins", [None, 1, 3])
def test_what_is_written_is_read_back_exactly(tmp_path: Path, n_bins: int | None) -> None:
    recording = own_recording(n_bins=n_bins).assign_attrs(source="made up")
    path = tmp_path / "own.nc"
    write_brainscore_assembly(recording.assign_attrs(settings={"of": "no use"}), path)
    xr.testing.assert_identical(read_brainscore_assembly(path), recording)
    again = tmp_path / "again.nc"
    write_brainscore_assembly(recording, again)
    assert again.read_bytes() == path.read_bytes()


def test_sessions_are_written_and_read_where_they_belong_to_repetitions(tmp_path: Path) -> None:
    recording = own_recording(n_bins=None)
    sessions = [f"day{i // 2}" for i in range(recording.sizes["repetition"])]
    recording = recording.assign_coords(session_of_day=("repetition", sessions))
    write_brainscore_assembly(recording, tmp_path / "own.nc")
    xr.testing.assert_identical(read_brainscore_assembly(tmp_path / "own.nc"), recording)


def test_reading_and_writing_what_brainscore_core_packaged_changes_nothing(
    tmp_path: Path, toy_stimuli
) -> None:
    for source in (TOY, MAJAJ):
        first = read_brainscore_assembly(source)
        write_brainscore_assembly(first, tmp_path / source.name)
        xr.testing.assert_identical(read_brainscore_assembly(tmp_path / source.name), first)


def test_repetitions_are_numbered_by_the_file_or_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", raw(repetition=("presentation", [7, 3, 3, 7])))
    found = read_brainscore_assembly(path)
    np.testing.assert_array_equal(found.sel(stimulus="a").values, [[4, 5], [0, 1]])
    np.testing.assert_array_equal(found.sel(stimulus="b").values, [[2, 3], [6, 7]])
    counted = read_brainscore_assembly(path, repetition=None)
    np.testing.assert_array_equal(counted.sel(stimulus="a").values, [[0, 1], [4, 5]])
    without = written(tmp_path / "b.nc", raw(repetition=None))
    xr.testing.assert_equal(read_brainscore_assembly(without), counted)
    twice = written(tmp_path / "c.nc", raw(repetition=("presentation", [0, 0, 0, 1])))
    with pytest.raises(ContractError, match=r"first: stimulus 'a'\. .* pass repetition=None"):
        read_brainscore_assembly(twice)
    assert read_brainscore_assembly(twice, repetition=None).sizes["repetition"] == 2


def test_what_the_file_does_not_state_is_given(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", raw(region=None, animal=None))
    assert neuroid_coordinates(path) == ("neuroid_id",)
    with pytest.raises(ContractError, match=r"states no region; along 'neuroid' it has neuroid_id"):
        read_brainscore_assembly(path, animal="m")
    with pytest.raises(ContractError, match=r"states no animal; .* Give animal=, one for all"):
        read_brainscore_assembly(path, region="IT")
    found = read_brainscore_assembly(path, region=["V4", "IT"], animal="m")
    assert found["region"].values.tolist() == ["V4", "IT"]
    with pytest.raises(ContractError, match=r"3 values of region for 2 neuroids"):
        read_brainscore_assembly(path, region=["V4", "IT", "IT"], animal="m")
    for name in ("region", "animal"):
        with pytest.raises(ContractError, match=rf"states the {name} .* Leave out {name}="):
            read_brainscore_assembly(written(tmp_path / "b.nc", raw()), **{name: "m"})


def test_subjects_and_scalars_state_animal_and_region(tmp_path: Path) -> None:
    array = raw(animal=None, subject=("neuroid", ["s1", "s2"]), region="IT")
    found = read_brainscore_assembly(written(tmp_path / "a.nc", array))
    assert found["animal"].values.tolist() == ["s1", "s2"]
    assert found["region"].values.tolist() == ["IT", "IT"]


def test_neuroids_are_named_from_several_coordinates_where_needed(tmp_path: Path) -> None:
    array = raw(neuroid_id=("neuroid", [4, 4]), animal=("neuroid", ["m", "n"]))
    path = written(tmp_path / "a.nc", array)
    with pytest.raises(ContractError, match=r"not unique .*first repeated: '4'\).* region, animal"):
        read_brainscore_assembly(path)
    found = read_brainscore_assembly(path, neuroid_from=("animal", "neuroid_id"))
    assert found["neuroid"].values.tolist() == ["m_4", "n_4"]
    with pytest.raises(
        ContractError, match=r"to be named from \('site',\); along 'neuroid' it has"
    ):
        read_brainscore_assembly(path, neuroid_from=("site",))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no file .*none\.nc\. Check the path"):
        read_brainscore_assembly(tmp_path / "none.nc")
    broken = tmp_path / "broken.nc"
    broken.write_bytes(TOY.read_bytes()[:3000])
    with pytest.raises(StorageError, match=r"cannot read .*broken\.nc as netCDF-4"):
        read_brainscore_assembly(broken)
    two = xr.Dataset({"x": raw(), "y": raw()})
    two.to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    with pytest.raises(StorageError, match=r"holds the variables \['x', 'y'\]; expected one"):
        read_brainscore_assembly(tmp_path / "two.nc")
    events = xr.DataArray(np.zeros(3), dims="event")
    with pytest.raises(ContractError, match=r"dims are \('event',\), expected .* other kinds"):
        read_brainscore_assembly(written(tmp_path / "e.nc", events))
    path = written(tmp_path / "a.nc", raw(stimulus_id=None))
    with pytest.raises(ContractError, match=r"no coordinate stimulus_id or image_id .* repetition"):
        read_brainscore_assembly(path)
    with pytest.raises(ContractError, match=r"no time bins to average"):
        read_brainscore_assembly(written(tmp_path / "t.nc", raw()), window_ms=(0, 1))


def test_stimuli_of_another_set_are_refused(toy_stimuli) -> None:
    with pytest.raises(ContractError, match=r"40 of its 40 stimuli are not in the stimulus set"):
        read_brainscore_assembly(MAJAJ, stimuli=toy_stimuli)


def test_responses_with_an_assemblys_own_names_are_not_written(tmp_path: Path) -> None:
    recording = own_recording().assign_coords(image_id=("stimulus", list("abcdef")))
    with pytest.raises(ContractError, match=r"'own': the coordinate 'image_id' .* Drop or rename"):
        write_brainscore_assembly(recording, tmp_path / "own.nc")
    with pytest.raises(ContractError, match=r"dims are"):
        write_brainscore_assembly(recording.isel(neuroid=0), tmp_path / "own.nc")


@pytest.mark.filterwarnings("ignore:.*reliabilities are not positive")
def test_a_model_is_scored_on_an_assembly(toy_stimuli) -> None:
    recording = read_brainscore_assembly(
        FILES / "assy_dicarlo_MajajHong2015_public.nc", window_ms=(70, 170)
    )
    stem = FILES / "stimulus_hvm-public"
    stimuli = read_brainscore_stimulus_set(f"{stem}.csv", f"{stem}.zip")
    features = np.random.default_rng(0).normal(size=(40, 30))
    model = activations(features, stimulus=list(recording["stimulus"].values), layer="conv")
    made = benchmark_of(recording, stimuli=stimuli, region="IT", metric="pls", n_draws=0)
    score = made(model)
    assert np.isfinite(score.raw)
    assert score.values.sizes["neuroid"] == 3
    assert pd.notna(score.ceiling_value)

"""Files go both ways between this package and brainscore_core, in an environment of its own."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from brainscore_lite.datasets.brainscore_assemblies import (
    read_brainscore_assembly,
    write_brainscore_assembly,
)
from brainscore_lite.datasets.brainscore_stimuli import (
    read_brainscore_stimulus_set,
    write_brainscore_stimulus_set,
)
from brainscore_lite.schema import responses
from brainscore_lite.stimuli import StimulusSet

FILES = Path(__file__).parent / "files"
PYTHON = Path(__file__).parents[2] / "speed" / ".peers" / "brainscore" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(), reason="needs brainscore_core in speed/.peers; build with `make peers`"
    ),
]


def run(script: str, *arguments: Path) -> None:
    settings = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [str(PYTHON), str(FILES / script), *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, **settings})


def test_the_files_beside_are_what_brainscore_core_writes(tmp_path: Path) -> None:
    run("write_with_brainscore_core.py", tmp_path)
    kept = {path.name for path in FILES.iterdir() if path.suffix in (".nc", ".csv", ".zip")}
    assert {path.name for path in tmp_path.iterdir()} == kept
    for file in sorted(kept):
        if file.endswith(".nc"):
            new, old = (
                xr.load_dataset(folder / file, engine="h5netcdf") for folder in (tmp_path, FILES)
            )
            xr.testing.assert_identical(new, old)
        if file.endswith(".csv"):
            archive = file.replace(".csv", ".zip")
            new, old = (
                read_brainscore_stimulus_set(folder / file, folder / archive)
                for folder in (tmp_path, FILES)
            )
            assert (new.digest, dict(new.coords)) == (old.digest, dict(old.coords))


def own() -> tuple[xr.DataArray, StimulusSet]:
    draws = np.random.default_rng(0)
    ids = tuple(f"im{i}" for i in (3, 1, 2, 0, 5, 4))
    values = draws.normal(size=(4, 6, 3, 2))
    values[2:, 1] = np.nan
    values[1, 4, 1] = np.nan
    objects = ("cat", "dog", "cat", "dog", "cat", "dog")
    recording = responses(
        values,
        stimulus=ids,
        neuroid=["a_1", "a_2", "b_1"],
        region=["V4", "IT", "IT"],
        animal=["a", "a", "b"],
        time_bins=[(70, 170), (170, 270)],
        stimulus_coords={"variation": np.arange(6) % 2},
        neuroid_coords={"session": ["s1", "s1", "s2"]},
        name="own",
    )
    pixels = draws.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    stimuli = StimulusSet.from_arrays(
        "own", pixels, ids=ids, degrees=8.0, coords={"object_name": objects}
    )
    return recording, stimuli


def test_brainscore_core_loads_what_this_package_writes(tmp_path: Path) -> None:
    recording, stimuli = own()
    paths = [tmp_path / name for name in ("own.nc", "own.csv", "own.zip", "answer.npz")]
    write_brainscore_assembly(recording, paths[0])
    write_brainscore_stimulus_set(stimuli, paths[1], paths[2])
    run("read_with_brainscore_core.py", *paths)
    with np.load(paths[3]) as opened:
        found = dict(opened)
    assert found["stimulus_set"].tolist() == list(stimuli.ids)
    np.testing.assert_array_equal(found["pixels"], [stimuli.image(each) for each in stimuli.ids])
    assert len(found["values"]) == np.isfinite(recording.values[..., 0, 0]).sum() == 22
    shown = zip(
        found["presentation.stimulus_id"],
        found["presentation.repetition"],
        found["presentation.object_name"],
        found["presentation.variation"],
        found["values"],
        strict=True,
    )
    for stimulus, repetition, object_name, variation, values in shown:
        trial = recording.sel(stimulus=stimulus)
        np.testing.assert_array_equal(values, trial.values[repetition])
        assert object_name == stimuli.coords["object_name"][stimuli.ids.index(stimulus)]
        assert variation == trial["variation"].item()
    for ours, theirs in (("neuroid", "neuroid_id"), ("region",) * 2, ("animal",) * 2):
        assert found[f"neuroid.{theirs}"].tolist() == recording[ours].values.tolist()
    assert found["neuroid.session"].tolist() == ["s1", "s1", "s2"]
    assert found["time_bin.time_bin_start"].tolist() == [70, 170]
    assert found["time_bin.time_bin_end"].tolist() == [170, 270]
    averaged = recording.mean("repetition").sel(stimulus=found["averaged_stimulus"])
    np.testing.assert_allclose(found["averaged"], averaged.values, rtol=1e-13, atol=1e-15)


def test_this_package_reads_back_what_went_to_brainscore_core(tmp_path: Path) -> None:
    recording, stimuli = own()
    write_brainscore_assembly(recording, tmp_path / "own.nc")
    write_brainscore_stimulus_set(stimuli, tmp_path / "own.csv", tmp_path / "own.zip")
    again = read_brainscore_stimulus_set(tmp_path / "own.csv", tmp_path / "own.zip")
    found = read_brainscore_assembly(tmp_path / "own.nc", stimuli=again)
    xr.testing.assert_equal(found.drop_vars("object_name"), recording)

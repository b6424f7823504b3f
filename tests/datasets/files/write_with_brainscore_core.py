"""Write the small synthetic assemblies and stimulus sets beside this file, with brainscore_core.

Run in an environment that holds brainscore_core (`make peers` builds it), with the folder to write
to: ``speed/.peers/brainscore/bin/python write_with_brainscore_core.py FOLDER``. The numbers are
random; only the format is Brain-Score's.

* ``lab.Toy2026``: packaged as new data are, with unequal repetitions and two time bins.
* ``dicarlo.MajajHong2015.public``, ``movshon.FreemanZiemba2013.public``: in the layout that these
  older files are described to have: dims (neuroid, presentation, time_bin), float32, image_id; the
  first not compressed, with a variable that has the name of the assembly.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from brainscore_core.supported_data_standards.brainio.assemblies import NeuronRecordingAssembly
from brainscore_core.supported_data_standards.brainio.packaging import (
    create_stimulus_csv,
    create_stimulus_zip,
    package_data_assembly_locally,
    package_stimulus_set_locally,
    write_netcdf,
)
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image


def main() -> None:
    """Write every file into the folder given."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_toy(folder)
    write_majajhong(folder)
    write_freemanziemba(folder)


def write_toy(folder: Path) -> None:
    """Five stimuli shown 3, 2, 3, 1 and 3 times to two animals, V4 and IT, two time bins."""
    draws = np.random.default_rng(1)
    shown = [(i, r) for r in range(3) for i in range(5) if r < (3, 2, 3, 1, 3)[i]]
    names = [f"object{i}" for i in range(5)]
    assembly = NeuronRecordingAssembly(
        draws.normal(size=(len(shown), 4, 2)),
        dims=("presentation", "neuroid", "time_bin"),
        coords={
            "stimulus_id": ("presentation", [names[i] for i, _ in shown]),
            "repetition": ("presentation", [r for _, r in shown]),
            "session": ("presentation", [f"day{(3 * i + r) % 2}" for i, r in shown]),
            "neuroid_id": ("neuroid", ["a_1", "a_2", "b_1", "b_2"]),
            "region": ("neuroid", ["V4", "IT", "IT", "V4"]),
            "animal": ("neuroid", ["a", "a", "b", "b"]),
            "array": ("neuroid", ["P", "A", "A", "P"]),
            "time_bin_start": ("time_bin", [70, 170]),
            "time_bin_end": ("time_bin", [170, 270]),
        },
    )
    package_data_assembly_locally(assembly, "lab.Toy2026", "lab.Toy2026", downloads_path=folder)
    columns = {
        "stimulus_id": names,
        "object_name": ["cat", "dog", "cat", "dog", "cat"],
        "background": [f"{i:03d}" for i in range(5)],
        "degrees": [8.0] * 5,
    }
    with tempfile.TemporaryDirectory() as images:
        package_stimulus_set_locally(
            stimulus_set(columns, draws, Path(images)), "lab.Toy2026", folder
        )


def write_majajhong(folder: Path) -> None:
    """Forty images of two objects; variation 3 shown once more than variation 0."""
    draws = np.random.default_rng(2)
    variation = np.array([0, 3] * 20)
    names = [f"{i:040x}" for i in draws.integers(1, 2**62, 40)]
    shown = [(i, r) for i in range(40) for r in range(4 if variation[i] else 3)]
    neuroids = ["Chabo_L_M_5_9", "Chabo_L_A_1_0", "Tito_L_P_8_0", "Tito_L_M_8_0", "Tito_L_P_0_1"]
    assembly = NeuronRecordingAssembly(
        draws.normal(size=(5, len(shown), 1)).astype(np.float32),
        dims=("neuroid", "presentation", "time_bin"),
        coords={
            "image_id": ("presentation", [names[i] for i, _ in shown]),
            "repetition": ("presentation", [r for _, r in shown]),
            "neuroid_id": ("neuroid", neuroids),
            "animal": ("neuroid", [name.split("_")[0] for name in neuroids]),
            "region": ("neuroid", ["IT", "IT", "V4", "IT", "V4"]),
            "subregion": ("neuroid", ["cIT", "aIT", "V4", "pIT", "V4"]),
            "time_bin_start": ("time_bin", [70]),
            "time_bin_end": ("time_bin", [170]),
        },
        name="dicarlo.MajajHong2015.public",
    )
    write_netcdf(assembly, folder / "assy_dicarlo_MajajHong2015_public.nc", compress=False)
    columns = {
        "stimulus_id": names,
        "object_name": [("alfa155", "bear")[i // 2 % 2] for i in range(40)],
        "category_name": [("Cars", "Animals")[i // 2 % 2] for i in range(40)],
        "variation": variation,
        "rxy": draws.normal(size=40),
    }
    write_older_stimulus_set(columns, draws, folder / "stimulus_hvm-public")


def write_freemanziemba(folder: Path) -> None:
    """Thirty textures and noises shown twice; 1-ms bins; neuroids numbered, no animal."""
    draws = np.random.default_rng(3)
    names = [f"{i:040x}" for i in draws.integers(1, 2**62, 30)]
    shown = [(i, r) for i in range(30) for r in range(2)]
    assembly = NeuronRecordingAssembly(
        draws.poisson(0.03, size=(5, len(shown), 300)).astype(np.float32),
        dims=("neuroid", "presentation", "time_bin"),
        coords={
            "image_id": ("presentation", [names[i] for i, _ in shown]),
            "repetition": ("presentation", [r for _, r in shown]),
            "neuroid_id": ("neuroid", [1, 2, 3, 4, 5]),
            "region": ("neuroid", ["V1", "V1", "V1", "V2", "V2"]),
            "time_bin_start": ("time_bin", np.arange(300)),
            "time_bin_end": ("time_bin", np.arange(1, 301)),
        },
        name="movshon.FreemanZiemba2013.public",
    )
    write_netcdf(assembly, folder / "assy_movshon_FreemanZiemba2013_public.nc")
    columns = {
        "stimulus_id": names,
        "texture_type": ["noise", "texture"] * 15,
        "texture_family": np.repeat([13, 18, 23], 10),
        "sample": np.tile(np.repeat(np.arange(1, 6), 2), 3),
    }
    write_older_stimulus_set(columns, draws, folder / "stimulus_FreemanZiemba2013_aperture-public")


def write_older_stimulus_set(columns: dict, draws: np.random.Generator, stem: Path) -> None:
    """Write a set whose table names its stimuli image_id."""
    with tempfile.TemporaryDirectory() as images:
        stimuli = stimulus_set(columns, draws, Path(images))
        _, files = create_stimulus_zip(stimuli, f"{stem}.zip")
    older = pd.DataFrame(stimuli).rename(columns={"stimulus_id": "image_id"})
    older["filename"] = files
    create_stimulus_csv(older, f"{stem}.csv")


def stimulus_set(columns: dict, draws: np.random.Generator, folder: Path) -> StimulusSet:
    """Draw an image for each stimulus."""
    stimuli = StimulusSet(pd.DataFrame(columns))
    stimuli.stimulus_paths = {}
    for name in columns["stimulus_id"]:
        path = folder / f"{name}.png"
        Image.fromarray(draws.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(path)
        stimuli.stimulus_paths[name] = str(path)
    return stimuli


if __name__ == "__main__":
    xr.set_options(keep_attrs=True)
    main()

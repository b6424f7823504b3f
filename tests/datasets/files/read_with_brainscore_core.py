"""Load an assembly and its stimulus set as brainscore_core does, and write down what it sees.

Run in an environment that holds brainscore_core: ``python read_with_brainscore_core.py ASSEMBLY
TABLE ARCHIVE ANSWER``, the last an npz with values, labels and pixels.
"""

import sys
from pathlib import Path

import numpy as np
from brainscore_core.supported_data_standards.brainio.assemblies import (
    NeuronRecordingAssembly,
    walk_coords,
)
from brainscore_core.supported_data_standards.brainio.fetch import unzip
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image

assembly_path, table, archive, answer = sys.argv[1:]
folder = unzip(archive)
stimuli = StimulusSet.from_files(table, folder)
stimuli.identifier = "own"
assert set(stimuli.stimulus_paths.values()) == set(Path(folder).iterdir())
assembly = NeuronRecordingAssembly.from_files(
    assembly_path, stimulus_set_identifier="own", stimulus_set=stimuli
)
assembly.validate()
averaged = assembly.multi_groupby(["stimulus_id", "object_name"]).mean(dim="presentation")
found = {
    "values": assembly.transpose("presentation", "neuroid", "time_bin").values,
    "stimulus_set": stimuli["stimulus_id"].values.astype(str),
    "pixels": np.stack([np.asarray(Image.open(p)) for p in stimuli.stimulus_paths.values()]),
    "averaged": averaged.transpose("presentation", "neuroid", "time_bin").values,
    "averaged_stimulus": averaged["stimulus_id"].values.astype(str),
}
for name, dims, values in walk_coords(assembly):
    if len(dims) == 1:
        kept = values if values.dtype.kind in "biuf" else values.astype(str)
        found[f"{dims[0]}.{name}"] = kept
np.savez(answer, **found)

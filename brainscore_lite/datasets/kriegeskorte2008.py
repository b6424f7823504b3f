"""Read dissimilarities between 92 object images: monkey IT, human IT and human judgements.

References
----------
Kriegeskorte et al. (2008) Neuron 60:1126. doi:10.1016/j.neuron.2008.10.043 (human IT)
Kiani et al. (2007) J Neurophysiol 97:4296. doi:10.1152/jn.00024.2007 (monkey IT)
Mur et al. (2013) Front Psychol 4:128. doi:10.3389/fpsyg.2013.00128 (behaviour)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.spatial.distance import squareform

from brainscore_lite.datasets.dataset import Dataset
from brainscore_lite.datasets.registry import fetch, source_of
from brainscore_lite.schema import rdms
from brainscore_lite.stimuli import StimulusSet

NAME = "kriegeskorte2008_92"
STIMULI = tuple(f"image_{number:02d}" for number in range(1, 93))
_FIGURE = "Kriegeskorte_Neuron2008_supplementalData.mat"
_BRAIN, _BEHAVIOUR, _MODELS = "92_brainRDMs.mat", "92_behavRDMs.mat", "92_modelRDMs.mat"


def load(*, cache: Path | None = None) -> Dataset:
    """Read the three sets of dissimilarities and the images.

    Returns
    -------
    Dataset
        Regions "monkeyIT" (one RDM of 674 neurons of two animals), "humanIT" (4 subjects, each
        the mean of two sessions), both 1 - Pearson r; "behaviour" (16 subjects, arrangement of
        images by similarity, normalised distances). Dims (subject, stimulus, stimulus_other);
        stimulus coord ``category``. Images 175 x 175 on grey.

    Raises
    ------
    DatasetError
        If a file is missing or not as expected.
    """
    stimuli = load_stimuli(cache=cache)
    sessions = _matlab(_BRAIN, "RDMs", cache)
    judgements = _matlab(_BEHAVIOUR, "rdms_behav_92", cache)
    monkey, _ = _figure1(cache)
    recordings = {
        "monkeyIT": _labelled(monkey[None], ("group",), "IT", "macaque"),
        "humanIT": _labelled(
            np.array([list(subject) for subject in sessions["RDM"]]).mean(axis=1),
            tuple(str(name).split("|")[1].strip() for name in sessions["name"][:, 0]),
            "IT",
            "human",
        ),
        "behaviour": _labelled(
            np.stack(list(judgements["RDM"])),
            tuple(str(name).split("|")[1].strip() for name in judgements["name"]),
            "behaviour",
            "human",
        ),
    }
    category = ("stimulus", list(stimuli.coords["category"]))
    return Dataset(
        name=NAME,
        recordings={
            key: array.assign_coords(category=category) for key, array in recordings.items()
        },
        stimuli=stimuli,
        simulated=False,
        caveats=("monkeyIT: one group RDM: no ceiling, no regression",),
        **source_of(NAME, _FIGURE, _BRAIN, _BEHAVIOUR),
    )


def load_stimuli(*, cache: Path | None = None) -> StimulusSet:
    """Read the 92 images, 175 x 175 on grey, with their category and flags.

    Returns
    -------
    StimulusSet
        Coords ``category`` (six: human face, nonhuman bodypart, ...), and ``animacy``,
        ``naturalness``.
    """
    objects = _matlab(_FIGURE, "stimuli_92objs", cache)
    return StimulusSet.from_arrays(
        NAME,
        [np.asarray(image) for image in objects["image"]],
        ids=STIMULI,
        coords={
            "category": tuple(str(category) for category in objects["category"]),
            "animacy": tuple("animate" if flag else "inanimate" for flag in objects["animal"]),
            "naturalness": tuple(
                "natural" if flag else "artificial" for flag in objects["natural"]
            ),
        },
    )


def category_vectors(*, cache: Path | None = None) -> xr.DataArray:
    """Read which of 12 groupings (animate, face, monkeyape, ...) each image belongs to.

    Returns
    -------
    DataArray of bool, dims (stimulus, category)
    """
    names = [str(name) for name in _matlab(_FIGURE, "categoryLabels", cache)]
    member = _matlab(_FIGURE, "categoryVectors", cache).astype(bool)
    return xr.DataArray(
        member, dims=("stimulus", "category"), coords={"stimulus": list(STIMULI), "category": names}
    )


def reference_models(*, cache: Path | None = None) -> xr.DataArray:
    """Read the eight reference RDMs shipped with the data (animacy, EVA, HMAX, V1, ...).

    Returns
    -------
    DataArray, dims (subject, stimulus, stimulus_other)
        ``subject`` is the model's name.
    """
    models = _matlab(_MODELS, "Models", cache)
    values = np.stack([np.asarray(rdm, dtype=float) for rdm in models["RDM"]])
    return _labelled(values, tuple(str(name) for name in models["name"]), "model", "none")


def figure1_human(*, cache: Path | None = None) -> xr.DataArray:
    """Read the human IT RDM of figure 1 of the paper: 316 voxels, the mean over subjects.

    Returns
    -------
    DataArray, dims (subject, stimulus, stimulus_other)
    """
    _, human = _figure1(cache)
    return _labelled(human[None], ("group",), "IT", "human")


def _figure1(cache: Path | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the monkey and the human RDM of figure 1, each (92, 92)."""
    monkey, human = _matlab(_FIGURE, "RDMs_mIT_hIT_fig1", cache)["RDM"]
    return squareform(np.asarray(monkey, dtype=float)), squareform(np.asarray(human, dtype=float))


def _matlab(file: str, variable: str, cache: Path | None) -> Any:
    path = fetch(NAME, file, cache=cache)
    return loadmat(path, squeeze_me=True, variable_names=[variable])[variable]


def _labelled(
    values: NDArray[np.float64], subjects: tuple[str, ...], region: str, species: str
) -> xr.DataArray:
    return rdms(values, stimulus=STIMULI, subject=subjects, region=region, species=species)

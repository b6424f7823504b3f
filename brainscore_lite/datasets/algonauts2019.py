"""Read human EVC and IT dissimilarities (fMRI, 15 subjects) between the same 92 object images.

References
----------
Cichy, Pantazis & Oliva (2014) Nat Neurosci 17:455. doi:10.1038/nn.3635
Cichy, Pantazis & Oliva (2016) Cereb Cortex 26:3563. doi:10.1093/cercor/bhw135
Cichy et al. (2019) The Algonauts Project. arXiv:1905.05675
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from brainscore_lite.datasets import kriegeskorte2008
from brainscore_lite.datasets.archives import member_names
from brainscore_lite.datasets.dataset import Dataset, DatasetError
from brainscore_lite.datasets.registry import checksums, describe, fetch
from brainscore_lite.schema import rdms
from brainscore_lite.stimuli import StimulusSet

NAME = "algonauts2019_92"
_RDMS, _IMAGES = "target_fmri_92.mat", "92images.zip"


def load(*, background: str = "white", cache: Path | None = None) -> Dataset:
    """Read the dissimilarities and the images.

    Parameters
    ----------
    background : {"white", "grey"}
        "white": the images as shipped with these data. "grey": the same 92 images on grey, from
        kriegeskorte2008_92, which can be fetched from anywhere; the dataset's name then ends in
        ``_grey``, and a score on it is another score.
    cache : Path, optional
        Folder for fetched files.

    Returns
    -------
    Dataset
        Regions "EVC" and "IT", 1 - Pearson r, dims (subject, stimulus, stimulus_other). Stimulus
        labels are those of kriegeskorte2008_92.

    Raises
    ------
    DatasetError
        If a file is missing or not as expected, or the background is neither.
    """
    path = fetch(NAME, _RDMS, cache=cache)
    stimuli, image_checksums = _stimuli(background, cache)
    with h5py.File(path) as content:
        matrices = {region: np.asarray(content[f"{region}_RDMs"]).T for region in ("EVC", "IT")}
    entry = describe(NAME)
    return Dataset(
        name=stimuli.name,
        recordings={
            region: rdms(
                values,
                stimulus=kriegeskorte2008.STIMULI,
                subject=[f"subject{number:02d}" for number in range(1, len(values) + 1)],
                region=region,
                species=entry.species,
                name=f"{stimuli.name}.{region}",
            )
            for region, values in matrices.items()
        },
        stimuli=stimuli,
        simulated=False,
        species=entry.species,
        reference=entry.reference,
        licence=entry.licence,
        caveats=("images on grey, shown on white",) if background == "grey" else (),
        sha256=checksums(NAME, _RDMS) | image_checksums,
    )


def _stimuli(background: str, cache: Path | None) -> tuple[StimulusSet, dict[str, str]]:
    if background == "grey":
        grey = kriegeskorte2008.load_stimuli(cache=cache)
        name = f"{NAME}_grey"
        sha256 = checksums(kriegeskorte2008.NAME, "Kriegeskorte_Neuron2008_supplementalData.mat")
        return StimulusSet(name, grey.ids, grey.read, None, grey.coords), sha256
    if background != "white":
        raise DatasetError(f"{NAME}: background '{background}' is not 'white' or 'grey'.")
    path = fetch(NAME, _IMAGES, cache=cache)
    white = StimulusSet.from_zip(path, member_names(path), name=NAME, ids=kriegeskorte2008.STIMULI)
    return white, checksums(NAME, _IMAGES)

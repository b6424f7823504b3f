"""Read one macaque IT site: 640 images x 63 repetitions (demonstration data of K. Kar).

The source has no images. Its 640 rows match those of cowley2023_v4 session 210325, in the same
order: this is inferred (the V4 neurons predict the site across the pairing), not stated.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from brainscore_lite.datasets import cowley2023
from brainscore_lite.datasets.dataset import Dataset
from brainscore_lite.datasets.registry import checksums, describe, fetch
from brainscore_lite.schema import responses

NAME = "kar_it_site"
_FILE = "sample_neuron.h5"


def load(*, cache: Path | None = None) -> Dataset:
    """Read the site's rates, paired with the images of cowley2023_v4 session 210325.

    Returns
    -------
    Dataset
        Region "IT": dims (repetition 63, stimulus 640, neuroid 1), in the source's units; caveat
        "alignment inferred".

    Raises
    ------
    DatasetError
        If a file is missing or not as expected.
    """
    path = fetch(NAME, _FILE, cache=cache)
    stimuli = cowley2023.load_stimuli(cache=cache)
    with h5py.File(path) as content:
        rates = np.asarray(content["rates"], dtype=np.float64)
    entry = describe(NAME)
    images = f"images/images_{cowley2023.OBJECT_SESSION}.zip"
    return Dataset(
        name=NAME,
        recordings={
            "IT": responses(
                rates.T[:, :, np.newaxis],
                stimulus=stimuli.ids,
                neuroid=["kar_site"],
                region="IT",
                animal="not stated",
                stimulus_coords=stimuli.coords,
                name=f"{NAME}.IT",
            )
        },
        stimuli=stimuli,
        simulated=False,
        species=entry.species,
        reference=entry.reference,
        licence=entry.licence,
        caveats=("alignment inferred", "one site: no population measure"),
        sha256=checksums(NAME, _FILE) | checksums(cowley2023.REGISTERED_AS, images),
    )

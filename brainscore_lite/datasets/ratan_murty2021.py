"""Read mean responses of human FFA, OFA, EBA and PPA (fMRI) to 185 images.

References
----------
Ratan Murty, Bashivan, Abate, DiCarlo & Kanwisher (2021) Nat Commun 12:5540.
doi:10.1038/s41467-021-25409-6
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import xarray as xr

from brainscore_lite.datasets.dataset import Dataset
from brainscore_lite.datasets.registry import fetch, source_of
from brainscore_lite.schema import responses
from brainscore_lite.stimuli import StimulusSet

NAME = "ratan_murty2021_rois"
REGIONS = ("FFA", "OFA", "EBA", "PPA")
_RESPONSES, _RATINGS, _IMAGES = "average_roi_activations.tsv", "ratings.tsv", "stimuli.zip"


def load(*, cache: Path | None = None) -> Dataset:
    """Read the four regions' responses and the images.

    Returns
    -------
    Dataset
        Each region one neuroid: dims (repetition 1, stimulus 185, neuroid 1), normalised units,
        stimulus coord ``category`` (body, face, object, scene). The four category means alone
        correlate with the responses at .85 to .94: show that baseline, or score within category.

    Raises
    ------
    DatasetError
        If a file is missing or not as expected.
    """
    table = _table(_RESPONSES, cache)
    ids = tuple(str(image) for image in table["image"])
    coords = {"category": tuple(each.split("_")[1] for each in ids)}
    return Dataset(
        name=NAME,
        recordings={
            region: responses(
                table[[region.lower()]].to_numpy(),
                stimulus=ids,
                neuroid=[region],
                region=region,
                animal="group",
                stimulus_coords=coords,
                name=f"{NAME}.{region}",
            )
            for region in REGIONS
        },
        stimuli=StimulusSet.from_zip(
            fetch(NAME, _IMAGES, cache=cache),
            [f"stimuli/{each}.png" for each in ids],
            name=NAME,
            ids=ids,
            coords=coords,
        ),
        simulated=False,
        caveats=("no repeats: no ceiling", "source inferred", "category means alone score high"),
        **source_of(NAME, _RESPONSES, _IMAGES),
    )


def ratings(*, cache: Path | None = None) -> xr.DataArray:
    """Read how much of a face, body or scene people see in each image (0 to 1).

    The source's table has no column of images: that its rows are in the order of the responses is
    inferred.

    Returns
    -------
    DataArray, dims (stimulus, category)
    """
    table = _table(_RATINGS, cache)
    stimulus = [str(image) for image in _table(_RESPONSES, cache)["image"]]
    return xr.DataArray(
        table.to_numpy(dtype=float),
        dims=("stimulus", "category"),
        coords={"stimulus": stimulus, "category": [str(column) for column in table.columns]},
    )


def _table(file: str, cache: Path | None) -> pd.DataFrame:
    return pd.read_csv(fetch(NAME, file, cache=cache), sep="\t")

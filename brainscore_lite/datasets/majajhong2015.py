"""Read MajajHong2015: multi-unit sites of macaque V4 and IT, and 3200 images of objects.

The public part, as Brain-Score distributes it: objects on unrelated backgrounds at variations of
pose 0 (640 images) and 3 (2560 images). Variation 6 is kept back for Brain-Score's own scores.

References
----------
Majaj, Hong, Solomon & DiCarlo (2015) J Neurosci 35:13402. doi:10.1523/JNEUROSCI.5181-14.2015
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainscore_lite.datasets.brainscore_published import Published, load_published
from brainscore_lite.datasets.dataset import Dataset, DatasetError

NAME = "majajhong2015"
WINDOW_MS = (70.0, 170.0)
PUBLIC_VARIATIONS = (0, 3)
PUBLIC = Published(
    registered_as=NAME,
    assembly="assy_dicarlo_MajajHong2015_public.nc",
    stimuli="stimulus_hvm-public",
    regions=("V4", "IT"),
    degrees=8.0,
    labels=("object_name", "variation"),
)


def load(*, repetition: str | None = "repetition", cache: Path | None = None) -> Dataset:
    """Read the responses averaged from 70 to 170 ms, and the images.

    Parameters
    ----------
    repetition : str or None
        As in `read_brainscore_assembly`.
    cache : Path, optional
        Folder for fetched files.

    Returns
    -------
    Dataset
        Regions "V4" and "IT": dims (repetition, stimulus, neuroid), in the source's units, NaN
        where an image was shown less often; stimulus coords ``object_name`` (by which
        Brain-Score stratifies its splits), ``variation`` and the others of the source. Images
        shown at 8 degrees.

    Raises
    ------
    DatasetError
        If a file is missing or not as expected, or holds other variations than the public ones.

    Examples
    --------
    >>> dataset = load()  # doctest: +SKIP
    >>> trials, images = dataset["IT"], dataset.stimuli  # doctest: +SKIP
    >>> bench = benchmark_of(trials, stimuli=images, metric="pls")  # doctest: +SKIP
    """
    dataset = load_published(
        PUBLIC, name=NAME, window_ms=WINDOW_MS, repetition=repetition, cache=cache
    )
    found = set(np.unique(dataset["IT"]["variation"].values.astype(int)).tolist())
    if not found <= set(PUBLIC_VARIATIONS):
        raise DatasetError(
            f"dataset '{NAME}': images of the variations {sorted(found)}, expected "
            f"{list(PUBLIC_VARIATIONS)}. Get the files named in the registry."
        )
    return dataset

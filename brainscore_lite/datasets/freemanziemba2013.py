"""Read FreemanZiemba2013: single neurons of macaque V1 and V2, textures and matched noise.

The public part, as Brain-Score distributes it: 135 of 450 images of 15 texture families, each
shown 20 times.

References
----------
Freeman, Ziemba, Heeger, Simoncelli & Movshon (2013) Nat Neurosci 16:974. doi:10.1038/nn.3402
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from brainscore_lite.datasets.brainscore_published import Published, load_published
from brainscore_lite.datasets.dataset import Dataset, DatasetError

NAME = "freemanziemba2013"
WINDOW_MS = (50.0, 200.0)
PUBLIC = {
    "aperture": Published(
        registered_as=NAME,
        assembly="assy_movshon_FreemanZiemba2013_public.nc",
        stimuli="stimulus_FreemanZiemba2013_aperture-public",
        regions=("V1", "V2"),
        degrees=4.0,
        labels=("texture_type",),
    ),
    "noaperture": Published(
        registered_as=NAME,
        assembly="assy_movshon_FreemanZiemba2013_noaperture_public.nc",
        stimuli="stimulus_FreemanZiemba2013_public",
        regions=("V1", "V2"),
        degrees=4.0,
        labels=("texture_type",),
    ),
}


def load(
    images: Literal["aperture", "noaperture"] = "aperture",
    *,
    window_ms: tuple[float, float] | None = WINDOW_MS,
    repetition: str | None = "repetition",
    cache: Path | None = None,
) -> Dataset:
    """Read the responses averaged over a window, and the images.

    Parameters
    ----------
    images : {"aperture", "noaperture"}
        As seen through the aperture, which Brain-Score uses, or as squares.
    window_ms : (start, end) or None
        Brain-Score averages from 50 to 200 ms. None keeps 300 bins of 1 ms: over 1 GB.
    repetition : str or None
        As in `read_brainscore_assembly`.
    cache : Path, optional
        Folder for fetched files.

    Returns
    -------
    Dataset
        Regions "V1" and "V2": dims (repetition, stimulus, neuroid[, time_bin]), in the source's
        units; stimulus coords ``texture_type`` ("noise" or "texture", by which Brain-Score
        stratifies its splits) and the others of the source. Images shown at 4 degrees.

    Raises
    ------
    DatasetError
        If there are no such images, or a file is missing or not as expected.

    Examples
    --------
    >>> dataset = load()  # doctest: +SKIP
    >>> trials, images = dataset["V2"], dataset.stimuli  # doctest: +SKIP
    >>> bench = benchmark_of(trials, stimuli=images, metric="pls")  # doctest: +SKIP
    """
    if images not in PUBLIC:
        raise DatasetError(f"{NAME} has no images '{images}'. It has: {', '.join(PUBLIC)}.")
    return load_published(
        PUBLIC[images],
        name=NAME if images == "aperture" else f"{NAME}_{images}",
        window_ms=window_ms,
        repetition=repetition,
        cache=cache,
    )

"""Recordings, behaviour and training images, by name.

`load_dataset` and `load_images` import a reader only when its dataset is asked for. Files of one's
own are read by `brainscore_assemblies`, `brainscore_stimuli` and `nwb`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from brainscore_lite.datasets.dataset import Dataset, DatasetError

if TYPE_CHECKING:
    from brainscore_lite.datasets.image_sets import ImageDataset

__all__ = [
    "DATASETS",
    "OTHER_READERS",
    "Dataset",
    "DatasetError",
    "load_dataset",
    "load_images",
]


def _read(module: str, **settings: str) -> Dataset:
    reader = import_module(f"brainscore_lite.datasets.{module}")
    dataset: Dataset = reader.load(**settings)
    return dataset


def _reader(module: str, **settings: str) -> Callable[[], Dataset]:
    return functools.partial(_read, module, **settings)


_COWLEY = "cowley2023_v4_"
_COWLEY_REGISTERED = ("210325", "190923", "210224", "210225")

DATASETS: dict[str, Callable[[], Dataset]] = {
    **{f"{_COWLEY}{name}": _reader("cowley2023", session=name) for name in _COWLEY_REGISTERED},
    "kriegeskorte2008_92": _reader("kriegeskorte2008"),
    "algonauts2019_92": _reader("algonauts2019"),
    "algonauts2019_92_grey": _reader("algonauts2019", background="grey"),
    "zhang_desimone_it": _reader("zhang_desimone2011"),
    "kar_it_site": _reader("kar_it_site"),
    "ratan_murty2021_rois": _reader("ratan_murty2021"),
    "majajhong2015": _reader("majajhong2015"),
    "freemanziemba2013": _reader("freemanziemba2013"),
    "freemanziemba2013_noaperture": _reader("freemanziemba2013", images="noaperture"),
    "cadieu2014": _reader("cadieu2014"),
    "simulated_v4_it": _reader("simulated"),
}

# Behaviour and time courses: no responses to images by region, so each has a type of its own.
OTHER_READERS: dict[str, str] = {
    "geirhos2019": "geirhos2019",
    "maniquet2025_occlusion": "maniquet2025",
    "grootswagers2024_eeg": "grootswagers2024",
    "evolution_psths": "evolution_psths",
}


def load_dataset(name: str) -> Dataset:
    """Read a recording.

    Parameters
    ----------
    name : str
        One of `DATASETS`, or ``cowley2023_v4_<session>`` with any session of the source.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        If there is no such dataset or session, or its files are missing or not as expected.
    """
    if name in DATASETS:
        return DATASETS[name]()
    if name.startswith(_COWLEY):
        return _read("cowley2023", session=name.removeprefix(_COWLEY))
    if name in OTHER_READERS:
        raise DatasetError(
            f"'{name}' holds no responses by region; read it with "
            f"brainscore_lite.datasets.{OTHER_READERS[name]}.load()."
        )
    raise DatasetError(f"there is no dataset '{name}'. There are: {', '.join(DATASETS)}.")


def load_images(
    name: str, *, cache: Path | None = None, progress: bool | None = None
) -> ImageDataset:
    """Read labelled images to train on; see `image_sets.load_images`."""
    image_sets = import_module("brainscore_lite.datasets.image_sets")
    images: ImageDataset = image_sets.load_images(name, cache=cache, progress=progress)
    return images

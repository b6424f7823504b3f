"""Read how well features of gratings are decoded from human EEG over time.

References
----------
Grootswagers et al. (2024) PLoS Comput Biol 20:e1011760. doi:10.1371/journal.pcbi.1011760
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.datasets.archives import member_names, read_members
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.registry import fetch, source_of
from brainscore_lite.stimuli import StimulusSet

NAME = "grootswagers2024_eeg"
FEATURES = {
    "ori": "orientation",
    "sf": "spatial_frequency",
    "color": "colour",
    "contrast": "contrast",
}
RATES = {150: "slow", 50: "fast"}
CHANCE = 0.25
_RESULTS, _IMAGES = "results.zip", "stimuli.zip"
_FIRST_MS, _STEP_MS, _N_TIMES = -100, 4, 175
_STIMULUS = re.compile(r"stim(\d+)_ori(\d)_sf(\d)_color(\d)_contrast(\d)\.png")


@dataclass(frozen=True, eq=False)
class DecodingTimeCourses:
    """Hold how well features of the stimulus are decoded from a brain signal, time by time.

    There are no trials and no dissimilarity matrices in it, so it is no
    `brainscore_lite.datasets.dataset.Dataset`: a model is compared by the time course of its own
    decoding, step by step.

    Parameters
    ----------
    name : str
    accuracy : DataArray, dims (subject, time, feature, rate)
        Proportion of correct decodings. ``time`` is in ms from stimulus onset; ``rate`` is "slow"
        or "fast", with the coord ``onset_asynchrony_ms``.
    chance : float
        Accuracy of guessing.
    stimuli : StimulusSet
        The images, read when they are needed; one coord for each feature, its level.
    species, reference, licence : str
    caveats : tuple of str
    sha256 : mapping of str to str
        Checksum of every file that was read.
    """

    name: str
    accuracy: xr.DataArray
    chance: float
    stimuli: StimulusSet
    species: str
    reference: str
    licence: str
    caveats: tuple[str, ...]
    sha256: Mapping[str, str]


def load(*, cache: Path | None = None) -> DecodingTimeCourses:
    """Read the decoding time courses of 16 subjects and the 256 gratings.

    Returns
    -------
    DecodingTimeCourses
        ``accuracy`` has 16 subjects, 175 times (-100 to 596 ms in steps of 4), 4 features
        (orientation, spatial_frequency, colour, contrast), 2 rates; chance is .25.

    Raises
    ------
    DatasetError
        If a file is missing or not as expected.

    Examples
    --------
    >>> course = load().accuracy.sel(feature="colour", rate="slow").mean("subject")
    ... # doctest: +SKIP
    """
    path = fetch(NAME, _RESULTS, cache=cache)
    names = [name for name in member_names(path) if name.endswith("_decoding.mat")]
    members = {
        PurePosixPath(name).name.removesuffix("_decoding.mat"): content
        for name, content in read_members(path, names).items()
        if PurePosixPath(name).name.startswith("sub-")
    }
    if not members:
        raise DatasetError(
            f"dataset '{NAME}': '{path}' has no 'sub-NN_decoding.mat'. Get the archive named in "
            "the registry."
        )
    accuracy = xr.concat(
        [read_subject(content, subject) for subject, content in members.items()], dim="subject"
    )
    return DecodingTimeCourses(
        name=NAME,
        accuracy=accuracy.assign_coords(subject=list(members)).rename(NAME),
        chance=CHANCE,
        stimuli=load_stimuli(cache=cache),
        caveats=("decoding accuracies only: no trials, no RDMs",),
        **source_of(NAME, _RESULTS, _IMAGES),
    )


def load_stimuli(*, cache: Path | None = None) -> StimulusSet:
    """Find the 256 gratings; coords ``orientation``, ... hold the level (0 to 3) of each feature.

    Raises
    ------
    DatasetError
        If the archive is missing or has a name of another form.
    """
    path = fetch(NAME, _IMAGES, cache=cache)
    members = [name for name in member_names(path) if name.endswith(".png")]
    parsed = [_STIMULUS.fullmatch(PurePosixPath(name).name) for name in members]
    levels = [match.groups()[1:] for match in parsed if match is not None]
    if len(levels) < len(members) or not members:
        odd = next((name for name, match in zip(members, parsed, strict=True) if not match), None)
        raise DatasetError(
            f"dataset '{NAME}': '{path}' holds {len(members)} images, and '{odd}' is not named as "
            "stimNNN_oriA_sfB_colorC_contrastD.png. Get the archive named in the registry."
        )
    columns = zip(*levels, strict=True)
    return StimulusSet.from_zip(
        path,
        members,
        name=NAME,
        ids=[PurePosixPath(name).stem for name in members],
        coords=dict(zip(FEATURES.values(), columns, strict=True)),
    )


def read_subject(content: bytes, subject: str) -> xr.DataArray:
    """Read one subject's file.

    Parameters
    ----------
    content : bytes
        A MATLAB v7.3 file with ``res/samples`` (175 times x 8) and, for each of the 8 columns,
        the feature and the stimulus onset asynchrony in s.
    subject : str
        For messages.

    Returns
    -------
    DataArray, dims (time, feature, rate)

    Raises
    ------
    DatasetError
        If the file is damaged or not as described.
    """
    try:
        with h5py.File(io.BytesIO(content)) as file:
            samples = np.asarray(file["res/samples"], dtype=np.float64)
            names = [_text(file, each) for each in file["res/sa/targetname"][0]]
            asynchronies = np.round(1000 * file["res/sa/soaduration"][0]).astype(int)
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"dataset '{NAME}': the decoding file of '{subject}' cannot be read: {error}. Delete "
            "the archive and fetch it again."
        ) from error
    columns = list(zip(names, asynchronies.tolist(), strict=False))
    expected = [(feature, rate) for rate in RATES for feature in FEATURES]
    if samples.shape != (_N_TIMES, len(expected)) or sorted(columns) != sorted(expected):
        raise DatasetError(
            f"dataset '{NAME}': the decoding file of '{subject}' has {samples.shape} samples of "
            f"{columns}; expected {(_N_TIMES, len(expected))} of {expected}. Get the archive named "
            "in the registry."
        )
    return _labelled(samples, columns)


def _labelled(samples: NDArray[np.float64], columns: list[tuple[str, int]]) -> xr.DataArray:
    order = [columns.index((feature, rate)) for feature in FEATURES for rate in RATES]
    values = samples[:, order].reshape(_N_TIMES, len(FEATURES), len(RATES))
    return xr.DataArray(
        values,
        dims=("time", "feature", "rate"),
        coords={
            "time": _FIRST_MS + _STEP_MS * np.arange(_N_TIMES),
            "feature": list(FEATURES.values()),
            "rate": list(RATES.values()),
            "onset_asynchrony_ms": ("rate", list(RATES)),
        },
    )


def _text(file: h5py.File, reference: h5py.Reference) -> str:
    return "".join(chr(code) for code in np.ravel(file[reference]))

"""Read human recognition of occluded, cluttered and scrambled objects, with and without a mask.

References
----------
Maniquet, Op de Beeck & Costantino (2025) Sci Rep. doi:10.1038/s41598-025-20245-w
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from brainscore_lite.datasets.archives import member_names
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.delimited import read_table
from brainscore_lite.datasets.registry import fetch, source_of
from brainscore_lite.stimuli import StimulusSet

NAME = "maniquet2025_occlusion"
_CONDITIONS, _PERSONS = "human_conditions.csv", "human_persons.csv"
_IMAGES = "stimuli_control_occlusion.zip"
_CONDITION_COLUMNS = (
    "condition",
    *(
        f"{prefix}{mask}_{measure}"
        for measure in ("accuracy", "RT")
        for prefix in ("", "sem_")
        for mask in ("average", "mask", "no_mask")
    ),
    "masking_effect",
)
_PERSON_COLUMNS = ("participant", "condition", "accuracy", "rt_ms")
_OBJECT = re.compile(r"(banana|bird|building|bus|cat|firehydrant|person|tree)(\d+)$")


@dataclass(frozen=True, eq=False)
class OcclusionBehaviour:
    """Hold how well and how fast people recognise objects in each condition.

    Parameters
    ----------
    name : str
    conditions : DataFrame, index condition
        17 conditions; columns ``average_``, ``mask_``, ``no_mask_`` + ``accuracy`` (proportion
        correct) and ``RT`` (ms), each with its standard error (``sem_``); ``masking_effect``,
        accuracy without minus with mask; ``group``, easy or hard.
    persons : DataFrame
        One row for each participant and condition: participant, condition, accuracy, rt_ms.
        Nobody saw every condition.
    stimuli : StimulusSet
        Images of 13 of the conditions (control, 12 of occlusion), with the coords ``category``,
        ``object_name`` (the exemplar) and ``condition``.
    species, reference, licence : str
    caveats : tuple of str
    sha256 : mapping of str to str
        Checksum of every file that was read.
    """

    name: str
    conditions: pd.DataFrame
    persons: pd.DataFrame
    stimuli: StimulusSet
    species: str
    reference: str
    licence: str
    caveats: tuple[str, ...]
    sha256: Mapping[str, str]


def load(*, cache: Path | None = None) -> OcclusionBehaviour:
    """Read the tables of 17 conditions and 218 people, and the 1040 images.

    Returns
    -------
    OcclusionBehaviour
        Images are 700 x 700, read one by one when they are needed.

    Raises
    ------
    DatasetError
        If a file is missing or not as expected.
    """
    conditions = read_table(fetch(NAME, _CONDITIONS, cache=cache), _CONDITION_COLUMNS, dataset=NAME)
    persons = read_table(fetch(NAME, _PERSONS, cache=cache), _PERSON_COLUMNS, dataset=NAME)
    stimuli = load_stimuli(cache=cache)
    unknown = set(persons["condition"]) | set(stimuli.coords["condition"])
    unknown -= set(conditions["condition"])
    if unknown:
        raise DatasetError(
            f"dataset '{NAME}': conditions {sorted(unknown)} are not in '{_CONDITIONS}'. Get the "
            "files named in the registry."
        )
    return OcclusionBehaviour(
        name=NAME,
        conditions=conditions.set_index("condition"),
        persons=persons,
        stimuli=stimuli,
        caveats=("means over trials: trials are at the source", "images of 13 of 17 conditions"),
        **source_of(NAME, _CONDITIONS, _PERSONS, _IMAGES),
    )


def load_stimuli(*, cache: Path | None = None) -> StimulusSet:
    """Find the images: 8 classes x 10 exemplars x 13 conditions, in no size of visual angle.

    Raises
    ------
    DatasetError
        If the archive is missing or a name does not end in a class and a number.
    """
    path = fetch(NAME, _IMAGES, cache=cache)
    members = [name for name in member_names(path) if name.endswith(".png")]
    conditions = tuple(_condition(name) for name in members)
    objects = [_object(name) for name in members]
    exemplars = tuple(f"{category}{number}" for category, number in objects)
    return StimulusSet.from_zip(
        path,
        members,
        name=NAME,
        ids=[f"{where}_{what}" for where, what in zip(conditions, exemplars, strict=True)],
        coords={
            "category": tuple(category for category, _ in objects),
            "object_name": exemplars,
            "condition": conditions,
        },
    )


def _condition(member: str) -> str:
    """Return the tables' name of the condition that an image's folder stands for."""
    folders = PurePosixPath(member).parts[1:-1]
    return "_".join("partial_viewing" if each == "occluder" else each for each in folders)


def _object(member: str) -> tuple[str, str]:
    match = _OBJECT.search(PurePosixPath(member).stem)
    if match is None:
        raise DatasetError(
            f"dataset '{NAME}': the image '{member}' does not end in a known class and a number. "
            "Get the archive named in the registry."
        )
    return match.group(1), match.group(2)

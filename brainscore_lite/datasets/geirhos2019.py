"""Read human object recognition of edge drawings and filled silhouettes, trial by trial.

References
----------
Geirhos, Rubisch, Michaelis, Bethge, Wichmann & Brendel (2019) ImageNet-trained CNNs are biased
towards texture, ICLR. doi:10.48550/arXiv.1811.12231
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from brainscore_lite.datasets.archives import member_names, read_members
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.registry import fetch, source_of
from brainscore_lite.stimuli import StimulusSet

NAME = "geirhos2019"
# condition: (folder of its responses, folder of its images)
CONDITIONS = {
    "edges": ("edge-experiment", "edges"),
    "silhouettes": ("silhouette-filled-experiment", "filled-silhouettes"),
}
_RESPONSES, _IMAGES = "raw-data.zip", "stimuli_edges_silhouettes.zip"
_COLUMNS = ("session", "trial", "rt", "object_response", "category", "imagename")


@dataclass(frozen=True, eq=False)
class BehaviouralDataset:
    """Hold people's choices, trial by trial, and the images that they saw.

    Parameters
    ----------
    name : str
    trials : DataFrame
        One row for each trial: subject, session, trial, rt (s), object_response ("na" where there
        was none), category (the right answer), condition, imagename (the source's name of the
        trial's image), stimulus (the image's label in `stimuli`).
    stimuli : StimulusSet
        The images, with the coords ``category`` and ``condition``.
    species, reference, licence : str
    caveats : tuple of str
    sha256 : mapping of str to str
        Checksum of every file that was read.
    """

    name: str
    trials: pd.DataFrame
    stimuli: StimulusSet
    species: str
    reference: str
    licence: str
    caveats: tuple[str, ...]
    sha256: Mapping[str, str]


def load(*, cache: Path | None = None) -> BehaviouralDataset:
    """Read 3200 trials of 10 subjects in each of two experiments, and the 320 images.

    Returns
    -------
    BehaviouralDataset
        Conditions "edges" and "silhouettes": 160 images of 16 classes each. Subjects took part in
        one experiment or both under the same label; treat (condition, subject) as the person.

    Raises
    ------
    DatasetError
        If a file is missing or not as expected.
    """
    stimuli = load_stimuli(cache=cache)
    trials = read_trials(fetch(NAME, _RESPONSES, cache=cache))
    unseen = sorted(set(trials["stimulus"]) - set(stimuli.ids))
    if unseen:
        raise DatasetError(
            f"dataset '{NAME}': {len(unseen)} images of the trials are not among the stimuli; "
            f"first: '{unseen[0]}'. Get both archives of the registry."
        )
    return BehaviouralDataset(
        name=NAME,
        trials=trials,
        stimuli=stimuli,
        caveats=("the same subject label in two experiments need not be the same person",),
        **source_of(NAME, _RESPONSES, _IMAGES),
    )


def load_stimuli(*, cache: Path | None = None) -> StimulusSet:
    """Find the 160 edge drawings and 160 filled silhouettes; labels are ``condition_image``.

    Raises
    ------
    DatasetError
        If the archive is missing or has no image of a condition.
    """
    path = fetch(NAME, _IMAGES, cache=cache)
    names = [name for name in member_names(path) if name.endswith(".png")]
    members = {
        f"{condition}_{PurePosixPath(name).stem}": (name, condition)
        for condition, (_, folder) in CONDITIONS.items()
        for name in names
        if PurePosixPath(name).parts[-3:-2] == (folder,)
    }
    if {condition for _, condition in members.values()} != set(CONDITIONS):
        raise DatasetError(
            f"dataset '{NAME}': '{path}' lacks the folder 'edges' or 'filled-silhouettes'. Get the "
            "archive named in the registry."
        )
    return StimulusSet.from_zip(
        path,
        [name for name, _ in members.values()],
        name=NAME,
        ids=tuple(members),
        coords={
            "category": tuple(PurePosixPath(name).parts[-2] for name, _ in members.values()),
            "condition": tuple(condition for _, condition in members.values()),
        },
    )


def read_trials(path: Path) -> pd.DataFrame:
    """Read the trials of both experiments from the archive of one table for each subject.

    Returns
    -------
    DataFrame
        As `BehaviouralDataset.trials`.

    Raises
    ------
    DatasetError
        If an experiment or a column is missing.
    """
    names = [name for name in member_names(path) if name.endswith(".csv")]
    tables = []
    for condition, (folder, _) in CONDITIONS.items():
        wanted = [name for name in names if PurePosixPath(name).parent.name == folder]
        if not wanted:
            raise DatasetError(
                f"dataset '{NAME}': '{path}' has no table in '{folder}'. Get the archive named in "
                "the registry."
            )
        tables += [
            _table(content, name, condition) for name, content in read_members(path, wanted).items()
        ]
    return pd.concat(tables, ignore_index=True)


def _table(content: bytes, name: str, condition: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values={"rt": ["NaN"]})
    except (ValueError, UnicodeDecodeError) as error:
        raise DatasetError(f"dataset '{NAME}': '{name}' cannot be read: {error}.") from error
    missing = [column for column in ("subj", *_COLUMNS) if column not in table]
    if missing:
        raise DatasetError(
            f"dataset '{NAME}': '{name}' lacks the columns {missing}. Get the archive named in the "
            "registry."
        )
    image = table["imagename"].str.rsplit("_", n=1).str[-1].str.removesuffix(".png")
    trials = table[list(_COLUMNS)].assign(condition=condition, stimulus=condition + "_" + image)
    trials.insert(0, "subject", table["subj"])
    return trials

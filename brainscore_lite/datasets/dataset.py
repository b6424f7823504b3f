"""The type every recording is read into, and the error every reader raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr

from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import StimulusSet


class DatasetError(ContractError):
    """Says which file of which dataset is wrong, what was expected, and what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Hold one recording: responses or RDMs by region, the stimuli, and where they come from.

    Parameters
    ----------
    name : str
        Name under which the dataset is loaded, for example ``"kriegeskorte2008_92"``.
    recordings : mapping of str to DataArray
        By region, arrays that satisfy `brainscore_lite.schema`: trials with dims
        (repetition, stimulus, neuroid[, time_bin]), or dissimilarity matrices with dims
        (subject, stimulus, stimulus_other[, time_bin]).
    stimuli : StimulusSet or None
        The images that were shown; None where the source does not ship them.
    simulated : bool
        True for responses of a known generator; tables and figures then say "simulated".
    species, reference, licence : str
        Who was recorded, how to cite (with DOI), and the licence exactly as the source states it.
    caveats : tuple of str
        What a reader of a score must know, for example ``"alignment inferred"``; one that holds
        for a single region begins with its name and a colon: ``"monkeyIT: one group RDM"``.
    sha256 : mapping of str to str
        Checksum of every file the recording was read from.
    """

    name: str
    recordings: Mapping[str, xr.DataArray]
    stimuli: StimulusSet | None
    simulated: bool
    species: str
    reference: str
    licence: str
    caveats: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def regions(self) -> tuple[str, ...]:
        """List the regions that were recorded."""
        return tuple(self.recordings)

    def caveats_of(self, region: str) -> tuple[str, ...]:
        """List the caveats that hold for one region: its own and the general ones."""
        others = tuple(f"{other}: " for other in self.recordings if other != region)
        kept = (caveat for caveat in self.caveats if not caveat.startswith(others))
        return tuple(caveat.removeprefix(f"{region}: ") for caveat in kept)

    def __getitem__(self, region: str) -> xr.DataArray:
        """Return the recording of one region.

        Raises
        ------
        DatasetError
            If the dataset holds no such region.
        """
        if region not in self.recordings:
            raise DatasetError(
                f"dataset '{self.name}' has no region '{region}'. "
                f"It holds: {', '.join(self.recordings)}."
            )
        return self.recordings[region]

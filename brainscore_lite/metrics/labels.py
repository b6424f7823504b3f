"""From labelled arrays to matrices, and from matrices back to labelled parts."""

from collections.abc import Hashable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.schema import (
    ContractError,
    average_repetitions,
    check_activations,
    check_rdms,
)


def is_rdms(array: xr.DataArray) -> bool:
    """Say whether an array holds dissimilarity matrices, not responses or activations."""
    return "stimulus_other" in array.dims


def source_features(source: xr.DataArray) -> NDArray[np.floating]:
    """Return the patterns of a source, shape (n_stimuli, n_neuroids).

    Parameters
    ----------
    source : DataArray
        Activations without a ``step`` dim, or recorded responses without a ``time_bin`` dim
        (averaged over repetitions).

    Raises
    ------
    ContractError
        If one step or time bin has to be chosen first, or values are missing.
    """
    if is_rdms(source):
        raise ContractError(
            "source holds dissimilarity matrices, expected activations. Compare them with RSA."
        )
    patterns = average_repetitions(source) if "repetition" in source.dims else source
    for dim in ("step", "time_bin"):
        if dim in patterns.dims:
            raise ContractError(
                f"source has {patterns.sizes[dim]} entries along '{dim}', expected one pattern per "
                f"stimulus. Choose one with .isel({dim}=...)."
            )
    if "repetition" not in source.dims:
        check_activations(patterns)
    values: NDArray[np.floating] = patterns.transpose("stimulus", "neuroid").values
    return values


def recorded_responses(target: xr.DataArray) -> xr.DataArray:
    """Return averaged responses, dims (stimulus, neuroid[, time_bin]).

    Raises
    ------
    ContractError
        If the target holds no responses of neuroids, or breaks their contract.
    """
    if is_rdms(target):
        check_rdms(target)
        raise ContractError(
            "target holds dissimilarity matrices, which have no neuroids to predict. Use RSA, or "
            "a recording of responses."
        )
    return average_repetitions(target)


def stimulus_labels(target: xr.DataArray, coord: str | None) -> NDArray[np.str_] | None:
    """Return the labels that a coordinate gives to the target's stimuli; None for no coordinate.

    Raises
    ------
    ContractError
        If the target's stimuli have no such coordinate.
    """
    return _labels_along(target, "stimulus", coord, owner="target's stimuli")


def repetition_labels(target: xr.DataArray, coord: str | None) -> NDArray[np.str_] | None:
    """Return the labels that a coordinate gives to the repetitions; None for no coordinate.

    Raises
    ------
    ContractError
        If the repetitions have no such coordinate.
    """
    return _labels_along(target, "repetition", coord, owner="repetitions")


def kept_coords(array: xr.DataArray, dims: tuple[str, ...]) -> dict[Hashable, xr.DataArray]:
    """Return the coordinates of an array that lie along `dims` only, none without a dim."""
    return {
        name: coord
        for name, coord in array.coords.items()
        if coord.dims and set(coord.dims) <= set(dims)
    }


def _labels_along(
    array: xr.DataArray, dim: str, coord: str | None, *, owner: str
) -> NDArray[np.str_] | None:
    if coord is None:
        return None
    if coord not in array.coords or array.coords[coord].dims != (dim,):
        known = [name for name, c in array.coords.items() if c.dims == (dim,)]
        raise ContractError(
            f"the {owner} have no coordinate '{coord}'; they have {known}. Add it with "
            f".assign_coords({coord}=('{dim}', [...]))."
        )
    labels: NDArray[np.str_] = array.coords[coord].values.astype(str)
    return labels

"""Whether activations change over steps at all: a score over time needs that they do."""

import xarray as xr

from brainscore_lite.schema import ContractError


def check_changes(source: xr.DataArray, reached: list[int]) -> None:
    """Raise unless activations differ between the steps that a signal has reached.

    Parameters
    ----------
    source : DataArray, dims (stimulus, neuroid, step)
    reached : list of int
        Positions of the steps at which no layer is blank.

    Raises
    ------
    ContractError
        If fewer than two steps were reached, or activations are the same at all that were.
    """
    n_steps = source.sizes["step"]
    if not reached:
        raise ContractError(
            f"no signal has reached the layers at any of {n_steps} steps. Record more steps."
        )
    values = source.transpose("step", "stimulus", "neuroid").values[reached]
    if len(reached) == 1 < n_steps:
        raise ContractError(
            f"the signal has reached the layers at one of {n_steps} steps only. Record more steps, "
            f"or score that one: metric(source.isel(step={reached[0]}, drop=True), target)."
        )
    if (values == values[:1]).all():
        raise ContractError(
            f"activations are the same at all {len(reached)} of {n_steps} steps that were reached: "
            "a network without dynamics has no steps to compare with time. Score one step per time "
            "bin: metric(source.isel(step=-1, drop=True), target); or turn its layers into steps: "
            "depth_as_time(source.isel(step=-1, drop=True), layers=[...], n_steps=...)."
        )

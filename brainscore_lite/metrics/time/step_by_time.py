"""Model steps against neural time, and what lies above and below a matrix's diagonal."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.metric import Metric
from brainscore_lite.metrics.time.changes_over_steps import check_changes
from brainscore_lite.schema import ContractError, check_activations


def step_by_time(
    metric: Metric,
    *,
    source: xr.DataArray,
    target: xr.DataArray,
    step_ms: Mapping[int, float] | None = None,
) -> xr.DataArray:
    """Score every step of a model against every time bin of a recording.

    Parameters
    ----------
    metric : Metric
        Scores one step against all time bins.
    source : DataArray, dims (stimulus, neuroid, step)
        Activations that change over steps.
    target : DataArray, with a time_bin dim
        Responses or dissimilarities.
    step_ms : mapping of step to ms, optional
        When each step happens, in ms from stimulus onset: kept as the coordinate ``step_ms``, for
        :func:`at_step_times`. No such mapping is assumed.

    Returns
    -------
    DataArray, dims (step, ..., time_bin, ...)
        The metric's parts for each step. Steps that the signal has not reached are NaN, and
        their coordinate ``not_reached`` names the layers concerned; it is "" elsewhere.

    Raises
    ------
    ContractError
        If the activations have no steps or are the same at all of them, the target has no time
        bins, fewer than two steps were reached, or `step_ms` lacks a step.
    """
    if "time_bin" not in target.dims:
        raise ContractError(
            f"target has dims {target.dims}, expected a 'time_bin' dim. Score the steps one by "
            "one with .isel(step=...), or record responses over time."
        )
    check_activations(source)
    not_reached = unreached_layers(source)
    reached = [step for step, layers in enumerate(not_reached) if not layers]
    check_changes(source, reached)
    scores = {step: metric(source.isel(step=step, drop=True), target) for step in reached}
    blank = xr.full_like(scores[reached[0]], np.nan)
    steps = source["step"].values if "step" in source.coords else np.arange(len(not_reached))
    matrix = xr.concat([scores.get(step, blank) for step in range(len(not_reached))], dim="step")
    matrix = matrix.assign_coords(step=steps, not_reached=("step", not_reached))
    if step_ms is None:
        return matrix
    missing = [int(step) for step in steps if int(step) not in step_ms]
    if missing:
        raise ContractError(
            f"step_ms has no time for steps {missing} of {len(steps)}. Give one for each, in ms "
            "from stimulus onset."
        )
    return matrix.assign_coords(step_ms=("step", [float(step_ms[int(step)]) for step in steps]))


def unreached_layers(source: xr.DataArray) -> list[str]:
    """Name, for each step, the layers that no signal has reached; "" where all are reached.

    Parameters
    ----------
    source : DataArray, dims (stimulus, neuroid, step)

    Returns
    -------
    list of str, one for each step
        Names joined by "+".
    """
    if "step" not in source.dims:
        raise ContractError(
            f"source has dims {source.dims}, expected a 'step' dim. A network without steps is "
            "scored per time bin by the metric itself."
        )
    absent = np.isnan(source.transpose("stimulus", "neuroid", "step").values[0])
    layers = source["layer"].values.astype(str)
    return ["+".join(np.unique(layers[absent[:, step]])) for step in range(absent.shape[1])]


def at_step_times(matrix: xr.DataArray, *, lag_ms: float = 0.0) -> xr.DataArray:
    """Take, for each step, the score of the time bin that holds the step's time plus a lag.

    Parameters
    ----------
    matrix : DataArray, dims (step, ..., time_bin, ...)
        From :func:`step_by_time` with `step_ms`.
    lag_ms : float
        Added to each step's time. A scan over lags asks how far the model runs ahead.

    Returns
    -------
    DataArray, dims (step, ...)
        The steps whose time falls into a bin [start, end), with that bin's coordinates.

    Raises
    ------
    ContractError
        If steps or bins carry no times, bins overlap at a step, or no step falls into a bin.
    """
    if "step_ms" not in matrix.coords:
        raise ContractError(
            "the matrix has no coordinate 'step_ms'. Give step_ms={step: ms, ...} to step_by_time: "
            "when a step happens is not known otherwise."
        )
    if not {"start_ms", "end_ms"} <= set(matrix.coords):
        raise ContractError(
            f"the matrix has dims {matrix.dims}, expected a 'time_bin' dim with the coordinates "
            "start_ms and end_ms, as step_by_time returns it."
        )
    times = matrix["step_ms"].values + lag_ms
    start, end = matrix["start_ms"].values, matrix["end_ms"].values
    holds = (start[None, :] <= times[:, None]) & (times[:, None] < end[None, :])
    if (holds.sum(axis=1) > 1).any():
        step = int(np.argmax(holds.sum(axis=1) > 1))
        raise ContractError(
            f"{times[step]:g} ms lies in {int(holds[step].sum())} time bins, which overlap. Choose "
            "bins that do not with .isel(time_bin=...)."
        )
    steps = np.flatnonzero(holds.any(axis=1))
    if steps.size == 0:
        raise ContractError(
            f"no step falls into a time bin: steps at {times.min():g} to {times.max():g} ms, bins "
            f"from {start.min():g} to {end.max():g} ms."
        )
    bins = xr.DataArray(holds[steps].argmax(axis=1), dims="step")
    return matrix.isel(step=xr.DataArray(steps, dims="step"), time_bin=bins)


@dataclass(frozen=True, eq=False)
class DiagonalMass:
    """The mean of a cross-temporal matrix on either side of its diagonal, less a baseline.

    Parameters
    ----------
    above : ndarray, shape (...)
        Over cells tested later than trained.
    below : ndarray, shape (...)
        Over cells tested earlier than trained.
    """

    above: NDArray[np.float64]
    below: NDArray[np.float64]

    def asymmetry(self) -> NDArray[np.float64]:
        """Return (above - below) / (|above| + |below|), -1 to 1; 0 where both are 0."""
        size = np.abs(self.above) + np.abs(self.below)
        difference = self.above - self.below
        result: NDArray[np.float64] = np.divide(
            difference, size, out=np.zeros_like(difference), where=size > 0
        )
        return result


def mass_above_below(matrix: ArrayLike | xr.DataArray, *, baseline: float = 0.0) -> DiagonalMass:
    """Average a cross-temporal matrix above and below its diagonal.

    above = mean over t' > t of M[t, t'] - baseline, t the training and t' the test time; below:
    over t' < t. A code that builds up shows in `above` (what is learnt early holds later), one
    that falls apart in neither; the diagonal itself is left out.

    Parameters
    ----------
    matrix : array, shape (..., n_times, n_times), or DataArray with dims train_time, test_time
        Rows are training times. Of a DataArray other dims keep their order.
    baseline : float
        Chance, for decoding accuracy.

    Returns
    -------
    DiagonalMass
        One value for each matrix.

    Raises
    ------
    ContractError
        If the matrix is not square over at least two times, or holds NaN.
    """
    if isinstance(matrix, xr.DataArray):
        if not {"train_time", "test_time"} <= set(matrix.dims):
            raise ContractError(
                f"matrix has dims {matrix.dims}, expected 'train_time' and 'test_time'."
            )
        matrix = matrix.transpose(..., "train_time", "test_time").values
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or values.shape[-1] < 2:
        raise ContractError(
            f"matrix has shape {values.shape}, expected (..., n_times, n_times) with at least two "
            "times."
        )
    if np.isnan(values).any():
        raise ContractError(
            f"{int(np.isnan(values).sum())} of {values.size} cells are NaN. Leave those times out."
        )
    later = np.triu(np.ones(values.shape[-2:], dtype=bool), k=1)
    return DiagonalMass(
        above=np.asarray(values[..., later].mean(axis=-1) - baseline),
        below=np.asarray(values[..., later.T].mean(axis=-1) - baseline),
    )

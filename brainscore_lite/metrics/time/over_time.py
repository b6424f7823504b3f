"""Features and responses over time: one set of rows for each time, one below the other."""

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from numpy.typing import NDArray

from brainscore_lite.metrics.arrays import Array, as_array, as_matrix, like
from brainscore_lite.metrics.gram import Gram, gram
from brainscore_lite.metrics.labels import recorded_responses, source_features
from brainscore_lite.metrics.regression.fold_fit import Regression
from brainscore_lite.metrics.regression.linear_predictivity import LinearPredictivity
from brainscore_lite.metrics.time.changes_over_steps import check_changes
from brainscore_lite.metrics.time.step_by_time import unreached_layers
from brainscore_lite.schema import ContractError


def check_direction(predictivity: LinearPredictivity) -> None:
    """Refuse the reverse direction, whose predicted units have no time."""
    if predictivity.direction != "model_to_brain":
        raise ContractError(
            f"direction is {predictivity.direction!r}; across time only 'model_to_brain' is fitted."
        )


def time_coords(recorded: xr.DataArray) -> dict[str, tuple[str, NDArray[np.float64]]]:
    """Return the edges of the time bins, in ms, as coordinates of train_time and test_time."""
    return {
        f"{when}_{edge}": (f"{when}_time", recorded[edge].values)
        for when in ("train", "test")
        for edge in ("start_ms", "end_ms")
    }


def stacked_features(X: Array | Gram, method: Regression) -> tuple[Array | Gram, bool]:
    """Return the features of all times, one below the other, and whether they stay over time.

    As one Gram matrix, unless the regression reads features.
    """
    if isinstance(X, Gram):
        return X, True
    X = as_array(X)
    stays = X.ndim != 3
    if not stays and 0 in X.shape:
        raise ContractError(
            f"X has shape {tuple(X.shape)}, expected (n_stimuli, n_features, n_times) with at "
            "least one of each."
        )
    if not stays:
        X = array_namespace(X).concat([X[:, :, t] for t in range(X.shape[2])])
    return (X if method.reads_features else gram(X)), stays


def n_rows(source: Array | Gram) -> int:
    """Return the number of stimuli, or of stimuli and times together."""
    return source.n_stimuli if isinstance(source, Gram) else int(source.shape[0])


def responses_by_time(Y: Array, source: Array | Gram) -> list[Array]:
    """Return the responses at each time, in the library and on the device of the features."""
    Y = as_array(Y)
    if Y.ndim != 3 or 0 in Y.shape:
        raise ContractError(
            f"Y has shape {tuple(Y.shape)}, expected (n_stimuli, n_units, n_times) with at least "
            "one of each."
        )
    by_time = (as_matrix(Y[:, :, t], name=f"Y at time {t}") for t in range(Y.shape[2]))
    reference = source.centred if isinstance(source, Gram) else source
    return [like(y, reference) for y in by_time]


def check_times(source: Array | Gram, by_time: list[Array]) -> None:
    """Raise unless features and responses are of as many stimuli and times."""
    n_stimuli = int(by_time[0].shape[0])
    if n_rows(source) != n_stimuli * len(by_time):
        raise ContractError(
            f"X has {n_rows(source)} stimuli and times together, Y has {n_stimuli} stimuli at "
            f"{len(by_time)} times. Both must be of the same stimuli and times in the same order."
        )


def at_all_times(stimuli: NDArray[np.int64], *, n_stimuli: int, n_times: int) -> NDArray[np.int64]:
    """Return the rows of some stimuli at all times, where those of a time follow each other."""
    return np.concatenate([stimuli + t * n_stimuli for t in range(n_times)])


def side_by_side(values: Array, *, n_times: int) -> Array:
    """Bring (n_times * n, n_units), time by time, to (n, n_times * n_units)."""
    xp = array_namespace(values)
    n = values.shape[0] // n_times
    return xp.concat([values[t * n : (t + 1) * n, :] for t in range(n_times)], axis=1)


def responses_over_time(target: xr.DataArray) -> xr.DataArray:
    """Return averaged responses, dims (stimulus, neuroid, time_bin)."""
    if "time_bin" not in target.dims:
        raise ContractError(
            f"target has dims {target.dims}, expected a 'time_bin' dim: there is one time only."
        )
    return recorded_responses(target).transpose("stimulus", "neuroid", "time_bin")


def features_at(
    source: xr.DataArray, steps: tuple[int, ...], *, n_bins: int
) -> NDArray[np.floating]:
    """Return the features of the step of each time bin; (n_stimuli, n_features, n_bins)."""
    if "step" not in source.dims:
        raise ContractError(
            f"source has dims {source.dims}, expected a 'step' dim, since steps were given."
        )
    if len(steps) != n_bins:
        raise ContractError(
            f"{len(steps)} steps for {n_bins} time bins; expected the model step of each bin."
        )
    known = source["step"].values.tolist() if "step" in source.coords else []
    unknown = sorted(set(steps) - set(known))
    if unknown:
        raise ContractError(f"source has no steps {unknown}; it has {known}.")
    blank = unreached_layers(source)
    check_changes(source, [position for position, layers in enumerate(blank) if not layers])
    not_reached = dict(zip(known, blank, strict=True))
    absent = {step: not_reached[step] for step in sorted(set(steps)) if not_reached[step]}
    if absent:
        raise ContractError(
            f"no signal has reached the layer '{next(iter(absent.values()))}' at the steps "
            f"{list(absent)}, which have no features. Choose later steps, and leave out the time "
            "bins before them."
        )
    return np.stack([source_features(source.sel(step=step, drop=True)) for step in steps], axis=-1)

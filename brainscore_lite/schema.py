"""The contracts of the arrays that travel between modules.

Every array is a plain ``xarray.DataArray`` of one of three kinds:

=============  ==============================================  ================================
kind           dims                                            required coords
=============  ==============================================  ================================
responses      repetition, stimulus, neuroid[, time_bin]       region, animal (on neuroid);
                                                               start_ms, end_ms (on time_bin)
activations    stimulus, neuroid[, step]                       layer (on neuroid)
rdms           subject, stimulus, stimulus_other[, time_bin]   subject; scalars region, species
=============  ==============================================  ================================

``stimulus`` and ``neuroid`` labels are unique strings. ``attrs`` are for people, coords for code.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import count

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

Labels = Sequence[str] | NDArray[np.str_]

RESPONSE_DIMS = ("repetition", "stimulus", "neuroid")
ACTIVATION_DIMS = ("stimulus", "neuroid")
RDM_DIMS = ("subject", "stimulus", "stimulus_other")


class ContractError(ValueError):
    """An array or a setting does not satisfy the contract that its receiver relies on."""


class MissingExtraError(ContractError):
    """What was asked for comes with an extra that is not installed."""


def responses(
    values: ArrayLike,
    *,
    stimulus: Labels,
    neuroid: Labels,
    region: str | Labels,
    animal: str | Labels,
    time_bins: Sequence[tuple[float, float]] | None = None,
    stimulus_coords: Mapping[str, Labels] | None = None,
    neuroid_coords: Mapping[str, Labels] | None = None,
    name: str = "responses",
) -> xr.DataArray:
    """Label recorded responses and check them.

    Parameters
    ----------
    values : array, shape (n_repetitions, n_stimuli, n_neuroids[, n_time_bins])
        Spike counts, rates or any response. An array without the repetition axis,
        (n_stimuli, n_neuroids[, n_time_bins]), is taken as one repetition. Trials that were not
        recorded are NaN.
    stimulus, neuroid : sequence of str
        Unique labels, in the order of the array.
    region, animal : str or sequence of str
        One for all neuroids or one for each.
    time_bins : sequence of (start_ms, end_ms), optional
        Required when there is a time axis; ms from stimulus onset.
    stimulus_coords, neuroid_coords : mapping of name to labels, optional
        More labels along ``stimulus`` (object_name, category, block) or ``neuroid`` (session).

    Returns
    -------
    DataArray, dims (repetition, stimulus, neuroid[, time_bin])

    Raises
    ------
    ContractError
        If shapes, labels or values break the contract.

    Examples
    --------
    >>> r = responses(np.random.default_rng(0).poisson(5.0, (4, 3, 2)), stimulus=["a", "b", "c"],
    ...               neuroid=["u1", "u2"], region="IT", animal="m1")
    >>> r.sizes["repetition"]
    4
    """
    array = np.asarray(values, dtype=np.float64)
    n_axes = 3 if time_bins is None else 4
    if array.ndim == n_axes - 1:
        array = array[np.newaxis]
    dims: tuple[str, ...] = RESPONSE_DIMS if time_bins is None else (*RESPONSE_DIMS, "time_bin")
    if array.ndim != n_axes:
        hint = " Give time_bins=[(start_ms, end_ms), ...]." if array.ndim == 4 else ""
        raise ContractError(
            f"responses '{name}': array has {array.ndim} axes, expected {dims} or the same "
            f"without repetition.{hint}"
        )
    given = {1: ("stimulus", stimulus), 2: ("neuroid", neuroid)}
    _check_lengths(array, given, f"responses '{name}'")
    coords: dict[Hashable, object] = {
        "repetition": np.arange(array.shape[0]),
        "stimulus": _as_labels(stimulus),
        "neuroid": _as_labels(neuroid),
        "region": ("neuroid", _spread(region, array.shape[2], "region", name)),
        "animal": ("neuroid", _spread(animal, array.shape[2], "animal", name)),
    }
    for dim, extra in (("stimulus", stimulus_coords), ("neuroid", neuroid_coords)):
        for coord, labels in (extra or {}).items():
            coords[coord] = (dim, np.asarray(labels))
    if time_bins is not None:
        bins = np.asarray(time_bins, dtype=np.float64)
        if bins.shape != (array.shape[3], 2):
            raise ContractError(
                f"responses '{name}': {array.shape[3]} time bins in the array, but time_bins has "
                f"shape {bins.shape}; expected one (start_ms, end_ms) for each."
            )
        coords |= {"start_ms": ("time_bin", bins[:, 0]), "end_ms": ("time_bin", bins[:, 1])}
    return check_responses(_assemble(array, dims, coords, name), name=name)


def activations(
    values: ArrayLike,
    *,
    stimulus: Labels,
    layer: str | Labels,
    neuroid: Labels | None = None,
    channel: ArrayLike | None = None,
    row: ArrayLike | None = None,
    column: ArrayLike | None = None,
    name: str = "activations",
) -> xr.DataArray:
    """Label a model's activations and check them.

    Parameters
    ----------
    values : array, shape (n_stimuli, n_neuroids[, n_steps])
        Kept in its dtype (float32 or float64).
    stimulus : sequence of str
        Unique labels.
    layer : str or sequence of str
        Layer of all neuroids or of each.
    neuroid : sequence of str, optional
        Unique labels; by default ``layer.i`` with i counted within the layer.
    channel, row, column : array of int, shape (n_neuroids,), optional
        Where in its feature map each neuroid lies.

    Returns
    -------
    DataArray, dims (stimulus, neuroid[, step])

    Raises
    ------
    ContractError
        If shapes, labels or values break the contract.
    """
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    dims: tuple[str, ...] = ACTIVATION_DIMS if array.ndim == 2 else (*ACTIVATION_DIMS, "step")
    if array.ndim not in (2, 3):
        raise ContractError(
            f"activations '{name}': array has {array.ndim} axes, expected (stimulus, neuroid) or "
            "(stimulus, neuroid, step). Flatten channels, rows and columns into neuroids."
        )
    layers = _spread(layer, array.shape[1], "layer", name)
    labels = _as_labels(_numbered_within(layers) if neuroid is None else neuroid)
    given = {0: ("stimulus", stimulus), 1: ("neuroid", labels)}
    _check_lengths(array, given, f"activations '{name}'")
    coords: dict[Hashable, object] = {
        "stimulus": _as_labels(stimulus),
        "neuroid": labels,
        "layer": ("neuroid", layers),
    }
    for coord, positions in (("channel", channel), ("row", row), ("column", column)):
        if positions is not None:
            coords[coord] = ("neuroid", np.asarray(positions))
    if array.ndim == 3:
        coords["step"] = np.arange(array.shape[2])
    return check_activations(_assemble(array, dims, coords, name), name=name)


def rdms(
    values: ArrayLike,
    *,
    stimulus: Labels,
    subject: Labels,
    region: str,
    species: str,
    name: str = "rdms",
) -> xr.DataArray:
    """Label recorded representational dissimilarity matrices and check them.

    Parameters
    ----------
    values : array, shape (n_subjects, n_stimuli, n_stimuli)
        Symmetric, zero on the diagonal.
    stimulus, subject : sequence of str
        Unique labels.
    region, species : str

    Returns
    -------
    DataArray, dims (subject, stimulus, stimulus_other)

    Raises
    ------
    ContractError
        If shapes, labels or values break the contract.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 3:
        raise ContractError(
            f"rdms '{name}': array has {array.ndim} axes, expected {RDM_DIMS}. A single matrix "
            "needs a leading subject axis: values[None]."
        )
    given = {0: ("subject", subject), 1: ("stimulus", stimulus), 2: ("stimulus_other", stimulus)}
    _check_lengths(array, given, f"rdms '{name}'")
    coords: dict[Hashable, object] = {
        "subject": _as_labels(subject),
        "stimulus": _as_labels(stimulus),
        "stimulus_other": _as_labels(stimulus),
        "region": region,
        "species": species,
    }
    return check_rdms(_assemble(array, RDM_DIMS, coords, name), name=name)


def check_responses(array: xr.DataArray, *, name: str | None = None) -> xr.DataArray:
    """Return `array` if it satisfies the contract of recorded responses.

    Raises
    ------
    ContractError
        With what is wrong, what was expected and what to do.
    """
    context = _context("responses", array, name)
    _check_dims(array, RESPONSE_DIMS, "time_bin", context)
    _check_unique(array, ("stimulus", "neuroid"), context)
    _check_coords(array, {"region": "neuroid", "animal": "neuroid"}, context)
    if "time_bin" in array.dims:
        _check_coords(array, {"start_ms": "time_bin", "end_ms": "time_bin"}, context)
    values = array.values
    _check_real(values, context)
    if np.isinf(values).any():
        raise ContractError(
            f"{context}: {np.isinf(values).sum()} infinite values. Mark trials that were not "
            "recorded as NaN."
        )
    empty = np.isnan(values).all(axis=array.get_axis_num("repetition"))
    if empty.any():
        where = np.argwhere(empty)[0]
        raise ContractError(
            f"{context}: {int(empty.sum())} (stimulus, neuroid) cells have no finite response in "
            f"any repetition; first: stimulus '{array.stimulus.values[where[0]]}', neuroid "
            f"'{array.neuroid.values[where[1]]}'. Leave out that stimulus or that neuroid."
        )
    return array


def check_activations(array: xr.DataArray, *, name: str | None = None) -> xr.DataArray:
    """Return `array` if it satisfies the contract of model activations.

    NaN is allowed only as a whole (layer, step) block that no signal has reached.

    Raises
    ------
    ContractError
        With what is wrong, what was expected and what to do.
    """
    context = _context("activations", array, name)
    _check_dims(array, ACTIVATION_DIMS, "step", context)
    _check_unique(array, ("stimulus", "neuroid"), context)
    _check_coords(array, {"layer": "neuroid"}, context)
    values = array.values
    _check_real(values, context)
    finite = np.isfinite(values)
    if finite.all():
        return array
    layers = array["layer"].values
    by_step = finite if "step" in array.dims else finite[..., np.newaxis]
    nan_by_step = np.isnan(values) if "step" in array.dims else np.isnan(values)[..., np.newaxis]
    for layer in np.unique(layers):
        block = by_step[:, layers == layer]
        absent = nan_by_step[:, layers == layer].all(axis=(0, 1))
        broken = ~block.all(axis=(0, 1)) & ~(absent & ("step" in array.dims))
        if broken.any():
            stimulus = array.stimulus.values[np.argwhere(~block[..., broken])[0, 0]]
            raise ContractError(
                f"{context}: layer '{layer}' holds NaN or inf; first at stimulus '{stimulus}'. "
                "Only whole (layer, step) blocks that no signal has reached may be NaN."
            )
    return array


def check_rdms(array: xr.DataArray, *, name: str | None = None) -> xr.DataArray:
    """Return `array` if it satisfies the contract of recorded dissimilarity matrices.

    Raises
    ------
    ContractError
        With what is wrong, what was expected and what to do.
    """
    context = _context("rdms", array, name)
    _check_dims(array, RDM_DIMS, "time_bin", context)
    _check_unique(array, ("subject", "stimulus", "stimulus_other"), context)
    for scalar in ("region", "species"):
        if scalar not in array.coords or array.coords[scalar].ndim:
            raise ContractError(
                f"{context}: needs the scalar coordinate '{scalar}'. Add it with "
                f".assign_coords({scalar}=...)."
            )
    if not np.array_equal(array["stimulus"].values, array["stimulus_other"].values):
        raise ContractError(
            f"{context}: 'stimulus' and 'stimulus_other' carry different labels. Both must list "
            "the same stimuli in the same order."
        )
    values = array.transpose(..., "stimulus", "stimulus_other").values
    _check_real(values, context)
    if not np.isfinite(values).all():
        raise ContractError(
            f"{context}: {int((~np.isfinite(values)).sum())} dissimilarities are not finite. "
            "Leave out the stimuli or subjects concerned."
        )
    scale = np.abs(values).max() or 1.0
    if np.abs(values - values.swapaxes(-1, -2)).max() > 1e-6 * scale:
        raise ContractError(
            f"{context}: matrices are not symmetric. Average each with its transpose if that is "
            "what you mean."
        )
    if np.abs(np.diagonal(values, axis1=-2, axis2=-1)).max() > 1e-6 * scale:
        raise ContractError(f"{context}: the diagonal is not zero. These are no dissimilarities.")
    return array


def check_labelled(array: object, role: str, *, make: str) -> None:
    """Raise unless `array` is labelled; `make` names the function that labels it."""
    if not isinstance(array, xr.DataArray):
        raise ContractError(
            f"{role} is {type(array).__name__}, expected an xarray.DataArray. Label it with "
            f"{make}(array, ...), or use the function that takes plain arrays."
        )


def match_stimuli(source: xr.DataArray, target: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Bring `source` to the stimuli of `target`, in the order of `target`.

    Stimuli of `source` that `target` lacks are left out; the reverse is an error, since
    a score over fewer stimuli than the benchmark has is another score.

    Parameters
    ----------
    source, target : DataArray
        With a ``stimulus`` dim (and ``stimulus_other`` for dissimilarity matrices).

    Returns
    -------
    source, target : DataArray
        With identical stimulus labels.

    Raises
    ------
    ContractError
        If stimuli of `target` are missing from `source`, or labels are not unique.
    """
    for array, role, make in (
        (source, "source", "activations"),
        (target, "target", "responses"),
    ):
        check_labelled(array, role, make=make)
        if "stimulus" not in array.dims:
            raise ContractError(f"{role}: has dims {array.dims}, expected a 'stimulus' dim.")
        _check_unique(array, ("stimulus",), role)
    wanted = target.indexes["stimulus"]
    missing = wanted.difference(source.indexes["stimulus"], sort=False)
    if len(missing):
        raise ContractError(
            f"source lacks {len(missing)} of the target's {len(wanted)} stimuli; first missing: "
            f"{_listed(missing)}. Record the model on the benchmark's own stimuli."
        )
    return select_stimuli(source, wanted), target


def select_stimuli(array: xr.DataArray, stimuli: Labels) -> xr.DataArray:
    """Keep some stimuli, in the order asked for; of dissimilarity matrices on both sides.

    Parameters
    ----------
    array : DataArray
        With a ``stimulus`` dim (and ``stimulus_other`` for dissimilarity matrices).
    stimuli : sequence of str

    Returns
    -------
    DataArray

    Raises
    ------
    ContractError
        If a stimulus is not there.
    """
    positions = array.indexes["stimulus"].get_indexer(list(stimuli))
    if (positions < 0).any():
        missing = np.asarray(stimuli)[positions < 0]
        raise ContractError(f"no stimuli {_listed(missing)} among {array.sizes['stimulus']}.")
    if np.array_equal(positions, np.arange(array.sizes["stimulus"])):
        return array
    array = array.isel(stimulus=positions)
    return array.isel(stimulus_other=positions) if "stimulus_other" in array.dims else array


def average_repetitions(array: xr.DataArray) -> xr.DataArray:
    """Average responses over the repetitions that were recorded.

    Parameters
    ----------
    array : DataArray, dims (repetition, stimulus, neuroid[, time_bin])

    Returns
    -------
    DataArray, dims (stimulus, neuroid[, time_bin])
    """
    check_responses(array)
    return array.mean("repetition", skipna=True, keep_attrs=True)


def _assemble(
    array: NDArray[np.float64], dims: tuple[str, ...], coords: dict[Hashable, object], name: str
) -> xr.DataArray:
    try:
        return xr.DataArray(array, dims=dims, coords=coords, name=name)
    except ValueError as error:
        raise ContractError(f"'{name}': a coordinate does not fit the array: {error}") from error


def _as_labels(labels: Labels) -> NDArray[np.str_]:
    return np.asarray(labels).astype(str)


def _spread(labels: str | Labels, n: int, what: str, name: str) -> NDArray[np.str_]:
    if isinstance(labels, str):
        return np.full(n, labels)
    if len(labels) != n:
        raise ContractError(
            f"'{name}': {len(labels)} values of {what} for {n} neuroids. Give one for all or one "
            "for each."
        )
    return _as_labels(labels)


def _numbered_within(layers: NDArray[np.str_]) -> list[str]:
    counted = {str(layer): count() for layer in np.unique(layers)}
    return [f"{layer}.{next(counted[layer])}" for layer in layers.tolist()]


def _check_lengths(
    array: NDArray[np.float64], given: Mapping[int, tuple[str, Labels]], context: str
) -> None:
    for axis, (dim, labels) in given.items():
        if array.shape[axis] != len(labels):
            raise ContractError(
                f"{context}: the array has {array.shape[axis]} entries along '{dim}' "
                f"(axis {axis}, shape {array.shape}), but {len(labels)} labels were given."
            )


def _context(kind: str, array: xr.DataArray, name: str | None) -> str:
    if not isinstance(array, xr.DataArray):
        raise ContractError(
            f"{kind}: got {type(array).__name__}, expected an xarray.DataArray. Make one with "
            f"brainscore_lite.{kind}(array, ...)."
        )
    label = name or array.name
    return f"{kind} '{label}'" if label else kind


def _check_dims(array: xr.DataArray, dims: tuple[str, ...], optional: str, context: str) -> None:
    if tuple(array.dims) not in (dims, (*dims, optional)):
        raise ContractError(
            f"{context}: dims are {tuple(array.dims)}, expected {dims} and perhaps '{optional}'. "
            "Rename or transpose it."
        )
    empty = [dim for dim in array.dims if array.sizes[dim] == 0]
    if empty:
        raise ContractError(f"{context}: nothing along {empty}. At least one entry is needed.")


def _check_unique(array: xr.DataArray, dims: tuple[str, ...], context: str) -> None:
    for dim in dims:
        if dim not in array.coords:
            raise ContractError(
                f"{context}: '{dim}' has no labels. Add them with .assign_coords({dim}=[...])."
            )
        labels = array.indexes[dim]
        if labels.inferred_type != "string":
            raise ContractError(
                f"{context}: '{dim}' labels are {labels.dtype}, expected strings. Convert with "
                ".astype(str)."
            )
        if not labels.is_unique:
            repeated = labels[labels.duplicated()][0]
            advice = {
                "neuroid": "Prefix them with the animal's name.",
                "stimulus": "Average or stack repetitions along 'repetition'.",
            }.get(dim, "Give each its own label.")
            raise ContractError(
                f"{context}: '{dim}' labels are not unique ({len(labels)} labels, "
                f"{labels.nunique()} distinct; first repeated: '{repeated}'). {advice}"
            )


def _check_coords(array: xr.DataArray, needed: Mapping[str, str], context: str) -> None:
    for coord, dim in needed.items():
        if coord not in array.coords or array.coords[coord].dims != (dim,):
            raise ContractError(
                f"{context}: needs the coordinate '{coord}' along '{dim}'. Add it with "
                f".assign_coords({coord}=('{dim}', [...]))."
            )


def _check_real(values: NDArray[np.float64], context: str) -> None:
    if values.dtype.kind not in "fiu":
        raise ContractError(f"{context}: values are {values.dtype}, expected real numbers.")


def _listed(labels: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(f"'{label}'" for label in labels[:most])
    return shown + (f", ... ({len(labels) - most} more)" if len(labels) > most else "")

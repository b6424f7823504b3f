"""Checked double-precision arrays of any array-API library (NumPy, torch, ...)."""

from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from array_api_compat import array_namespace, device, to_device
from numpy.typing import NDArray

from brainscore_lite.schema import ContractError

Array: TypeAlias = Any
"""An array of a library that follows the Python array API; NumPy arrays and torch tensors do."""


def as_matrix(values: Array, *, name: str, units: str = "neuroid") -> Array:
    """Check a (stimulus, unit) array and return it in double precision.

    Parameters
    ----------
    values : array, shape (n_stimuli, n_units)
    name, units : str
        How the error messages call the array and its columns.

    Returns
    -------
    array of float64, shape (n_stimuli, n_units)
        Of the same library and on the same device.

    Raises
    ------
    ContractError
        If it is no finite matrix of real numbers.
    """
    values = as_array(values)
    check_matrix_shape(values, name=name)
    xp = array_namespace(values)
    result = as_float64(values)
    finite = xp.isfinite(result)
    if not bool(xp.all(finite)):
        missing = as_numpy(~finite)
        broken = np.any(missing, axis=0)
        first = int(np.argmax(broken))
        raise ContractError(
            f"{name}: {int(broken.sum())} of {missing.shape[1]} {units}s hold NaN or inf; first: "
            f"{units} {first}, at {int(missing[:, first].sum())} of {missing.shape[0]} stimuli, "
            f"first stimulus {int(np.argmax(missing[:, first]))}. Average repetitions, or leave "
            f"those {units}s out."
        )
    return result


def as_array(values: Array) -> Array:
    """Return `values` as an array; sequences and labelled arrays become NumPy arrays."""
    if isinstance(values, xr.DataArray):
        raise ContractError(
            "got a labelled DataArray where a plain array is expected. Pass its .values, or use "
            "the labelled class (LinearPredictivity, RSA, CKA), which aligns stimuli by name."
        )
    try:
        array_namespace(values)
    except TypeError:
        return np.asarray(values)
    return values


def check_matrix_shape(values: Array, *, name: str) -> None:
    """Raise unless `values` is a non-empty matrix of real numbers."""
    if values.ndim != 2 or 0 in values.shape:
        raise ContractError(
            f"{name}: shape is {tuple(values.shape)}, expected (n_stimuli, n_units) with at least "
            "one of each."
        )
    xp = array_namespace(values)
    if not xp.isdtype(values.dtype, ("real floating", "integral", "bool")):
        raise ContractError(f"{name}: values are {values.dtype}, expected real numbers.")


def as_float64(values: Array) -> Array:
    """Return `values` in double precision, without a copy if they already are."""
    xp = array_namespace(values)
    return xp.astype(values, xp.float64, copy=False)


def as_numpy(values: Array) -> NDArray[Any]:
    """Bring an array of any library and device to NumPy."""
    return np.asarray(to_device(values, "cpu"))


def like(values: Any, reference: Array) -> Array:
    """Bring `values` to the library and device of `reference`."""
    xp = array_namespace(reference)
    if isinstance(values, type(reference)) and device(values) == device(reference):
        return values
    return xp.asarray(values, device=device(reference))


def rows(values: Array, index: NDArray[np.int64]) -> Array:
    """Take rows by position."""
    return array_namespace(values).take(values, like(index, values), axis=0)


def block(matrix: Array, first: NDArray[np.int64], second: NDArray[np.int64]) -> Array:
    """Take the submatrix of rows `first` and columns `second`."""
    xp = array_namespace(matrix)
    return xp.take(rows(matrix, first), like(second, matrix), axis=1)

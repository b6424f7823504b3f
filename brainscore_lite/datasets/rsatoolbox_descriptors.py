"""Descriptors of rsatoolbox's objects, as columns of arrays that are looked up by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainscore_lite.schema import ContractError

Labels = NDArray[Any]


def columns_of(descriptors: Mapping[str, Any]) -> dict[str, Labels]:
    """Return the descriptors with one value for each entry, as arrays."""
    columns = {str(key): np.asarray(values) for key, values in descriptors.items()}
    return {key: column for key, column in columns.items() if column.ndim == 1}


def take_column(
    columns: dict[str, Labels], what: str, name: str, *, fallback: Labels | None = None
) -> Labels:
    """Take out the column of a name; the fallback where none was asked for by name."""
    if name in columns:
        return columns.pop(name)
    if fallback is not None and name == what:
        return fallback
    raise ContractError(
        f"there is no descriptor '{name}' for the {what}; there are {sorted(columns)}. Name it "
        f"with {what}=."
    )


def describe(
    key: str, value: str | None, *, columns: dict[str, Labels], given: Any
) -> str | Labels:
    """Return what was said, else the column of that name (taken out), else the descriptor."""
    if value is not None:
        return value
    if key in columns:
        return columns.pop(key).astype(str)
    if key in given.descriptors:
        return str(given.descriptors[key])
    raise ContractError(f"there is no descriptor '{key}'. Say what it is with {key}='...'.")


def describe_all(key: str, value: str | None, *, columns: dict[str, Labels], given: Any) -> str:
    """Return what :func:`describe` does where it is one for all."""
    described = np.unique(describe(key, value, columns=columns, given=given))
    if len(described) > 1:
        raise ContractError(
            f"the matrices are of {len(described)} {key}s ({', '.join(described)}), expected one. "
            f"Choose with .subset('{key}', ...)."
        )
    return str(described[0])

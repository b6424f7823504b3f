"""Settings as canonical JSON, and the digests made of it: the only hashing of settings."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from brainscore_lite.schema import ContractError

_KIND = "class"


def to_json(settings: Any) -> str:
    """Write settings as canonical JSON: sorted keys, no spaces, the class name beside the fields.

    Parameters
    ----------
    settings : dataclass, mapping, sequence, str, number, bool or None
        Dataclasses must be frozen; they may nest.

    Returns
    -------
    str
        The same text for equal settings, in any process.

    Raises
    ------
    ContractError
        If a value has no exact text (an array, a function, NaN).
    """
    return json.dumps(_plain(settings, "settings"), sort_keys=True, separators=(",", ":"))


def from_json(text: str, *, types: tuple[type, ...]) -> Any:
    """Read settings back.

    Parameters
    ----------
    text : str
        Made by :func:`to_json`.
    types : tuple of dataclass types
        The classes that may occur in it.

    Returns
    -------
    object
        Equal to what was written; JSON lists come back as tuples.

    Raises
    ------
    ContractError
        If the text names a class or a field that is not known.
    """
    known = {each.__name__: each for each in types}
    return _live(json.loads(text), known)


def digest(settings: Any) -> str:
    """Hash settings: the SHA-256 of their canonical JSON, in hex."""
    return digest_bytes(to_json(settings).encode())


def digest_bytes(*chunks: bytes) -> str:
    """Hash bytes: SHA-256 in hex of the chunks, each preceded by its length."""
    total = hashlib.sha256()
    for chunk in chunks:
        total.update(len(chunk).to_bytes(8, "little"))
        total.update(chunk)
    return total.hexdigest()


def _plain(value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: _plain(getattr(value, field.name), f"{where}.{field.name}")
            for field in dataclasses.fields(value)
        }
        return {_KIND: type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        raise ContractError(f"{where} is {value}, which has no exact text. Give a finite number.")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ContractError(
        f"{where} is a {type(value).__name__}, which cannot be written as settings. Use numbers, "
        "strings, tuples, mappings and frozen dataclasses."
    )


def _live(value: Any, known: Mapping[str, type]) -> Any:
    if isinstance(value, list):
        return tuple(_live(item, known) for item in value)
    if not isinstance(value, dict):
        return value
    fields = {key: _live(item, known) for key, item in value.items() if key != _KIND}
    if _KIND not in value:
        return fields
    kind = value[_KIND]
    if kind not in known:
        raise ContractError(f"settings name the class '{kind}'; known here: {sorted(known)}.")
    expected = {field.name for field in dataclasses.fields(known[kind])}
    if set(fields) - expected:
        raise ContractError(
            f"settings of '{kind}' have unknown fields {sorted(set(fields) - expected)}; "
            f"it has {sorted(expected)}."
        )
    return known[kind](**fields)

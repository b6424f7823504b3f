"""Read tables of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from brainscore_lite.datasets.dataset import DatasetError


def read_table(path: Path, columns: Sequence[str], *, dataset: str) -> pd.DataFrame:
    """Read a table with commas that has at least these columns.

    Raises
    ------
    DatasetError
        If it is no table, or lacks a column.
    """
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        message = f"'{path}' cannot be read: {error}. Delete it and fetch it again."
        raise DatasetError(message) from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise DatasetError(
            f"dataset '{dataset}': '{path.name}' lacks the columns {missing}. Get the file named "
            "in the registry."
        )
    return table

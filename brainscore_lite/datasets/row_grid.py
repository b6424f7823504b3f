"""Rows of a table laid out on two dims, their values and their columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RowGrid:
    """Where rows lie in a table of two dims.

    Parameters
    ----------
    dims : tuple of str
    shape : tuple of int
    at : tuple of ndarray of int
        Positions of each row.
    """

    dims: tuple[str, str]
    shape: tuple[int, int]
    at: tuple[NDArray[np.int64], NDArray[np.int64]]

    @property
    def occupied(self) -> int:
        """Number of cells that hold a row."""
        return len(np.unique(np.ravel_multi_index(self.at, self.shape)))

    def filled(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Lay out the values of the rows.

        Parameters
        ----------
        values : ndarray, shape (n_rows, ...)

        Returns
        -------
        ndarray, shape (*shape, ...)
            NaN in cells without a row.
        """
        table = np.full((*self.shape, *values.shape[1:]), np.nan)
        table[self.at] = values
        return table

    def coord(self, column: NDArray[Any]) -> tuple[str | tuple[str, str], NDArray[Any]]:
        """Return a column of rows as a coordinate: along one dim if it depends on that alone."""
        codes = pd.factorize(column, use_na_sentinel=False)[0]
        for axis in (1, 0):
            first = np.zeros(self.shape[axis], dtype=np.int64)
            first[self.at[axis][::-1]] = np.arange(len(column))[::-1]
            if (codes == codes[first[self.at[axis]]]).all():
                return self.dims[axis], column[first]
        kind = column.dtype.kind
        empty: Any = "" if kind in "US" else np.nan
        table = np.full(self.shape, empty, dtype=column.dtype if kind in "USf" else object)
        table[self.at] = column
        return self.dims, table


def counted(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Count the occurrences of each label from 0, in their order; shape (n_rows,)."""
    return np.asarray(pd.Series(labels).groupby(labels).cumcount(), dtype=np.int64)

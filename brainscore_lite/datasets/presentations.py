"""Presentations, listed one after another, and the grid of repetitions and stimuli they fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainscore_lite.datasets.row_grid import RowGrid, counted
from brainscore_lite.schema import ContractError

Coords = dict[str, NDArray[Any]]

# Names that the contract of responses gives a meaning: labels of a source may not take them.
RESERVED = frozenset(
    {"repetition", "stimulus", "neuroid", "time_bin", "region", "animal", "start_ms", "end_ms"}
)


@dataclass(frozen=True, eq=False)
class Presentations:
    """Hold, for a list of presentations, which stimulus each showed and for which time.

    Parameters
    ----------
    stimuli : ndarray of str, shape (n_stimuli,)
        Unique labels, in the order in which they first appear.
    repetitions : ndarray, shape (n_repetitions,)
        Unique numbers, or labels, rising.
    grid : RowGrid
        Dims (repetition, stimulus); a pair of them occurs once.
    """

    stimuli: NDArray[np.str_]
    repetitions: NDArray[Any]
    grid: RowGrid

    def labels(self, columns: Mapping[str, NDArray[Any]]) -> tuple[Coords, Coords]:
        """Return the columns that are constant for each stimulus, or else for each repetition.

        Parameters
        ----------
        columns : mapping of name to ndarray, shape (n_presentations,)

        Returns
        -------
        of_stimuli, of_repetitions : dict of name to ndarray
            Without the names that the contract of responses gives a meaning.
        """
        found = {k: self.grid.coord(column) for k, column in columns.items() if k not in RESERVED}
        of_stimuli, of_repetitions = (
            {key: labels for key, (dim, labels) in found.items() if dim == along}
            for along in ("stimulus", "repetition")
        )
        return of_stimuli, of_repetitions


def arrange(
    labels: NDArray[np.str_], *, repetition: NDArray[Any] | None = None, context: str
) -> Presentations:
    """Find the stimuli of a list of presentations and number their repetitions.

    Parameters
    ----------
    labels : ndarray of str, shape (n_presentations,)
        The stimulus of each presentation.
    repetition : ndarray, shape (n_presentations,), optional
        The source's own numbers or labels; equal ones stay together, in rising order. Without
        them, the presentations of a stimulus are counted in the order of the list.
    context : str
        Begins the message of an error.

    Raises
    ------
    ContractError
        If there are no presentations, or a pair of stimulus and repetition occurs twice.
    """
    if not len(labels):
        raise ContractError(f"{context}: no presentations. At least one is needed.")
    found, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    stimulus = np.argsort(order)[inverse]
    stimuli = found[order]
    if repetition is None:
        repetition = counted(stimulus)
    repetitions, number = np.unique(repetition, return_inverse=True)
    shape = (len(repetitions), len(stimuli))
    grid = RowGrid(dims=("repetition", "stimulus"), shape=shape, at=(number, stimulus))
    if grid.occupied < len(labels):
        cells, times = np.unique(np.stack([number, stimulus]), axis=1, return_counts=True)
        twice = cells[1, times > 1]
        raise ContractError(
            f"{context}: {len(twice)} pairs of stimulus and repetition occur more than once; "
            f"first: stimulus '{stimuli[twice[0]]}'. Name with repetition= what tells them apart, "
            "or pass repetition=None to count the presentations of each stimulus in their order."
        )
    return Presentations(stimuli, repetitions, grid)

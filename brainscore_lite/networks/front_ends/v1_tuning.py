"""Tuning of V1 cells drawn from published distributions."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brainscore_lite.schema import ContractError

Array = NDArray[np.float64]

# Counts of cells, as the public VOneNet model reads them from the papers named beside them (not
# checked against the papers' figures).
# Degrees, 0 being a filter whose bars are vertical: De Valois, Yund & Hepler (1982).
ORIENTATION_EDGES = np.array([-22.5, 22.5, 67.5, 112.5, 157.5])
ORIENTATION_COUNTS = np.array([66.0, 49.0, 77.0, 54.0])
# Preferred spatial frequency in cycles per degree: De Valois, Albrecht & Thorell (1982).
FREQUENCY_EDGES = np.array([0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.2])
FREQUENCY_COUNTS = np.array([4.0, 4.0, 8.0, 25.0, 32.0, 26.0, 28.0, 12.0, 8.0])
# Width (row) and length (column) of the receptive field, each times the preferred frequency:
# Ringach (2002). Bins are even in the logarithm.
SIZE_EDGES = np.logspace(-1.0, 0.2, 6)
SIZE_COUNTS = np.array(
    [
        [2.0, 0.0, 1.0, 0.0, 0.0],
        [8.0, 9.0, 4.0, 1.0, 0.0],
        [1.0, 2.0, 19.0, 17.0, 3.0],
        [0.0, 0.0, 1.0, 7.0, 4.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)


@dataclass(frozen=True, eq=False)
class V1Tuning:
    """What cells are tuned to, one entry for each cell.

    Parameters
    ----------
    frequency : ndarray, shape (n_cells,)
        Preferred spatial frequency in cycles per degree.
    orientation : ndarray, shape (n_cells,)
        In degrees, clockwise; 0 is a cell that prefers vertical bars, 90 horizontal ones.
    phase : ndarray, shape (n_cells,)
        In degrees.
    width, length : ndarray, shape (n_cells,)
        Standard deviations of the Gaussian envelope across and along the bars, in cycles of the
        preferred frequency.
    """

    frequency: Array
    orientation: Array
    phase: Array
    width: Array
    length: Array


def draw_v1_tuning(
    n_cells: int,
    generator: torch.Generator,
    *,
    highest_frequency: float = 8.0,
    correlation: float = 0.75,
) -> V1Tuning:
    """Draw what V1 cells are tuned to.

    Frequency, width and length follow histograms, even within a bin of their logarithm, and so
    does orientation on a linear scale; phase is uniform. Length depends on the bin of the width,
    and width goes with frequency by a Gaussian copula.

    Parameters
    ----------
    n_cells : int
    generator : torch.Generator
        The only source of randomness.
    highest_frequency : float
        In cycles per degree; bins of the histogram that end above it are left out.
    correlation : float
        Of the copula of frequency and width in cycles.

    Returns
    -------
    V1Tuning

    Raises
    ------
    ContractError
        If no bin of the frequencies is left, or the correlation is not between -1 and 1.

    References
    ----------
    De Valois, Yund & Hepler (1982), doi:10.1016/0042-6989(82)90112-2 (orientation);
    De Valois, Albrecht & Thorell (1982), doi:10.1016/0042-6989(82)90113-4 (frequency);
    Ringach (2002), doi:10.1152/jn.2002.88.1.455 (width and length);
    Schiller, Finlay & Volman (1976), doi:10.1152/jn.1976.39.6.1334 (frequency and width);
    the counts and the strength of the correlation are those of the public VOneNet model of
    Dapello, Marques et al. (2020), doi:10.1101/2020.06.16.154542.
    """
    n_bins = int(np.searchsorted(FREQUENCY_EDGES, highest_frequency, side="right")) - 1
    if n_bins < 1:
        raise ContractError(
            f"No cell of V1 prefers a frequency up to {highest_frequency:g} cycles per degree. "
            f"Allow at least {FREQUENCY_EDGES[1]:g}."
        )
    if not -1 <= correlation <= 1:
        raise ContractError(
            f"Frequency and width cannot have a correlation of {correlation:g}. Give a number "
            "between -1 and 1."
        )
    normal = torch.randn(2, n_cells, generator=generator, dtype=torch.float64)
    partner = correlation * normal[0] + (1 - correlation**2) ** 0.5 * normal[1]
    shares = torch.special.ndtr(torch.stack((normal[0], partner))).numpy()
    uniform = torch.rand(3, n_cells, generator=generator, dtype=torch.float64).numpy()
    log_sizes = np.log(SIZE_EDGES)
    log_width = _quantiles(shares[0], log_sizes, counts=SIZE_COUNTS.sum(1))
    row = np.searchsorted(log_sizes, log_width, side="right") - 1
    log_length = np.empty(n_cells)
    for index in np.unique(row):
        cells = row == index
        log_length[cells] = _quantiles(uniform[0, cells], log_sizes, counts=SIZE_COUNTS[index])
    log_frequency = _quantiles(
        shares[1], np.log(FREQUENCY_EDGES[: n_bins + 1]), counts=FREQUENCY_COUNTS[:n_bins]
    )
    return V1Tuning(
        frequency=np.exp(log_frequency),
        orientation=_quantiles(uniform[1], ORIENTATION_EDGES, counts=ORIENTATION_COUNTS) % 180.0,
        phase=360.0 * uniform[2],
        width=np.exp(log_width),
        length=np.exp(log_length),
    )


def _quantiles(shares: Array, edges: Array, *, counts: Array) -> Array:
    """Return where a histogram, even within its bins, has reached shares between 0 and 1."""
    reached = np.concatenate([[0.0], np.cumsum(counts / counts.sum())])
    last = int(np.flatnonzero(counts)[-1])
    index = np.minimum(np.searchsorted(reached, shares, side="right") - 1, last)
    within = (shares - reached[index]) / (reached[index + 1] - reached[index])
    found: Array = edges[index] + np.clip(within, 0.0, 1.0) * (edges[index + 1] - edges[index])
    return found

"""What every metric offers: the unit, the unaggregated parts, and the parts under resampling."""

from typing import ClassVar, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray


class Comparison(Protocol):
    """A source compared with a target once; reading it in several ways costs little more."""

    @property
    def n_stimuli(self) -> int:
        """How many stimuli weights count."""
        ...

    def values(self) -> xr.DataArray:
        """Return the unaggregated parts: dims a subset of (split, neuroid, subject, time_bin)."""
        ...

    def resampled(self, weights: NDArray[np.int64]) -> xr.DataArray:
        """Return the same parts with stimulus j counted ``weights[draw, j]`` times.

        Parameters
        ----------
        weights : ndarray of int, shape (n_draws, n_stimuli)
            In the order of the target's stimuli; multinomial for a bootstrap. All ones give
            :meth:`values`.

        Returns
        -------
        DataArray, dims (draw, ...)
        """
        ...


class Metric(Protocol):
    """A frozen dataclass of settings that scores a source against a target by their labels."""

    fits: ClassVar[bool]
    """Whether a fold's fit leaves stimuli out, so that a layer is chosen within its training."""

    @property
    def unit(self) -> str:
        """What the values are: ``pearson_r``, ``spearman_r``, ``cka``, ..."""
        ...

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return the unaggregated parts; ``compare(source, target).values()``."""
        ...

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> Comparison:
        """Align by labels and do the work that the values and all their resamples share."""
        ...

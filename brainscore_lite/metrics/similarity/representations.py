"""What measures of similarity between representations share: the protocol, labels, resampling."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import like
from brainscore_lite.metrics.gram import Gram, gram
from brainscore_lite.metrics.labels import kept_coords, recorded_responses, source_features
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.metrics.similarity.eigenspectrum import (
    Eigenspectrum,
    decomposed,
    eigenspectrum,
)
from brainscore_lite.schema import ContractError, match_stimuli


class TooFewStimuliError(ContractError):
    """A similarity would be 1 for any two representations, for want of stimuli."""


class TooFewStimuliWarning(UserWarning):
    """A similarity is raised for want of stimuli."""


class RepresentationSimilarity(Protocol):
    """A measure that compares two representations through one prepared form of each."""

    @property
    def symmetric(self) -> bool:
        """Whether the order of the two plays no part."""
        ...

    @property
    def unit(self) -> str:
        """What the values are: ``cka``, ``cca_r``, ..."""
        ...

    def form(self, kernel: Gram) -> Any:
        """Do the work that concerns one representation alone."""
        ...

    def similarity(self, first: Any, second: Any) -> float:
        """Compare two forms."""
        ...


class SpectralSimilarity(RepresentationSimilarity, Protocol):
    """A measure whose forms follow from the eigendecomposition of the Gram matrix."""

    def form_of(self, spectrum: Eigenspectrum) -> Any:
        """Make the form from a decomposition."""
        ...


@dataclass(frozen=True, eq=False)
class ComparedSpectra:
    """The Gram matrix of a source beside those of a target, one for each time bin.

    Parameters
    ----------
    source : Gram
    targets : tuple of Gram
        One for each entry of `template`.
    measure : SpectralSimilarity
    template : DataArray, dims () or (time_bin)
        Carries the labels of the result.
    """

    source: Gram
    targets: tuple[Gram, ...]
    measure: SpectralSimilarity
    template: xr.DataArray

    @property
    def n_stimuli(self) -> int:
        """How many stimuli weights count."""
        return self.source.n_stimuli

    def values(self) -> xr.DataArray:
        """Return the similarity of the source to each target; dims of the template."""
        return self.template.copy(
            data=np.reshape(self._similarities(eigenspectrum), self.template.shape)
        )

    def resampled(self, weights: ArrayLike) -> xr.DataArray:
        """Return the similarity of the drawn stimuli; dims (draw, ...).

        Exactly that of the drawn stimuli, one repeated as often as it was drawn. A stimulus drawn
        twice spans no dimension of its own, so that measures which whiten rise with fewer
        distinct stimuli: their draws lie above the value. NaN where a draw has too few distinct
        stimuli for a value at all.

        Every draw costs a decomposition of each Gram matrix, O(n_stimuli^3), or
        O(n_stimuli n_features^2) where features are fewer.
        """
        counts = check_weights(weights, self.source.n_stimuli)
        values = np.full((len(counts), len(self.targets)), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TooFewStimuliWarning)
            for draw, of_draw in enumerate(counts):
                try:
                    values[draw] = self._similarities(partial(_drawn, counts=of_draw))
                except TooFewStimuliError:
                    continue
        return xr.DataArray(
            values.reshape(-1, *self.template.shape),
            dims=("draw", *self.template.dims),
            coords={**self.template.coords, "draw": np.arange(len(counts))},
        )

    def _similarities(self, spectrum: Callable[[Gram], Eigenspectrum]) -> list[float]:
        source = self.measure.form_of(spectrum(self.source))
        forms = (self.measure.form_of(spectrum(target)) for target in self.targets)
        return [self.measure.similarity(source, form) for form in forms]


def compare_spectra(
    measure: SpectralSimilarity, source: xr.DataArray, target: xr.DataArray
) -> ComparedSpectra:
    """Align by stimulus and compute every Gram matrix once."""
    source, target = match_stimuli(source, target)
    targets, template = target_grams(target)
    return ComparedSpectra(gram(source_features(source)), targets, measure, template)


def target_grams(target: xr.DataArray) -> tuple[tuple[Gram, ...], xr.DataArray]:
    """Return the Gram matrix of the population in each time bin, and an array that labels them.

    Parameters
    ----------
    target : DataArray, dims (repetition, stimulus, neuroid[, time_bin])

    Returns
    -------
    grams : tuple of Gram
    template : DataArray, dims () or (time_bin)
        Of zeros, one for each Gram matrix.
    """
    recorded = recorded_responses(target)
    by_bin = recorded.values.reshape(*recorded.shape[:2], -1)
    dims = tuple(str(dim) for dim in recorded.dims[2:])
    template = xr.DataArray(
        np.zeros(recorded.shape[2:]), dims=dims, coords=kept_coords(recorded, dims)
    )
    return tuple(gram(by_bin[..., b]) for b in range(by_bin.shape[2])), template


def check_same_stimuli(first: int, second: int) -> None:
    """Raise unless two representations have as many stimuli."""
    if first != second:
        raise ContractError(
            f"{first} and {second} stimuli, expected the same number. Rows of both must be the "
            "same stimuli in the same order."
        )


def _drawn(kernel: Gram, counts: NDArray[np.float64]) -> Eigenspectrum:
    """Decompose the stimuli drawn with replacement, each distinct one a single row.

    Row j is centred on the drawn stimuli and scaled by sqrt(counts[j]), so that inner products
    over stimuli, X'Y, are those over the drawn ones.
    """
    picked = np.flatnonzero(counts)
    if picked.size < 2:
        raise TooFewStimuliError(f"{picked.size} distinct stimuli in a draw, expected at least 2.")
    part = kernel.subset(picked)
    K, features = part.centred, part.features
    xp = array_namespace(K)
    w = like(counts[picked], K)
    share, root = w / xp.sum(w), xp.sqrt(w)
    means = K @ share
    K = (K - means[:, None] - means[None, :] + share @ means) * root[:, None] * root[None, :]
    if features is not None:
        features = (features - (share @ features)[None, :]) * root[:, None]
    return decomposed(replace(part, centred=(K + K.T) / 2, features=features))

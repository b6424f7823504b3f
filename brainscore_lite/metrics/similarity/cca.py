"""Canonical correlations of two representations: mean CCA, SVCCA and PWCCA."""

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import xarray as xr
from array_api_compat import array_namespace

from brainscore_lite.metrics.arrays import Array, like
from brainscore_lite.metrics.correlation import warn_undefined
from brainscore_lite.metrics.gram import Gram, as_gram
from brainscore_lite.metrics.similarity.eigenspectrum import Eigenspectrum, eigenspectrum
from brainscore_lite.metrics.similarity.representations import (
    ComparedSpectra,
    TooFewStimuliError,
    TooFewStimuliWarning,
    check_same_stimuli,
    compare_spectra,
)
from brainscore_lite.schema import ContractError

Summary = Literal["mean", "mean_squared", "projection_weighted"]
_UNITS: dict[str, str] = {
    "mean": "cca_r",
    "mean_squared": "cca_r2",
    "projection_weighted": "pwcca_r",
}
RANK_TOLERANCE = 1e-6
"""Principal components shorter than this times the longest are not whitened: in single precision
they are rounding."""
_NO_VARIANCE = "a representation does not differ between stimuli"


@dataclass(frozen=True, eq=False)
class Whitened:
    """A representation of which only the directions count.

    Parameters
    ----------
    basis : array, shape (n_stimuli, rank)
        Orthonormal columns that span the centred features, U.
    projections : array, shape (rank, n_features), or None
        U'Z; None where features are no fewer than stimuli.
    """

    basis: Array
    projections: Array | None


def canonical_correlations(X: Array | Gram, Y: Array | Gram, *, variance: float = 1.0) -> Array:
    """Compute the canonical correlations of two sets of features.

    With X = U S V' and Y = W T Q', both centred, they are the singular values of U'W: the cosines
    of the angles between the two column spaces.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
    Y : array, shape (n_stimuli, n_units), or Gram
    variance : float
        Keep the fewest principal components of each that hold this fraction of its variance.

    Returns
    -------
    array, shape (smaller rank,)
        Descending, between 0 and 1. Singular values below 1e-6 of the largest are no dimensions.

    Raises
    ------
    ContractError
        If stimuli differ in number, values are not finite, or either representation spans all
        stimuli, so that every correlation would be 1 (``TooFewStimuliError``).

    Warns
    -----
    TooFewStimuliWarning
        If the two span more dimensions together than there are, so that some correlations are 1.

    References
    ----------
    Hotelling (1936), doi:10.1093/biomet/28.3-4.321; Raghu et al. (2017),
    doi:10.48550/arXiv.1706.05806.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> canonical_correlations(X, X @ [[1, 2, 0], [0, 1, 0], [3, 0, 1]] + 5).round(9).tolist()
    [1.0, 1.0, 1.0]
    """
    measure = CCA(variance=variance)
    first, second = measure.form(as_gram(X)), measure.form(as_gram(Y))
    _check_dimensions(first, second)
    xp = array_namespace(first.basis)
    return xp.linalg.svdvals(first.basis.T @ like(second.basis, first.basis))


def cca(
    X: Array | Gram, Y: Array | Gram, *, summary: Summary = "mean", variance: float = 1.0
) -> float:
    """Summarise the canonical correlations r of two sets of features by one number.

    mean: sum_i r_i / k, k the smaller rank; mean_squared: sum_i r_i^2 / k; projection_weighted:
    sum_i a_i r_i / sum_i a_i, a_i = sum_j |h_i'x_j|, h_i the i-th canonical variate of `X` at unit
    length and x_j its centred features. ``cca(X, Y, variance=0.99)`` is SVCCA,
    ``cca(X, Y, summary="projection_weighted")`` is PWCCA.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
    Y : array, shape (n_stimuli, n_units), or Gram
    summary : {"mean", "mean_squared", "projection_weighted"}
    variance : float
        See :func:`canonical_correlations`.

    Returns
    -------
    float
        Invariant to invertible linear maps of either side (with ``variance=1``; weighted by
        projection, of `Y` only). 0, with a warning, where a representation is constant. Biased
        upwards: unrelated features of p and q dimensions have mean squared correlations of about
        max(p, q) / (n_stimuli - 1).

    Raises
    ------
    ContractError
        As :func:`canonical_correlations`; if the summary is unknown; or if it is
        projection-weighted and features are no fewer than stimuli.

    References
    ----------
    Raghu et al. (2017), doi:10.48550/arXiv.1706.05806; Morcos, Raghu & Bengio (2018),
    doi:10.48550/arXiv.1806.05759.
    """
    measure = CCA(summary=summary, variance=variance)
    return measure.similarity(measure.form(as_gram(X)), measure.form(as_gram(Y)))


@dataclass(frozen=True)
class CCA:
    """Score activations by their canonical correlations with the recorded population.

    A layer wider than there are stimuli is refused unless few of its principal components hold
    `variance`.

    Parameters
    ----------
    summary : {"mean", "mean_squared", "projection_weighted"}
    variance : float
        0.99 for SVCCA; see :func:`canonical_correlations`.

    References
    ----------
    See :func:`cca`.
    """

    summary: Summary = "mean"
    variance: float = 1.0
    fits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.summary not in get_args(Summary):
            raise ContractError(
                f"summary is {self.summary!r}, expected one of {get_args(Summary)}."
            )
        if not 0 < self.variance <= 1:
            raise ContractError(f"variance is {self.variance}, expected above 0 and at most 1.")

    @property
    def unit(self) -> str:
        """What the values are, by the summary."""
        return _UNITS[self.summary]

    @property
    def symmetric(self) -> bool:
        """Whether the order of the two representations plays no part."""
        return self.summary != "projection_weighted"

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return the similarity to all neuroids of the target; dims () or (time_bin)."""
        return self.compare(source, target).values()

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> ComparedSpectra:
        """Compute the Gram matrices once."""
        return compare_spectra(self, source, target)

    def form(self, kernel: Gram) -> Whitened:
        """Whiten one representation."""
        return self.form_of(eigenspectrum(kernel))

    def form_of(self, spectrum: Eigenspectrum) -> Whitened:
        """Whiten one representation from its decomposition."""
        kept = spectrum.leading(self.variance).above(RANK_TOLERANCE)
        return Whitened(kept.vectors, kept.projections)

    def similarity(self, first: Whitened, second: Whitened) -> float:
        """Summarise the canonical correlations of two whitened representations."""
        if 0 in (first.basis.shape[1], second.basis.shape[1]):
            check_same_stimuli(first.basis.shape[0], second.basis.shape[0])
            warn_undefined(1, 1, what=_NO_VARIANCE)
            return 0.0
        _check_dimensions(first, second)
        xp = array_namespace(first.basis)
        product = first.basis.T @ like(second.basis, first.basis)
        if self.summary == "mean_squared":
            return float(xp.sum(product**2) / min(product.shape))
        if self.summary == "mean":
            return float(xp.mean(xp.linalg.svdvals(product)))
        if first.projections is None:
            raise ContractError(
                "projection-weighted CCA weighs every feature of the first representation, and "
                "they are no fewer than the stimuli. Use more stimuli, or summary='mean' with "
                "variance=0.99."
            )
        left, r, _ = xp.linalg.svd(product, full_matrices=False)
        weights = xp.sum(xp.abs(left.T @ first.projections), axis=1)
        return float(xp.sum(weights * r) / xp.sum(weights))


def check_spans(dimensions: int, n_stimuli: int) -> None:
    """Raise if a whitened representation spans all that n stimuli can differ in."""
    if dimensions >= n_stimuli - 1:
        raise TooFewStimuliError(
            f"a representation of {n_stimuli} stimuli has {dimensions} dimensions, all there are: "
            "whitened, it is as similar to any other as can be. Use more stimuli, variance=0.99 "
            "(SVCCA), or CKA or the shape metric with alpha=1, which do not whiten."
        )


def _check_dimensions(first: Whitened, second: Whitened) -> None:
    """Raise or warn where canonical correlations are 1 for want of stimuli."""
    (n_stimuli, p), (n_second, q) = (form.basis.shape for form in (first, second))
    check_same_stimuli(n_stimuli, n_second)
    check_spans(max(p, q), n_stimuli)
    surplus = p + q - (n_stimuli - 1)
    if surplus > 0:
        warnings.warn(
            f"representations of {p} and {q} dimensions of {n_stimuli} stimuli: {surplus} "
            "canonical correlations are 1 whatever they hold. Use more stimuli or less variance.",
            TooFewStimuliWarning,
            stacklevel=3,
        )

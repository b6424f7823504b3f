"""Procrustes and generalised shape metrics of two representations."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_numpy, like
from brainscore_lite.metrics.correlation import warn_undefined
from brainscore_lite.metrics.gram import Gram, as_gram
from brainscore_lite.metrics.similarity.cca import RANK_TOLERANCE, check_spans
from brainscore_lite.metrics.similarity.eigenspectrum import Eigenspectrum, eigenspectrum
from brainscore_lite.metrics.similarity.representations import (
    ComparedSpectra,
    check_same_stimuli,
    compare_spectra,
)
from brainscore_lite.schema import ContractError

_NO_VARIANCE = "a representation does not differ between stimuli"


@dataclass(frozen=True, eq=False)
class Shape:
    """A representation up to rotation: partly whitened scores on its principal components.

    Parameters
    ----------
    scores : array, shape (n_stimuli, rank)
        Of unit Frobenius norm; zero columns for a constant representation.
    size : float
        Frobenius norm before it was divided out.
    """

    scores: Array
    size: float


def shape_similarity(X: Array | Gram, Y: Array | Gram, *, alpha: float = 1.0) -> float:
    """Compute the cosine of the angle between two representations after the best rotation.

    cos = max_Q <X_a, Y_a Q> / (|X_a| |Y_a|) = |X_a'Y_a|_* / (|X_a| |Y_a|), with Q orthogonal,
    |.|_* the sum of singular values and partial whitening X_a = X (a I + (1 - a) (X'X)^(-1/2))
    of the centred X. From the eigendecomposition X X' = U diag(s^2) U', X_a is
    U diag(a s + 1 - a) up to rotation.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
    Y : array, shape (n_stimuli, n_units), or Gram
    alpha : float
        1: no whitening (Procrustes), invariant to rotation and scale; 0: full whitening (CCA),
        invariant to invertible linear maps; between them, to rotations.

    Returns
    -------
    float
        Between 0 and 1; 0, with a warning, where a representation is constant. Biased upwards
        where stimuli are few.

    Raises
    ------
    ContractError
        If stimuli differ in number, values are not finite, alpha is outside 0 to 1, or it is 0
        and a representation spans all stimuli (``TooFewStimuliError``).

    References
    ----------
    Williams, Kunz, Kornblith & Linderman (2021), doi:10.48550/arXiv.2110.14739.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(20, 3))
    >>> round(shape_similarity(X, 2 * X[:, ::-1] + 1), 9)
    1.0
    """
    measure = ShapeSimilarity(alpha=alpha)
    return measure.similarity(measure.form(as_gram(X)), measure.form(as_gram(Y)))


def shape_distance(X: Array | Gram, Y: Array | Gram, *, alpha: float = 1.0) -> float:
    """Compute the generalised shape metric, arccos of :func:`shape_similarity`.

    A metric: zero between a representation and its own transforms, symmetric, and within the
    triangle inequality. ``alpha=1`` is the Procrustes angle, ``alpha=0`` the CCA angle.

    Parameters
    ----------
    X, Y : array, shape (n_stimuli, n_features), or Gram
    alpha : float

    Returns
    -------
    float
        In radians, as published, 0 to pi/2. Rounding of the cosine leaves about 1e-8 between
        equal shapes.
    """
    return float(angular_distance(shape_similarity(X, Y, alpha=alpha)))


def procrustes_distance(X: Array | Gram, Y: Array | Gram) -> float:
    """Compute the size-and-shape distance, the smallest |X - Y Q| over rotations Q.

    d^2 = |X|^2 + |Y|^2 - 2 |X'Y|_*, X and Y centred.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
    Y : array, shape (n_stimuli, n_units), or Gram
        The narrower of the two counts as padded with zeros.

    Returns
    -------
    float
        In the features' unit; divide by sqrt(n_stimuli) for the root mean square over stimuli.

    References
    ----------
    Schönemann (1966), doi:10.1007/BF02289451; Williams et al. (2021),
    doi:10.48550/arXiv.2110.14739.
    """
    measure = ShapeSimilarity()
    first, second = measure.form(as_gram(X)), measure.form(as_gram(Y))
    alike = _cosine(first, second)
    squared = first.size**2 + second.size**2 - 2 * alike * first.size * second.size
    return float(np.sqrt(max(squared, 0.0)))


def angular_distance(similarity: ArrayLike) -> NDArray[np.float64]:
    """Return arccos of similarities, in radians: a metric for biased CKA and shape similarity.

    Values above 1 by rounding count as 1. Debiased CKA is no cosine, and its arccos no metric.

    Parameters
    ----------
    similarity : array of any shape

    References
    ----------
    Williams et al. (2021), doi:10.48550/arXiv.2110.14739.
    """
    angles: NDArray[np.float64] = np.arccos(np.clip(np.asarray(similarity, float), -1.0, 1.0))
    return angles


@dataclass(frozen=True)
class ShapeSimilarity:
    """Score activations by the cosine of their shape's angle to the recorded population's.

    The cosine, so that a higher score is a closer representation; :func:`angular_distance` of it
    is the metric.

    Parameters
    ----------
    alpha : float
        See :func:`shape_similarity`.

    References
    ----------
    Williams et al. (2021), doi:10.48550/arXiv.2110.14739.
    """

    alpha: float = 1.0
    unit: ClassVar[str] = "shape_cosine"
    fits: ClassVar[bool] = False
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ContractError(f"alpha is {self.alpha}, expected between 0 and 1.")

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return the similarity to all neuroids of the target; dims () or (time_bin)."""
        return self.compare(source, target).values()

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> ComparedSpectra:
        """Compute the Gram matrices once."""
        return compare_spectra(self, source, target)

    def form(self, kernel: Gram) -> Shape:
        """Whiten one representation in part and divide by its size."""
        return self.form_of(eigenspectrum(kernel))

    def form_of(self, spectrum: Eigenspectrum) -> Shape:
        """Do so from its decomposition."""
        if self.alpha < 1:
            spectrum = spectrum.above(RANK_TOLERANCE)
        xp = array_namespace(spectrum.eigenvalues)
        lengths = self.alpha * xp.sqrt(spectrum.eigenvalues) + (1 - self.alpha)
        size = float(xp.linalg.vector_norm(lengths)) if spectrum.rank else 0.0
        if self.alpha == 0:
            check_spans(spectrum.rank, spectrum.n_stimuli)
        return Shape(spectrum.vectors * (lengths / (size or 1.0))[None, :], size)

    def similarity(self, first: Shape, second: Shape) -> float:
        """Return the cosine of two shapes."""
        alike = _cosine(first, second)
        warn_undefined(int(0.0 in (first.size, second.size)), 1, what=_NO_VARIANCE)
        return alike


def _cosine(first: Shape, second: Shape) -> float:
    """Return the sum of singular values of the product of two shapes; 0 for a constant one."""
    check_same_stimuli(first.scores.shape[0], second.scores.shape[0])
    if 0.0 in (first.size, second.size):
        return 0.0
    product = first.scores.T @ like(second.scores, first.scores)
    xp = array_namespace(product)
    return float(as_numpy(xp.sum(xp.linalg.svdvals(product))))

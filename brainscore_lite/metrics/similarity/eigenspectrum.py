"""The eigenspectrum of a representation: its dimensionality and its power law."""

from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_matrix, as_numpy, like
from brainscore_lite.metrics.gram import Gram, as_gram
from brainscore_lite.schema import ContractError

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class PowerLaw:
    """A line fitted to log variance against log rank: variance = scale * rank ** -exponent.

    Parameters
    ----------
    exponent : float
        1 for a spectrum that falls as 1 / rank.
    scale : float
        Variance at rank 1 on the line.
    r_squared : float
        Of the (weighted) fit in logarithms: low where the spectrum is no power law.
    ranks : (first, last)
        What was fitted; counted from 1, both included.
    """

    exponent: float
    scale: float
    r_squared: float
    ranks: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Eigenspectrum:
    """Eigendecomposition of the centred Gram matrix of the stimuli's patterns, Z Z' = U diag(l) U'.

    Parameters
    ----------
    eigenvalues : array, shape (rank,)
        Descending, all above rounding. Those of the features' scatter matrix Z'Z as well.
    vectors : array, shape (n_stimuli, rank)
        U, one column for each eigenvalue: the stimuli's scores on the principal components,
        at unit length.
    projections : array, shape (rank, n_features), or None
        U'Z, each feature's inner product with the vectors; where features are fewer than stimuli.
    """

    eigenvalues: Array
    vectors: Array
    projections: Array | None

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return int(self.vectors.shape[0])

    @property
    def rank(self) -> int:
        """Number of eigenvalues above rounding."""
        return int(self.eigenvalues.shape[0])

    def variances(self) -> NDArray[np.float64]:
        """Return the variance over stimuli along each principal component; shape (rank,)."""
        variances: NDArray[np.float64] = as_numpy(self.eigenvalues) / (self.n_stimuli - 1)
        return variances

    def effective_dimensionality(self) -> float:
        """Return the participation ratio, (sum l)^2 / sum l^2.

        Between 1 and the rank, which it reaches where all eigenvalues are equal.

        Raises
        ------
        ContractError
            If all stimuli have the same pattern.
        """
        variances = self._some_variance()
        return float(variances.sum() ** 2 / (variances**2).sum())

    def power_law(self, *, ranks: tuple[int, int], even_in_log: bool = True) -> PowerLaw:
        """Fit a power law to the variances; see :func:`power_law`."""
        return power_law(self._some_variance(), ranks=ranks, even_in_log=even_in_log)

    def leading(self, fraction: float) -> "Eigenspectrum":
        """Return the fewest components that hold `fraction` of the variance.

        Raises
        ------
        ContractError
            If `fraction` is not above 0 and at most 1.
        """
        if not 0 < fraction <= 1:
            raise ContractError(f"variance is {fraction}, expected above 0 and at most 1.")
        if fraction == 1 or self.rank == 0:
            return self
        held = np.cumsum(as_numpy(self.eigenvalues))
        kept = int(np.searchsorted(held, fraction * held[-1] * (1 - 4 * _EPS))) + 1
        return self._first(kept)

    def above(self, tolerance: float) -> "Eigenspectrum":
        """Return the components longer (sqrt of the eigenvalue) than `tolerance` of the longest."""
        found = as_numpy(self.eigenvalues)
        return self._first(int((found > tolerance**2 * found[:1]).sum()))

    def _first(self, kept: int) -> "Eigenspectrum":
        """Return the components of the first ranks."""
        projections = None if self.projections is None else self.projections[:kept, :]
        return Eigenspectrum(self.eigenvalues[:kept], self.vectors[:, :kept], projections)

    def _some_variance(self) -> NDArray[np.float64]:
        if self.rank == 0:
            raise ContractError(
                f"all {self.n_stimuli} stimuli have the same pattern, which has no spectrum. "
                "Leave the layer out, or look for what silences it."
            )
        return self.variances()


def eigenspectrum(X: Array | Gram) -> Eigenspectrum:
    """Decompose the Gram matrix of a representation through its smaller side.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
        Centred here on the mean pattern of its stimuli.

    Returns
    -------
    Eigenspectrum
        Eigenvalues below the number of stimuli times the rounding unit times the largest, and
        more than n_stimuli - 1 of them, are left out.

    Raises
    ------
    ContractError
        If values are not finite, or there is one stimulus only.

    References
    ----------
    Gao et al. (2017), doi:10.1101/214262, for the participation ratio.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 4)) * [2, 1, 1, 0]
    >>> eigenspectrum(X).rank
    3
    """
    kernel = as_gram(X)
    xp = array_namespace(kernel.centred)
    features = kernel.features
    if features is not None:
        features = features - xp.mean(features, axis=0, keepdims=True)
    return decomposed(replace(kernel, centred=_recentred(kernel.centred), features=features))


def decomposed(kernel: Gram) -> Eigenspectrum:
    """Decompose a Gram matrix as it is; see :func:`eigenspectrum`, which centres it first.

    Raises
    ------
    ContractError
        If there is one stimulus only.
    """
    n_stimuli = kernel.n_stimuli
    if n_stimuli < 2:
        raise ContractError(
            f"{n_stimuli} stimulus, expected at least 2: a spectrum is one of differences between "
            "stimuli."
        )
    xp = array_namespace(kernel.centred)
    if kernel.features is None:
        values, vectors = xp.linalg.eigh(kernel.centred)
        values, vectors, projections = xp.flip(values), xp.flip(vectors, axis=1), None
        floor = n_stimuli * _EPS
    else:
        vectors, lengths, axes = xp.linalg.svd(kernel.features, full_matrices=False)
        values, projections = lengths**2, lengths[:, None] * axes
        floor = (n_stimuli * _EPS) ** 2
    found = as_numpy(values)
    smallest = max(floor * max(float(found[0]), 0.0), n_stimuli * rounding_of_mean(kernel))
    rank = min(int((found > smallest).sum()), n_stimuli - 1)
    return Eigenspectrum(values, vectors, projections)._first(rank)


def rounding_of_mean(kernel: Gram) -> float:
    """Return the squared distance from the mean pattern that rounding leaves to equal patterns."""
    return float(as_numpy(kernel.mean_square)) * (kernel.n_stimuli * _EPS) ** 2


def power_law(
    variances: ArrayLike, *, ranks: tuple[int, int], even_in_log: bool = True
) -> PowerLaw:
    """Fit a power law to a spectrum by least squares in logarithms. NumPy only.

    Minimises sum_i w_i (log v_i + a log i - b)^2 over ranks i from first to last.

    Parameters
    ----------
    variances : array, shape (n_components,)
        In the order of their ranks.
    ranks : (first, last)
        Counted from 1, both included. Stringer et al. fit 11 to 500 of 2800 stimuli: leave out
        the first ranks, which no power law need hold, and the last, where noise or the number of
        features bends the spectrum.
    even_in_log : bool
        w_i = 1 / i, so that equal stretches of log rank count equally (the authors' code);
        otherwise w_i = 1, and the many high ranks decide.

    Returns
    -------
    PowerLaw

    Raises
    ------
    ContractError
        If there are no such ranks, fewer than 3, or variances that are not positive among them.

    References
    ----------
    Stringer et al. (2019), doi:10.1038/s41586-019-1346-5.

    Examples
    --------
    >>> round(power_law(3 / np.arange(1, 101), ranks=(5, 100)).exponent, 9)
    1.0
    """
    spectrum = np.asarray(variances, dtype=np.float64)
    first, last = ranks
    if spectrum.ndim != 1 or not 1 <= first <= last - 2 or last > spectrum.size:
        raise ContractError(
            f"ranks are {ranks} of a spectrum of shape {spectrum.shape}, expected first >= 1, "
            "last at most its length, and at least 3 ranks."
        )
    fitted = spectrum[first - 1 : last]
    if not (np.isfinite(fitted).all() and (fitted > 0).all()):
        broken = np.flatnonzero(~(fitted > 0) | ~np.isfinite(fitted))
        raise ContractError(
            f"{broken.size} of the variances at ranks {first} to {last} are not positive; first: "
            f"rank {first + broken[0]}. A cross-validated spectrum reaches 0 where noise takes "
            "over: fit ranks before that."
        )
    rank = np.arange(first, last + 1, dtype=np.float64)
    x, y = np.log(rank), np.log(fitted)
    w = 1 / rank if even_in_log else np.ones_like(rank)
    w = w / w.sum()
    dx, dy = x - w @ x, y - w @ y
    slope = float(w @ (dx * dy) / (w @ dx**2))
    total = float(w @ dy**2)
    left = float(w @ (dy - slope * dx) ** 2)
    return PowerLaw(
        exponent=-slope,
        scale=float(np.exp(w @ y - slope * (w @ x))),
        r_squared=1 - left / total if total > 0 else 1.0,
        ranks=(first, last),
    )


def cross_validated_spectrum(first: Array, second: Array) -> Array:
    """Estimate the variance of the stimulus-driven part along the principal components (cvPCA).

    With u_k, l_k the eigenvectors of Z1 Z1' and v_k = Z1'u_k / sqrt(l_k) the components of the
    first repetition, v_k does not depend on the noise of the second:

        variance_k = (Z1 v_k)'(Z2 v_k) / (n - 1) = u_k' Z2 Z1' u_k / (n - 1).

    Parameters
    ----------
    first, second : array, shape (n_stimuli, n_units)
        Two repetitions of the same stimuli, or means over two halves of the repetitions.

    Returns
    -------
    array, shape (rank,)
        Not sorted, and negative where noise rules.

    Raises
    ------
    ContractError
        If shapes differ or values are not finite.

    References
    ----------
    Stringer et al. (2019), doi:10.1038/s41586-019-1346-5.
    """
    A = as_matrix(first, name="first")
    B = like(as_matrix(second, name="second"), A)
    if A.shape != B.shape:
        raise ContractError(
            f"first has shape {tuple(A.shape)}, second {tuple(B.shape)}. Both must be the same "
            "units' responses to the same stimuli."
        )
    xp = array_namespace(A)
    U = eigenspectrum(A).vectors
    A = A - xp.mean(A, axis=0, keepdims=True)
    B = B - xp.mean(B, axis=0, keepdims=True)
    return xp.sum(U * (B @ (A.T @ U)), axis=0) / (A.shape[0] - 1)


def _recentred(K: Array) -> Array:
    """Centre a Gram matrix on all its stimuli, and make it exactly symmetric."""
    xp = array_namespace(K)
    means = xp.mean(K, axis=0)
    K = K - means[:, None] - means[None, :] + xp.mean(means)
    return (K + K.T) / 2

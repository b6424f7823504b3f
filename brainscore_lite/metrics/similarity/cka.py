"""Centred kernel alignment, linear and Gaussian, biased and debiased, plain and resampled."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import xarray as xr
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_numpy, like
from brainscore_lite.metrics.correlation import warn_undefined
from brainscore_lite.metrics.dissimilarities.dissimilarity import pattern_distances
from brainscore_lite.metrics.gram import Gram, as_gram, gram
from brainscore_lite.metrics.labels import source_features
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.metrics.similarity.eigenspectrum import rounding_of_mean
from brainscore_lite.metrics.similarity.representations import check_same_stimuli, target_grams
from brainscore_lite.schema import ContractError, match_stimuli

_NO_VARIANCE = "a representation does not differ between stimuli beyond what bias explains"
_FEWEST_STIMULI = 4
_ROUNDING = 1e-14
Kernel = Literal["linear", "rbf"]


def linear_cka(X: Array | Gram, Y: Array | Gram, *, debiased: bool = True) -> float:
    """Compute linear centred kernel alignment of two sets of features.

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), K = X X', L = Y Y'. Biased: HSIC is the inner
    product of the two centred Gram matrices. Debiased, with K~ and L~ zero on the diagonal:

        HSIC = [tr(K~ L~) + (1'K~ 1)(1'L~ 1) / ((n-1)(n-2)) - 2/(n-2) 1'K~ L~ 1] / (n (n-3)).

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
    Y : array, shape (n_stimuli, n_units), or Gram
    debiased : bool
        Without it, few stimuli and many features give values near 1 for unrelated features.

    Returns
    -------
    float
        At most 1. Debiased values may be negative, and are 0, with a warning, where the product
        under the root is not positive. Use all stimuli at once: a mean over minibatches, as some
        tools give, is another number, and biased values rise as batches shrink.

    Raises
    ------
    ContractError
        If stimuli differ in number, are fewer than 4, or values are not finite.

    References
    ----------
    Kornblith et al. (2019), doi:10.48550/arXiv.1905.00414; Song et al. (2012), JMLR 13:1393-1434.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(linear_cka(X, 2 * X[:, ::-1] + 1), 9)
    1.0
    """
    return _aligned(_linear(as_gram(X)), _linear(as_gram(Y)), debiased)


def rbf_cka(
    X: Array | Gram, Y: Array | Gram, *, bandwidth: float = 1.0, debiased: bool = True
) -> float:
    """Compute centred kernel alignment with Gaussian kernels.

    As :func:`linear_cka`, with K_ij = exp(-|x_i - x_j|^2 / (2 s^2)), s^2 = bandwidth^2 times the
    median of |x_i - x_j|^2 over pairs of different stimuli, for each side its own.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
    Y : array, shape (n_stimuli, n_units), or Gram
    bandwidth : float
        In units of the median distance. Large values approach linear CKA; small ones compare
        near neighbours only.
    debiased : bool
        See :func:`linear_cka`.

    Returns
    -------
    float
        As :func:`linear_cka`.

    Raises
    ------
    ContractError
        As :func:`linear_cka`; or if the bandwidth is not positive, or half of the pairs of
        stimuli do not differ, so that there is no scale.

    References
    ----------
    Kornblith et al. (2019), doi:10.48550/arXiv.1905.00414.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(rbf_cka(X, 2 * X[:, ::-1] + 1), 9)
    1.0
    """
    first, second = (_gaussian(as_gram(side), bandwidth) for side in (X, Y))
    return _aligned(first, second, debiased)


@dataclass(frozen=True, eq=False)
class AlignedKernels:
    """The Gram matrix of a source and those of a target, one for each time bin."""

    source: Array
    targets: tuple[Array, ...]
    debiased: bool
    template: xr.DataArray

    @property
    def n_stimuli(self) -> int:
        """How many stimuli weights count."""
        return int(self.source.shape[0])

    def values(self) -> xr.DataArray:
        """Return CKA; dims () or (time_bin)."""
        ones = np.ones((1, self.source.shape[0]))
        return self.resampled(ones).isel(draw=0, drop=True)

    def resampled(self, weights: ArrayLike) -> xr.DataArray:
        """Return CKA with stimulus j counted ``weights[draw, j]`` times; dims (draw, ...).

        Every sum over stimuli is weighted. Biased, this is the CKA of the resampled stimuli.
        Debiased, tuples in which a stimulus occurs twice are left out, since the product of a
        stimulus with itself is the bias that the estimator removes. NaN where a draw has too few
        distinct stimuli, or no variance that all the stimuli have.
        """
        counts = check_weights(weights, self.source.shape[0])
        values = np.stack([self._drawn(L, counts) for L in self.targets], axis=1)
        values = values.reshape(counts.shape[0], *self.template.shape)
        dims = ("draw", *(str(dim) for dim in self.template.dims))
        coords = {**self.template.coords, "draw": np.arange(counts.shape[0])}
        return xr.DataArray(values, dims=dims, coords=coords)

    def _drawn(self, L: Array, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return CKA with one target for each draw; shape (n_draws,)."""
        value, undefined = _alignment(self.source, L, counts, self.debiased)
        _, constant = _alignment(self.source, L, np.ones((1, counts.shape[1])), self.debiased)
        warn_undefined(int(constant.sum()), 1, what=_NO_VARIANCE)
        return np.where(undefined & ~constant, np.nan, value)


@dataclass(frozen=True)
class CKA:
    """Score activations by their centred kernel alignment with the recorded population.

    Parameters
    ----------
    debiased : bool
        See :func:`linear_cka`.
    kernel : {"linear", "rbf"}
    bandwidth : float
        Of the Gaussian kernel; see :func:`rbf_cka`. Under resampling it stays that of all stimuli.

    References
    ----------
    Kornblith et al. (2019), doi:10.48550/arXiv.1905.00414.
    """

    debiased: bool = True
    kernel: Kernel = "linear"
    bandwidth: float = 1.0
    unit: ClassVar[str] = "cka"
    fits: ClassVar[bool] = False
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            raise ContractError(f"kernel is {self.kernel!r}, expected one of {get_args(Kernel)}.")
        _check_bandwidth(self.bandwidth)

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return CKA of the source with all neuroids of the target; dims () or (time_bin)."""
        return self.compare(source, target).values()

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> AlignedKernels:
        """Compute both Gram matrices once."""
        source, target = match_stimuli(source, target)
        targets, template = target_grams(target)
        return AlignedKernels(
            source=self._kernel(gram(source_features(source))),
            targets=tuple(self._kernel(each) for each in targets),
            debiased=self.debiased,
            template=template,
        )

    def form(self, kernel: Gram) -> Array:
        """Return the kernel centred for the inner product, at unit length; shape (n_stimuli^2,).

        CKA is the inner product of two of these: of centred kernels, or debiased of kernels whose
        off-diagonal entries are centred without the diagonal (U-centring).
        """
        K = self._kernel(kernel)
        _check_stimuli(K.shape[0], K.shape[0])
        xp = array_namespace(K)
        K = xp.reshape(_u_centred(K) if self.debiased else _centred(K), (-1,))
        length = float(as_numpy(xp.linalg.vector_norm(K)))
        return K / (length or 1.0)

    def similarity(self, first: Array, second: Array) -> float:
        """Return the inner product of two forms."""
        check_same_stimuli(*(round(form.shape[0] ** 0.5) for form in (first, second)))
        xp = array_namespace(first)
        second = like(second, first)
        warn_undefined(
            int(not (bool(xp.any(first)) and bool(xp.any(second)))), 1, what=_NO_VARIANCE
        )
        return float(as_numpy(first @ second))

    def _kernel(self, products: Gram) -> Array:
        return _linear(products) if self.kernel == "linear" else _gaussian(products, self.bandwidth)


def _aligned(K: Array, L: Array, debiased: bool) -> float:
    """Compute CKA of two kernels."""
    ones = like(np.ones((1, K.shape[0])), K)
    value, undefined = _alignment(K, like(L, K), ones, debiased)
    warn_undefined(int(as_numpy(undefined)[0]), 1, what=_NO_VARIANCE)
    return float(as_numpy(value)[0])


def _linear(products: Gram) -> Array:
    """Return the centred Gram matrix; exactly zero for patterns that are equal up to rounding."""
    K = products.centred
    xp = array_namespace(K)
    largest = float(as_numpy(xp.max(xp.linalg.diagonal(K))))
    return K if largest > rounding_of_mean(products) else xp.zeros_like(K)


def _gaussian(products: Gram, bandwidth: float) -> Array:
    """Return the centred Gaussian kernel of the patterns behind a Gram matrix.

    Centred here because a wide kernel is nearly constant: differences would drown in rounding.
    """
    _check_bandwidth(bandwidth)
    _check_stimuli(products.n_stimuli, products.n_stimuli)
    n_stimuli = products.n_stimuli
    distances = _hollow(pattern_distances(products))
    xp = array_namespace(distances)
    # Every pair occurs twice, after the zeros of the diagonal.
    ordered = xp.sort(xp.reshape(distances, (-1,)))[n_stimuli:]
    middle = ordered.shape[0] // 2
    median = float(as_numpy(ordered[middle - 1] + ordered[middle])) / 2
    largest = float(as_numpy(xp.max(xp.linalg.diagonal(products.centred))))
    floor = max(_ROUNDING * largest, rounding_of_mean(products))
    if median <= floor:
        raise ContractError(
            f"half of the pairs of {n_stimuli} stimuli have the same pattern, so that distances "
            "give the Gaussian kernel no scale. Use kernel='linear', or leave out the layer."
        )
    return _centred(xp.exp(distances / (-2 * bandwidth**2 * median)))


def _centred(K: Array) -> Array:
    xp = array_namespace(K)
    means = xp.mean(K, axis=0)
    return K - means[:, None] - means[None, :] + xp.mean(means)


def _u_centred(K: Array) -> Array:
    """Centre the off-diagonal entries so that every row sums to zero without the diagonal."""
    xp = array_namespace(K)
    K = _hollow(_centred(K))
    n = K.shape[0]
    means = xp.sum(K, axis=0) / (n - 2)
    return _hollow(K - means[:, None] - means[None, :] + xp.sum(means) / (n - 1))


def _check_bandwidth(bandwidth: float) -> None:
    if not 0 < bandwidth < np.inf:
        raise ContractError(f"bandwidth is {bandwidth}, expected above 0 and finite.")


def _check_stimuli(first: int, second: int) -> None:
    if first != second or first < _FEWEST_STIMULI:
        raise ContractError(
            f"{first} and {second} stimuli, expected the same number, at least {_FEWEST_STIMULI}."
        )


def _alignment(K: Array, L: Array, weights: Array, debiased: bool) -> tuple[Array, Array]:
    """Compute CKA of two Gram matrices for each row of `weights`, and say where it is undefined.

    Returns
    -------
    value : array, shape (n_draws,)
        0 where undefined.
    undefined : array of bool, shape (n_draws,)
    """
    _check_stimuli(K.shape[0], L.shape[0])
    xp = array_namespace(K)
    hsic = _hsic_debiased if debiased else _hsic_biased
    distinct = xp.sum(xp.astype(weights > 0, xp.int64), axis=1)
    undefined = distinct < (_FEWEST_STIMULI if debiased else 2)
    product = xp.ones_like(weights[:, 0])
    for kernel in (K, L):
        own = hsic(kernel, kernel, weights)
        floor = xp.zeros_like(own)
        if not debiased:
            # Centring on the drawn stimuli leaves this much of a kernel that is constant over them.
            floor = _ROUNDING * xp.sum((weights @ (kernel * kernel)) * weights, axis=1)
        undefined = undefined | (own <= floor)
        product = product * own
    one = xp.ones_like(product)
    value = hsic(K, L, weights) / xp.sqrt(xp.where(undefined, one, product))
    return xp.where(undefined, xp.zeros_like(value), value), undefined


def _hsic_biased(K: Array, L: Array, w: Array) -> Array:
    """Return the weighted inner product of two Gram matrices, centred on their weighted means."""
    xp = array_namespace(K)
    total = xp.sum(w, axis=1)
    wK, wL = w @ K, w @ L
    return (
        xp.sum((w @ (K * L)) * w, axis=1)
        - 2 * xp.sum(w * wK * wL, axis=1) / total
        + xp.sum(wK * w, axis=1) * xp.sum(wL * w, axis=1) / total**2
    )


def _hsic_debiased(K: Array, L: Array, w: Array) -> Array:
    """Average K_ij L_ij - 2 K_ij L_ik + K_ij L_kl over tuples of distinct stimuli i, j, k, l.

    Sums over distinct indices come from full sums by inclusion and exclusion. With all weights 1
    this is the estimator of Song et al. (2012).
    """
    xp = array_namespace(K)
    K, L = _hollow(K), _hollow(L)
    M = K * L
    square = w * w
    wK, wL, wM = w @ K, w @ L, w @ M
    pairs = xp.sum(wM * w, axis=1)
    both_square = xp.sum((square @ M) * square, axis=1)
    joined = wK * wL - square @ M  # sum over j != k of w_j w_k K_ij L_ik
    triples = xp.sum(w * joined, axis=1)
    quadruples = (
        xp.sum(wK * w, axis=1) * xp.sum(wL * w, axis=1)
        - 4 * xp.sum(square * joined, axis=1)
        - 2 * both_square
    )
    p1, p2, p3, p4 = (xp.sum(w**power, axis=1) for power in (1, 2, 3, 4))
    n_pairs = p1**2 - p2
    n_triples = p1**3 - 3 * p1 * p2 + 2 * p3
    n_quadruples = p1**4 - 6 * p1**2 * p2 + 8 * p1 * p3 + 3 * p2**2 - 6 * p4
    averages = [
        sums / xp.where(number > 0, number, xp.ones_like(number))
        for sums, number in ((pairs, n_pairs), (triples, n_triples), (quadruples, n_quadruples))
    ]
    return averages[0] - 2 * averages[1] + averages[2]


def _hollow(K: Array) -> Array:
    """Return a Gram matrix with a zero diagonal."""
    xp = array_namespace(K)
    return K * (1 - xp.eye(K.shape[0], dtype=K.dtype, device=device(K)))

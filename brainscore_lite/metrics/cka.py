"""Linear centred kernel alignment, biased and debiased, plain and under resampling."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike

from brainscore_lite.metrics.arrays import Array, as_numpy, like
from brainscore_lite.metrics.correlation import warn_undefined
from brainscore_lite.metrics.gram import Gram, as_gram, gram
from brainscore_lite.metrics.labels import kept_coords, recorded_responses, source_features
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError, match_stimuli

_NO_VARIANCE = "a representation does not differ between stimuli beyond what bias explains"
_FEWEST_STIMULI = 4


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
        under the root is not positive.

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
    first = as_gram(X)
    second = as_gram(Y)
    K, L = first.centred, like(second.centred, first.centred)
    ones = like(np.ones((1, first.n_stimuli)), K)
    return float(as_numpy(_alignment(K, L, ones, debiased))[0])


@dataclass(frozen=True, eq=False)
class AlignedKernels:
    """The Gram matrix of a source and those of a target, one for each time bin."""

    source: Array
    targets: tuple[Array, ...]
    debiased: bool
    template: xr.DataArray

    def values(self) -> xr.DataArray:
        """Return CKA; dims () or (time_bin)."""
        ones = np.ones((1, self.source.shape[0]))
        return self.resampled(ones).isel(draw=0, drop=True)

    def resampled(self, weights: ArrayLike) -> xr.DataArray:
        """Return CKA with stimulus j counted ``weights[draw, j]`` times; dims (draw, ...).

        Every sum over stimuli is weighted. Biased, this is the CKA of the resampled stimuli.
        Debiased, tuples in which a stimulus occurs twice are left out, since the product of a
        stimulus with itself is the bias that the estimator removes.
        """
        counts = check_weights(weights, self.source.shape[0])
        parts = [_alignment(self.source, L, counts, self.debiased) for L in self.targets]
        dims = ("draw", *(str(dim) for dim in self.template.dims))
        values = np.stack(parts, axis=1).reshape(counts.shape[0], *self.template.shape)
        coords = {**self.template.coords, "draw": np.arange(counts.shape[0])}
        return xr.DataArray(values, dims=dims, coords=coords)


@dataclass(frozen=True)
class CKA:
    """Score activations by their linear centred kernel alignment with the recorded population.

    Parameters
    ----------
    debiased : bool
        See :func:`linear_cka`.

    References
    ----------
    Kornblith et al. (2019), doi:10.48550/arXiv.1905.00414.
    """

    debiased: bool = True
    unit: ClassVar[str] = "cka"
    fits: ClassVar[bool] = False

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return CKA of the source with all neuroids of the target; dims () or (time_bin)."""
        return self.compare(source, target).values()

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> AlignedKernels:
        """Compute both Gram matrices once."""
        source, target = match_stimuli(source, target)
        recorded = recorded_responses(target)
        by_bin = recorded.values.reshape(*recorded.shape[:2], -1)
        targets = tuple(gram(by_bin[..., b]).centred for b in range(by_bin.shape[2]))
        shape = tuple(str(dim) for dim in recorded.dims[2:])
        template = xr.DataArray(
            np.zeros(recorded.shape[2:]), dims=shape, coords=kept_coords(recorded, shape)
        )
        return AlignedKernels(
            gram(source_features(source)).centred, targets, self.debiased, template
        )


def _alignment(K: Array, L: Array, weights: Array, debiased: bool) -> Array:
    """Compute CKA of two Gram matrices for each row of `weights`; shape (n_draws,)."""
    if K.shape != L.shape or K.shape[0] < _FEWEST_STIMULI:
        raise ContractError(
            f"{K.shape[0]} and {L.shape[0]} stimuli, expected the same number, at least "
            f"{_FEWEST_STIMULI}."
        )
    xp = array_namespace(K)
    hsic = _hsic_debiased if debiased else _hsic_biased
    product = hsic(K, K, weights) * hsic(L, L, weights)
    defined = product > 0
    one = xp.ones_like(product)
    value = hsic(K, L, weights) / xp.sqrt(xp.where(defined, product, one))
    undefined = ~as_numpy(defined)
    warn_undefined(int(undefined.sum()), undefined.size, what=_NO_VARIANCE)
    return xp.where(defined, value, xp.zeros_like(value))


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
    return pairs / n_pairs - 2 * triples / n_triples + quadruples / n_quadruples


def _hollow(K: Array) -> Array:
    """Return a Gram matrix with a zero diagonal."""
    xp = array_namespace(K)
    return K * (1 - xp.eye(K.shape[0], dtype=K.dtype, device=device(K)))

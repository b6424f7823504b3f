"""One Gram matrix per layer, from which regression, CKA and dissimilarities all follow."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from brainscore_lite.metrics.arrays import (
    Array,
    as_array,
    as_float64,
    as_numpy,
    block,
    check_matrix_shape,
    rows,
)
from brainscore_lite.schema import ContractError

BATCH_BYTES = 64 * 2**20
"""Size of the double-precision copy of the columns that are worked on at a time."""


@dataclass(frozen=True, eq=False)
class Gram:
    """Inner products of the stimuli's patterns, with what is needed to change their centring.

    With m the mean pattern over stimuli and Z = X - 1 m' the centred patterns:

    Parameters
    ----------
    centred : array, shape (n_stimuli, n_stimuli)
        Z Z'. Invariant to a shift of any feature, so nothing is lost to a large mean.
    mean_products : array, shape (n_stimuli,)
        Z m.
    mean_square : array, shape ()
        m'm.
    row_sums : array, shape (n_stimuli,)
        Sum of each stimulus's pattern, X 1.
    n_features : int
        Number of columns of X.
    features : array, shape (n_stimuli, n_features), or None
        Z, kept where it is smaller than the Gram matrix.
    """

    centred: Array
    mean_products: Array
    mean_square: Array
    row_sums: Array
    n_features: int
    features: Array | None

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return int(self.centred.shape[0])

    def products(self) -> Array:
        """Return X X', not centred; shape (n_stimuli, n_stimuli)."""
        u = self.mean_products
        return self.centred + u[:, None] + u[None, :] + self.mean_square

    def subset(self, stimuli: NDArray[np.int64]) -> "Gram":
        """Return the Gram matrix of some of the stimuli, still centred on all of them."""
        return Gram(
            centred=block(self.centred, stimuli, stimuli),
            mean_products=rows(self.mean_products, stimuli),
            mean_square=self.mean_square,
            row_sums=rows(self.row_sums, stimuli),
            n_features=self.n_features,
            features=None if self.features is None else rows(self.features, stimuli),
        )


def gram(X: Array) -> Gram:
    """Compute the inner products of the stimuli's patterns in double precision.

    Columns are read in batches: memory stays at the (n_stimuli, n_stimuli) result and one
    batch, whatever the number of features. `X` may be float16 or float32, or lie on disk
    (``numpy.memmap``).

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features)
        NumPy array, torch tensor or another array that follows the Python array API.

    Returns
    -------
    Gram

    Raises
    ------
    ContractError
        If `X` is no finite matrix.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(5, 1000))
    >>> bool(np.allclose(gram(X).products(), X @ X.T))
    True
    """
    X = as_array(X)
    check_matrix_shape(X, name="X")
    xp = array_namespace(X)
    n_stimuli, n_features = X.shape
    centred, products, square, sums = 0.0, 0.0, 0.0, 0.0
    kept: Array | None = None
    for batch in column_batches(X):
        mean = xp.mean(batch, axis=0, keepdims=True)
        batch_sums = xp.sum(batch, axis=1)
        batch = batch - mean
        centred = centred + batch @ batch.T
        products = products + (batch @ mean.T)[:, 0]
        square = square + xp.sum(mean * mean)
        sums = sums + batch_sums
        if n_features < n_stimuli:
            kept = batch if kept is None else xp.concat([kept, batch], axis=1)
    return Gram(
        centred=centred,
        mean_products=products,
        mean_square=square,
        row_sums=sums,
        n_features=n_features,
        features=kept,
    )


def as_gram(X: Array | Gram) -> Gram:
    """Return `X` if it is a Gram matrix already, else compute it."""
    return X if isinstance(X, Gram) else gram(X)


def column_batches(X: Array) -> Iterator[Array]:
    """Yield double-precision copies of consecutive columns, each checked to be finite."""
    xp = array_namespace(X)
    n_stimuli, n_features = X.shape
    width = max(1, BATCH_BYTES // (8 * n_stimuli))
    for start in range(0, n_features, width):
        batch = as_float64(xp.asarray(X[:, start : start + width]))
        if not bool(xp.all(xp.isfinite(batch))):
            broken = as_numpy(xp.any(~xp.isfinite(batch), axis=0))
            raise ContractError(
                f"X: feature {start + int(np.argmax(broken))} holds NaN or inf. Leave such "
                "features out, or find the layer that makes them."
            )
        yield batch


def centred_on_training(
    K: Array, train: NDArray[np.int64], test: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Centre a Gram matrix on the mean pattern of the training stimuli.

    Parameters
    ----------
    K : array, shape (n_stimuli, n_stimuli)
        Gram matrix with any centring.
    train, test : ndarray of int
        Positions of the stimuli.

    Returns
    -------
    within : array, shape (n_train, n_train)
    across : array, shape (n_test, n_train)
    """
    xp = array_namespace(K)
    within, across = block(K, train, train), block(K, test, train)
    means = xp.mean(within, axis=0)
    overall = xp.mean(means)
    across = across - xp.mean(across, axis=1, keepdims=True) - means[None, :] + overall
    within -= means[:, None]
    within -= means[None, :] - overall
    return within, across

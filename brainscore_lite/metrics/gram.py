"""One Gram matrix per layer, from which regression, CKA and dissimilarities all follow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pandas as pd
import xarray as xr
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


@runtime_checkable
class ColumnFile(Protocol):
    """A matrix, in memory or on disk, of which columns can be read."""

    @property
    def shape(self) -> Any:
        """Numbers of stimuli and of features."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """Return the columns of ``[:, first:last]``."""
        ...


Columns: TypeAlias = Array | ColumnFile | Iterator[Array]
"""Features as an array, as a file of columns, or as a stream of blocks of columns."""


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


def gram(X: Columns) -> Gram:
    """Compute the inner products of the stimuli's patterns in double precision.

    Columns are read in batches: memory stays at the (n_stimuli, n_stimuli) result and one
    batch, whatever the number of features. `X` may be float16 or float32, lie on disk
    (``numpy.memmap``, a dataset of h5py, h5netcdf or zarr) or come block by block.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or iterator of such arrays
        NumPy array, torch tensor or another array that follows the Python array API; an object
        with ``shape`` that gives columns as ``X[:, first:last]``; or an iterator of blocks of
        columns, of any width, of the same stimuli.

    Returns
    -------
    Gram

    Raises
    ------
    ContractError
        If `X` is no finite matrix, or blocks have different stimuli.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(5, 1000))
    >>> bool(np.allclose(gram(X).products(), X @ X.T))
    True
    >>> bool(np.allclose(gram(iter([X[:, :300], X[:, 300:]])).products(), X @ X.T))
    True
    """
    n_features = 0
    centred: Array | None = None
    products, square, sums = 0.0, 0.0, 0.0
    kept: list[Array] = []
    for batch in column_batches(X):
        xp = array_namespace(batch)
        n_stimuli = int(batch.shape[0])
        n_features += int(batch.shape[1])
        mean = xp.mean(batch, axis=0, keepdims=True)
        sums = sums + xp.sum(batch, axis=1)
        batch = batch - mean
        if centred is None:
            centred = batch @ batch.T
        else:
            centred += batch @ batch.T
        products = products + (batch @ mean.T)[:, 0]
        square = square + xp.sum(mean * mean)
        kept = [*kept, batch] if n_features < n_stimuli else []
    return Gram(
        centred=centred,
        mean_products=products,
        mean_square=square,
        row_sums=sums,
        n_features=n_features,
        features=xp.concat(kept, axis=1) if kept else None,
    )


def as_gram(X: Columns | Gram) -> Gram:
    """Return `X` if it is a Gram matrix already, else compute it."""
    return X if isinstance(X, Gram) else gram(X)


def combined(grams: Sequence[Gram], weights: Sequence[float] | NDArray[np.float64]) -> Gram:
    """Return the Gram matrix of features of several kinds side by side, each kind scaled.

    Kind b scaled by the root of its weight w_b gives the kernel sum_b w_b K_b.

    Parameters
    ----------
    grams : sequence of Gram
        Of the same stimuli.
    weights : sequence of float, length n_kinds
        At least 0, one of them above 0.

    Returns
    -------
    Gram
    """
    parts = [(g, float(w)) for g, w in zip(grams, weights, strict=True) if w > 0]
    xp = array_namespace(parts[0][0].centred)
    n_features = sum(g.n_features for g, _ in parts)
    features = None
    if n_features < parts[0][0].n_stimuli:
        features = xp.concat([w**0.5 * g.features for g, w in parts], axis=1)
    return Gram(
        centred=sum(w * g.centred for g, w in parts),
        mean_products=sum(w * g.mean_products for g, w in parts),
        mean_square=sum(w * g.mean_square for g, w in parts),
        row_sums=sum(w**0.5 * g.row_sums for g, w in parts),
        n_features=n_features,
        features=features,
    )


def column_batches(X: Columns) -> Iterator[Array]:
    """Yield double-precision copies of consecutive columns, each checked to be finite.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or iterator of such arrays
        See :func:`gram`.

    Yields
    ------
    array of float64, shape (n_stimuli, n_columns)
    """
    first, n_stimuli = 0, None
    blocks = X if isinstance(X, Iterator) else (_sliceable(X),)
    for given in blocks:
        columns = _sliceable(given)
        if n_stimuli not in (None, columns.shape[0]):
            raise ContractError(
                f"X: the block from feature {first} on has {columns.shape[0]} stimuli, those "
                f"before it have {n_stimuli}. Every block must hold the same stimuli in order."
            )
        n_stimuli = int(columns.shape[0])
        width = max(1, BATCH_BYTES // (8 * n_stimuli))
        for start in range(0, columns.shape[1], width):
            batch = as_float64(_as_block(columns[:, start : start + width]))
            _check_finite(batch, first + start)
            yield batch
        first += int(columns.shape[1])
    if n_stimuli is None:
        raise ContractError("X: the stream of features ended before its first block.")


def _sliceable(X: Columns) -> Any:
    """Return `X` as something with a shape that gives columns; anything else becomes an array."""
    if not isinstance(X, ColumnFile) or isinstance(X, xr.DataArray | pd.DataFrame):
        X = as_array(X)
    if len(X.shape) != 2 or 0 in X.shape:
        check_matrix_shape(as_array(X), name="X")
    return X


def _as_block(values: Any) -> Array:
    """Return columns read from anywhere as an array of real numbers, gaps as NaN."""
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    values = as_array(values)
    check_matrix_shape(values, name="X")
    return values


def _check_finite(batch: Array, first: int) -> None:
    """Raise and name the first feature and stimulus if a batch of columns is not finite."""
    xp = array_namespace(batch)
    if bool(xp.isfinite(xp.sum(batch))):  # no more than one number need be looked at
        return
    broken = as_numpy(~xp.isfinite(batch))
    if not broken.any():
        return
    features = np.flatnonzero(broken.any(axis=0))
    raise ContractError(
        f"X: feature {first + features[0]} holds NaN or inf, first at stimulus "
        f"{np.argmax(broken[:, features[0]])}; so do {len(features)} of the {broken.shape[1]} "
        "features read together. Leave such features out, or find the layer that makes them."
    )


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

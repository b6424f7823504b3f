"""The eigendecomposition of a training kernel, which least squares and ridge regression share."""

from dataclasses import dataclass

from array_api_compat import array_namespace

from brainscore_lite.metrics.arrays import Array, as_numpy, rows
from brainscore_lite.metrics.gram import Gram, centred_on_training
from brainscore_lite.metrics.splits import Fold

_RANK_TOLERANCE = 1e-13


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigendecomposition U diag(l) U' of a kernel centred on the training stimuli.

    Parameters
    ----------
    eigenvalues : array, shape (rank,)
        Ascending, all above rounding.
    vectors : array, shape (n_train, rank)
        U.
    test_products : array, shape (n_test, rank)
        K_test U, K_test centred on the training stimuli as well.
    """

    eigenvalues: Array
    vectors: Array
    test_products: Array


def training_spectrum(gram: Gram, fold: Fold) -> Spectrum:
    """Decompose the kernel of a fold's training stimuli through its smaller side."""
    n_train = len(fold.train)
    if gram.features is not None and gram.n_features < n_train:
        train, test = centred_features(gram.features, fold)
        xp = array_namespace(train)
        values, axes = _positive_part(train.T @ train, n_train)
        scale = xp.sqrt(values)[None, :]
        return Spectrum(values, (train @ axes) / scale, (test @ axes) * scale)
    within, across = centred_on_training(gram.centred, fold.train, fold.test)
    values, vectors = _positive_part(within, n_train)
    return Spectrum(values, vectors, across @ vectors)


def centred_features(features: Array, fold: Fold) -> tuple[Array, Array]:
    """Return the features of a fold's training and test stimuli, less the training mean."""
    train, test = rows(features, fold.train), rows(features, fold.test)
    mean = array_namespace(train).mean(train, axis=0, keepdims=True)
    return train - mean, test - mean


def _positive_part(matrix: Array, n_train: int) -> tuple[Array, Array]:
    """Return the eigenvalues above rounding, at most n_train - 1 of them, and their vectors."""
    xp = array_namespace(matrix)
    values, vectors = xp.linalg.eigh(matrix)
    positive = as_numpy(values) > _RANK_TOLERANCE * max(float(values[-1]), 0.0)
    first = max(int(positive.shape[0] - positive.sum()), positive.shape[0] - (n_train - 1))
    return values[first:], vectors[:, first:]

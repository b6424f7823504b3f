"""Mahalanobis and crossnobis dissimilarities: distances in units of the noise between units."""

from itertools import combinations

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike

from brainscore_lite.metrics.arrays import Array, as_array, as_float64, as_matrix, as_numpy, like
from brainscore_lite.metrics.dissimilarities.dissimilarity import squared_distances
from brainscore_lite.metrics.dissimilarities.fold_means import (
    FoldMeans,
    check_same_units,
    fold_means,
    mean_fold_products,
    pairs_of_trials,
)
from brainscore_lite.schema import ContractError

_ASYMMETRY = 1e-6


def crossnobis_matrix(
    trials: Array, *, folds: ArrayLike | None = None, precision: Array | None = None
) -> Array:
    """Compute squared Mahalanobis distances, each factor of a product from another fold.

    d_ij = K_ii + K_jj - 2 K_ij, with K_ij the mean of (x_i - m)' P (x_j - m) / n_units over all
    pairs of trials of i and j in different folds, and m the mean pattern. Unlike a plain distance
    it is 0 on average where two stimuli evoke the same response, so it may be negative.

    Where every fold holds equally many trials of every stimulus, this is the mean over left-out
    folds of (a_i - a_j)' P (b_i - b_j) / n_units, a from the fold and b from the others:
    rsatoolbox's ``calc_rdm``. Where trials are missing it is its ``calc_rdm_unbalanced`` of the
    trials less the mean pattern, which is as unbiased and less noisy than without (that one
    changes with a shift of all patterns). Units that lack trials of their own are averaged one by
    one, so that no unit weighs more for one stimulus than for another.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_units)
        NaN where a trial was not recorded.
    folds : sequence of labels, shape (n_repetitions,), optional
        By default each repetition is a fold.
    precision : array, shape (n_units, n_units) or (n_folds, n_units, n_units), optional
        Inverse covariance of the noise; the identity by default. One for each fold, in the order
        of the sorted labels: a product of folds f and g then takes the inverse of the mean of
        their two covariances.

    Returns
    -------
    array, shape (n_stimuli, n_stimuli)

    Raises
    ------
    ContractError
        If a stimulus was recorded in one fold only, or the precision does not fit.

    References
    ----------
    Walther et al. (2016), doi:10.1016/j.neuroimage.2015.12.012.
    """
    means = fold_means(trials, folds).centred()
    if precision is None:
        return squared_distances(mean_fold_products(means, means))
    if np.ndim(precision) == 3:
        return squared_distances(_products_by_pair(means, precision))
    whiten = _whitening(precision, means.n_units, reference=means.means[0])
    if not _is_diagonal(whiten):
        check_same_units(means, why="a precision joins units of the same trial")
    white = means.mapped(lambda mean: mean @ whiten)
    return squared_distances(mean_fold_products(white, white))


def whitened(X: Array, precision: Array) -> Array:
    """Return patterns whose squared Euclidean distance is the Mahalanobis one.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_units)
    precision : array, shape (n_units, n_units)

    Returns
    -------
    array, shape (n_stimuli, n_units)
        (X - mean) L, with P = L L'.

    Raises
    ------
    ContractError
        If values are not finite, or the precision does not fit.
    """
    patterns = as_matrix(X, name="X", units="feature")
    patterns = patterns - array_namespace(patterns).mean(patterns, axis=0, keepdims=True)
    return patterns @ _whitening(precision, int(patterns.shape[1]), reference=patterns)


def _whitening(precision: Array, n_units: int, *, reference: Array) -> Array:
    """Return L with P = L L', in the library of `reference`.

    Raises
    ------
    ContractError
        If P is not a finite, symmetric, positive definite matrix of `n_units` units.
    """
    P = like(as_float64(as_array(precision)), reference)
    xp = array_namespace(P)
    if tuple(P.shape) != (n_units, n_units):
        raise ContractError(
            f"precision has shape {tuple(P.shape)}, expected ({n_units}, {n_units}): one row and "
            "column for each unit."
        )
    if not bool(xp.all(xp.isfinite(P))):
        raise ContractError("precision holds NaN or inf.")
    if float(xp.max(xp.abs(P - P.T))) > _ASYMMETRY * float(xp.max(xp.abs(P))):
        raise ContractError("precision is not symmetric, expected an inverse covariance.")
    try:
        return xp.linalg.cholesky(P)
    except (np.linalg.LinAlgError, RuntimeError) as error:
        smallest = float(np.linalg.eigvalsh(as_numpy(P))[0])
        raise ContractError(
            f"precision is not positive definite (smallest eigenvalue {smallest:.3g}), expected "
            "an inverse covariance. Estimate it with noise_precision."
        ) from error


def _products_by_pair(means: FoldMeans, precision: Array) -> Array:
    """Average products as :func:`mean_fold_products`, each pair of folds with its own precision."""
    n_folds = len(means.means)
    if np.shape(precision)[0] != n_folds:
        raise ContractError(
            f"precision holds {np.shape(precision)[0]} matrices, expected one for each of the "
            f"{n_folds} folds."
        )
    check_same_units(means, why="a precision joins units of the same trial")
    counts = means.counts[:, :, 0]
    sums = [m * like(n[:, None], m) for m, n in zip(means.means, counts, strict=True)]
    xp = array_namespace(sums[0])
    covariances = [_covariance(one, means.n_units, reference=sums[0]) for one in precision]
    products: Array = 0.0
    for f, g in combinations(range(n_folds), 2):
        pooled = xp.linalg.inv((covariances[f] + covariances[g]) / 2)
        part = sums[f] @ pooled @ sums[g].T
        products = products + part + part.T
    return products / pairs_of_trials(counts, like_array=products) / means.n_units


def _covariance(precision: Array, n_units: int, *, reference: Array) -> Array:
    factor = _whitening(precision, n_units, reference=reference)
    return array_namespace(factor).linalg.inv(factor @ factor.T)


def _is_diagonal(matrix: Array) -> bool:
    values = as_numpy(matrix)
    return not (values - np.diag(np.diagonal(values))).any()

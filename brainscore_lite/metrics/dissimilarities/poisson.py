"""Dissimilarities of counts: the symmetrised divergence of Poisson distributions."""

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike

from brainscore_lite.metrics.arrays import Array, as_array, as_numpy, check_matrix_shape
from brainscore_lite.metrics.dissimilarities.dissimilarity import (
    UndefinedDissimilarityError,
    squared_distances,
)
from brainscore_lite.metrics.dissimilarities.fold_means import fold_means, mean_fold_products
from brainscore_lite.metrics.gram import column_batches
from brainscore_lite.schema import ContractError


def poisson_matrix(X: Array, *, prior_rate: float = 1.0, prior_weight: float = 0.1) -> Array:
    """Compute the symmetrised Kullback-Leibler divergence of Poisson rates.

    d_ij = sum_u (y_iu - y_ju) (log y_iu - log y_ju) / n_units, with
    y = (x + prior_rate prior_weight) / (1 + prior_weight).

    Parameters
    ----------
    X : array, shape (n_stimuli, n_units)
        Counts or rates, not negative.
    prior_rate, prior_weight : float
        A Gamma prior, as rsatoolbox's: the rate it expects, and how many trials it counts for.

    Returns
    -------
    array, shape (n_stimuli, n_stimuli)

    Raises
    ------
    UndefinedDissimilarityError
        If values are negative, or zero without a prior.

    References
    ----------
    Schütt, Kipnis, Diedrichsen & Kriegeskorte (2023), doi:10.7554/eLife.82566.
    """
    X = as_array(X)
    check_matrix_shape(X, name="X")
    products: Array = 0.0
    first = 0
    for batch in column_batches(X):
        rates = _rates(batch, prior_rate, prior_weight, first=first)
        xp = array_namespace(rates)
        logs = xp.log(rates)
        rates = rates - xp.mean(rates, axis=0, keepdims=True)
        logs = logs - xp.mean(logs, axis=0, keepdims=True)
        products = products + rates @ logs.T
        first += int(batch.shape[1])
    return squared_distances(_symmetric(products)) / X.shape[1]


def poisson_cv_matrix(
    trials: Array,
    *,
    folds: ArrayLike | None = None,
    prior_rate: float = 1.0,
    prior_weight: float = 0.1,
) -> Array:
    """Compute the divergence of Poisson rates, rates and their logarithms from different folds.

    d_ij = K_ii + K_jj - K_ij - K_ji, with K_ij the mean of y_i . log y_j / n_units over all pairs
    of trials of i and j in different folds, y as in :func:`poisson_matrix` and the logarithm of
    the mean of a fold. In balanced designs this is the mean over *all* left-out folds;
    rsatoolbox 0.3.2 overwrites its result in each fold, so that only the last counts.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_units)
        NaN where a trial was not recorded.
    folds : sequence of labels, shape (n_repetitions,), optional
        By default each repetition is a fold.
    prior_rate, prior_weight : float

    Returns
    -------
    array, shape (n_stimuli, n_stimuli)

    Raises
    ------
    ContractError
        If a stimulus was recorded in one fold only.
    UndefinedDissimilarityError
        If values are negative, or zero without a prior.
    """
    means = fold_means(trials, folds)
    rates = means.mapped(lambda mean: _rates(mean, prior_rate, prior_weight))
    logs = rates.mapped(lambda y: array_namespace(y).log(y))
    products = mean_fold_products(rates.centred(), logs.centred())
    return squared_distances(_symmetric(products))


def _check_prior(prior_rate: Any, prior_weight: Any) -> None:
    """Raise unless both parts of the prior are finite and not negative."""
    if not (0 <= prior_rate < np.inf and 0 <= prior_weight < np.inf):
        raise ContractError(
            f"prior_rate is {prior_rate}, prior_weight is {prior_weight}; expected numbers that "
            "are not negative."
        )


def _symmetric(products: Array) -> Array:
    return (products + products.T) / 2


def _rates(values: Array, prior_rate: float, prior_weight: float, *, first: int = 0) -> Array:
    _check_prior(prior_rate, prior_weight)
    xp = array_namespace(values)
    rates = (values + prior_rate * prior_weight) / (1 + prior_weight)
    refused = as_numpy((values < 0) | (rates <= 0))
    if refused.any():
        stimulus, unit = np.argwhere(refused)[0]
        kind = "negative" if bool(xp.any(values < 0)) else "zero, and there is no prior"
        raise UndefinedDissimilarityError(
            f"{int(refused.sum())} values are {kind} (first: stimulus {stimulus}, unit "
            f"{first + unit}), which no Poisson rate is. Use a layer after its rectification, "
            "responses without a subtracted baseline, or another dissimilarity."
        )
    return rates

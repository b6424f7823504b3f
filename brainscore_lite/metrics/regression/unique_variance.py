"""Unique variance: what each predictor explains that all the others do not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_numpy
from brainscore_lite.metrics.dissimilarities.comparison import check_same_pairs, check_vectors
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.gram import Columns, Gram, as_gram
from brainscore_lite.metrics.regression.banded_ridge import banded_ridge
from brainscore_lite.metrics.regression.ridge import Ridge
from brainscore_lite.metrics.resampling import pairs_within
from brainscore_lite.metrics.splits import Fold, Splits, resolve_folds
from brainscore_lite.schema import ContractError

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UniqueVariance:
    """Explained variance of all predictors together, of each alone, and of each beyond the others.

    Parameters
    ----------
    names : tuple of str
        Of the predictors.
    r2 : ndarray, shape (...)
        Of all together.
    without : ndarray, shape (n_predictors, ...)
        Of all but one.

    References
    ----------
    Borcard, Legendre & Drapeau (1992), doi:10.2307/1940179.
    """

    names: tuple[str, ...]
    r2: Matrix
    without: Matrix

    @property
    def unique(self) -> Matrix:
        """R2(all) - R2(all but k), shape (n_predictors, ...).

        Negative where the predictor makes held-out predictions worse; never within the fit.
        """
        result: Matrix = self.r2 - self.without
        return result

    @property
    def shared(self) -> Matrix:
        """R2(all) less all unique parts, shape (...): what two or more predictors explain.

        Negative where one suppresses what is noise in another.
        """
        result: Matrix = self.r2 - self.unique.sum(axis=0)
        return result


def rdm_unique_variance(
    predictors: Mapping[str, ArrayLike],
    target: ArrayLike,
    *,
    splits: int | Splits | Sequence[Fold] | None = None,
    seed: int | None = None,
) -> UniqueVariance:
    """Partition the variance of dissimilarities by least squares on those of several models.

    Weights may be of any sign and there is an intercept. Cross-validated, the weights are those of
    the pairs of training stimuli, and

        R2 = 1 - sum (d - prediction)^2 / sum (d - mean of the training pairs)^2

    is over the pairs of two test stimuli.

    Parameters
    ----------
    predictors : mapping of str to array, shape (n_pairs,)
        Condensed dissimilarities; two or more.
    target : array, shape (n_targets, n_pairs) or (n_pairs,)
        Recorded dissimilarities, of subjects or times.
    splits : int, Splits or sequence of Fold, optional
        Of the stimuli; fitted and tested on all pairs if not given.
    seed : int, optional
        Where `splits` is a number.

    Returns
    -------
    UniqueVariance
        Shapes (n_splits, n_targets); one split if not cross-validated.

    Raises
    ------
    ContractError
        If there is a single predictor, lengths differ, a fold has too few stimuli, or a target is
        constant.

    Examples
    --------
    >>> a, b = np.random.default_rng(0).uniform(size=(2, 45))
    >>> found = rdm_unique_variance({"a": a, "b": b}, a + 2 * b)
    >>> bool(found.r2[0, 0] > 0.999 and found.unique[1, 0, 0] > found.unique[0, 0, 0])
    True
    """
    _check_several(predictors)
    X = check_vectors(np.stack([np.asarray(each) for each in predictors.values()]), name="X")
    Y = check_vectors(target, name="target")
    check_same_pairs(X, Y)
    n_stimuli = n_stimuli_of(X.shape[1])
    parts = [(np.ones(X.shape[1], dtype=bool),) * 2]
    if splits is not None:
        folds = resolve_folds(splits, n_stimuli, seed=seed)
        parts = [(_pairs(f.train, n_stimuli), _pairs(f.test, n_stimuli)) for f in folds]
    for train, test in parts:
        if train.sum() <= len(X) + 1 or not (np.ptp(Y[:, test], axis=1) > 0).all():
            raise ContractError(
                f"{int(train.sum())} pairs train {len(X)} weights, or the dissimilarities of a "
                "target's test pairs are all the same. Use fewer splits or predictors."
            )

    def explained(kept: list[int]) -> Matrix:
        return np.stack([_least_squares_r2(X[kept], Y, train, test) for train, test in parts])

    return _without_each(tuple(predictors), explained)


def unique_variance(
    Xs: Mapping[str, Columns | Gram],
    Y: Array,
    *,
    splits: int | Splits | Sequence[Fold] = 10,
    ridge: Ridge | None = None,
    weights: int = 50,
    seed: int = 0,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> UniqueVariance:
    """Measure what each of several feature spaces adds to held-out predictions of responses.

    One banded ridge of all spaces, and one without each: as many fits as spaces and one more, where
    :func:`variance_partitioning` fits every set of two or three spaces for what pairs of them
    share.

    Parameters
    ----------
    Xs : mapping of str to array, shape (n_stimuli, n_features), or Gram
        Layers, steps or models; two or more.
    Y : array, shape (n_stimuli, n_units)
    splits, ridge, weights, seed, strata, groups
        As for :func:`variance_partitioning`.

    Returns
    -------
    UniqueVariance
        Shapes (n_splits, n_units), held out.

    Raises
    ------
    ContractError
        If there is a single space; as :func:`banded_ridge`.
    """
    _check_several(Xs)
    names = tuple(Xs)
    grams = [as_gram(X) for X in Xs.values()]

    def explained(kept: list[int]) -> Matrix:
        fit = banded_ridge(
            {names[k]: grams[k] for k in kept},
            Y,
            splits=splits,
            ridge=ridge,
            weights=weights,
            seed=seed,
            strata=strata,
            groups=groups,
        )
        return np.asarray(as_numpy(fit.r2()))

    return _without_each(names, explained)


def _without_each(
    names: tuple[str, ...], explained: Callable[[list[int]], Matrix]
) -> UniqueVariance:
    every = list(range(len(names)))
    without = [explained([k for k in every if k != left_out]) for left_out in every]
    return UniqueVariance(names=names, r2=explained(every), without=np.stack(without))


def _check_several(predictors: Mapping[str, object]) -> None:
    if len(predictors) < 2:
        raise ContractError(
            f"{len(predictors)} predictors were given, expected at least two: a single one shares "
            "its variance with none."
        )


def _pairs(stimuli: NDArray[np.int64], n_stimuli: int) -> NDArray[np.bool_]:
    return pairs_within(np.isin(np.arange(n_stimuli), stimuli))


def _least_squares_r2(
    X: Matrix, Y: Matrix, train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> Matrix:
    """Return R2 over the test pairs of weights fitted on the training pairs, (n_targets,)."""
    mean_x, mean_y = X[:, train].mean(axis=1), Y[:, train].mean(axis=1)
    centred = (X - mean_x[:, None]).T
    weights, *_ = np.linalg.lstsq(centred[train], (Y[:, train] - mean_y[:, None]).T, rcond=None)
    left = (Y[:, test] - mean_y[:, None]).T
    residual = left - centred[test] @ weights
    result: Matrix = 1 - (residual**2).sum(axis=0) / (left**2).sum(axis=0)
    return result

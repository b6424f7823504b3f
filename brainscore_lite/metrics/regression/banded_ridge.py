"""Banded ridge regression: one penalty for each of several feature spaces, chosen per neuroid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_matrix, like, rows
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.gram import Columns, Gram, as_gram, centred_on_training, combined
from brainscore_lite.metrics.regression.fold_fit import check_stimuli
from brainscore_lite.metrics.regression.ridge import Ridge
from brainscore_lite.metrics.regression.training_spectrum import training_spectrum
from brainscore_lite.metrics.splits import Fold, Splits, resolve_folds
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

_CONCENTRATIONS = (0.1, 1.0)


@dataclass(frozen=True, eq=False)
class BandedPredictions:
    """Held-out predictions of a banded ridge, band by band.

    Parameters
    ----------
    bands : tuple of str
        Names of the feature spaces.
    folds : tuple of Fold
    by_band : tuple of array, shape (n_bands, n_test, n_units) each
        What each band adds to the prediction of each fold's test stimuli.
    means : array, shape (n_splits, n_units)
        Mean response to the training stimuli of each fold; the prediction is it and the bands.
    responses : array, shape (n_stimuli, n_units)
    weights : array, shape (n_splits, n_bands, n_units)
        Chosen weight w_b of each band.
    penalties : array, shape (n_splits, n_units)
        Chosen alpha; the penalty of band b is alpha / w_b.
    """

    bands: tuple[str, ...]
    folds: tuple[Fold, ...]
    by_band: tuple[Array, ...]
    means: Array
    responses: Array
    weights: Array
    penalties: Array

    def r(self) -> Array:
        """Return Pearson r of the joint prediction; shape (n_splits, n_units)."""
        xp = array_namespace(self.responses)
        pairs = zip(self.folds, self.by_band, strict=True)
        return xp.stack(
            [
                pearson_columns(xp.sum(parts, axis=0), rows(self.responses, fold.test))[0]
                for fold, parts in pairs
            ]
        )

    def r2(self) -> Array:
        """Return the explained variance of the joint prediction; shape (n_splits, n_units).

        1 - sum_i (y_i - yhat_i)^2 / sum_i (y_i - m)^2 over test stimuli, m the training mean:
        0 for a model without features, negative for one that is worse, nowhere clamped; 0 where
        the test responses all equal m.
        """
        xp = array_namespace(self.responses)
        return xp.sum(self.r2_by_band(), axis=1)

    def r2_by_band(self) -> Array:
        """Split the explained variance into bands by the product measure.

        With z = y - m and f = sum_b f_b the predictions of the bands,

            R2_b = f_b'(2 z - f) / z'z,    sum_b R2_b = R2.

        Returns
        -------
        array, shape (n_splits, n_bands, n_units)

        References
        ----------
        Dupre la Tour et al. (2022), doi:10.1016/j.neuroimage.2022.119728.
        """
        xp = array_namespace(self.responses)
        results = []
        for k, (fold, parts) in enumerate(zip(self.folds, self.by_band, strict=True)):
            z = rows(self.responses, fold.test) - self.means[k, :][None, :]
            total = xp.sum(z * z, axis=0)
            explained = xp.sum(parts * (2 * z - xp.sum(parts, axis=0))[None, :, :], axis=1)
            share = explained / xp.where(total > 0, total, xp.ones_like(total))[None, :]
            results.append(xp.where(total[None, :] > 0, share, xp.zeros_like(share)))
        return xp.stack(results)


def banded_ridge(
    Xs: Mapping[str, Columns | Gram],
    Y: Array,
    *,
    splits: int | Splits | Sequence[Fold] = 10,
    ridge: Ridge | None = None,
    weights: int | ArrayLike = 50,
    seed: int = 0,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> BandedPredictions:
    """Fit ridge regression on several feature spaces with a penalty for each.

    Minimises, for each neuroid and with an unpenalised intercept a,

        ||y - sum_b X_b beta_b - a||^2 + sum_b alpha_b ||beta_b||^2,    alpha_b = alpha / w_b,

    w on the simplex: an ordinary ridge on the kernel sum_b w_b K_b. Candidate weights are tried
    with every penalty of `ridge`, and the pair with the smallest error for left-out training
    stimuli wins (himalaya's random search). One Gram matrix per band serves all; one
    eigendecomposition is taken for each split and candidate.

    Parameters
    ----------
    Xs : mapping of str to array, shape (n_stimuli, n_features), or Gram
        The feature spaces: layers or models.
    Y : array, shape (n_stimuli, n_units)
        Responses, averaged over repetitions.
    splits : int, Splits or sequence of Fold
    ridge : Ridge, optional
        The penalties and how they are chosen; ``Ridge()`` if not given. With relative penalties
        each band is first scaled to a mean squared length of 1 of its training patterns, so that
        no band counts more for being measured in larger numbers; with absolute ones, as it is.
    weights : int or array, shape (n_candidates, n_bands)
        Number of candidates: equal weights, then draws from Dirichlet distributions of
        concentration 0.1 and 1 in turn. Or the candidates themselves.
    seed : int
        Of the candidates, and of the splits where these are given by number.
    strata, groups : sequence of labels, length n_stimuli, optional
        As for :func:`linear_predictivity`.

    Returns
    -------
    BandedPredictions

    Raises
    ------
    ContractError
        If bands have different stimuli or libraries, or candidates are no weights.

    References
    ----------
    Nunez-Elizalde, Huth & Gallant (2019), doi:10.1016/j.neuroimage.2019.04.012; Dupre la Tour et
    al. (2022), doi:10.1016/j.neuroimage.2022.119728.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, B = rng.normal(size=(2, 90, 5))
    >>> fit = banded_ridge({"a": A, "b": B}, A @ rng.normal(size=(5, 2)), splits=3, weights=20)
    >>> a, b = fit.r2_by_band().mean(axis=(0, 2))
    >>> bool(a > 0.9 and abs(b) < 0.1)
    True
    """
    ridge = Ridge() if ridge is None else ridge
    grams = [as_gram(X) for X in Xs.values()]
    if not grams:
        raise ContractError("no feature spaces were given, expected at least one.")
    responses = like(as_matrix(Y, name="Y"), grams[0].centred)
    for name, kernel in zip(Xs, grams, strict=True):
        _check_band(kernel, responses, name=name)
    candidates = _candidates(weights, len(grams), seed)
    folds = resolve_folds(
        splits,
        grams[0].n_stimuli,
        seed=seed if isinstance(splits, int | np.integer) else None,
        strata=strata,
        groups=groups,
    )
    fits = [_fit_fold(grams, responses, fold, ridge, candidates) for fold in folds]
    xp = array_namespace(responses)
    return BandedPredictions(
        bands=tuple(Xs),
        folds=folds,
        by_band=tuple(fit.by_band for fit in fits),
        means=xp.stack([fit.mean for fit in fits]),
        responses=responses,
        weights=xp.stack([fit.weights for fit in fits]),
        penalties=xp.stack([fit.penalties for fit in fits]),
    )


@dataclass(frozen=True, eq=False)
class _BandedFold:
    """What banded ridge found in one fold."""

    by_band: Array
    mean: Array
    weights: Array
    penalties: Array


def _check_band(kernel: Gram, responses: Array, *, name: str) -> None:
    """Raise unless a feature space has the stimuli and the library of the responses."""
    check_stimuli(kernel.n_stimuli, responses, name=f"X['{name}']")
    if not isinstance(kernel.centred, type(responses)):
        raise ContractError(
            f"X['{name}'] holds {type(kernel.centred).__name__}, the first feature space "
            f"{type(responses).__name__}. Give all as arrays of the same library."
        )


def _fit_fold(
    grams: Sequence[Gram],
    Y: Array,
    fold: Fold,
    ridge: Ridge,
    candidates: NDArray[np.float64],
) -> _BandedFold:
    """Try all candidates in one fold and keep the best of each neuroid."""
    xp = array_namespace(Y)
    y = rows(Y, fold.train)
    mean = xp.mean(y, axis=0)
    lengths = np.ones(len(grams))
    if ridge.unit == "relative":
        lengths = np.array([_mean_length(kernel, fold) for kernel in grams])
    lowest = xp.full_like(mean, xp.inf)
    penalties = xp.zeros_like(mean)
    choice = xp.zeros_like(mean, dtype=xp.int64)
    duals = xp.zeros_like(y)
    for number, weights in enumerate(candidates):
        kernel = combined(grams, weights / lengths)
        spectrum = training_spectrum(kernel, fold)
        left_out = ridge.left_out(kernel, Y, fold, spectrum)
        best, loss = left_out.best(per_neuroid=ridge.per_neuroid)
        better = loss < lowest
        alphas = xp.take(ridge.alphas(spectrum, Y), best, axis=0)
        projected = spectrum.vectors.T @ (y - mean[None, :])
        found = spectrum.vectors @ (projected / (spectrum.eigenvalues[:, None] + alphas[None, :]))
        lowest = xp.where(better, loss, lowest)
        penalties = xp.where(better, alphas, penalties)
        choice = xp.where(better, xp.full_like(choice, number), choice)
        duals = xp.where(better[None, :], found, duals)
    chosen = xp.take(like(candidates / lengths, Y), choice, axis=0).T
    parts = [
        w[None, :] * (centred_on_training(kernel.centred, fold.train, fold.test)[1] @ duals)
        for w, kernel in zip(chosen, grams, strict=True)
    ]
    return _BandedFold(xp.stack(parts), mean, chosen, penalties)


def _mean_length(kernel: Gram, fold: Fold) -> float:
    """Return the mean squared length of a training pattern less their mean; 1 if all are equal."""
    within = kernel.subset(fold.train).centred
    xp = array_namespace(within)
    return float(xp.linalg.trace(within) / within.shape[0] - xp.mean(within)) or 1.0


def _candidates(weights: int | ArrayLike, n_bands: int, seed: int) -> NDArray[np.float64]:
    """Return the weights to try, shape (n_candidates, n_bands)."""
    if not isinstance(weights, int | np.integer):
        given = np.asarray(weights, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != n_bands or not len(given):
            raise ContractError(
                f"weights have shape {given.shape}, expected (n_candidates, {n_bands})."
            )
        if not np.isfinite(given).all() or (given < 0).any() or (given.sum(axis=1) <= 0).any():
            raise ContractError("weights must be finite, at least 0, and not all 0 in a candidate.")
        return given
    if weights < 1:
        raise ContractError(f"weights is {weights}, expected at least 1 candidate.")
    equal = np.full((1, n_bands), 1 / n_bands)
    if n_bands == 1:
        return equal
    random = generator(seed, "banded ridge", "weights")
    drawn = [
        random.dirichlet(np.full(n_bands, _CONCENTRATIONS[k % len(_CONCENTRATIONS)]))
        for k in range(int(weights) - 1)
    ]
    return np.concatenate([equal, np.reshape(drawn, (-1, n_bands))])

"""Cross-validation of a regression, keeping the held-out predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_matrix, as_numpy, like, rows
from brainscore_lite.metrics.correlation import (
    pearson_columns,
    warn_undefined,
    weighted_pearson_columns,
)
from brainscore_lite.metrics.gram import Columns, Gram, as_gram
from brainscore_lite.metrics.regression.fold_fit import Regression, check_stimuli
from brainscore_lite.metrics.regression.least_squares import LeastSquares, PrincipalComponents
from brainscore_lite.metrics.regression.one_to_one import OneToOne
from brainscore_lite.metrics.regression.pls import PLS
from brainscore_lite.metrics.regression.ridge import Ridge
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.metrics.splits import Fold
from brainscore_lite.schema import ContractError

REGRESSIONS: dict[str, Regression] = {
    "ridge": Ridge(),
    "pls": PLS(),
    "ols": LeastSquares(),
    "pcr": PrincipalComponents(),
    "one_to_one": OneToOne(),
}
"""The regressions by name."""
CONSTANT = "the predicted or the recorded responses to the test stimuli are constant"


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Held-out predictions of every split, with what layer selection and resampling need.

    Parameters
    ----------
    folds : tuple of Fold
    predictions : tuple of array, shape (n_test, n_units) each
        In the order of ``folds[k].test``.
    responses : array, shape (n_stimuli, n_units)
        The recorded responses.
    r : array, shape (n_splits, n_units)
        Pearson correlation of predicted and recorded responses to the test stimuli.
    inner_r : array, shape (n_splits, n_units), or None
        The same from predictions made within the training stimuli of each split.
    penalties : array, shape (n_splits, n_units), or None
        The penalty chosen for each neuroid.
    """

    folds: tuple[Fold, ...]
    predictions: tuple[Array, ...]
    responses: Array
    r: Array
    inner_r: Array | None
    penalties: Array | None

    def selection_scores(self) -> NDArray[np.float64]:
        """Return the median over neuroids of `inner_r`; shape (n_splits,)."""
        if self.inner_r is None:
            raise ContractError(
                "cross-validated without inner scores, so no layer can be chosen by them. Pass "
                "inner=True."
            )
        result: NDArray[np.float64] = np.median(as_numpy(self.inner_r), axis=1)
        return result

    def held_out(self) -> Array:
        """Return the prediction of each stimulus by the fold that left it out.

        Returns
        -------
        array, shape (n_stimuli, n_units)

        Raises
        ------
        ContractError
            If stimuli are tested several times or never.
        """
        order = np.concatenate([fold.test for fold in self.folds])
        if not np.array_equal(np.sort(order), np.arange(self.responses.shape[0])):
            raise ContractError(
                "not every stimulus is tested exactly once in these splits. Use "
                "Splits(kind='k_fold'), or read .predictions split by split."
            )
        xp = array_namespace(self.responses)
        return rows(xp.concat(list(self.predictions)), np.argsort(order))

    def resampled(self, weights: ArrayLike) -> Array:
        """Correlate with stimulus j counted ``weights[draw, j]`` times; nothing is refitted.

        Parameters
        ----------
        weights : array of int, shape (n_draws, n_stimuli)

        Returns
        -------
        array, shape (n_draws, n_splits, n_units)
            NaN where a draw leaves a split without variation that all its stimuli have; 0, with a
            warning, where these have none either.
        """
        n_stimuli = int(self.responses.shape[0])
        counts = check_weights(weights, n_stimuli)
        xp = array_namespace(self.responses)
        results, n_undefined = [], 0
        for fold, predictions in zip(self.folds, self.predictions, strict=True):
            w = like(counts[:, fold.test], self.responses)
            recorded = rows(self.responses, fold.test)
            r, undefined = weighted_pearson_columns(predictions, recorded, w)
            _, constant = pearson_columns(predictions, recorded)
            results.append(xp.where(undefined & ~constant[None, :], xp.nan, r))
            n_undefined += int(as_numpy(constant).sum())
        warn_undefined(n_undefined, len(self.folds) * int(self.responses.shape[1]), what=CONSTANT)
        return xp.stack(results, axis=1)

    def beside(self, *others: "CrossValidated") -> "CrossValidated":
        """Return these units and further ones over the same folds side by side."""
        xp = array_namespace(self.responses)
        every = [self, *others]

        def joined(name: str) -> Array | None:
            values = [getattr(part, name) for part in every]
            return None if values[0] is None else xp.concat(values, axis=-1)

        predictions = tuple(
            xp.concat([part.predictions[k] for part in every], axis=1)
            for k in range(len(self.folds))
        )
        return CrossValidated(
            folds=self.folds,
            predictions=predictions,
            responses=joined("responses"),
            r=joined("r"),
            inner_r=joined("inner_r"),
            penalties=joined("penalties"),
        )


def cross_validate(
    X: Columns | Gram,
    Y: Array,
    folds: Sequence[Fold],
    *,
    regression: str | Regression = "ridge",
    inner: bool = False,
) -> CrossValidated:
    """Fit every fold on its training stimuli and predict its test stimuli.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), iterator of blocks of columns, or Gram
        See :func:`gram`; a regression that reads features (``one_to_one``) takes no Gram matrix.
    Y : array, shape (n_stimuli, n_units)
        Recorded responses, averaged over repetitions.
    folds : sequence of Fold
    regression : {"ridge", "pls", "ols", "pcr", "one_to_one"} or Regression
    inner : bool
        Also score predictions made within the training stimuli of each fold, for the choice of a
        layer. Ridge gives them from the decomposition it has; the others fit inner folds.

    Returns
    -------
    CrossValidated

    Raises
    ------
    ContractError
        If shapes disagree, values are not finite, or the regression is unknown.
    """
    method = resolve_regression(regression)
    source = X if method.reads_features else as_gram(X)
    responses = as_matrix(Y, name="Y")
    if isinstance(source, Gram):
        responses = like(responses, source.centred)
        check_stimuli(source.n_stimuli, responses)
    elif is_array_api_obj(source):
        responses = like(responses, source)
    fits = method.fit_folds(source, responses, folds, inner=inner)
    correlations, n_undefined = [], 0
    for fold, fit in zip(folds, fits, strict=True):
        r, undefined = pearson_columns(fit.predictions, rows(responses, fold.test))
        correlations.append(r)
        n_undefined += int(as_numpy(undefined).sum())
    xp = array_namespace(responses)
    warn_undefined(n_undefined, len(fits) * int(responses.shape[1]), what=CONSTANT)
    penalties = [fit.penalties for fit in fits]
    inner_r = [fit.inner_r for fit in fits]
    return CrossValidated(
        folds=tuple(folds),
        predictions=tuple(fit.predictions for fit in fits),
        responses=responses,
        r=xp.stack(correlations),
        inner_r=None if inner_r[0] is None else xp.stack(inner_r),
        penalties=None if penalties[0] is None else xp.stack(penalties),
    )


def chosen_per_split(
    candidates: Sequence[CrossValidated], choice: Sequence[int] | NDArray[np.int64]
) -> CrossValidated:
    """Take split k from the candidate chosen for split k.

    Parameters
    ----------
    candidates : sequence of CrossValidated
        One for each layer, over the same folds and responses.
    choice : sequence of int, length n_splits
        ``np.argmax([c.selection_scores() for c in candidates], axis=0)`` chooses on the training
        stimuli of each split.

    Returns
    -------
    CrossValidated
        To be scored and resampled as any other.
    """
    xp = array_namespace(candidates[0].responses)
    first = candidates[0]
    if len(choice) != len(first.folds):
        raise ContractError(
            f"{len(choice)} choices for {len(first.folds)} splits; expected one for each."
        )
    for other in candidates[1:]:
        same = all(
            np.array_equal(a.test, b.test) for a, b in zip(first.folds, other.folds, strict=True)
        )
        if not same:
            raise ContractError("the candidates were cross-validated on different splits.")
    picked = [candidates[layer] for layer in choice]

    def stacked(name: str) -> Array | None:
        values = [getattr(layer, name) for layer in picked]
        return None if values[0] is None else xp.stack([v[k, :] for k, v in enumerate(values)])

    return CrossValidated(
        folds=first.folds,
        predictions=tuple(layer.predictions[k] for k, layer in enumerate(picked)),
        responses=first.responses,
        r=stacked("r"),
        inner_r=stacked("inner_r"),
        penalties=stacked("penalties"),
    )


def resolve_regression(regression: str | Regression) -> Regression:
    """Return the regression of a name; a regression itself is returned as it is."""
    if not isinstance(regression, str):
        return regression
    if regression not in REGRESSIONS:
        raise ContractError(
            f"unknown regression '{regression}'; expected one of {tuple(REGRESSIONS)}, or an "
            "object such as Ridge(penalties=(1.0,), unit='absolute')."
        )
    return REGRESSIONS[regression]

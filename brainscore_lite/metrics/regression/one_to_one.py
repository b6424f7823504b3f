"""One-to-one mapping: each neuroid predicted by the single feature most like it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from brainscore_lite.metrics.arrays import Array, like, rows
from brainscore_lite.metrics.correlation import centred_columns
from brainscore_lite.metrics.gram import Columns, Gram, column_batches
from brainscore_lite.metrics.regression.fold_fit import (
    FoldFit,
    check_inner_splits,
    check_stimuli,
    correlation_within,
    folds_within,
)
from brainscore_lite.metrics.splits import Fold
from brainscore_lite.schema import ContractError


@dataclass(frozen=True)
class OneToOne:
    """Predict each neuroid by the feature that correlates with it best on the training stimuli.

        j(s) = argmax_j r(X_j, Y_s) over the training stimuli;  prediction of s = X_j(s)

    The correlation is signed: a feature that falls where the neuroid rises does not match it. Of
    equal features the first is taken, a constant one never (Brain-Score's ``neuron_to_neuron``).
    Features are read once, batch by batch, for all folds.

    Parameters
    ----------
    inner_splits : int
        Folds within the training stimuli for the inner score.
    seed : int
        Of the inner folds.

    References
    ----------
    Arend et al. (2018), Single units in a deep neural network functionally correspond with neurons
    in the brain: preliminary results. Center for Brains, Minds and Machines.
    """

    inner_splits: int = 5
    seed: int = 0
    pools_neuroids: ClassVar[bool] = False
    reads_features: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_inner_splits(self.inner_splits)

    def fit_folds(
        self, X: Columns, Y: Array, folds: Sequence[Fold], *, inner: bool
    ) -> tuple[FoldFit, ...]:
        """Choose a feature for each neuroid and fold, and predict the test stimuli by it.

        Parameters
        ----------
        X : array, shape (n_stimuli, n_features), file of columns, or iterator of blocks
        Y : array, shape (n_stimuli, n_units)
        folds : sequence of Fold
        inner : bool
            Also choose and score within the training stimuli of each fold.

        Returns
        -------
        tuple of FoldFit

        Raises
        ------
        ContractError
            If `X` is a Gram matrix, which has lost the single features, or has other stimuli.
        """
        if isinstance(X, Gram):
            raise ContractError(
                "X is a Gram matrix, from which no single feature can be read. Pass the features, "
                "an object on disk or an iterator of blocks of columns."
            )
        nested = [
            folds_within(fold, n_splits=self.inner_splits, seed=self.seed) if inner else ()
            for fold in folds
        ]
        outer = [_Match(Y, fold) for fold in folds]
        within = [[_Match(Y, fold) for fold in every] for every in nested]
        for batch in column_batches(X):
            check_stimuli(int(batch.shape[0]), Y)
            features = like(batch, Y)
            for match in [*outer, *(one for every in within for one in every)]:
                match.read(features)
        fits = []
        for match, matches, each in zip(outer, within, nested, strict=True):
            refitted = [one.predictions for one in matches]
            inner_r = correlation_within(Y, each, refitted) if inner else None
            fits.append(FoldFit(match.predictions, penalties=None, inner_r=inner_r))
        return tuple(fits)


class _Match:
    """The best feature so far of each neuroid in one fold."""

    def __init__(self, Y: Array, fold: Fold) -> None:
        xp = array_namespace(Y)
        self.fold = fold
        centred, constant = centred_columns(rows(Y, fold.train))
        norm = xp.linalg.vector_norm(centred, axis=0)
        self.recorded = centred / xp.where(constant, xp.ones_like(norm), norm)
        self.r = xp.full_like(norm, -xp.inf)
        self.predictions = xp.zeros_like(rows(Y, fold.test))

    def read(self, batch: Array) -> None:
        """Compare the next features, shape (n_stimuli, n_columns), with those before."""
        xp = array_namespace(batch)
        centred, constant = centred_columns(rows(batch, self.fold.train))
        norm = xp.linalg.vector_norm(centred, axis=0)
        products = centred.T @ self.recorded
        r = products / xp.where(constant, xp.ones_like(norm), norm)[:, None]
        r = xp.where(constant[:, None], -xp.inf, r)
        best = xp.argmax(r, axis=0)
        best_r = xp.max(r, axis=0)
        better = best_r > self.r
        found = xp.take(rows(batch, self.fold.test), best, axis=1)
        self.predictions = xp.where(better[None, :], found, self.predictions)
        self.r = xp.where(better, best_r, self.r)

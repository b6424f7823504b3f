"""What a regression offers to cross-validation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from array_api_compat import array_namespace

from brainscore_lite.metrics.arrays import Array, rows
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.splits import Fold, Splits
from brainscore_lite.schema import ContractError


@dataclass(frozen=True, eq=False)
class FoldFit:
    """The outcome of fitting one fold.

    Parameters
    ----------
    predictions : array, shape (n_test, n_units)
        Predicted responses to the test stimuli.
    penalties : array, shape (n_units,), or None
        The penalty alpha chosen for each neuroid; None for a regression without one.
    inner_r : array, shape (n_units,), or None
        Pearson r of predictions made within the training stimuli; None if not asked for.
    """

    predictions: Array
    penalties: Array | None
    inner_r: Array | None


class Regression(Protocol):
    """A frozen dataclass of settings that fits the training stimuli of folds."""

    @property
    def pools_neuroids(self) -> bool:
        """Whether the fit of a neuroid depends on which others are fitted with it."""
        ...

    @property
    def reads_features(self) -> bool:
        """Whether it needs the features themselves; all others take their Gram matrix."""
        ...

    def fit_folds(
        self, X: Any, Y: Array, folds: Sequence[Fold], *, inner: bool
    ) -> tuple[FoldFit, ...]:
        """Fit on the training stimuli of each fold and predict its test stimuli."""
        ...


def check_stimuli(n_stimuli: int, Y: Array, *, name: str = "X") -> None:
    """Raise unless features of `n_stimuli` stimuli and the responses `Y` have equally many."""
    if Y.shape[0] != n_stimuli:
        raise ContractError(
            f"{name} has {n_stimuli} stimuli, Y has {Y.shape[0]}. Rows of both must be the same "
            "stimuli in the same order."
        )


def check_inner_splits(inner_splits: int) -> None:
    """Raise unless the training stimuli are split at least in two."""
    if inner_splits < 2:
        raise ContractError(f"inner_splits is {inner_splits}, expected at least 2.")


def folds_within(fold: Fold, *, n_splits: int, seed: int) -> tuple[Fold, ...]:
    """Split the training stimuli of a fold; of whole groups where it has groups.

    Parameters
    ----------
    fold : Fold
    n_splits : int
        At most as many as there are groups.
    seed : int

    Returns
    -------
    tuple of Fold
        Positions among all stimuli, as those of `fold`.

    Raises
    ------
    ContractError
        If the training stimuli are too few, or all of one group.
    """
    if fold.groups is not None:
        n_splits = min(n_splits, len(fold.group_members()))
    inner = Splits(n_splits, seed=seed).folds(len(fold.train), groups=fold.groups)
    return tuple(Fold(train=fold.train[i.train], test=fold.train[i.test]) for i in inner)


def fitted(
    predict: Callable[[Sequence[Fold]], list[Array]],
    Y: Array,
    folds: Sequence[Fold],
    *,
    inner_splits: int | None,
    seed: int,
) -> tuple[FoldFit, ...]:
    """Fit a regression without a penalty; with `inner_splits` also within the training stimuli.

    Parameters
    ----------
    predict : callable
        From folds to the predictions of their test stimuli, shape (n_test, n_units) each.
    Y : array, shape (n_stimuli, n_units)
    folds : sequence of Fold
    inner_splits : int or None
        Folds within the training stimuli for the inner score; None to do without.
    seed : int
        Of the inner folds.
    """
    fits = []
    for fold, predictions in zip(folds, predict(folds), strict=True):
        inner_r = None
        if inner_splits is not None:
            nested = folds_within(fold, n_splits=inner_splits, seed=seed)
            inner_r = correlation_within(Y, nested, predict(nested))
        fits.append(FoldFit(predictions, penalties=None, inner_r=inner_r))
    return tuple(fits)


def correlation_within(Y: Array, folds: Sequence[Fold], predictions: Sequence[Array]) -> Array:
    """Correlate predictions with responses in each fold, and average over the folds.

    Returns
    -------
    array, shape (n_units,)
    """
    xp = array_namespace(Y)
    pairs = zip(folds, predictions, strict=True)
    return xp.mean(xp.stack([pearson_columns(p, rows(Y, f.test))[0] for f, p in pairs]), axis=0)

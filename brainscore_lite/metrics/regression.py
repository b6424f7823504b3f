"""What a regression offers to cross-validation."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from brainscore_lite.metrics.arrays import Array
from brainscore_lite.metrics.gram import Gram
from brainscore_lite.metrics.splits import Fold


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
    """A frozen dataclass of settings that fits a fold through the Gram matrix."""

    pools_neuroids: ClassVar[bool]
    """Whether the fit of a neuroid depends on which others are fitted with it."""

    def fit_fold(self, gram: Gram, Y: Array, fold: Fold, *, inner: bool) -> FoldFit:
        """Fit on the training stimuli of one fold and predict its test stimuli."""
        ...

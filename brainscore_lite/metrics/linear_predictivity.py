"""Linear predictivity: how well a linear map of features predicts each neuroid's responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_numpy
from brainscore_lite.metrics.cross_validation import (
    CrossValidated,
    cross_validate,
    resolve_regression,
)
from brainscore_lite.metrics.gram import Gram, as_gram, gram
from brainscore_lite.metrics.labels import (
    kept_coords,
    recorded_responses,
    source_features,
    stimulus_labels,
)
from brainscore_lite.metrics.regression import Regression
from brainscore_lite.metrics.splits import Fold, SplitKind, Splits, resolve_folds
from brainscore_lite.schema import ContractError, match_stimuli


def linear_predictivity(
    X: Array | Gram,
    Y: Array,
    *,
    regression: str | Regression = "ridge",
    splits: int | Splits | Sequence[Fold] = 10,
    seed: int | None = None,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Array:
    """Correlate recorded responses with cross-validated linear predictions of them.

    For each split a linear map is fitted on the training stimuli; r is the Pearson correlation of
    its predictions with the responses to the test stimuli, for each unit.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_features), or Gram
        Features. Only their Gram matrix is used: pass ``gram(X)`` to use it several times.
    Y : array, shape (n_stimuli, n_units)
        Responses, averaged over repetitions.
    regression : {"ridge", "pls"}, Ridge or PLS
    splits : int, Splits or sequence of Fold
    seed : int, optional
        Of the splits, where `splits` is a number; 0 if not given.
    strata, groups : sequence of labels, length n_stimuli, optional
        Labels that every fold holds in proportion, or that are left out together, also by the
        choices made within the training stimuli. Not with ready folds.

    Returns
    -------
    array, shape (n_splits, n_units)
        Pearson r; 0, with a warning, where predictions or responses are constant.

    Raises
    ------
    ContractError
        If shapes disagree, values are not finite, there are too few stimuli, or arguments are
        given that `splits` already decides.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 20))
    >>> Y = X @ rng.normal(size=(20, 3))
    >>> bool((linear_predictivity(X, Y) > 0.99).all())
    True
    """
    kernel = as_gram(X)
    folds = resolve_folds(splits, kernel.n_stimuli, seed=seed, strata=strata, groups=groups)
    return cross_validate(kernel, Y, folds, regression=regression).r


@dataclass(frozen=True, eq=False)
class PredictedResponses:
    """Cross-validated predictions of the responses of a target, labelled.

    Parameters
    ----------
    cross_validated : CrossValidated
        Units are the target's neuroids, of each time bin in turn.
    target : DataArray, dims (stimulus[, time_bin], neuroid)
        Averaged over repetitions.
    """

    cross_validated: CrossValidated
    target: xr.DataArray

    def values(self) -> xr.DataArray:
        """Return Pearson r; dims (split[, time_bin], neuroid)."""
        return self._labelled(as_numpy(self.cross_validated.r), ("split",))

    def penalties(self) -> xr.DataArray | None:
        """Return the chosen penalties, dims as :meth:`values`; None without a penalty."""
        chosen = self.cross_validated.penalties
        return None if chosen is None else self._labelled(as_numpy(chosen), ("split",))

    def resampled(self, weights: ArrayLike) -> xr.DataArray:
        """Return Pearson r with stimuli counted by `weights`; dims (draw, split, ..., neuroid).

        Nothing is refitted. The held-out predictions stay, and each fold's correlation is computed
        from weighted moments: the variance over stimuli of the test, not of the fit.
        """
        return self._labelled(
            as_numpy(self.cross_validated.resampled(weights)),
            ("draw", "split"),
        )

    def _labelled(self, values: NDArray[np.float64], leading: tuple[str, ...]) -> xr.DataArray:
        units = tuple(str(dim) for dim in self.target.dims[1:])
        shape = values.shape[:-1] + self.target.shape[1:]
        coords = {dim: np.arange(n) for dim, n in zip(leading, shape, strict=False)}
        return xr.DataArray(
            values.reshape(shape),
            dims=(*leading, *units),
            coords={**coords, **kept_coords(self.target, units)},
        )


@dataclass(frozen=True)
class LinearPredictivity:
    """Score activations by how well a linear map of them predicts each neuroid.

    Parameters
    ----------
    regression : {"ridge", "pls"}, Ridge or PLS
    n_splits : int
    seed : int
        Of the splits.
    split_kind : {"k_fold", "shuffle"}
        See :class:`Splits`.
    stratify : str, optional
        Coordinate of the target's stimuli that every fold holds in proportion.
    group : str, optional
        Coordinate of the target's stimuli whose values are left out as a whole.

    Examples
    --------
    >>> import numpy as np
    >>> from brainscore_lite.schema import activations, responses
    >>> X, names = np.random.default_rng(0).normal(size=(60, 8)), [f"s{i}" for i in range(60)]
    >>> source = activations(X, stimulus=names, layer="conv")
    >>> target = responses(X[:, :2], stimulus=names, neuroid=["a", "b"], region="IT", animal="m")
    >>> LinearPredictivity(n_splits=5)(source, target).dims
    ('split', 'neuroid')
    """

    regression: str | Regression = "ridge"
    n_splits: int = 10
    seed: int = 0
    split_kind: SplitKind = "k_fold"
    stratify: str | None = None
    group: str | None = None
    unit: ClassVar[str] = "pearson_r"
    fits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        resolve_regression(self.regression)
        Splits(self.n_splits, seed=self.seed, kind=self.split_kind)
        if self.stratify is not None and self.group is not None:
            raise ContractError("both stratify and group were given; choose one.")

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return Pearson r of each split and neuroid.

        Parameters
        ----------
        source : DataArray, dims (stimulus, neuroid)
            Activations; stimuli in any order.
        target : DataArray, dims (repetition, stimulus, neuroid[, time_bin])
            Recorded responses; averaged over repetitions here.

        Returns
        -------
        DataArray, dims (split[, time_bin], neuroid)

        Raises
        ------
        ContractError
            If stimuli are missing, or either array breaks its contract.
        """
        return self.compare(source, target).values()

    def compare(
        self, source: xr.DataArray, target: xr.DataArray, *, inner: bool = False
    ) -> PredictedResponses:
        """Predict the target once; values, resamples and inner scores are read from the result.

        Parameters
        ----------
        source, target : DataArray
            As for a call.
        inner : bool
            Also score within the training stimuli, for the choice of a layer.
        """
        source, target = match_stimuli(source, target)
        recorded = recorded_responses(target).transpose("stimulus", ..., "neuroid")
        kernel = gram(source_features(source))
        folds = self.folds(target)
        method = resolve_regression(self.regression)
        by_bin = recorded.values.reshape(recorded.sizes["stimulus"], -1, recorded.sizes["neuroid"])
        if not method.pools_neuroids:
            by_bin = by_bin.reshape(by_bin.shape[0], 1, -1)
        bins = [
            cross_validate(kernel, by_bin[:, b], folds, regression=method, inner=inner)
            for b in range(by_bin.shape[1])
        ]
        return PredictedResponses(bins[0].beside(*bins[1:]), recorded)

    def folds(self, target: xr.DataArray) -> tuple[Fold, ...]:
        """Return the splits of the target's stimuli."""
        return Splits(self.n_splits, seed=self.seed, kind=self.split_kind).folds(
            target.sizes["stimulus"],
            strata=stimulus_labels(target, self.stratify),
            groups=stimulus_labels(target, self.group),
        )

"""Linear predictivity: how well a linear map of features predicts each neuroid's responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_matrix, as_numpy
from brainscore_lite.metrics.gram import Columns, Gram, gram
from brainscore_lite.metrics.labels import (
    kept_coords,
    recorded_responses,
    source_features,
    stimulus_labels,
)
from brainscore_lite.metrics.regression.cross_validation import (
    CrossValidated,
    cross_validate,
    resolve_regression,
)
from brainscore_lite.metrics.regression.fold_fit import Regression
from brainscore_lite.metrics.splits import Fold, SplitKind, Splits, fixed_fold, resolve_folds
from brainscore_lite.schema import ContractError, average_repetitions, match_stimuli

Direction = Literal["model_to_brain", "brain_to_model"]


def linear_predictivity(
    X: Columns | Gram,
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
    X : array, shape (n_stimuli, n_features), iterator of blocks of columns, or Gram
        Features, in memory, on disk or streamed (see :func:`gram`). Only their Gram matrix is used:
        pass ``gram(X)`` to use it several times. ``one_to_one`` alone reads the features.
    Y : array, shape (n_stimuli, n_units)
        Responses, averaged over repetitions.
    regression : {"ridge", "pls", "ols", "pcr", "one_to_one"} or Regression
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
    responses = as_matrix(Y, name="Y")
    n_stimuli = int(responses.shape[0])
    folds = resolve_folds(splits, n_stimuli, seed=seed, strata=strata, groups=groups)
    return cross_validate(X, responses, folds, regression=regression).r


@dataclass(frozen=True, eq=False)
class PredictedResponses:
    """Cross-validated predictions of the responses of a target, labelled.

    Parameters
    ----------
    cross_validated : CrossValidated
        Units are the neuroids of `target`, of each time bin in turn.
    target : DataArray, dims (stimulus[, time_bin], neuroid)
        What is predicted: responses averaged over repetitions, or activations.
    """

    cross_validated: CrossValidated
    target: xr.DataArray

    @property
    def n_stimuli(self) -> int:
        """How many stimuli weights count."""
        return int(self.target.sizes["stimulus"])

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
    """Score activations by how well a linear map of them predicts each neuroid, or the reverse.

    Parameters
    ----------
    regression : {"ridge", "pls", "ols", "pcr", "one_to_one"} or Regression
    n_splits : int
        Without effect where `test` is given.
    seed : int
        Of the splits.
    split_kind : {"k_fold", "shuffle"}
        See :class:`Splits`.
    stratify : str, optional
        Coordinate of the target's stimuli that every fold holds in proportion.
    group : str, optional
        Coordinate of the target's stimuli whose values are left out as a whole.
    test : str, optional
        Boolean coordinate of the target's stimuli that marks those to test. They are scored once:
        the result has one split.
    direction : {"model_to_brain", "brain_to_model"}
        ``model_to_brain``: the activations predict each recorded neuroid. ``brain_to_model``: the
        recorded responses, of one time bin after the other, predict each unit of the model, and
        the result's neuroids are the model's units (reverse predictivity; Muzellec & Kar 2025,
        doi:10.1101/2025.08.08.669382).

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
    test: str | None = None
    direction: Direction = "model_to_brain"
    unit: ClassVar[str] = "pearson_r"
    fits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        resolve_regression(self.regression)
        Splits(self.n_splits, seed=self.seed, kind=self.split_kind)
        if self.stratify is not None and (self.group is not None or self.test is not None):
            other = "group" if self.group is not None else "test"
            raise ContractError(f"both stratify and {other} were given; choose one.")
        if self.direction not in get_args(Direction):
            raise ContractError(
                f"direction is {self.direction!r}, expected one of {get_args(Direction)}."
            )

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
            Neuroids of the target, or of the source where it is the predicted side.

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

        Raises
        ------
        ContractError
            As for a call; and if a layer is to be chosen by how well its own units are predicted.
        """
        source, target = match_stimuli(source, target)
        recorded = recorded_responses(target).transpose("stimulus", ..., "neuroid")
        folds = self.folds(target)
        if self.direction == "model_to_brain":
            return self._of_neuroids(source, recorded, folds, inner=inner)
        if inner:
            raise ContractError(
                "direction='brain_to_model' predicts the units of a layer, which differ from layer "
                "to layer: no layer can be chosen by them. Name the layer."
            )
        return self._of_model_units(source, recorded, folds)

    def _of_neuroids(
        self, source: xr.DataArray, recorded: xr.DataArray, folds: tuple[Fold, ...], *, inner: bool
    ) -> PredictedResponses:
        """Predict the neuroids from the model's units."""
        method = resolve_regression(self.regression)
        features = source_features(source)
        kernel = features if method.reads_features else gram(features)
        by_bin = recorded.values.reshape(recorded.sizes["stimulus"], -1, recorded.sizes["neuroid"])
        if not method.pools_neuroids:
            by_bin = by_bin.reshape(by_bin.shape[0], 1, -1)
        bins = [
            cross_validate(kernel, by_bin[:, b], folds, regression=method, inner=inner)
            for b in range(by_bin.shape[1])
        ]
        return PredictedResponses(bins[0].beside(*bins[1:]), recorded)

    def _of_model_units(
        self, source: xr.DataArray, recorded: xr.DataArray, folds: tuple[Fold, ...]
    ) -> PredictedResponses:
        """Predict the model's units from the neuroids, of each time bin in turn."""
        units = source_features(source)
        by_bin = recorded.values.reshape(recorded.sizes["stimulus"], -1, recorded.sizes["neuroid"])
        bins = [
            cross_validate(by_bin[:, b], units, folds, regression=self.regression)
            for b in range(by_bin.shape[1])
        ]
        predicted = average_repetitions(source) if "repetition" in source.dims else source
        predicted = predicted.transpose("stimulus", "neuroid")
        if "time_bin" in recorded.dims:
            times = kept_coords(recorded, ("time_bin",))
            predicted = predicted.expand_dims(time_bin=len(bins), axis=1).assign_coords(times)
        return PredictedResponses(bins[0].beside(*bins[1:]), predicted)

    def folds(self, target: xr.DataArray) -> tuple[Fold, ...]:
        """Return the splits of the target's stimuli."""
        groups = stimulus_labels(target, self.group)
        if self.test is not None:
            stimulus_labels(target, self.test)  # says what is wrong where there is no such coord
            return (fixed_fold(target.coords[self.test].values, groups=groups),)
        return Splits(self.n_splits, seed=self.seed, kind=self.split_kind).folds(
            target.sizes["stimulus"],
            strata=stimulus_labels(target, self.stratify),
            groups=groups,
        )

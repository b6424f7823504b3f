"""Linear decoding: how often a linear classifier names the class of a pattern it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_matrix, as_numpy
from brainscore_lite.metrics.behaviour.classification import (
    Classifier,
    check_classifier,
    check_labels,
    classify,
)
from brainscore_lite.metrics.labels import is_rdms, kept_coords, stimulus_labels
from brainscore_lite.metrics.splits import Fold, Splits, resolve_folds
from brainscore_lite.schema import (
    ContractError,
    average_repetitions,
    check_activations,
    check_labelled,
    check_responses,
    match_stimuli,
)

Samples = Literal["average", "trials"]


def decoding_accuracy(
    X: Array,
    labels: ArrayLike,
    *,
    classifier: Classifier = "logistic",
    splits: int | Splits | Sequence[Fold] = 10,
    seed: int | None = None,
    groups: ArrayLike | None = None,
    balanced: bool = False,
) -> NDArray[np.float64]:
    """Decode labels from patterns, cross-validated.

    For each split a classifier is fitted to the training patterns, standardised by themselves; the
    accuracy is the fraction of test patterns whose label it names.

    Parameters
    ----------
    X : array, shape (n_stimuli, n_units)
        Patterns; brought to NumPy.
    labels : sequence of labels, length n_stimuli
    classifier : {"logistic", "maximum_correlation", "ridge", "lda"}
        ``logistic``: multinomial logistic regression, C = 1. ``maximum_correlation``: the class
        whose mean training pattern correlates best with the test pattern. ``ridge``: least squares
        to -1 and 1 for each class, penalty 1. ``lda``: linear discriminant with the shrunken
        covariance of Ledoit & Wolf; it alone holds a matrix of units x units.
    splits : int, Splits or sequence of Fold
        Folds hold every label in its proportion unless `groups` are given.
    seed : int, optional
        Of the splits, where `splits` is a number; 0 if not given.
    groups : sequence of labels, length n_stimuli, optional
        Labels that are left out together, to test generalisation to new ones. Not with ready folds.
    balanced : bool
        Average over classes instead of over stimuli.

    Returns
    -------
    ndarray, shape (n_splits,)
        Compare with :func:`chance_accuracy`.

    Raises
    ------
    ContractError
        If shapes disagree, values are not finite, there are too few stimuli of a class, or a test
        class is never trained.

    References
    ----------
    Hung, Kreiman, Poggio & DiCarlo (2005), doi:10.1126/science.1117593. Maximum correlation:
    Meyers (2013), doi:10.3389/fninf.2013.00008.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["car", "face"], 30)
    >>> X = rng.normal(size=(60, 8)) + 2 * (labels == "car")[:, None]
    >>> bool(decoding_accuracy(X, labels, splits=5).mean() > 0.9)
    True
    """
    check_classifier(classifier)
    patterns = as_numpy(as_matrix(X, name="X", units="unit"))
    names = check_labels(labels, len(patterns))
    ready = not isinstance(splits, int | np.integer | Splits)
    strata = None if ready or groups is not None else names
    folds = resolve_folds(splits, len(patterns), seed=seed, strata=strata, groups=groups)
    accuracies = []
    for number, fold in enumerate(folds):
        unseen = np.setdiff1d(names[fold.test], names[fold.train])
        if unseen.size:
            raise ContractError(
                f"split {number} tests the class '{unseen[0]}', which its training stimuli lack. "
                "Stratify by the labels, or use finer groups."
            )
        answers = classify(
            patterns[fold.train],
            names[fold.train],
            test_X=patterns[fold.test],
            classifier=classifier,
        )
        accuracies.append(_accuracy(answers, names[fold.test], balanced))
    return np.array(accuracies)


def chance_accuracy(labels: ArrayLike, *, balanced: bool = False) -> float:
    """Return the accuracy of always naming one class, the most frequent one.

    Parameters
    ----------
    labels : sequence of labels
    balanced : bool
        Averaged over classes, which gives 1 / n_classes.

    Raises
    ------
    ContractError
        If a label is missing, or there are fewer than two classes.
    """
    _, counts = np.unique(check_labels(labels, np.size(labels)), return_counts=True)
    return float(1 / len(counts) if balanced else counts.max() / counts.sum())


@dataclass(frozen=True)
class Decoding:
    """Decode a coordinate of the stimuli from activations or recorded responses.

    Parameters
    ----------
    label : str
        Coordinate of the stimuli: object_name, category, ...
    classifier : {"logistic", "maximum_correlation", "ridge", "lda"}
    samples : {"average", "trials"}
        What a pattern of a recording is: a stimulus, averaged over repetitions, or each trial.
        Trials of one stimulus are then both trained and tested, unless `group` is "stimulus".
    n_splits : int
    seed : int
        Of the splits.
    group : str, optional
        Coordinate of the stimuli (or "stimulus" itself) whose values are left out as a whole, for
        generalisation over position, exemplar, ...
    balanced : bool
        Average over classes.

    Examples
    --------
    >>> from brainscore_lite.schema import responses
    >>> X = np.random.default_rng(0).normal(size=(6, 4, 5)) + np.array([0, 0, 3, 3])[:, None]
    >>> it = responses(X, stimulus=list("abcd"), neuroid=list("vwxyz"), region="IT", animal="m",
    ...                stimulus_coords={"category": ["one", "one", "two", "two"]})
    >>> Decoding("category", samples="trials", n_splits=4)(it).sizes["split"]
    4
    """

    label: str
    classifier: Classifier = "logistic"
    samples: Samples = "average"
    n_splits: int = 10
    seed: int = 0
    group: str | None = None
    balanced: bool = False
    unit: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        check_classifier(self.classifier)
        Splits(self.n_splits, seed=self.seed)
        if self.samples not in get_args(Samples):
            raise ContractError(
                f"samples is {self.samples!r}, expected one of {get_args(Samples)}."
            )

    def __call__(self, source: xr.DataArray, labelled: xr.DataArray | None = None) -> xr.DataArray:
        """Return the accuracy of each split, and of each step or time bin.

        Parameters
        ----------
        source : DataArray
            Activations, dims (stimulus, neuroid[, step]), or responses, dims (repetition,
            stimulus, neuroid[, time_bin]).
        labelled : DataArray, optional
            An array whose stimuli carry the coordinates, where those of `source` do not: the
            recording that the activations belong to, or one of its coordinates. Its stimuli are
            those decoded.

        Returns
        -------
        DataArray, dims (split[, step or time_bin])
            NaN at steps that no signal has reached. Scalar coords: ``chance``; ``n_samples``, the
            patterns decoded; ``n_incomplete``, the trials left out because a neuroid lacks them.

        Raises
        ------
        ContractError
            If a coordinate is missing, or the arrays break their contracts.
        """
        if labelled is not None:
            source, labelled = match_stimuli(source, labelled)
        check_labelled(source, "source", make="responses")
        holder = source if labelled is None else labelled
        names = stimulus_labels(holder, self.label)
        groups = holder["stimulus"].values if self.group == "stimulus" else None
        if self.group not in (None, "stimulus"):
            groups = stimulus_labels(holder, self.group)
        patterns, stimulus, n_incomplete = self._samples(source)
        of_samples = np.asarray(names)[stimulus]
        accuracies = [
            self._one(patterns[..., moment], of_samples, groups, stimulus)
            for moment in range(patterns.shape[-1])
        ]
        dims = tuple(str(dim) for dim in source.dims if dim in ("step", "time_bin"))
        values = np.stack(accuracies, axis=1)
        return xr.DataArray(
            values if dims else values[:, 0],
            dims=("split", *dims),
            coords={
                "split": np.arange(self.n_splits),
                **kept_coords(source, dims),
                "chance": chance_accuracy(of_samples, balanced=self.balanced),
                "n_samples": len(of_samples),
                "n_incomplete": n_incomplete,
            },
        )

    def _samples(self, source: xr.DataArray) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
        """Return patterns (sample, neuroid, moment), each one's stimulus, and how many were cut."""
        if is_rdms(source):
            raise ContractError(
                "source holds dissimilarity matrices, which have no patterns to decode. Use "
                "activations or responses."
            )
        if "repetition" not in source.dims:
            check_activations(source)
            averaged = source.transpose("stimulus", "neuroid", ...)
        elif self.samples == "average":
            averaged = average_repetitions(source).transpose("stimulus", "neuroid", ...)
        else:
            check_responses(source)
            trials = source.transpose("repetition", "stimulus", "neuroid", ...).values
            flat = trials.reshape(-1, trials.shape[2], int(np.prod(trials.shape[3:])))
            complete = np.isfinite(flat).all(axis=(1, 2))
            if not complete.any():
                raise ContractError(
                    "no trial was recorded from all neuroids; decode averages, or fewer neuroids."
                )
            stimulus = np.tile(np.arange(trials.shape[1]), trials.shape[0])
            return flat[complete], stimulus[complete], int((~complete).sum())
        values = averaged.values.reshape(*averaged.shape[:2], -1)
        return values, np.arange(len(values)), 0

    def _one(
        self,
        patterns: NDArray[np.float64],
        names: NDArray[np.str_],
        groups: NDArray[np.str_] | None,
        stimulus: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        reached = ~np.isnan(patterns).all(axis=0)
        if not reached.any():
            return np.full(self.n_splits, np.nan)
        return decoding_accuracy(
            patterns[:, reached],
            names,
            classifier=self.classifier,
            splits=Splits(self.n_splits, seed=self.seed),
            groups=None if groups is None else groups[stimulus],
            balanced=self.balanced,
        )


def _accuracy(answers: NDArray[np.str_], truth: NDArray[np.str_], balanced: bool) -> float:
    right = answers == truth
    if not balanced:
        return float(right.mean())
    return float(np.mean([right[truth == name].mean() for name in np.unique(truth)]))

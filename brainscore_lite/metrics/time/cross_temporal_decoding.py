"""Decoding of labels from trials across time: trained at one time and tested at another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_array, as_matrix, as_numpy
from brainscore_lite.metrics.behaviour.classification import (
    Classifier,
    check_classifier,
    check_labels,
    classify,
)
from brainscore_lite.metrics.behaviour.decoding import chance_accuracy
from brainscore_lite.metrics.labels import is_rdms, stimulus_labels
from brainscore_lite.metrics.splits import Fold, Splits, resolve_folds
from brainscore_lite.metrics.time.over_time import time_coords
from brainscore_lite.schema import ContractError, check_responses


def cross_temporal_decoding(
    trials: Array,
    labels: ArrayLike,
    *,
    classifier: Classifier = "maximum_correlation",
    splits: int | Splits | Sequence[Fold] = 5,
    seed: int | None = None,
    groups: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Decode labels from the trials of one time by a classifier trained at another (NumPy only).

    For each split and each time t a classifier is trained on the training trials at t; units are
    standardised by those trials, at every test time t' as well. The accuracy is the fraction of
    test trials at t' whose label it names.

    Parameters
    ----------
    trials : array, shape (n_trials, n_units, n_times)
        Responses of every unit on every trial; brought to NumPy.
    labels : sequence of labels, length n_trials
    classifier : {"maximum_correlation", "logistic", "ridge", "lda"}
        See :func:`~brainscore_lite.metrics.behaviour.decoding.decoding_accuracy`.
    splits : int, Splits or sequence of Fold
        Folds hold every label in its proportion unless `groups` are given.
    seed : int, optional
        Of the splits, where `splits` is a number; 0 if not given.
    groups : sequence of labels, length n_trials, optional
        Left out as a whole: to test whether decoding generalises to, say, a new position.

    Returns
    -------
    ndarray, shape (n_splits, n_train_times, n_test_times)
        Compare with ``chance_accuracy(labels)``: 1 / n_labels where they are equally frequent.

    Raises
    ------
    ContractError
        If shapes disagree, values are not finite, there are fewer than two labels, or a split
        tests a label that it does not train.

    References
    ----------
    Meyers et al. (2008), doi:10.1152/jn.90248.2008; King & Dehaene (2014),
    doi:10.1016/j.tics.2014.01.002.
    """
    check_classifier(classifier)
    by_time = _patterns(trials)
    n_trials, n_times = len(by_time[0]), len(by_time)
    names = check_labels(labels, n_trials)
    drawn = isinstance(splits, int | np.integer | Splits)
    strata = names if drawn and groups is None else None
    folds = resolve_folds(splits, n_trials, seed=seed, strata=strata, groups=groups)
    accuracy = np.zeros((len(folds), n_times, n_times))
    for number, fold in enumerate(folds):
        unknown = np.setdiff1d(names[fold.test], names[fold.train])
        if unknown.size:
            raise ContractError(
                f"split {number} tests label '{unknown[0]}', which it does not train. Use fewer "
                "splits, or groups that hold every label."
            )
        tested = np.concatenate([patterns[fold.test] for patterns in by_time])
        for t, patterns in enumerate(by_time):
            answers = classify(
                patterns[fold.train], names[fold.train], test_X=tested, classifier=classifier
            )
            right = answers.reshape(n_times, -1) == names[fold.test]
            accuracy[number, t] = right.mean(axis=1)
    return accuracy


@dataclass(frozen=True)
class CrossTemporalDecoding:
    """Decode a label of the stimuli from recorded trials, across time bins.

    Every repetition of every stimulus is a trial. Neurons recorded one after the other become
    pseudo-trials: repetition k of each, without their noise correlations. Trials of one stimulus
    are both trained and tested, unless `group` is "stimulus": a label can then be decoded from
    whatever tells single stimuli apart.

    Parameters
    ----------
    label : str
        Coordinate of the stimuli that is decoded.
    classifier : {"maximum_correlation", "logistic", "ridge", "lda"}
    n_splits : int
    seed : int
        Of the splits.
    group : str, optional
        Coordinate of the stimuli (or "stimulus" itself) whose values are left out as a whole.
    """

    label: str
    classifier: Classifier = "maximum_correlation"
    n_splits: int = 5
    seed: int = 0
    group: str | None = None

    def __post_init__(self) -> None:
        check_classifier(self.classifier)
        Splits(self.n_splits, seed=self.seed)

    def __call__(self, trials: xr.DataArray) -> xr.DataArray:
        """Return accuracy; dims (split, train_time, test_time).

        Parameters
        ----------
        trials : DataArray, dims (repetition, stimulus, neuroid, time_bin)
            Those on which some neuroid was not recorded are left out.

        Returns
        -------
        DataArray
            With the scalar coords ``chance`` (the accuracy of always naming the most frequent
            label), ``n_samples`` (trials) and ``n_incomplete`` (trials left out).

        Raises
        ------
        ContractError
            If there are no time bins, no such coordinate, or no trial of all neuroids.
        """
        if is_rdms(trials) or "time_bin" not in trials.dims:
            raise ContractError(
                f"trials have dims {trials.dims}, expected (repetition, stimulus, neuroid, "
                "time_bin)."
            )
        check_responses(trials)
        names, groups = (stimulus_labels(trials, coord) for coord in (self.label, self.group))
        patterns = trials.values.reshape(-1, *trials.shape[2:])
        complete = ~np.isnan(patterns).any(axis=(1, 2))
        if not complete.any():
            raise ContractError(
                "no trial was recorded from all neuroids, and a pattern needs every one. Choose "
                "neuroids that were recorded together."
            )
        stimulus = np.tile(np.arange(trials.sizes["stimulus"]), trials.sizes["repetition"])
        stimulus = stimulus[complete]
        labels = np.asarray(names)[stimulus]
        accuracy = cross_temporal_decoding(
            patterns[complete],
            labels,
            classifier=self.classifier,
            splits=Splits(self.n_splits, seed=self.seed),
            groups=None if groups is None else groups[stimulus],
        )
        return xr.DataArray(
            accuracy,
            dims=("split", "train_time", "test_time"),
            coords={
                "split": np.arange(accuracy.shape[0]),
                **time_coords(trials),
                "chance": chance_accuracy(labels),
                "n_samples": len(labels),
                "n_incomplete": int((~complete).sum()),
            },
        )


def _patterns(trials: Array) -> list[NDArray[np.float64]]:
    """Return the patterns of each time, shape (n_trials, n_units)."""
    trials = as_array(trials)
    if trials.ndim != 3 or 0 in trials.shape:
        raise ContractError(
            f"trials have shape {tuple(trials.shape)}, expected (n_trials, n_units, n_times) with "
            "at least one of each."
        )
    return [
        as_numpy(as_matrix(trials[:, :, t], name=f"trials at time {t}", units="unit"))
        for t in range(trials.shape[2])
    ]

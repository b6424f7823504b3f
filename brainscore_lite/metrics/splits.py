"""Which stimuli train and which test: deterministic, stratified or grouped folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from brainscore_lite.schema import ContractError

SplitKind = Literal["k_fold", "shuffle"]
MIN_TEST_STIMULI = 3
"""Fewest test stimuli of a fold: a correlation over two is always 1 or -1."""


@dataclass(frozen=True, eq=False)
class Fold:
    """The positions of the training and the test stimuli of one split.

    Parameters
    ----------
    train, test : array of int
        Positions among the stimuli, each at most once; disjoint.
    groups : ndarray of str, shape (n_train,), optional
        Labels of the training stimuli. What is chosen within the training stimuli (a penalty, a
        layer) is then chosen by leaving whole groups out, as the test does.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    groups: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            positions = np.asarray(getattr(self, name))
            if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
                raise ContractError(
                    f"{name} has shape {positions.shape} and type {positions.dtype}, expected the "
                    "positions of stimuli as whole numbers. Use numpy.flatnonzero(mask) of a mask, "
                    "or fixed_fold."
                )
            object.__setattr__(self, name, positions.astype(np.int64, copy=False))
        if self.groups is not None and np.shape(self.groups) != np.shape(self.train):
            raise ContractError(
                f"groups has shape {np.shape(self.groups)}, expected one label for each of the "
                f"{len(self.train)} training stimuli."
            )

    def group_members(self) -> tuple[NDArray[np.int64], ...]:
        """Return the positions within `train` of each group, in the order of their labels.

        Raises
        ------
        ContractError
            If there are fewer than two groups, so that none can be left out.
        """
        names, codes = np.unique(np.asarray(self.groups, dtype=str), return_inverse=True)
        if self.groups is None or len(names) < 2:
            raise ContractError(
                f"the training stimuli of a split have {0 if self.groups is None else len(names)} "
                "groups, expected at least two: nothing can be chosen by leaving one out. Use "
                "finer groups or more splits, or a single penalty without a choice of layer."
            )
        return tuple(np.flatnonzero(codes == code) for code in range(len(names)))


@dataclass(frozen=True)
class Splits:
    """How to split the stimuli for cross-validation.

    Parameters
    ----------
    n_splits : int
        Number of splits.
    seed : int
        Everything random follows from it.
    kind : {"k_fold", "shuffle"}
        ``k_fold``: each stimulus is tested once. ``shuffle``: independent random splits, as in
        Brain-Score (``Splits(10, seed=1, kind="shuffle")`` with strata is its
        ``StratifiedShuffleSplit``, provided the stimuli come in the same order); stimuli recur
        in several test sets.
    train_size : float
        Fraction that trains, of the stimuli or, with groups, of the groups; ``shuffle`` only.
    """

    n_splits: int = 10
    seed: int = 0
    kind: SplitKind = "k_fold"
    train_size: float = 0.9

    def __post_init__(self) -> None:
        if self.kind not in get_args(SplitKind):
            raise ContractError(f"kind is {self.kind!r}, expected one of {get_args(SplitKind)}.")
        if self.n_splits < (2 if self.kind == "k_fold" else 1):
            raise ContractError(f"n_splits is {self.n_splits}, expected at least 2.")
        if not 0 < self.train_size < 1:
            raise ContractError(f"train_size is {self.train_size}, expected between 0 and 1.")

    def folds(
        self,
        n_stimuli: int,
        *,
        strata: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> tuple[Fold, ...]:
        """Split the positions 0 ... n_stimuli - 1.

        Parameters
        ----------
        n_stimuli : int
        strata : sequence of labels, length n_stimuli, optional
            Each fold holds every label in its proportion.
        groups : sequence of labels, length n_stimuli, optional
            A group is wholly in the training or wholly in the test set.

        Returns
        -------
        tuple of Fold
            The same for the same arguments, on every machine.

        Raises
        ------
        ContractError
            If there are too few stimuli, strata members or groups for `n_splits`.
        """
        if strata is not None and groups is not None:
            raise ContractError("both strata and groups were given; choose one.")
        splitter, labels = self._splitter(n_stimuli, strata, groups)
        try:
            pairs = list(splitter.split(np.zeros(n_stimuli), labels, groups))
        except ValueError as error:
            raise ContractError(f"cannot split {n_stimuli} stimuli: {error}") from error
        folds = []
        for train, test in pairs:
            train = np.sort(train)
            kept = None if groups is None else np.asarray(groups).astype(str)[train]
            folds.append(Fold(train=train, test=np.sort(test), groups=kept))
        smallest = min(len(fold.test) for fold in folds)
        if smallest < MIN_TEST_STIMULI:
            raise ContractError(
                f"{self.n_splits} splits of {n_stimuli} stimuli leave {smallest} to test, expected "
                f"at least {MIN_TEST_STIMULI}. Use fewer splits."
            )
        return tuple(folds)

    def _splitter(
        self, n_stimuli: int, strata: ArrayLike | None, groups: ArrayLike | None
    ) -> tuple[Any, NDArray[np.str_] | None]:
        if n_stimuli < self.n_splits and self.kind == "k_fold":
            raise ContractError(
                f"{n_stimuli} stimuli cannot be split into {self.n_splits} folds. Use fewer splits."
            )
        if groups is not None:
            return self._grouped(_labels(groups, n_stimuli, "groups"))
        labels = None if strata is None else _labels(strata, n_stimuli, "strata")
        if self.kind == "shuffle":
            make = ShuffleSplit if labels is None else StratifiedShuffleSplit
            return make(self.n_splits, train_size=self.train_size, random_state=self.seed), labels
        if labels is None:
            return KFold(self.n_splits, shuffle=True, random_state=self.seed), None
        names, counts = np.unique(labels, return_counts=True)
        if counts.min() < self.n_splits:
            raise ContractError(
                f"stratum '{names[counts.argmin()]}' has {counts.min()} stimuli, fewer than the "
                f"{self.n_splits} splits. Use fewer splits or a coarser stratification."
            )
        return StratifiedKFold(self.n_splits, shuffle=True, random_state=self.seed), labels

    def _grouped(self, labels: NDArray[np.str_]) -> tuple[Any, NDArray[np.str_]]:
        if self.kind == "shuffle":
            make = GroupShuffleSplit(
                self.n_splits, train_size=self.train_size, random_state=self.seed
            )
            return make, labels
        n_groups = len(np.unique(labels))
        if n_groups < self.n_splits:
            raise ContractError(
                f"{n_groups} groups cannot be left out in {self.n_splits} splits. Set n_splits to "
                f"{n_groups} to leave out one group at a time, or to fewer."
            )
        return GroupKFold(self.n_splits), labels


def fixed_fold(is_test: ArrayLike, *, groups: ArrayLike | None = None) -> Fold:
    """Return the one split whose test stimuli are marked.

    Parameters
    ----------
    is_test : array of bool, shape (n_stimuli,)
        Also 0 and 1, as files without a type for truth keep them.
    groups : sequence of labels, length n_stimuli, optional
        Kept for what is chosen within the training stimuli; no group may be on both sides.

    Returns
    -------
    Fold

    Raises
    ------
    ContractError
        If the marks are no booleans, too few stimuli are tested, fewer than two train, or a group
        is on both sides.
    """
    marks = np.asarray(is_test)
    if marks.ndim != 1 or not np.isin(marks, (0, 1)).all():
        raise ContractError(
            f"the marks of the test stimuli have shape {marks.shape} and type {marks.dtype}, "
            "expected one True or False for each stimulus."
        )
    test = marks.astype(bool)
    if test.sum() < MIN_TEST_STIMULI or (~test).sum() < 2:
        raise ContractError(
            f"{int(test.sum())} of {len(test)} stimuli are marked for the test; expected at least "
            f"{MIN_TEST_STIMULI}, and at least 2 to train."
        )
    train = np.flatnonzero(~test)
    if groups is None:
        return Fold(train=train, test=np.flatnonzero(test))
    labels = _labels(groups, len(test), "groups")
    both = np.intersect1d(labels[test], labels[~test])
    if len(both):
        raise ContractError(
            f"{len(both)} groups are in the training and in the test set (first: '{both[0]}'). "
            "Mark whole groups for the test, or give no groups."
        )
    return Fold(train=train, test=np.flatnonzero(test), groups=labels[train])


def resolve_folds(
    splits: int | Splits | Sequence[Fold],
    n_stimuli: int,
    *,
    seed: int | None = None,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> tuple[Fold, ...]:
    """Turn a number of splits, settings or ready folds into folds.

    Raises
    ------
    ContractError
        If an argument is given that `splits` already decides, or ready folds reach outside the
        stimuli, overlap, or test too few.
    """
    if isinstance(splits, int | np.integer):
        splits = Splits(int(splits), seed=seed or 0)
    elif seed is not None:
        raise ContractError(
            f"seed={seed} was given together with {type(splits).__name__}, which decides the "
            "splits already. Write Splits(n, seed=...), or give a number of splits."
        )
    if isinstance(splits, Splits):
        return splits.folds(n_stimuli, strata=strata, groups=groups)
    if strata is not None or groups is not None:
        raise ContractError(
            "strata or groups were given together with ready folds, which they cannot change. "
            "Give Splits, or label the training stimuli with Fold(train, test, groups=...)."
        )
    if not splits:
        raise ContractError("no folds were given, expected at least one.")
    for number, fold in enumerate(splits):
        _check_ready(fold, number, n_stimuli)
    return tuple(splits)


def _check_ready(fold: Fold, number: int, n_stimuli: int) -> None:
    """Raise unless a fold given by the caller can be fitted and tested."""
    if not isinstance(fold, Fold):
        raise ContractError(f"split {number} is {type(fold).__name__}, expected Fold(train, test).")
    both = np.concatenate([fold.train, fold.test])
    outside = both[(both < 0) | (both >= n_stimuli)]
    if outside.size:
        raise ContractError(
            f"split {number} names stimulus {outside[0]}, but there are {n_stimuli}."
        )
    if np.intersect1d(fold.train, fold.test).size:
        raise ContractError(f"split {number} tests stimuli that it was trained on.")
    if len(np.unique(both)) < len(both):
        raise ContractError(f"split {number} names a stimulus twice, expected each at most once.")
    if len(fold.test) < MIN_TEST_STIMULI:
        raise ContractError(
            f"split {number} leaves {len(fold.test)} stimuli to test, expected at least "
            f"{MIN_TEST_STIMULI}."
        )
    if len(fold.train) < 2:
        raise ContractError(f"split {number} trains on {len(fold.train)} stimuli, expected 2.")


def _labels(values: ArrayLike, n_stimuli: int, what: str) -> NDArray[np.str_]:
    given = np.asarray(values)
    missing = np.flatnonzero(pd.isna(given))
    if len(missing):
        raise ContractError(
            f"{what}: {len(missing)} of {n_stimuli} stimuli have no label, first: stimulus "
            f"{missing[0]}. Label them, or leave them out."
        )
    labels = given.astype(str)
    if labels.shape != (n_stimuli,):
        raise ContractError(
            f"{what} has shape {labels.shape}, expected one label for each of {n_stimuli} stimuli."
        )
    return labels

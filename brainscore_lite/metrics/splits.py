"""Which stimuli train and which test: deterministic, stratified or grouped folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import (
    GroupKFold,
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
    train, test : ndarray of int
        Ascending; disjoint.
    groups : ndarray of str, shape (n_train,), optional
        Labels of the training stimuli. What is chosen within the training stimuli (a penalty, a
        layer) is then chosen by leaving whole groups out, as the test does.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    groups: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
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
        Fraction that trains; ``shuffle`` only.
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
        if self.kind != "k_fold":
            raise ContractError("groups need kind='k_fold'.")
        n_groups = len(np.unique(labels))
        if n_groups < self.n_splits:
            raise ContractError(
                f"{n_groups} groups cannot be left out in {self.n_splits} splits. Set n_splits to "
                f"{n_groups} to leave out one group at a time, or to fewer."
            )
        return GroupKFold(self.n_splits), labels


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
    both = np.concatenate([fold.train, fold.test])
    outside = both[(both < 0) | (both >= n_stimuli)]
    if outside.size:
        raise ContractError(
            f"split {number} names stimulus {outside[0]}, but there are {n_stimuli}."
        )
    if np.intersect1d(fold.train, fold.test).size:
        raise ContractError(f"split {number} tests stimuli that it was trained on.")
    if len(fold.test) < MIN_TEST_STIMULI:
        raise ContractError(
            f"split {number} leaves {len(fold.test)} stimuli to test, expected at least "
            f"{MIN_TEST_STIMULI}."
        )


def _labels(values: ArrayLike, n_stimuli: int, what: str) -> NDArray[np.str_]:
    labels = np.asarray(values).astype(str)
    if labels.shape != (n_stimuli,):
        raise ContractError(
            f"{what} has shape {labels.shape}, expected one label for each of {n_stimuli} stimuli."
        )
    return labels

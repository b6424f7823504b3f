"""Folds: deterministic, complete, stratified, grouped, and Brain-Score's."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedShuffleSplit

from brainscore_lite.metrics import Fold, Splits
from brainscore_lite.metrics.splits import fixed_fold, resolve_folds
from brainscore_lite.schema import ContractError

BLOCKS = np.repeat([f"block{i}" for i in range(8)], 10)


def test_k_folds_test_every_stimulus_once_and_repeat() -> None:
    folds = Splits(10, seed=4).folds(95)
    np.testing.assert_array_equal(np.sort(np.concatenate([f.test for f in folds])), np.arange(95))
    assert all(np.intersect1d(f.train, f.test).size == 0 for f in folds)
    again = Splits(10, seed=4).folds(95)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(folds, again, strict=True))
    other = Splits(10, seed=5).folds(95)
    assert not all(np.array_equal(a.test, b.test) for a, b in zip(folds, other, strict=True))


def test_strata_are_in_every_fold_in_proportion() -> None:
    for fold in Splits(5).folds(80, strata=BLOCKS):
        assert np.unique(BLOCKS[fold.test], return_counts=True)[1].tolist() == [2] * 8


def test_groups_are_left_out_as_a_whole() -> None:
    folds = Splits(8).folds(80, groups=BLOCKS)
    assert sorted(np.unique(BLOCKS[f.test]).item() for f in folds) == sorted(set(BLOCKS))


def test_shuffle_is_brain_scores_split() -> None:
    ours = Splits(10, seed=1, kind="shuffle").folds(80, strata=BLOCKS)
    peer = StratifiedShuffleSplit(n_splits=10, train_size=0.9, random_state=1)
    for fold, (train, test) in zip(ours, peer.split(BLOCKS, BLOCKS), strict=True):
        np.testing.assert_array_equal(fold.train, np.sort(train))
        np.testing.assert_array_equal(fold.test, np.sort(test))


@pytest.mark.parametrize(
    ("splits", "arguments", "sentence"),
    [
        (Splits(10), {"n_stimuli": 8}, "8 stimuli cannot be split into 10 folds"),
        (Splits(10), {"n_stimuli": 20}, "leave 2 to test, expected at least 3"),
        (
            Splits(12),
            {"n_stimuli": 80, "strata": BLOCKS},
            "stratum 'block0' has 10 stimuli, fewer than the 12 splits",
        ),
        (
            Splits(10),
            {"n_stimuli": 80, "groups": BLOCKS},
            "8 groups cannot be left out in 10 splits. Set n_splits to 8",
        ),
        (
            Splits(5),
            {"n_stimuli": 80, "groups": BLOCKS, "strata": BLOCKS},
            "both strata and groups were given",
        ),
        (Splits(5), {"n_stimuli": 40, "strata": BLOCKS}, "one label for each of 40 stimuli"),
        (
            Splits(5, kind="shuffle"),
            {"n_stimuli": 80, "groups": np.repeat("one", 80)},
            "cannot split 80 stimuli",
        ),
        (
            Splits(5, kind="shuffle"),
            {"n_stimuli": 6, "strata": ["a", "a", "a", "a", "a", "b"]},
            "cannot split 6 stimuli",
        ),
    ],
)
def test_impossible_splits_are_refused(splits: Splits, arguments: dict, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        splits.folds(**arguments)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ContractError, match="n_splits is 1, expected at least 2"):
        Splits(1)
    with pytest.raises(ContractError, match="kind is 'bootstrap', expected one of"):
        Splits(5, kind="bootstrap")
    with pytest.raises(ContractError, match=r"train_size is 1\.5, expected between 0 and 1"):
        Splits(5, train_size=1.5)


def test_a_number_of_splits_of_any_integer_type() -> None:
    for number in (5, np.int64(5)):
        folds = resolve_folds(number, 40, seed=3)
        expected = Splits(5, seed=3).folds(40)
        assert all(np.array_equal(a.test, b.test) for a, b in zip(folds, expected, strict=True))


def test_grouped_folds_carry_the_labels_of_their_training_stimuli() -> None:
    for fold in Splits(4).folds(80, groups=BLOCKS):
        np.testing.assert_array_equal(fold.groups, BLOCKS[fold.train])
        assert [len(members) for members in fold.group_members()] == [10] * 6
    assert Splits(4).folds(80)[0].groups is None
    with pytest.raises(
        ContractError, match=r"groups has shape \(3,\), expected one label for each"
    ):
        Fold(np.arange(5), np.arange(5, 9), groups=np.array(["a", "b", "c"]))


def test_arguments_that_ready_splits_decide_are_refused() -> None:
    ready = Splits(5).folds(80)
    for labels in ({"strata": BLOCKS}, {"groups": BLOCKS}):
        with pytest.raises(ContractError, match="strata or groups were given together with ready"):
            resolve_folds(ready, 80, **labels)
    for splits in (ready, Splits(5)):
        with pytest.raises(ContractError, match="seed=0 was given together with"):
            resolve_folds(splits, 80, seed=0)
    assert resolve_folds(ready, 80) == ready


def test_ready_folds_are_checked() -> None:
    with pytest.raises(ContractError, match="names stimulus -1, but there are 10"):
        resolve_folds([Fold(np.arange(5), np.array([-1, 6, 7]))], 10)
    with pytest.raises(ContractError, match="split 0 leaves 2 stimuli to test, expected at least"):
        resolve_folds([Fold(np.arange(5), np.array([6, 7]))], 10)
    with pytest.raises(ContractError, match="split 0 trains on 1 stimuli, expected 2"):
        resolve_folds([Fold(np.array([0]), np.array([5, 6, 7]))], 10)
    with pytest.raises(ContractError, match="no folds were given"):
        resolve_folds([], 10)
    with pytest.raises(ContractError, match="names stimulus 12, but there are 10"):
        resolve_folds([Fold(np.arange(5), np.array([6, 12]))], 10)
    with pytest.raises(ContractError, match="split 0 tests stimuli that it was trained on"):
        resolve_folds([Fold(np.arange(5), np.array([4, 6]))], 10)


def test_shuffled_groups_are_left_out_as_a_whole() -> None:
    folds = Splits(6, seed=2, kind="shuffle", train_size=0.75).folds(80, groups=BLOCKS)
    for fold in folds:
        assert len(np.unique(BLOCKS[fold.test])) == 2
        assert not np.intersect1d(BLOCKS[fold.test], BLOCKS[fold.train]).size
        np.testing.assert_array_equal(fold.groups, BLOCKS[fold.train])
    again = Splits(6, seed=2, kind="shuffle", train_size=0.75).folds(80, groups=BLOCKS)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(folds, again, strict=True))


@pytest.mark.parametrize("kind", [bool, np.int8, float])
def test_marked_stimuli_are_tested_once(kind: type) -> None:
    marks = (BLOCKS == "block3").astype(kind)
    fold = fixed_fold(marks, groups=BLOCKS)
    np.testing.assert_array_equal(fold.test, np.arange(30, 40))
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.train, fold.test])), np.arange(80))
    np.testing.assert_array_equal(fold.groups, BLOCKS[fold.train])
    assert fixed_fold(marks).groups is None


@pytest.mark.parametrize(
    ("marks", "sentence"),
    [
        (BLOCKS, "expected one True or False for each stimulus"),
        (np.full(80, np.nan), "expected one True or False for each stimulus"),
        (np.zeros((80, 2), dtype=bool), r"have shape \(80, 2\)"),
        (np.arange(80) < 2, "2 of 80 stimuli are marked for the test; expected at least 3"),
        (np.ones(80, dtype=bool), "80 of 80 stimuli are marked"),
        (np.arange(80) < 15, r"1 groups are in the training and in the test set \(first: 'block1'"),
    ],
)
def test_impossible_marks_are_refused(marks: np.ndarray, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        fixed_fold(marks, groups=BLOCKS)


def test_folds_take_lists_and_refuse_masks() -> None:
    fold = Fold([0, 1, 2, 3], [4, 5, 6])
    np.testing.assert_array_equal(fold.train[np.array([1, 3])], [1, 3])
    mask = np.arange(10) < 6
    with pytest.raises(ContractError, match="type bool, expected the positions of stimuli"):
        Fold(mask, ~mask)
    with pytest.raises(ContractError, match="type float64, expected the positions"):
        Fold(np.arange(5.0), np.arange(5, 9))
    with pytest.raises(ContractError, match="split 0 is tuple, expected Fold"):
        resolve_folds([(np.arange(5), np.arange(5, 9))], 10)
    with pytest.raises(ContractError, match="split 0 names a stimulus twice"):
        resolve_folds([Fold([0, 1, 1, 2], [4, 5, 6])], 10)


@pytest.mark.parametrize("labels", [[np.nan, 1.0] * 6, ["a", None] * 6])
@pytest.mark.parametrize("what", ["strata", "groups"])
def test_missing_labels_are_no_label(labels: list, what: str) -> None:
    with pytest.raises(ContractError, match=f"{what}: 6 of 12 stimuli have no label, first: stim"):
        Splits(2).folds(12, **{what: labels})

"""Lists of presentations become grids of repetitions and stimuli."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.datasets.presentations import arrange
from brainscore_lite.schema import ContractError

SHOWN = st.lists(st.sampled_from("abcde"), min_size=1, max_size=30)


@given(SHOWN)
@settings(max_examples=25, deadline=None)
def test_every_presentation_lands_on_its_own_place(shown: list[str]) -> None:
    labels = np.array(shown)
    arranged = arrange(labels, context="c")
    grid = arranged.grid.filled(np.arange(len(shown), dtype=float)[:, np.newaxis])
    assert list(arranged.stimuli) == list(dict.fromkeys(shown))
    found = grid[np.isfinite(grid)]
    assert sorted(found.tolist()) == list(range(len(shown)))
    for column, stimulus in enumerate(arranged.stimuli):
        own = grid[:, column, 0]
        order = np.flatnonzero(labels == stimulus)
        np.testing.assert_array_equal(own[: len(order)], order)  # counted in the list's order
        assert np.isnan(own[len(order) :]).all()


@given(SHOWN, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_numbered_repetitions_do_not_depend_on_the_order(shown, random) -> None:
    labels = np.array(shown)
    number = arrange(labels, context="c").grid.at[0] * 3 + 7
    values = np.arange(len(shown), dtype=float)
    straight = arrange(labels, repetition=number, context="c")
    order = np.array(random.sample(range(len(shown)), len(shown)))
    shuffled = arrange(labels[order], repetition=number[order], context="c")
    back = [list(shuffled.stimuli).index(each) for each in straight.stimuli]
    np.testing.assert_array_equal(
        shuffled.grid.filled(values[order])[:, back], straight.grid.filled(values)
    )


def test_labels_are_kept_where_each_stimulus_has_one() -> None:
    arranged = arrange(np.array(["b", "a", "b"]), context="c")
    of_stimuli, of_repetitions = arranged.labels(
        {
            "size": np.array([2.0, np.nan, 2.0]),
            "category": np.array(["x", "y", "x"]),
            "run": np.array(["r1", "r1", "r2"]),
            "trial": np.array([1, 2, 3]),
            "gaps": np.array([np.nan, 2.0, 3.0]),
            "region": np.array(["IT", "IT", "IT"]),  # a name of the contract
        }
    )
    assert list(of_stimuli) == ["size", "category"]
    np.testing.assert_array_equal(of_stimuli["size"], [2.0, np.nan])
    np.testing.assert_array_equal(of_stimuli["category"], ["x", "y"])
    assert list(of_repetitions) == ["run"]
    np.testing.assert_array_equal(of_repetitions["run"], ["r1", "r2"])


def test_repeated_pairs_and_empty_lists_are_refused() -> None:
    labels = np.array(["a", "b", "b"])
    with pytest.raises(ContractError, match=r"c: 1 pairs .* first: stimulus 'b'\. Name with repet"):
        arrange(labels, repetition=np.array([0, 1, 1]), context="c")
    with pytest.raises(ContractError, match=r"c: no presentations"):
        arrange(np.array([], dtype=str), context="c")

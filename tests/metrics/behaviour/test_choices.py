"""Choices among categories and shape bias: known cases and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.metrics.behaviour.choices import category_choices, shape_bias
from brainscore_lite.schema import ContractError

CATEGORIES = {"dog": [0, 1, 2], "truck": [3], "boat": [4, 5]}


def test_category_of_the_largest_mean() -> None:
    p = np.array([[0.3, 0.3, 0.0, 0.25, 0.15, 0.0], [0.1, 0.1, 0.1, 0.0, 0.2, 0.5]])
    assert category_choices(p, categories=CATEGORIES).tolist() == ["truck", "boat"]
    assert category_choices(np.full((1, 6), 1 / 6), categories=CATEGORIES).tolist() == ["dog"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_classes_outside_the_categories_and_scale_do_not_matter(seed: int, scale: float) -> None:
    p = np.random.default_rng(seed).random((20, 9))
    choices = category_choices(p, categories=CATEGORIES)
    p[:, 6:] *= 50
    np.testing.assert_array_equal(category_choices(p * scale, categories=CATEGORIES), choices)


def test_integer_probabilities() -> None:
    counts = np.array([[200, 200, 200, 190, 0, 0]], dtype=np.uint8)
    assert category_choices(counts, categories=CATEGORIES).tolist() == ["dog"]


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ({"dog": [0], "truck": []}, "at least two, each with at least one class"),
        ({"dog": [0]}, "at least two"),
        ({"dog": [0, 1], "truck": [1]}, "expected different ones of 0 to 5"),
        ({"dog": [0], "truck": [6]}, "name columns 0 to 6, 2 in all"),
        ({"dog": [-1], "truck": [2]}, "name columns -1 to 2"),
    ],
)
def test_bad_categories(categories: dict[str, list[int]], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        category_choices(np.ones((2, 6)), categories=categories)


def test_bad_probabilities() -> None:
    with pytest.raises(ContractError, match="Give the softmax, not the logits"):
        category_choices(-np.ones((2, 6)), categories=CATEGORIES)
    with pytest.raises(ContractError, match="6 of 6 columns hold NaN"):
        category_choices(np.full((2, 6), np.nan), categories=CATEGORIES)


def test_shape_bias_counts_cue_conflicts() -> None:
    bias = shape_bias(
        ["cat", "cat", "dog", "car", "owl", "cat"],
        shape=["cat", "cat", "car", "car", "cat", "cat"],
        texture=["dog", "owl", "dog", "owl", "dog", "cat"],
    )
    assert (bias.n_shape, bias.n_texture, bias.n_neither, bias.n_without_conflict) == (3, 1, 1, 1)
    assert bias.value == 0.75


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_bias_towards_texture_is_one_minus_bias_towards_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    choices, shape, texture = np.array(list("abc"))[rng.integers(3, size=(3, 60))]
    there = shape_bias(choices, shape=shape, texture=texture)
    back = shape_bias(choices, shape=texture, texture=shape)
    assert there.value == pytest.approx(1 - back.value)


def test_shape_bias_without_a_decision_for_either_is_undefined() -> None:
    assert np.isnan(shape_bias(["owl"], shape=["cat"], texture=["dog"]).value)


def test_bad_cues() -> None:
    with pytest.raises(ContractError, match=r"have shapes \(2,\), \(1,\) and \(1,\)"):
        shape_bias(["cat", "dog"], shape=["cat"], texture=["dog"])
    with pytest.raises(ContractError, match="no image has a shape and a texture of different"):
        shape_bias(["cat"], shape=["cat"], texture=["cat"])
    with pytest.raises(ContractError, match="no image has"):
        shape_bias([], shape=[], texture=[])


def test_missing_labels_are_no_category() -> None:
    with pytest.raises(ContractError, match="choices lack 1 entries"):
        shape_bias(["cat", None], shape=["cat", "None"], texture=["car", "dog"])
    with pytest.raises(ContractError, match="texture lack 1 entries"):
        shape_bias(["cat", "dog"], shape=["cat", "dog"], texture=["car", np.nan])

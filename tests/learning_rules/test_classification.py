"""Labels, hits and errors of a readout."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import Batch
from brainscore_lite.learning_rules.classification import (
    count_correct,
    cross_entropy_error,
    labels_of,
    one_hot,
)
from brainscore_lite.schema import ContractError

LABELS = torch.tensor([2, 0, 1, 2])


def scores() -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_labels_are_those_of_the_batch_or_asked_for() -> None:
    images = torch.zeros(4, 3, 2, 2)
    assert labels_of(Batch(images, LABELS), rule="oja") is LABELS
    with pytest.raises(
        ContractError, match=r"^oja: the batch has no labels\. Give it labelled images\.$"
    ):
        labels_of(Batch(images), rule="oja")


def test_the_error_is_the_gradient_of_each_examples_loss() -> None:
    at = scores().requires_grad_()
    loss = functional.cross_entropy(at, LABELS, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, at)
    torch.testing.assert_close(cross_entropy_error(scores(), LABELS), gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_vectors_have_the_shape_and_type_of_the_scores(dtype: torch.dtype) -> None:
    vectors = one_hot(LABELS, like=scores().to(dtype))
    assert vectors.dtype == dtype
    assert torch.equal(vectors.argmax(dim=1), LABELS)
    assert torch.equal(vectors.sum(dim=1), torch.ones(4, dtype=dtype))


def test_counts_the_images_whose_class_scores_highest() -> None:
    found = one_hot(LABELS, like=scores())
    assert count_correct(found, LABELS) == 4
    assert count_correct(found.roll(1, dims=1), LABELS) == 0
    assert count_correct(found, torch.tensor([2, 1, 1, 0])) == 2

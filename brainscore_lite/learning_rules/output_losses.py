"""The losses that rules with dynamics of their own take at the output, example by example."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules.classification import one_hot

OutputLoss = Literal["cross_entropy", "squared_error"]
OUTPUT_LOSSES: tuple[OutputLoss, ...] = ("cross_entropy", "squared_error")


def output_losses(scores: Tensor, labels: Tensor, *, kind: OutputLoss) -> Tensor:
    """Return the loss of each example.

    Parameters
    ----------
    scores : Tensor, shape (batch, n_classes)
    labels : int64 Tensor, shape (batch,)
    kind : {"cross_entropy", "squared_error"}
        In nats, or 1/2 |y - s|^2 with the label y one-hot.

    Returns
    -------
    Tensor, shape (batch,)
    """
    if kind == "cross_entropy":
        return functional.cross_entropy(scores, labels, reduction="none")
    return 0.5 * (one_hot(labels, like=scores) - scores).square().sum(dim=1)


def output_errors(scores: Tensor, labels: Tensor, *, kind: OutputLoss) -> Tensor:
    """Return -d loss / d scores of each example, shape (batch, n_classes)."""
    answer = torch.softmax(scores, dim=1) if kind == "cross_entropy" else scores
    return one_hot(labels, like=scores) - answer

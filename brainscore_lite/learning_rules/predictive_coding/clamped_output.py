"""The output of a network under supervision: the error that it sends down, per example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules.classification import one_hot

OutputLoss = Literal["cross_entropy", "squared_error"]
OUTPUT_LOSSES = ("cross_entropy", "squared_error")


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


class ClampedOutput(Protocol):
    """What the supervision adds to the energy of a network."""

    def energies(self, scores: Tensor) -> Tensor:
        """Return the energy at the output of each example, shape (batch,)."""

    def errors(self, scores: Tensor) -> Tensor:
        """Return minus its derivative, shape (batch, n_classes)."""


@dataclass(frozen=True, eq=False)
class ClampedLoss:
    """The loss itself is part of the energy: E_L = strength * loss(f_L(v_{L-1}), y).

    With the squared error this is an output neuron clamped to the label.

    Parameters
    ----------
    labels : int64 Tensor, shape (batch,)
    kind : {"cross_entropy", "squared_error"}
    strength : float
    """

    labels: Tensor
    kind: OutputLoss
    strength: float = 1.0

    def energies(self, scores: Tensor) -> Tensor:
        """Return strength * loss, shape (batch,)."""
        return self.strength * output_losses(scores, self.labels, kind=self.kind)

    def errors(self, scores: Tensor) -> Tensor:
        """Return -strength * d loss / d scores, shape (batch, n_classes)."""
        return self.strength * output_errors(scores, self.labels, kind=self.kind)


@dataclass(frozen=True, eq=False)
class HeldOutput:
    """The output's value is held near its prediction: E_L = 1/2 |v_L - f_L(v_{L-1})|^2.

    Parameters
    ----------
    value : Tensor, shape (batch, n_classes)
    """

    value: Tensor

    def energies(self, scores: Tensor) -> Tensor:
        """Return half the squared distance from the held value, shape (batch,)."""
        return 0.5 * (self.value - scores).square().sum(dim=1)

    def errors(self, scores: Tensor) -> Tensor:
        """Return what the held value exceeds the prediction by, shape (batch, n_classes)."""
        return self.value - scores

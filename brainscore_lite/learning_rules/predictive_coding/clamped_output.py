"""The output of a network under supervision: its energy, and the error that it sends down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from brainscore_lite.learning_rules.output_losses import (
    OutputLoss,
    output_errors,
    output_losses,
)


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

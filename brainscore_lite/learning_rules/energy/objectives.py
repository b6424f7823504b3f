"""What the readout of a settling network is trained for, example by example, and how it is nudged.

Losses are those of one example. Divided by the size of the batch they would weaken the nudge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.energy.hopfield import (
    States,
    add,
    spread_bias,
    summed_by_unit,
)
from brainscore_lite.learning_rules.energy.interactions import Interaction
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError


class Objective(Protocol):
    """The loss of the readout, and the force by which it moves the areas.

    `beta`, weights (both of shape (rows, 1)) and targets have one row per example. Where states are
    complex, their real parts lie above their imaginary parts, and `beta` and weights are complex.
    """

    @property
    def nudged(self) -> frozenset[str]:
        """Areas on which the loss acts directly."""

    def scores(self, states: States) -> Tensor:
        """Return the readout, of shape (batch, n_classes)."""

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the batch."""

    def slope(self, states: States, targets: Tensor) -> States:
        """Return dL/ds of the areas that are nudged, at real states."""

    def nudge(self, name: str, drive: Tensor, states: States, beta: Tensor, y: Tensor) -> Tensor:
        """Return the drive of a nudged area under beta L, written over the drive."""

    def gradient(
        self, states: States, targets: Tensor, weights: Tensor
    ) -> dict[nn.Parameter, Tensor]:
        """Return the real part of dL/dtheta at fixed states, summed with a weight for each row."""


@dataclass(frozen=True, eq=False)
class SoftmaxReadout:
    """Cross-entropy of a readout outside the dynamics, L = -log softmax(W s + b)_y.

    References
    ----------
    Laborieux et al. (2021), doi:10.3389/fnins.2021.633674.
    """

    network: Network
    into: Sequence[Interaction]

    @property
    def nudged(self) -> frozenset[str]:
        """Areas that the readout reads."""
        return frozenset(each.connection.source for each in self.into)

    def scores(self, states: States) -> Tensor:
        """Return W s + b."""
        total = spread_bias(self.network, READOUT)
        for each in self.into:
            total = each.up(states[each.connection.source], total)
        if total is None:
            raise ContractError("Nothing is connected to the readout.")
        return total

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats."""
        return functional.cross_entropy(scores, targets)

    def slope(self, states: States, targets: Tensor) -> States:
        """Return W^T (softmax - y)."""
        error = torch.softmax(self.scores(states), dim=1) - targets
        return {name: self._down(name, error, states) for name in self.nudged}

    def nudge(self, name: str, drive: Tensor, states: States, beta: Tensor, y: Tensor) -> Tensor:
        """Subtract beta W^T (softmax - y)."""
        error = self._error(states, y, complex_valued=beta.is_complex())
        return drive.sub_(self._down(name, stacked(beta * error), states))

    def gradient(
        self, states: States, targets: Tensor, weights: Tensor
    ) -> dict[nn.Parameter, Tensor]:
        """Return the weighted sums of (softmax - y) s^T and softmax - y."""
        error = weights * self._error(states, targets, complex_valued=weights.is_complex())
        if error.is_complex():
            error = stacked(error.conj())
        found: dict[nn.Parameter, Tensor] = {}
        for each in self.into:
            weight = each.connection.op.weight
            if weight.requires_grad:
                below = states[each.connection.source]
                add(found, weight, each.weight_gradient(below, error))
        bias = _bias(self.network)
        if bias is not None and bias.requires_grad:
            add(found, bias, summed_by_unit(error[: len(targets)]))
        return found

    def _error(self, states: States, y: Tensor, *, complex_valued: bool) -> Tensor:
        scores = self.scores(states)
        if not complex_valued:
            return torch.softmax(scores, dim=1).sub_(y)
        bias = spread_bias(self.network, READOUT)
        if bias is not None:
            scores[len(y) :] -= bias  # a constant has no imaginary part
        z = joined(scores)
        powers = torch.exp(z - z.real.amax(dim=1, keepdim=True))
        return powers / powers.sum(dim=1, keepdim=True) - y

    def _down(self, name: str, error: Tensor, states: States) -> Tensor:
        total: Tensor | None = None
        for each in self.into:
            if each.connection.source == name:
                total = each.down(error, states[name], total)
        if total is None:
            raise ContractError(f"The readout does not read area '{name}'.")
        return total


@dataclass(frozen=True, eq=False)
class SquaredErrorReadout:
    """Squared error of a readout that takes part in the dynamics, L = 1/2 |s_readout - y|^2.

    Under beta L the readout's energy is lowest at (drive + beta y) / (1 + beta).
    """

    network: Network

    @property
    def nudged(self) -> frozenset[str]:
        """The readout itself."""
        return frozenset({READOUT})

    def scores(self, states: States) -> Tensor:
        """Return the readout's state."""
        return states[READOUT]

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return half the squared distance, mean over the batch."""
        return 0.5 * (scores - targets).square().sum() / len(targets)

    def slope(self, states: States, targets: Tensor) -> States:
        """Return s - y."""
        return {READOUT: states[READOUT] - targets}

    def nudge(self, name: str, drive: Tensor, states: States, beta: Tensor, y: Tensor) -> Tensor:
        """Return (drive + beta y) / (1 + beta)."""
        if not beta.is_complex():
            return drive.add_(beta * y).div_(1 + beta)
        return stacked((joined(drive) + beta * y) / (1 + beta))

    def gradient(
        self, states: States, targets: Tensor, weights: Tensor
    ) -> dict[nn.Parameter, Tensor]:
        """Return nothing: at fixed states the loss depends on no weight."""
        return {}


def joined(parts: Tensor) -> Tensor:
    """Return complex states, of shape (rows, ...), of real parts above imaginary parts."""
    real, imaginary = parts.chunk(2)
    return torch.complex(real, imaginary)


def stacked(states: Tensor) -> Tensor:
    """Return real parts above imaginary parts of complex states; real ones as they are."""
    return torch.cat([states.real, states.imag]) if states.is_complex() else states


def _bias(network: Network) -> nn.Parameter | None:
    area = network.areas[READOUT]
    return area.bias if isinstance(area, AreaModule) else None

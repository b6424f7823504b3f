"""What rules of predictive coding share: their graph, the output's loss, and what they refuse."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.classification import count_correct
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    StepInfo,
    Support,
    trainable,
)
from brainscore_lite.learning_rules.predictive_coding.clamped_output import (
    OutputLoss,
    output_losses,
)
from brainscore_lite.learning_rules.predictive_coding.prediction_graph import PredictionGraph
from brainscore_lite.learning_rules.support import differentiable_graph, normalised_by
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError


class PredictionRule(Protocol):
    """Settings that all rules of predictive coding have."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def output_loss(self) -> OutputLoss: ...  # noqa: D102


class PredictionEstimator(Estimator):
    """A network with its prediction graph, and the loss that is taken at its output.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
    rule : PredictionRule
    """

    rule: PredictionRule

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: PredictionRule
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.graph = PredictionGraph(network)

    @property
    def trained(self) -> tuple[nn.Parameter, ...]:
        """The weights that the rule writes gradients for."""
        return trainable(self.network)

    def loss(self, batch: Batch) -> Tensor | None:
        """Return the mean of the output's loss, or None without labels."""
        if batch.labels is None:
            return None
        return output_losses(
            self.network(batch.images), batch.labels, kind=self.rule.output_loss
        ).mean()

    def report(self, scores: Tensor, labels: Tensor, *, residual: float | None = None) -> StepInfo:
        """Say how good the scores of the forward pass were, and how far values settled."""
        return StepInfo(
            loss=output_losses(scores, labels, kind=self.rule.output_loss).mean().item(),
            n_correct=count_correct(scores, labels),
            settling_residual=residual,
        )


def settles(architecture: Any) -> Support:
    """Say whether values can settle example by example in an architecture."""
    why = "it makes the energy of one example depend on the others in the batch"
    return differentiable_graph(architecture, normalised_by(architecture, {"batch"}, why=why))


def check_inference(rule: str, *, step_size: float, n_steps: int, beta: float) -> None:
    """Refuse settings of the dynamics that are out of range.

    Raises
    ------
    ContractError
    """
    if not 0 < step_size <= 1:
        raise ContractError(
            f"{rule}: step_size is {step_size}, expected more than 0 and at most 1."
        )
    if not isinstance(n_steps, int) or n_steps < 1:
        raise ContractError(f"{rule}: n_steps is {n_steps}, expected a whole number of at least 1.")
    if not 0 < beta < math.inf:
        raise ContractError(f"{rule}: beta is {beta}, expected more than 0.")

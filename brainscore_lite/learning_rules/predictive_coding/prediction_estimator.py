"""What rules of predictive coding share: their graph, the output's loss, and what they refuse."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.classification import count_correct
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    LearningRule,
    StepInfo,
    Support,
    trainable,
)
from brainscore_lite.learning_rules.output_losses import (
    OutputLoss,
    output_losses,
)
from brainscore_lite.learning_rules.predictive_coding.prediction_graph import PredictionGraph
from brainscore_lite.learning_rules.settings import check_counts, check_positive, check_shares
from brainscore_lite.learning_rules.support import (
    differentiable_graph,
    keeps_state,
    normalised_by,
)
from brainscore_lite.networks.areas import BATCH_NORMS
from brainscore_lite.networks.network import Network


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


def settles_by_example(architecture: Any) -> Support:
    """Say whether values can settle example by example in an architecture."""
    why = "it makes the energy of one example depend on the others in the batch"
    return differentiable_graph(
        architecture,
        normalised_by(architecture, BATCH_NORMS, why=why),
        keeps_state(architecture, why="the rule predicts each state from what arrives alone"),
    )


def check_inference(rule: LearningRule) -> None:
    """Refuse step_size, n_steps or beta out of range.

    Raises
    ------
    ContractError
    """
    check_shares(rule, "step_size", above_0=True)
    check_counts(rule, "n_steps")
    check_positive(rule, "beta")

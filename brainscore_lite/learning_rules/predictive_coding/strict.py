"""Predictive coding proper: values settle first, weights follow (prospective configuration)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn

from brainscore_lite.learning_rules.classification import labels_of
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.output_losses import (
    OUTPUT_LOSSES,
    OutputLoss,
)
from brainscore_lite.learning_rules.predictive_coding.clamped_output import ClampedLoss
from brainscore_lite.learning_rules.predictive_coding.inference import Inference
from brainscore_lite.learning_rules.predictive_coding.prediction_estimator import (
    PredictionEstimator,
    check_inference,
    settles_by_example,
)
from brainscore_lite.learning_rules.settings import check_choices
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class PredictiveCoding:
    """Let values settle under the clamped output, then pull the weights towards them.

    E = 1/2 sum_n |v_n - f_n(v_parents)|^2 + beta loss(f_L(v_{L-1}), y)
    v_n <- v_n - eta dE/dv_n, T times from the forward pass;  dW = -lr (dE/dW) / beta

    Without a target the forward pass is the minimum of the energy, so prediction and probed
    responses are those of the network. The loss is that of each example: a mean over the batch
    would weaken the clamp by the batch size. As beta falls to 0 the update becomes backprop's,
    with a difference proportional to beta.

    Parameters
    ----------
    step_size : float
        eta.
    n_steps : int
        T, at least 1. With fewer steps than areas the lowest areas learn nothing.
    beta : float
        Strength of the output's error.
    output_loss : {"cross_entropy", "squared_error"}

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Whittington & Bogacz (2017), doi:10.1162/NECO_a_00949.
    Song et al. (2024), doi:10.1038/s41593-023-01514-1.

    Examples
    --------
    >>> PredictiveCoding(beta=0.1).exactness
    'bp_limit'
    """

    name: ClassVar[str] = "predictive_coding"
    family: ClassVar[str] = "predictive_coding"
    citation: ClassVar[str] = "Song et al. 2024, doi:10.1038/s41593-023-01514-1"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"separate_error"})

    step_size: float = 0.1
    n_steps: int = 20
    beta: float = 1.0
    output_loss: OutputLoss = "cross_entropy"

    def __post_init__(self) -> None:
        check_inference(self)
        check_choices(self, output_loss=OUTPUT_LOSSES)

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas in which examples do not depend on each other."""
        return settles_by_example(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, has a stage of unknown
            derivative, or normalises over the batch.
        """
        check_support(self, network)
        return _PredictiveCodingEstimator(cast(Network, network), generator, rule=self)


class _PredictiveCodingEstimator(PredictionEstimator):
    rule: PredictiveCoding

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the gradients of the energy after T steps."""
        rule, labels = self.rule, labels_of(batch, rule=self.rule.name)
        inference = Inference(self.graph, batch.images, step_size=rule.step_size)
        output = ClampedLoss(labels, rule.output_loss, rule.beta)
        inference.settle(output, n_steps=rule.n_steps)
        inference.write_gradients(self.trained, factor=1 / (rule.beta * len(labels)))
        return self.report(inference.scores_at_start, labels, residual=inference.residual)

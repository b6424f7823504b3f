"""Incremental predictive coding: values and weights move together, step by step."""

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
class IncrementalPredictiveCoding:
    """Update values and weights at every step of the inference, without separate phases.

    v_n <- v_n - eta dE/dv_n  and  W <- W - lr (dE/dW) / beta,  at each of T steps,

    with the energy of `PredictiveCoding`, both derivatives taken at the same values and weights.
    A batch steps the optimiser T times. As T lr falls to 0 the weights stand still during a batch,
    and the steps add up to the updates that predictive coding makes after 0, 1, ... T - 1 steps.

    Parameters
    ----------
    step_size : float
        eta.
    n_steps : int
        T, at least 1. Errors need one step per area to reach the lowest.
    beta : float
        Strength of the output's error.
    output_loss : {"cross_entropy", "squared_error"}

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Salvatori et al. (2024), arXiv 2212.00720.

    Examples
    --------
    >>> IncrementalPredictiveCoding(n_steps=5).n_steps
    5
    """

    name: ClassVar[str] = "incremental_predictive_coding"
    family: ClassVar[str] = "predictive_coding"
    citation: ClassVar[str] = "Salvatori et al. 2024, arXiv 2212.00720"
    exactness: ClassVar[Exactness] = "approximate"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"separate_error", "distinct_phases"})

    step_size: float = 0.1
    n_steps: int = 8
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
        return _IncrementalEstimator(cast(Network, network), generator, rule=self)


class _IncrementalEstimator(PredictionEstimator):
    rule: IncrementalPredictiveCoding

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Move values and weights together; the last step of the weights is left to the loop.

        No residual is reported: values are not meant to settle before weights move.
        """
        rule, labels = self.rule, labels_of(batch, rule=self.rule.name)
        inference = Inference(self.graph, batch.images, step_size=rule.step_size)
        output = ClampedLoss(labels, rule.output_loss, rule.beta)
        factor, trained = 1 / (rule.beta * len(labels)), self.trained
        for index in range(rule.n_steps):
            if index:
                step()
                inference.predict_anew()
            inference.settle_and_learn(output, trained, factor=factor)
        return self.report(inference.scores_at_start, labels)

"""Predictive coding with a nudged output: clamped near its own prediction, not to the label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

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
    output_errors,
)
from brainscore_lite.learning_rules.predictive_coding.clamped_output import (
    ClampedLoss,
    ClampedOutput,
    HeldOutput,
)
from brainscore_lite.learning_rules.predictive_coding.inference import Inference
from brainscore_lite.learning_rules.predictive_coding.prediction_estimator import (
    PredictionEstimator,
    check_inference,
    settles_by_example,
)
from brainscore_lite.learning_rules.settings import check_choices
from brainscore_lite.networks.network import Network

Nudging = Literal["positive", "negative", "centered"]
SIGNS: dict[str, tuple[float, ...]] = {
    "positive": (1.0,),
    "negative": (-1.0,),
    "centered": (1.0, -1.0),
}


@dataclass(frozen=True)
class NudgedPredictiveCoding:
    """Push the output a little towards the label, or away from it, or contrast the two.

    F = 1/2 sum_n |v_n - f_n(v_parents)|^2 + sign beta loss(f_L(v_{L-1}), y)
    dW = -lr dF/dW / (sign beta), at the values settled on F, averaged over the signs

    Signs are +1 in positive nudging, -1 in negative, both in centered. As beta falls to 0 the
    update becomes backprop's, with a difference proportional to beta, or to its square in centered
    nudging. Positive nudging is `PredictiveCoding` with the same beta.

    The published form holds the output's value instead, as one more node of the energy, at
    v_L = s - sign beta d loss / d s with the scores s of the forward pass (with the squared error,
    s + sign beta (y - s)). That output is as stiff as a hidden node at any beta, so the update does
    not become backprop's. (The paper alternates the signs from epoch to epoch; here every batch
    has both.)

    Parameters
    ----------
    nudging : {"positive", "negative", "centered"}
    beta : float
        Size of the nudge.
    form : {"energy", "value"}
        Whether the loss is added to the energy, or the output's value held.
    step_size : float
        eta.
    n_steps : int
        T of each sign, at least 1.
    output_loss : {"cross_entropy", "squared_error"}

    Raises
    ------
    ContractError
        If a setting is out of its range.

    Notes
    -----
    The squared error with a negative sign has no minimum in the energy where beta |W|^2 is above 1,
    with |W| the largest singular value of the readout's weight; areas that follow from below, as
    unsaturated ones do, lower that bound. Values then grow from step to step for as long as they
    settle, gradients with them, and the residual stays at 1 - 1 / (beta |W|^2) or above instead of
    falling with more steps. Lower beta or ``ConvNet.initial_gain``, or use the cross-entropy, whose
    negative sign leaves a minimum at any beta, or the form "value", which has one as well.

    References
    ----------
    Pinchetti et al. (2025), arXiv 2407.01163.
    Scellier & Bengio (2017), doi:10.3389/fncom.2017.00024 (nudged energies).

    Examples
    --------
    >>> NudgedPredictiveCoding(nudging="negative").name
    'nudged_predictive_coding_negative'
    """

    family: ClassVar[str] = "predictive_coding"
    citation: ClassVar[str] = "Pinchetti et al. 2025, arXiv 2407.01163"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"separate_error"})

    nudging: Nudging = "centered"
    beta: float = 0.5
    form: Literal["energy", "value"] = "energy"
    step_size: float = 0.1
    n_steps: int = 20
    output_loss: OutputLoss = "cross_entropy"

    def __post_init__(self) -> None:
        check_choices(self, nudging=SIGNS, form=("energy", "value"), output_loss=OUTPUT_LOSSES)
        check_inference(self)

    @property
    def name(self) -> str:
        """Name by the sign of the nudge, and by its form where it is the published one."""
        held = "_value" if self.form == "value" else ""
        return f"nudged_predictive_coding_{self.nudging}{held}"

    @property
    def exactness(self) -> Exactness:
        """Which gradient the rule follows: backprop's in a limit, if the loss is in the energy."""
        return "bp_limit" if self.form == "energy" else "approximate"

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
        return _NudgedEstimator(cast(Network, network), generator, rule=self)


class _NudgedEstimator(PredictionEstimator):
    rule: NudgedPredictiveCoding

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the gradients of the energy after T steps, contrasted over the signs."""
        rule, labels = self.rule, labels_of(batch, rule=self.rule.name)
        signs, trained, residual = SIGNS[rule.nudging], self.trained, 0.0
        total: list[Tensor] = []
        for sign in signs:
            inference = Inference(self.graph, batch.images, step_size=rule.step_size)
            output = self._nudged(inference.scores_at_start, labels, strength=sign * rule.beta)
            inference.settle(output, n_steps=rule.n_steps)
            factor = sign / (rule.beta * len(labels) * len(signs))
            inference.write_gradients(trained, factor=factor)
            written = [cast(Tensor, parameter.grad) for parameter in trained]
            total = [a + b for a, b in zip(total, written, strict=True)] if total else written
            residual = max(residual, inference.residual)
        for parameter, gradient in zip(trained, total, strict=True):
            parameter.grad = gradient
        return self.report(inference.scores_at_start, labels, residual=residual)

    def _nudged(self, scores: Tensor, labels: Tensor, *, strength: float) -> ClampedOutput:
        if self.rule.form == "energy":
            return ClampedLoss(labels, self.rule.output_loss, strength)
        nudge = output_errors(scores, labels, kind=self.rule.output_loss)
        return HeldOutput(scores.add(nudge, alpha=strength))

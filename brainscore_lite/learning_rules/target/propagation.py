"""What all target propagation shares: local losses towards targets, and a trained way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.classification import (
    count_correct,
    cross_entropy_error,
    labels_of,
)
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    LearningRule,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
)
from brainscore_lite.learning_rules.settings import check_counts, check_not_negative, check_positive
from brainscore_lite.learning_rules.stages import stages
from brainscore_lite.learning_rules.support import (
    black_box,
    no_chain,
    normalised_by,
    support,
    untrainable,
)
from brainscore_lite.networks.areas import BATCH_NORMS
from brainscore_lite.networks.network import Network

FEEDBACK_PHASE = "feedback"


class Pathway(Protocol):
    """The way from the output's target to the targets below; a module with the feedback weights."""

    def targets(self, activations: Sequence[Tensor], error: Tensor, step: float) -> list[Tensor]:
        """Return the targets of the areas below the readout, from below to above.

        Parameters
        ----------
        activations : sequence of Tensor, each of shape (batch, ...)
            Of the image and of all areas from below to above; detached.
        error : Tensor, shape (batch, n_classes)
            Gradient of each example's loss with respect to the readout.
        step : float
            How far the readout's target lies down that gradient.
        """

    def loss(self, activations: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """Return the loss of the feedback weights, mean over the batch; of shape ()."""

    def parameters(self) -> Any:
        """Return the feedback weights."""


class TargetRule(LearningRule, Protocol):
    """Settings that all rules with targets have; each rule's docstring says what they are."""

    @property
    def output_step(self) -> float: ...  # noqa: D102
    @property
    def noise(self) -> float: ...  # noqa: D102
    @property
    def feedback_steps(self) -> int: ...  # noqa: D102
    @property
    def feedback_epochs(self) -> int: ...  # noqa: D102
    @property
    def feedback_lr_multiplier(self) -> float: ...  # noqa: D102


def supports_targets(architecture: Any) -> Support:
    """Accept chains of areas whose examples do not depend on each other."""
    return support(
        untrainable(architecture),
        no_chain(architecture),
        black_box(architecture),
        normalised_by(
            architecture,
            BATCH_NORMS,
            why="statistics of the batch would make an example's target depend on the others",
        ),
    )


def check_settings(rule: TargetRule) -> None:
    """Refuse settings without a meaning.

    Raises
    ------
    ContractError
    """
    check_positive(rule, "output_step", "noise")
    check_not_negative(rule, "feedback_lr_multiplier")
    check_counts(rule, "feedback_steps")
    check_counts(rule, "feedback_epochs", least=0)


class TargetEstimator(Estimator):
    """Move every area towards its target, and train the way that targets take.

    dW_l = -(lr / step) grad 1/2 |r_l - t_l|^2,  t_L = r_L - step e

    Division by the step makes the readout's update that of backprop, whatever the step.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
        Of the noise with which the feedback weights are trained.
    rule : TargetRule
    pathway : Module implementing Pathway
    """

    network: Network

    def __init__(
        self,
        network: Network,
        generator: torch.Generator,
        *,
        rule: TargetRule,
        pathway: nn.Module,
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.pathway = pathway
        self.stages = stages(network)

    def phases(self) -> tuple[Phase, ...]:
        """Return the pre-training of the feedback weights, if any, and the training of both."""
        training = Phase(name="training")
        if not self.rule.feedback_epochs:
            return (training,)
        first = Phase(name=FEEDBACK_PHASE, epochs=self.rule.feedback_epochs, labels=False)
        return (first, training)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the feedback weights, after the forward weights once these are trained."""
        back = [
            ParameterGroup(
                tuple(self.pathway.parameters()), lr_multiplier=self.rule.feedback_lr_multiplier
            )
        ]
        back = [group for group in back if group.parameters]
        return back if self._only_feedback else [*super().parameter_groups(), *back]

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the gradients of the local losses and of the feedback weights' own loss.

        Raises
        ------
        ContractError
            If the batch has no labels.
        """
        with torch.set_grad_enabled(not self._only_feedback):
            responses = self._responses(batch.images)
        activations = [each.detach() for each in responses]
        for _ in range(self.rule.feedback_steps - 1):
            self._write_feedback(activations)
            step()
        if self._only_feedback:
            return StepInfo(loss=self._write_feedback(activations))
        labels = labels_of(batch, rule=self.rule.name)
        info = self._write_forward(responses, activations, labels)
        self._write_feedback(activations)
        return info

    def targets(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        """Return the targets of all areas, the readout last, each of shape (batch, ...).

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width)
        labels : int64 Tensor, shape (batch,)
        """
        with torch.no_grad():
            activations = self._responses(images)
            return self._targets(activations, cross_entropy_error(activations[-1], labels))

    @property
    def _only_feedback(self) -> bool:
        return self.phase is not None and self.phase.name == FEEDBACK_PHASE

    def _responses(self, images: Tensor) -> list[Tensor]:
        """Return the image and all areas' activations; no gradient passes between areas."""
        responses = [self.network.entering(images)]
        for stage in self.stages:
            responses.append(stage(responses[-1].detach()))
        return responses

    def _targets(self, activations: Sequence[Tensor], error: Tensor) -> list[Tensor]:
        pathway = cast(Pathway, self.pathway)
        below = pathway.targets(activations, error, self.rule.output_step)
        return [*below, activations[-1] - self.rule.output_step * error]

    def _write_forward(
        self, responses: Sequence[Tensor], activations: Sequence[Tensor], labels: Tensor
    ) -> StepInfo:
        scores = activations[-1]
        with torch.no_grad():
            error = cross_entropy_error(scores, labels)
            targets = self._targets(activations, error)
            scale = 1 / (self.rule.output_step * len(labels))
            pulls = [(h - t) * scale for h, t in zip(activations[1:], targets, strict=True)]
        _write(responses[1:], self.network.parameters(), along=pulls)
        return StepInfo(
            loss=functional.cross_entropy(scores, labels).item(),
            n_correct=count_correct(scores, labels),
        )

    def _write_feedback(self, activations: Sequence[Tensor]) -> float:
        if not any(True for _ in self.pathway.parameters()):
            return 0.0
        loss = cast(Pathway, self.pathway).loss(activations, self.generator)
        _write([loss], self.pathway.parameters())
        return loss.item()


def _write(
    outputs: Sequence[Tensor],
    parameters: Any,
    along: Sequence[Tensor] | None = None,
) -> None:
    """Write the gradients of the outputs, weighted where there are several numbers to each."""
    trained = [p for p in parameters if p.requires_grad]
    reached = [index for index, output in enumerate(outputs) if output.requires_grad]
    gradients = torch.autograd.grad(
        [outputs[index] for index in reached],
        trained,
        None if along is None else [along[index] for index in reached],
    )
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.grad = gradient

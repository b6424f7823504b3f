"""No learning at all: the control that shares everything with a trained network but training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
)


@dataclass(frozen=True)
class Untrained:
    """Leave the weights as they were drawn.

    dW_l = 0

    Examples
    --------
    >>> Untrained().requires
    frozenset()
    """

    name: ClassVar[str] = "untrained"
    family: ClassVar[str] = "none"
    citation: ClassVar[str] = "control"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset()
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def supports(self, architecture: Any) -> Support:
        """Accept every architecture."""
        return Support(ok=True)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which keeps its weights."""
        return _UntrainedEstimator(network, generator)


class _UntrainedEstimator(Estimator):
    def phases(self) -> tuple[Phase, ...]:
        """Return one phase that is over before it begins."""
        return (Phase(name="untrained", epochs=0),)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return nothing to train."""
        return []

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Measure the loss and write no gradient."""
        with torch.no_grad():
            loss = self.loss(batch)
        return StepInfo(loss=0.0 if loss is None else loss.item())

"""Zero-divergence inference learning: each layer learns when its error equals backprop's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

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
    trainable,
)
from brainscore_lite.learning_rules.output_losses import (
    OUTPUT_LOSSES,
    OutputLoss,
    output_errors,
)
from brainscore_lite.learning_rules.predictive_coding.prediction_estimator import (
    PredictionEstimator,
)
from brainscore_lite.learning_rules.settings import check_choices
from brainscore_lite.learning_rules.stages import Stage, stages
from brainscore_lite.learning_rules.support import black_box, no_chain, support, untrainable
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class ZeroDivergenceInferenceLearning:
    """Settle at step size 1 from the forward pass, and let layer l learn at step t = L - l.

    v_l <- v_l + J_{l+1}^T e_{l+1} - e_l at every step;  dW_l = lr e_l df_l/dW_l at t = L - l

    In the strict dynamics the error spreads from the output by one layer per step. Where it has
    just arrived the layer below still has the values of the forward pass, so e_l is exactly the
    error of backprop at t = L - l, and at no other step. What the layers above do afterwards
    changes no weight any more, so only the layer that the error has just reached is computed; its
    update equals that of the whole dynamics.

    Parameters
    ----------
    output_loss : {"cross_entropy", "squared_error"}

    Raises
    ------
    ContractError
        If the loss is unknown.

    References
    ----------
    Song, Lukasiewicz, Xu & Bogacz (2020), NeurIPS 33 (fully connected networks).
    Salvatori, Song, Lukasiewicz, Bogacz & Xu (2021), arXiv 2103.03725 (convolutional ones).

    Examples
    --------
    >>> ZeroDivergenceInferenceLearning().exactness
    'bp'
    """

    name: ClassVar[str] = "zero_divergence_inference_learning"
    family: ClassVar[str] = "predictive_coding"
    citation: ClassVar[str] = (
        "Song, Lukasiewicz, Xu & Bogacz 2020; Salvatori et al. 2021, arXiv 2103.03725"
    )
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"separate_error"})

    output_loss: OutputLoss = "cross_entropy"

    def __post_init__(self) -> None:
        check_choices(self, output_loss=OUTPUT_LOSSES)

    @property
    def exactness(self) -> Exactness:
        """Backprop of the cross-entropy, unless the output has another loss."""
        return "bp" if self.output_loss == "cross_entropy" else "approximate"

    def supports(self, architecture: Any) -> Support:
        """Accept a chain of areas: there each layer is reached at one step."""
        return support(untrainable(architecture), no_chain(architecture), black_box(architecture))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain of areas, has no trainable weights, or has a stage of
            unknown derivative.
        """
        check_support(self, network)
        return _ZeroDivergenceEstimator(cast(Network, network), generator, rule=self)


class _ZeroDivergenceEstimator(PredictionEstimator):
    rule: ZeroDivergenceInferenceLearning

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Let layer after layer learn, from the output down, as the error arrives."""
        labels = labels_of(batch, rule=self.rule.name)
        predictions, values = self.graph.start(batch.images)
        line = {node.area: node for node in self.graph.nodes}
        scores = predictions[self.graph.output].detach()
        error = output_errors(scores, labels, kind=self.rule.output_loss)
        for stage in reversed(stages(self.graph.network)):
            node = line[stage.name]
            below = [values[parent] for parent in self.graph.parents[node]]
            sent = self._learn(stage, predictions[node], below, error, factor=-1 / len(labels))
            error = sent[0] if sent else error
        return self.report(scores, labels)

    def _learn(
        self,
        stage: Stage,
        prediction: Tensor,
        below: list[Tensor],
        error: Tensor,
        *,
        factor: float,
    ) -> tuple[Tensor, ...]:
        """Write the gradients of one layer, and return what its error sends to the values below."""
        trained = trainable(*stage)
        if not below and not trained:
            return ()
        found = torch.autograd.grad(prediction, [*below, *trained], grad_outputs=error)
        for weight, gradient in zip(trained, found[len(below) :], strict=True):
            gradient.mul_(factor)
            weight.grad = gradient if weight.grad is None else weight.grad + gradient
        return found[: len(below)]

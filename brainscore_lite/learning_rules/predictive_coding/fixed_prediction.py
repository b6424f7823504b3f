"""Predictive coding with fixed predictions, on arbitrary computation graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    output_losses,
)
from brainscore_lite.learning_rules.predictive_coding.error_propagation import (
    Order,
    arrived,
    errors_by_path_length,
    errors_step_by_step,
)
from brainscore_lite.learning_rules.predictive_coding.prediction_estimator import (
    PredictionEstimator,
)
from brainscore_lite.learning_rules.predictive_coding.prediction_graph import write_gradients
from brainscore_lite.learning_rules.settings import check_choices, check_counts, check_shares
from brainscore_lite.learning_rules.support import differentiable_graph
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.network import Network, Node

Method = Literal["closed_form", "linearised", "naive"]
METHODS = ("closed_form", "linearised", "naive")
#: Steps from which synchronous errors count as reaching every layer, one further at each step:
#: deeper chains are not trained here.
STEPS_THAT_REACH_ALL = 20


@dataclass(frozen=True)
class FixedPredictionCoding:
    """Relax errors with predictions and Jacobians held at the forward pass.

    e_n(t+1) = (1 - eta) e_n(t) + eta sum_c J_cn^T e_c(t),  dW_n = lr e_n(T) df_n/dW_n,

    over the children c of each node n of the network's computation graph, with the output's error
    e = -d loss / d scores held. On a chain, and wherever all paths from a node to the output are
    equally long, e_n(T) is the backpropagated error times one number a_n(T), so at any T each
    layer's update points along the gradient, and the rule is backprop with a learning rate per
    layer. On graphs with paths of unequal length it is backprop in the limit of many steps only:
    T decides how much longer paths count. In synchronous order, T below the length of a path leaves
    it out altogether: the lowest layers of a chain deeper than T learn nothing.

    Parameters
    ----------
    step_size : float
        eta, between 0 and 1.
    n_steps : int
        T, at least 1.
    order : {"synchronous", "backward"}
        Whether all errors are updated at once, or from the output down, each with its children's
        new errors: then one step at eta = 1 is exactly backprop, on any graph.
    method : {"closed_form", "linearised", "naive"}
        How the same numbers are computed: solved for any T in one sweep per path length (one sweep
        on a chain); iterated with frozen Jacobians; or iterated with the graph built anew at every
        step, as public code does.
    output_loss : {"cross_entropy", "squared_error"}

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Millidge, Tschantz & Buckley (2022), doi:10.1162/neco_a_01497 (arXiv 2006.04182).

    Examples
    --------
    >>> FixedPredictionCoding().exactness
    'bp'
    """

    name: ClassVar[str] = "predictive_coding_fixed"
    family: ClassVar[str] = "predictive_coding"
    citation: ClassVar[str] = "Millidge, Tschantz & Buckley 2022, doi:10.1162/neco_a_01497"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    step_size: float = 0.1
    n_steps: int = 100
    order: Order = "synchronous"
    method: Method = "closed_form"
    output_loss: OutputLoss = "cross_entropy"

    def __post_init__(self) -> None:
        check_shares(self, "step_size", above_0=True)
        check_counts(self, "n_steps")
        check_choices(
            self, order=("synchronous", "backward"), method=METHODS, output_loss=OUTPUT_LOSSES
        )

    @property
    def exactness(self) -> Exactness:
        """Backprop on a chain, of the cross-entropy only, once errors have reached every layer.

        In backward order they have after one step. In synchronous order they have once T is the
        depth; as settings do not know the network, `STEPS_THAT_REACH_ALL` are asked for.
        """
        reached = self.order == "backward" or self.n_steps >= STEPS_THAT_REACH_ALL
        return "bp" if reached and self.output_loss == "cross_entropy" else "approximate"

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas."""
        return differentiable_graph(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, or has a stage of
            unknown derivative.
        """
        check_support(self, network)
        return _FixedPredictionEstimator(cast(Network, network), generator, rule=self)


class _FixedPredictionEstimator(PredictionEstimator):
    rule: FixedPredictionCoding

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: FixedPredictionCoding
    ) -> None:
        super().__init__(network, generator, rule=rule)
        self.shares = arrived(
            self.graph.depth, step_size=rule.step_size, n_steps=rule.n_steps, order=rule.order
        )

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the gradients that the errors after T steps give."""
        labels = labels_of(batch, rule=self.rule.name)
        if self.rule.method == "closed_form" and self.graph.levelled:
            scores = self._one_sweep(batch.images, labels)
        else:
            scores = self._cut(batch.images, labels)
        return self.report(scores, labels, residual=1 - self.shares[-1])

    def _one_sweep(self, images: Tensor, labels: Tensor) -> Tensor:
        """Send errors back once, scaled at each node by what has arrived of what its child has."""
        nodes = iter(self.graph.walked)

        def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
            node, response = next(nodes), area(arriving)
            share = self._passed_on(node)
            if share != 1 and response.requires_grad:
                response.register_hook(lambda gradient: share * gradient)
            return response

        for activations in self.graph.network.run(images, answer=answer):
            last = activations
        scores = last[self.graph.output.area]
        losses = output_losses(scores, labels, kind=self.rule.output_loss)
        losses.mean().backward()
        return scores.detach()

    def _passed_on(self, node: Node) -> float:
        (distance,) = self.graph.path_lengths.get(node, frozenset({0}))
        above = self.shares[distance - 1] if distance else 1.0
        return self.shares[distance] / above if above else 0.0

    def _cut(self, images: Tensor, labels: Tensor) -> Tensor:
        """Find the errors of every node, then the gradients of all weights at once."""
        rule, graph = self.rule, self.graph
        cut = graph.start(images)
        scores = cut.predictions[graph.output].detach()
        error = output_errors(scores, labels, kind=rule.output_loss)
        if rule.method == "closed_form":
            errors = errors_by_path_length(graph, cut, error, shares=self.shares)
        else:
            errors = errors_step_by_step(
                graph,
                cut,
                error,
                step_size=rule.step_size,
                n_steps=rule.n_steps,
                order=rule.order,
                images=images if rule.method == "naive" else None,
            )
        write_gradients(self.trained, cut.predictions, errors, factor=1 / len(labels))
        return scores

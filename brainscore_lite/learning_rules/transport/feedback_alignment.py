"""Feedback alignment: errors go back through fixed random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn

from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_positive
from brainscore_lite.learning_rules.support import differentiable_graph
from brainscore_lite.learning_rules.transport.transported_errors import (
    FeedbackWeights,
    follow_error,
)
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class FeedbackAlignment:
    """Send errors back through fixed random weights in place of the transposed ones.

    delta_l = phi'(a_l) * (B_{l+1} delta_{l+1}),  dW_l = -lr delta_l h_{l-1}^T

    It trains any graph of areas; over several steps the error goes back through time.

    Parameters
    ----------
    scale : float
        B ~ N(0, (scale * gain)^2 / fan_in), so that at 1 it is drawn as `ConvNet.build` draws W
        at initial_gain 1: an error keeps its size at any depth and width. (The paper draws B for
        one hidden layer, uniformly in an interval chosen for it.)

    Raises
    ------
    ContractError
        If the scale is not a positive number.

    References
    ----------
    Lillicrap, Cownden, Tweed & Akerman (2016), doi:10.1038/ncomms13276.

    Examples
    --------
    >>> FeedbackAlignment().exactness
    'approximate'
    """

    scale: float = 1.0

    name: ClassVar[str] = "feedback_alignment"
    family: ClassVar[str] = "transport"
    citation: ClassVar[str] = "Lillicrap, Cownden, Tweed & Akerman 2016, doi:10.1038/ncomms13276"
    exactness: ClassVar[Exactness] = "approximate"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"weight_transport"})

    def __post_init__(self) -> None:
        check_positive(self, "scale")

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas."""
        return differentiable_graph(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, and draw its feedback weights.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, or has a stage of
            unknown derivative.
        """
        check_support(self, network)
        return _FeedbackAlignmentEstimator(cast(Network, network), generator, rule=self)


class _FeedbackAlignmentEstimator(Estimator):
    network: Network

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: FeedbackAlignment
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.feedback = FeedbackWeights(network, generator, scale=rule.scale)

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the update for errors that went back through B."""
        return follow_error(self.network, batch, feedback_of=self.feedback, rule=self.rule.name)

"""Burst-dependent learning: events go up, bursts come down, on the same axons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from brainscore_lite.learning_rules.classification import (
    count_correct,
    cross_entropy_error,
    labels_of,
)
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_choices, check_positive, check_shares
from brainscore_lite.learning_rules.support import (
    activated_otherwise,
    areas_of,
    differentiable_graph,
)
from brainscore_lite.learning_rules.transport.transported_errors import (
    FeedbackWeights,
    last_scores,
    sent_back_through,
)
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import Connection
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network

#: Activations that can be the rate of events: never negative.
RATES = frozenset({"clipped_relu", "relu", "sigmoid", "softplus"})


@dataclass(frozen=True)
class BurstDependent:
    """Learn from how far the rate of bursts departs from its share of the rate of events.

    e_l = phi(a_l),  u_l = phi'(a_l) / e_l * (Y_{l+1} d_{l+1}),  p_l = sigmoid(4 u_l + logit p0)
    d_l = (p_l - p0) e_l,  dW_l = lr d_l e_{l-1}^T / amplitude,  d_L = amplitude (y - softmax(a_L))

    Events e carry activity up, and the probability p that an event is a burst carries teaching
    down: d is the rate of bursts p e less what it is without teaching, p0 e, and drives the
    dendrites u of the area below. A sigmoid keeps p between 0 and 1; where teaching is weak it is
    straight, and at p0 = 1/2 and Y = W^T what is learned then tends to the gradient, with an error
    of order amplitude^2. An area without events sends no bursts.

    Each image is taught with the whole amplitude, whatever the size of the batch. The update is
    divided by the amplitude, so that a learning rate means the same at any.

    Parameters
    ----------
    amplitude : float
        Of the teaching signal at the readout.
    p0 : float
        Probability of a burst without teaching.
    feedback : {"random", "symmetric"}
        Y fixed and random as in feedback alignment, or the transposed forward weights.
    scale : float
        Y ~ N(0, (scale * gain)^2 / fan_in), if random; at 1 as W is drawn at initial_gain 1.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Payeur, Guerguiev, Zenke, Richards & Naud (2021), doi:10.1038/s41593-021-00857-x.

    Examples
    --------
    >>> BurstDependent().ngrad
    True
    """

    amplitude: float = 1.0
    p0: float = 0.5
    feedback: Literal["random", "symmetric"] = "random"
    scale: float = 1.0

    name: ClassVar[str] = "burstprop"
    family: ClassVar[str] = "transport"
    citation: ClassVar[str] = (
        "Payeur, Guerguiev, Zenke, Richards & Naud 2021, doi:10.1038/s41593-021-00857-x"
    )
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __post_init__(self) -> None:
        check_choices(self, feedback=("random", "symmetric"))
        check_positive(self, "amplitude", "scale")
        check_shares(self, "p0", above_0=True, below_1=True)

    @property
    def exactness(self) -> Exactness:
        """The gradient is a limit only through the transposed weights, at p0 = 1/2."""
        return "bp_limit" if self.feedback == "symmetric" and self.p0 == 0.5 else "approximate"

    @property
    def makes_local(self) -> frozenset[str]:
        """Errors share the axons of activity, in one phase; random feedback reads no weights."""
        multiplexed = frozenset({"separate_error", "distinct_phases"})
        return multiplexed | ({"weight_transport"} if self.feedback == "random" else set())

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas whose activations can be rates of events."""
        return differentiable_graph(
            architecture,
            activated_otherwise(
                architecture, RATES, why="the rate of its events cannot be negative"
            ),
            _normalised_after(architecture),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, and draw its feedback weights.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, an area's activations cannot be rates of events,
            or it has no trainable weights or a stage of unknown derivative.
        """
        check_support(self, network)
        return _BurstEstimator(cast(Network, network), generator, rule=self)


def _normalised_after(architecture: Any) -> str:
    for area in areas_of(architecture):
        if area.post_norm != "none":
            return (
                f"area '{area.name}' has post_norm='{area.post_norm}', but what it sends up is the "
                "rate of its events. Set post_norm='none', or normalise before the activation."
            )
    return ""


class _BurstEstimator(Estimator):
    network: Network

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: BurstDependent
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.feedback: FeedbackWeights | None = None
        if rule.feedback == "random":
            self.feedback = FeedbackWeights(network, generator, scale=rule.scale)

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the update that departures of the burst rate ask for."""
        labels = labels_of(batch, rule=self.rule.name)
        carry = sent_back_through(self._feedback_of)
        scores = last_scores(self.network, batch.images, carry=carry, answer=self._answer)
        scores.backward(self.rule.amplitude * cross_entropy_error(scores.detach(), labels))
        updates = [p.grad for p in self.network.parameters() if p.grad is not None]
        torch._foreach_mul_(updates, 1 / (self.rule.amplitude * len(labels)))
        loss = functional.cross_entropy(scores.detach(), labels)
        return StepInfo(loss=loss.item(), n_correct=count_correct(scores, labels))

    def _feedback_of(self, connection: Connection) -> Tensor:
        return connection.op.weight if self.feedback is None else self.feedback(connection)

    def _answer(self, area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
        if area.name == READOUT:
            return area(arriving)
        drive = area.norm(area.drive(arriving))
        return cast(Tensor, _Events.apply(drive, area.activation, self.rule.p0))


class _Events(Function):
    """e = phi(a) up; down, an error -v at e becomes one of -(p - p0) e at a."""

    @staticmethod
    def forward(ctx: Any, drive: Tensor, activation: nn.Module, p0: float) -> Tensor:
        with torch.enable_grad():
            at = drive.detach().requires_grad_()
            events = activation(at)
            (slope,) = torch.autograd.grad(events, at, torch.ones_like(events))
        ctx.save_for_backward(events.detach(), slope)
        ctx.p0 = p0
        return events.detach()

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None]:
        events, slope = ctx.saved_tensors
        least = torch.finfo(events.dtype).tiny
        dendrites = -error * slope / events.clamp_min(least)
        p = torch.sigmoid(4 * dendrites + math.log(ctx.p0 / (1 - ctx.p0)))
        return (ctx.p0 - p) * events, None, None

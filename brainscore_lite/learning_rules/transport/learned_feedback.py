"""Feedback weights that learn to be the transposed forward weights, without reading them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from brainscore_lite.learning_rules.correlation import correlation
from brainscore_lite.learning_rules.draws import normal_like
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_counts, check_not_negative, check_positive
from brainscore_lite.learning_rules.support import differentiable_graph
from brainscore_lite.learning_rules.transport.transported_errors import (
    FeedbackWeights,
    crossed,
    follow_error,
)
from brainscore_lite.networks.connections import Connection, Convolution
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError


@dataclass(frozen=True)
class KolenPollack:
    """Change feedback weights by the same products of activity as forward weights, and decay both.

    dW = -lr (delta h^T + decay W),  dB = -lr (h delta^T + decay B)

    The two changes are transposes of each other, so W - B^T only decays, whatever is learned:
    after t steps |W - B^T| is (1 - lr decay)^t times what it was at first. That holds for plain
    SGD and, W and B being in one parameter group with one decay, for Adam with decoupled decay as
    well. With momentum m the difference decays as its own linear recurrence, for small lr about
    (1 - lr decay / (1 - m))^t.

    Parameters
    ----------
    decay : float
        Weight decay of W and B, in place of the training configuration's.
    scale : float
        B ~ N(0, (scale * gain)^2 / fan_in) at first; at 1 as W is drawn at initial_gain 1.

    Raises
    ------
    ContractError
        If the decay is negative or the scale is not a positive number.

    References
    ----------
    Kolen & Pollack (1994), doi:10.1109/ICNN.1994.374486; Akrout, Wilson, Humphreys, Lillicrap &
    Tweed (2019), arXiv 1904.05391.

    Examples
    --------
    >>> KolenPollack().exactness
    'bp_limit'
    """

    decay: float = 1e-3
    scale: float = 1.0

    name: ClassVar[str] = "kolen_pollack"
    family: ClassVar[str] = "transport"
    citation: ClassVar[str] = (
        "Kolen & Pollack 1994, doi:10.1109/ICNN.1994.374486; Akrout et al. 2019, arXiv 1904.05391"
    )
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"weight_transport"})

    def __post_init__(self) -> None:
        check_not_negative(self, "decay")
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
        return _KolenPollackEstimator(cast(Network, network), generator, rule=self)


class _KolenPollackEstimator(Estimator):
    network: Network

    def __init__(self, network: Network, generator: torch.Generator, *, rule: KolenPollack) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.feedback = FeedbackWeights(network, generator, scale=rule.scale, learned=True)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return weights with their feedback weights, which decay alike, and the rest."""
        return tied_groups(self.network, self.feedback, decay=self.rule.decay)

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the same update for B as for W."""
        info = follow_error(self.network, batch, feedback_of=self.feedback, rule=self.rule.name)
        copy_updates(self.network, self.feedback)
        return info


def tied_groups(
    network: Network, feedback: FeedbackWeights, *, decay: float
) -> list[ParameterGroup]:
    """Return the trained weights with their learned feedback weights as one group, and the rest.

    Parameters
    ----------
    network : Network
    feedback : FeedbackWeights
        Learned.
    decay : float
        Of the weights and feedback weights.
    """
    connections = (cast(Connection, each) for each in network.connections.values())
    weights = {id(each.op.weight): each.op.weight for each in connections}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in weights]
    tied = [p for p in (*weights.values(), *feedback.parameters()) if p.requires_grad]
    groups = [ParameterGroup(tuple(tied), weight_decay=decay), ParameterGroup(tuple(rest))]
    return [group for group in groups if group.parameters]


def copy_updates(network: Network, feedback: FeedbackWeights) -> None:
    """Write the update of every trained weight for its learned feedback weight as well."""
    for weight, counterpart in feedback.pairs(network):
        if weight.grad is not None:
            counterpart.grad = weight.grad.clone()


@dataclass(frozen=True)
class WeightMirror:
    """Learn feedback weights between batches, from noise that the forward weights pass on.

    engaged: delta_l = phi'(a_l) * (B_{l+1} delta_{l+1}),  dW_l = -lr delta_l h_{l-1}^T
    mirror:  x ~ N(0, noise^2),  y = op(x),  dB = mirror_rate (<x y^T> - decay B)

    <x y^T> is noise^2 W^T on average, so B tends to noise^2 / decay W^T. In a convolution it is
    the mean over the places that a tap of the kernel sees within the image. In mirror mode areas
    are driven by noise one connection at a time, in the linear range and without bias. W changes
    in engaged mode only, B in mirror mode only.

    Parameters
    ----------
    mirror_rate : float
        B averages over about the last 2 / (mirror_rate decay) mirror batches.
    decay : float
    noise : float
        Standard deviation.
    n_noise : int
        Noise patterns in a mirror batch.
    n_mirror : int
        Mirror batches after each step in engaged mode.
    scale : float
        B ~ N(0, (scale * gain)^2 / fan_in) at first; at 1 as W is drawn at initial_gain 1.

    Raises
    ------
    ContractError
        If a setting is not a positive number, or mirror_rate * decay is above 1.

    References
    ----------
    Akrout, Wilson, Humphreys, Lillicrap & Tweed (2019), arXiv 1904.05391.

    Examples
    --------
    >>> WeightMirror().exactness
    'bp_limit'
    """

    mirror_rate: float = 0.01
    decay: float = 1.0
    noise: float = 1.0
    n_noise: int = 64
    n_mirror: int = 1
    scale: float = 1.0

    name: ClassVar[str] = "weight_mirror"
    family: ClassVar[str] = "transport"
    citation: ClassVar[str] = "Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, arXiv 1904.05391"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"weight_transport"})

    def __post_init__(self) -> None:
        check_positive(self, "mirror_rate", "decay", "noise", "scale")
        check_counts(self, "n_noise", "n_mirror")
        if self.mirror_rate * self.decay > 1:
            raise ContractError(
                f"{self.name}: mirror_rate * decay is {self.mirror_rate * self.decay:g}, so B "
                "would overshoot. Lower one until their product is at most 1."
            )

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas."""
        return differentiable_graph(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, and draw its first feedback weights.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, or has a stage of
            unknown derivative.
        """
        check_support(self, network)
        return _WeightMirrorEstimator(cast(Network, network), generator, rule=self)


class _WeightMirrorEstimator(Estimator):
    network: Network

    def __init__(self, network: Network, generator: torch.Generator, *, rule: WeightMirror) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.feedback = FeedbackWeights(network, generator, scale=rule.scale)
        self._shapes = shapes_crossed(network)

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the update for errors that went back through B (engaged mode)."""
        return follow_error(self.network, batch, feedback_of=self.feedback, rule=self.rule.name)

    def after_step(self, lr: float) -> None:
        """Let every connection pass on noise, and move B towards what it shows (mirror mode)."""
        for _ in range(self.rule.n_mirror):
            self.mirror()

    @torch.no_grad()
    def mirror(self) -> None:
        """Take one mirror step of all feedback weights."""
        rate, decay = self.rule.mirror_rate, self.rule.decay
        mirrored = set()
        for connection in crossed(self.network):
            feedback = self.feedback(connection)
            if id(feedback) in mirrored:
                continue
            mirrored.add(id(feedback))
            noise = self._noise(connection)
            found = correlated(connection, noise, connection.op(noise))
            feedback.mul_(1 - rate * decay).add_(found, alpha=rate)

    def _noise(self, connection: Connection) -> Tensor:
        """Draw noise of what enters an operation, in the layout that convolutions are fast in."""
        channels, *places = self._shapes[connection.name]
        shape = (self.rule.n_noise, *places, channels)
        noise = normal_like(connection.op.weight, self.generator, shape=shape)
        return noise.mul_(self.rule.noise).movedim(-1, 1)


def shapes_crossed(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of what enters the operation of every connection that errors cross."""
    shapes = network.activation_shapes()
    return {
        each.name: tuple(each.pool_in(each.op.weight.new_zeros(1, *shapes[each.source])).shape[1:])
        for each in crossed(network)
    }


def correlated(connection: Connection, sent: Tensor, passed_on: Tensor) -> Tensor:
    """Return <y x^T> over patterns, and in a convolution over the places that each tap sees.

    Parameters
    ----------
    connection : Connection
    sent : Tensor, shape (batch, in_channels or in_units, ...)
    passed_on : Tensor, shape (batch, out_channels or out_units, ...)

    Returns
    -------
    Tensor, of the shape of the weight
        For x of independent entries of variance 1 and y = op(x) it is the weight on average.
    """
    op = connection.op
    total = correlation(op, sent, passed_on)
    if not isinstance(op, Convolution):  # each tap sees one place
        return total / len(sent)
    places = conv2d_weight(
        torch.ones_like(sent[:1, :1]),
        (1, 1, *op.weight.shape[2:]),
        torch.ones_like(passed_on[:1, :1]),
        stride=op.stride,
        padding=op.padding,
    )
    return total / (len(sent) * places.clamp_min(1))

"""Direct feedback: what comes out at the top, or should, is broadcast to every area."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.classification import count_correct, labels_of
from brainscore_lite.learning_rules.draws import normal_like
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
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network

#: What is broadcast to an area: (area, error at the readout, labels) -> error at its activations.
Broadcast = Callable[[str, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DirectFeedbackAlignment:
    """Broadcast the error of the readout to every area through fixed random weights.

    delta_l = phi'(a_l) * (B_l e),  e = softmax(a_L) - y,  dW_l = -lr delta_l h_{l-1}^T

    Areas learn side by side: no error passes from one to another, and none is computed for the
    input of an area. In a recurrent network every step of an area receives the same error, that of
    the last readout: dW_l = -lr sum_t delta_{t,l} h_{t-1}^T. An area with a time constant also
    passes its error back to its own state before.

    Parameters
    ----------
    scale : float
        B_l ~ N(0, scale^2 / units of the area): at 1 the error at an area is as long as e, as it
        is behind the transpose of a fresh readout. (The paper draws B uniformly in an interval
        chosen for its networks.)

    Raises
    ------
    ContractError
        If the scale is not a positive number.

    References
    ----------
    Nøkland (2016), arXiv 1609.01596; in recurrent networks Han, Park, Ryu & Yoo (2020), arXiv
    2006.12830.

    Examples
    --------
    >>> DirectFeedbackAlignment().exactness
    'approximate'
    """

    scale: float = 1.0

    name: ClassVar[str] = "direct_feedback_alignment"
    family: ClassVar[str] = "transport"
    citation: ClassVar[str] = "Nøkland 2016, arXiv 1609.01596"
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
        return _DirectFeedbackEstimator(cast(Network, network), generator, rule=self)


@dataclass(frozen=True)
class DirectRandomTargetProjection:
    """Broadcast the target, not the error, to every area through fixed random weights.

    delta_l = -phi'(a_l) * (B_l y),  dW_l = -lr delta_l h_{l-1}^T,  y one-hot

    The target stands for the error softmax(a_L) - y, whose entry for the target's class always
    has the sign of -y. Hidden areas wait for no activity above them and no error; only the readout
    learns from its error. (The paper's readout is sigmoid with binary cross-entropy; here it is
    the network's, with the cross-entropy of all other rules.)

    Parameters
    ----------
    scale : float
        B_l ~ N(0, scale^2 / units of the area).

    Raises
    ------
    ContractError
        If the scale is not a positive number.

    References
    ----------
    Frenkel, Lefebvre & Bol (2021), doi:10.3389/fnins.2021.629892.

    Examples
    --------
    >>> sorted(DirectRandomTargetProjection().makes_local)
    ['update_locking', 'weight_transport']
    """

    scale: float = 1.0

    name: ClassVar[str] = "direct_random_target_projection"
    family: ClassVar[str] = "transport"
    citation: ClassVar[str] = "Frenkel, Lefebvre & Bol 2021, doi:10.3389/fnins.2021.629892"
    exactness: ClassVar[Exactness] = "approximate"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"weight_transport", "update_locking"})

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
        return _TargetProjectionEstimator(cast(Network, network), generator, rule=self)


class BroadcastWeights(nn.Module):
    """A feedback weight from the classes to every area below the readout.

    B_l ~ N(0, scale^2 / units), of shape (n_classes, units) or (n_classes, rows, columns,
    channels): channels vary fastest, as in the activations of a convolutional area.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
    scale : float
    """

    def __init__(self, network: Network, generator: torch.Generator, *, scale: float) -> None:
        super().__init__()
        shapes = network.activation_shapes()
        n_classes = shapes.pop(READOUT)[0]
        like = next(network.parameters())
        for area, (channels, *places) in shapes.items():
            weight = normal_like(like, generator, shape=(n_classes, *places, channels))
            weight *= scale / math.sqrt(channels * math.prod(places))
            self.register_buffer(area, weight)

    def error(self, area: str, error: Tensor) -> Tensor:
        """Return B e of shape (batch, channels, ...) for an error of shape (batch, n_classes)."""
        weight = self.get_buffer(area)
        sent = error @ weight.flatten(1)
        return _channels_first(sent.view(-1, *weight.shape[1:]))

    def target(self, area: str, labels: Tensor) -> Tensor:
        """Return B y of shape (batch, channels, ...) for the one-hot y of labels."""
        return _channels_first(self.get_buffer(area)[labels])


class _DirectFeedbackEstimator(Estimator):
    network: Network

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: DirectFeedbackAlignment
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.feedback = BroadcastWeights(network, generator, scale=rule.scale)

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the update for the broadcast error."""

        def broadcast(area: str, error: Tensor, labels: Tensor) -> Tensor:
            return self.feedback.error(area, error)

        return learn_from_broadcast(self.network, batch, broadcast, rule=self.rule.name)


class _TargetProjectionEstimator(Estimator):
    network: Network

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: DirectRandomTargetProjection
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.feedback = BroadcastWeights(network, generator, scale=rule.scale)

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the update for the broadcast target."""

        def broadcast(area: str, error: Tensor, labels: Tensor) -> Tensor:
            return self.feedback.target(area, labels) / -len(labels)

        return learn_from_broadcast(self.network, batch, broadcast, rule=self.rule.name)


def learn_from_broadcast(
    network: Network, batch: Batch, broadcast: Broadcast, *, rule: str
) -> StepInfo:
    """Write the update of every area for an error at its own activations.

    Parameters
    ----------
    network : Network
    batch : Batch
        With labels.
    broadcast : callable
        Gives every area below the readout its error, of the shape of its activations.
    rule : str
        Name, for the message.

    Raises
    ------
    ContractError
        If the batch has no labels.
    """
    labels = labels_of(batch, rule=rule)
    steps = list(network.run(batch.images, carry=_carry_detached))
    scores = steps[-1][READOUT]
    likelihoods = functional.log_softmax(scores.detach(), dim=1)
    error = likelihoods.exp()
    error[torch.arange(len(labels), device=labels.device), labels] -= 1
    error /= len(labels)
    learning = [
        (area, activations)
        for step in steps
        for area, activations in step.items()
        if area not in (IMAGE, READOUT) and activations.requires_grad
    ]
    sent = {area: broadcast(area, error, labels) for area, _ in learning}
    tops = [activations for _, activations in learning]
    errors = [sent[area] for area, _ in learning]
    if scores.requires_grad:
        tops, errors = [*tops, scores], [*errors, error]
    torch.autograd.backward(tops, errors)
    loss = functional.nll_loss(likelihoods, labels)
    return StepInfo(loss=loss.item(), n_correct=count_correct(scores, labels))


def _carry_detached(connection: Connection, activations: Tensor, gain: float) -> Tensor:
    return connection(activations.detach(), gain=gain)


def _channels_first(sent: Tensor) -> Tensor:
    return sent.movedim(-1, 1)

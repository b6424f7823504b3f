"""Forward-forward with top-down input: an image below and a label above, and layers that settle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.classification import labels_of
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    StepInfo,
    Support,
    check_support,
    trainable,
)
from brainscore_lite.learning_rules.local.forward_forward_goodness import (
    Goodness,
    GoodnessKind,
    check_goodness,
    normalised,
)
from brainscore_lite.learning_rules.local.forward_forward_labels import wrong_labels
from brainscore_lite.learning_rules.local.forward_forward_layers import (
    PROBED,
    Probed,
    supports_goodness,
    threshold_for,
    weights_of,
    write,
)
from brainscore_lite.learning_rules.settings import check_choices, check_counts, check_positive
from brainscore_lite.learning_rules.stages import Stage, stages
from brainscore_lite.learning_rules.support import black_box, pooled_by_maximum, support
from brainscore_lite.networks.connections import Connection, FullyConnected
from brainscore_lite.networks.model import READOUT, Step, check_layers, device_of, evaluation_mode
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

_EXAMPLES_AT_ONCE = 1000


@dataclass(frozen=True)
class RecurrentForwardForward:
    """Let layers settle between an image and a label; each learns whether the two belong together.

    h_l <- (1 - rate) h_l + rate f(W_l h_{l-1}^ + U_l h_{l+1}^ + b_l), all layers at once,
    L_l = mean log(1 + exp(-+ (g_l - theta) / temperature)) over the iterations that count

    The image is clamped below and the label above. A top-down connection is the adjoint of the
    bottom-up one with weights of its own, U_l, which are learned alike; a lesion of the connection
    cuts both. An update reaches neither another layer nor an earlier iteration.

    Parameters
    ----------
    rate : float
        Share of the new answer in a layer's activity.
    n_iterations : int
        Until the activity is probed.
    first_counted, last_counted : int
        The iterations, from 1, whose goodness is learned from and predicted with.
    goodness : {"sum_of_squares", "mean_of_squares", "absolute", "t_density"}
    threshold : float, optional
        Share of theta of each unit; by default as in `ForwardForward`.
    temperature : float, optional
        Of the decision between real and false; None is the root of the number of units.
    minimised : bool
        Whether images with their own label are to have low goodness instead.
    probed : {"normalised", "raw"}
        Whether activations are given as passed on, or with their length.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Hinton (2022), arXiv:2212.13345, section 3.4.

    Examples
    --------
    >>> RecurrentForwardForward().last_counted
    5
    """

    family: ClassVar[str] = "local"
    name: ClassVar[str] = "forward_forward_recurrent"
    citation: ClassVar[str] = "Hinton 2022, arXiv:2212.13345"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"weight_transport", "separate_error"})

    rate: float = 0.7
    n_iterations: int = 8
    first_counted: int = 3
    last_counted: int = 5
    goodness: GoodnessKind = "sum_of_squares"
    threshold: float | None = None
    temperature: float | None = 1.0
    minimised: bool = False
    probed: Probed = "normalised"

    def __post_init__(self) -> None:
        check_choices(self, probed=PROBED)
        check_goodness(self)
        check_positive(self, "rate")
        check_counts(self, "n_iterations", "first_counted", "last_counted")
        if not 1 <= self.first_counted <= self.last_counted <= self.n_iterations:
            raise ContractError(
                f"forward_forward_recurrent: iterations {self.first_counted} to "
                f"{self.last_counted} cannot count out of {self.n_iterations}. Use "
                "1 <= first_counted <= last_counted <= n_iterations."
            )

    def supports(self, architecture: Any) -> Support:
        """Accept a chain of areas with connections that have an adjoint."""
        found = supports_goodness(architecture)
        why = "a maximum has no adjoint through which a top-down connection could lead"
        if not found.ok:
            return found
        return support(black_box(architecture), pooled_by_maximum(architecture, why=why))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain of areas, pools by maximum, has a stage of unknown
            derivative, or its normalisation mixes examples or fixes the length of activity.
        """
        check_support(self, network)
        return _RecurrentEstimator(cast(Network, network), generator, rule=self)


class _RecurrentEstimator(Estimator):
    network: Network
    labels: Tensor

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: RecurrentForwardForward
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        threshold = threshold_for(network) if rule.threshold is None else rule.threshold
        self.goodness = Goodness(rule.goodness, threshold, rule.temperature, rule.minimised)
        *self.hidden, self.top = stages(network)
        self.n_classes = cast(Any, self.top.area.settings).units
        self.above = [*self.hidden[1:], self.top]
        down = {stage.name: _own_weight(stage, generator) for stage in self.above}
        self.down = nn.ParameterDict(down)
        like = next(network.parameters())
        labels = normalised(torch.eye(self.n_classes).to(like))
        self.register_buffer("labels", labels, persistent=False)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the weights of the hidden layers and those of the top-down connections."""
        return [ParameterGroup(self._trained())]

    def _trained(self) -> tuple[nn.Parameter, ...]:
        return (*weights_of(self.hidden), *trainable(self.down))

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the gradient of each layer's own loss in the iterations that count.

        No residual is reported: these iterations are on the way, not where activity settles.
        """
        labels = labels_of(batch, rule=self.rule.name)
        images = self.network.entering(batch.images)
        wrong = wrong_labels(labels, self.n_classes, generator=self.generator)
        top = self.labels[torch.cat([labels, wrong])]
        answers: list[Tensor] = []
        gradients: list[Tensor] = []
        total = images.new_zeros(())
        from_image = self._from_image(images, n_shown=2)
        with torch.no_grad():
            states = self._start(from_image)
        for iteration in range(1, self.rule.last_counted + 1):
            counted = iteration >= self.rule.first_counted
            with torch.set_grad_enabled(counted):
                found = self._iterate(states, from_image, top)
            states = [answer.detach() for answer in found]
            for answer, state in zip(found, states, strict=True) if counted else ():
                loss, gradient = self.goodness.contrast(state, len(labels))
                total = total + loss
                answers.append(answer)
                gradients.append(gradient / self.n_counted)
        trained = self._trained()
        write(trained, torch.autograd.grad(answers, trained, gradients))
        return StepInfo(loss=total.item() / self.n_counted)

    @property
    def n_counted(self) -> int:
        """Number of iterations that count."""
        return self.rule.last_counted - self.rule.first_counted + 1

    def _from_image(self, images: Tensor, *, n_shown: int) -> Tensor:
        """Return the image's input to the first layer, as often as each image is shown."""
        arriving = self.hidden[0].arriving(normalised(images))
        return arriving.repeat(n_shown, *[1] * (arriving.ndim - 1))

    def _start(self, from_image: Tensor) -> list[Tensor]:
        """Return the activities with which layers start: those of a pass from below."""
        first = self.hidden[0].area
        states = [first.respond_to(first.drive([from_image]))]
        for stage in self.hidden[1:]:
            states.append(stage(normalised(states[-1])))
        return states

    def _iterate(self, states: list[Tensor], from_image: Tensor, top: Tensor) -> list[Tensor]:
        """Return the activities of all layers after one more iteration.

        Parameters
        ----------
        states : list of Tensor, each of shape (examples, ...)
        from_image : Tensor, shape (examples, ...)
        top : Tensor, shape (examples, n_classes)
            What is clamped above.
        """
        passed_on = [normalised(state) for state in states]
        arriving = [from_image]
        for stage, below in zip(self.hidden[1:], passed_on[:-1], strict=True):
            arriving.append(stage.arriving(below))
        after = []
        for height, stage in enumerate(self.hidden):
            above = top if stage is self.hidden[-1] else passed_on[height + 1]
            sender = self.above[height]
            back = adjoint(sender.connection, above, self.down[sender.name], like=states[height])
            answer = stage.area([arriving[height], sender.scaled(back)])
            after.append(torch.lerp(states[height], answer, self.rule.rate))
        return after

    def predict(self, images: Tensor) -> Tensor:
        """Score each label by the mean goodness of all layers while it is clamped above.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width)

        Returns
        -------
        Tensor, shape (batch, n_classes)
        """
        at_once = max(1, _EXAMPLES_AT_ONCE // self.n_classes)
        chunks = self.network.entering(images).split(at_once)
        return torch.cat([self._evidence(some) for some in chunks])

    def _evidence(self, images: Tensor) -> Tensor:
        top = self.labels.repeat_interleave(len(images), dim=0)
        from_image = self._from_image(images, n_shown=self.n_classes)
        states = self._start(from_image)
        total = images.new_zeros(len(top))
        for iteration in range(1, self.rule.last_counted + 1):
            states = self._iterate(states, from_image, top)
            if iteration >= self.rule.first_counted:
                for state in states:
                    total = total + self.goodness.evidence(state)
        return total.view(self.n_classes, len(images)).T / self.n_counted

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the activations after all iterations, under the neutral label.

        The residual is the largest change of an activity in the last iteration. The readout's
        activations are the predicted scores.
        """
        chosen = check_layers(layers, self.network.layer_names, model=self.network.name)
        images = self.network.entering(images.to(device_of(self)))
        with evaluation_mode(self), torch.no_grad():
            neutral = self.labels.mean(dim=0).expand(len(images), -1)
            from_image = self._from_image(images, n_shown=1)
            states = self._start(from_image)
            for _ in range(self.rule.n_iterations):
                before, states = states, self._iterate(states, from_image, neutral)
            changes = [(a - b).abs().max() for a, b in zip(states, before, strict=True)]
            if self.rule.probed == "normalised":
                states = [normalised(state) for state in states]
            found = {stage.name: each for stage, each in zip(self.hidden, states, strict=True)}
            if READOUT in chosen:
                found[READOUT] = self.predict(images)
            residual = torch.stack(changes).max().item()
        yield Step(0, {name: found[name] for name in chosen}, residual)


def adjoint(connection: Connection, above: Tensor, weight: Tensor, *, like: Tensor) -> Tensor:
    """Lead activity down through the adjoint of a connection, with another weight.

    <adjoint(above), below> = <above, connection(below)> for every below

    Parameters
    ----------
    connection : Connection
        Linear: it does not pool by maximum.
    above : Tensor, shape (batch, ...)
    weight : Tensor
        Of the shape of the connection's own.
    like : Tensor, shape (batch, ...)
        Of the shape of the activity below.

    Returns
    -------
    Tensor, of the shape of `like`
    """
    if isinstance(connection.op, FullyConnected) and isinstance(connection.pool_in, nn.Identity):
        return (above @ weight).view(like.shape)
    with torch.enable_grad():
        below = torch.zeros_like(like, requires_grad=True)
        answer = connection(below, weight=weight)
    graph = torch.is_grad_enabled()
    return torch.autograd.grad(answer, below, above, create_graph=graph)[0]


def _own_weight(stage: Stage, generator: torch.Generator) -> nn.Parameter:
    """Draw a top-down weight from N(0, 2 / what reaches a unit through it)."""
    weight = stage.connection.op.weight
    reaching = weight.numel() / weight.shape[1]
    drawn = torch.empty(weight.shape).normal_(0.0, (2 / reaching) ** 0.5, generator=generator)
    return nn.Parameter(drawn.to(weight))

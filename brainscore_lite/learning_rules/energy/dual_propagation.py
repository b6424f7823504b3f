"""Dual propagation: neurons of two compartments whose difference is the error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

from brainscore_lite.learning_rules.classification import (
    count_correct,
    cross_entropy_error,
    labels_of,
)
from brainscore_lite.learning_rules.correlation import correlation
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    StepInfo,
    Support,
    check_support,
    trainable,
)
from brainscore_lite.learning_rules.settings import check_positive, check_shares
from brainscore_lite.learning_rules.support import (
    activated_otherwise,
    differentiable_graph,
    joined_by_gain,
    keeps_state,
    normalised_by,
)
from brainscore_lite.networks.areas import CONVOLUTIONAL_NORMS, DENSE_NORMS, AreaModule
from brainscore_lite.networks.connections import (
    IMAGE,
    Connection,
    Convolution,
    FullyConnected,
    Operation,
)
from brainscore_lite.networks.network import Network, Node

NORMS = frozenset({*CONVOLUTIONAL_NORMS, *DENSE_NORMS} - {"none"})
#: Functions of a neuron's own drive.
ELEMENTWISE = frozenset(
    {
        "clipped_relu",
        "elu",
        "hard_tanh",
        "identity",
        "relu",
        "sigmoid",
        "silu",
        "softplus",
        "tanh",
    }
)
_OWN_DRIVE = (
    "a difference of states is the error of its own neuron only where each neuron's activation is "
    "a function of its own drive"
)


@dataclass(frozen=True, kw_only=True)
class DualPropagation:
    """Let two oppositely nudged states per neuron carry activity and error at once.

    z_l^+ = f(W_l zbar_{l-1} + (1 - alpha) W_{l+1}^T (z_{l+1}^+ - z_{l+1}^-))
    z_l^- = f(W_l zbar_{l-1} - alpha W_{l+1}^T (z_{l+1}^+ - z_{l+1}^-))
    zbar_l = alpha z_l^+ + (1 - alpha) z_l^-
    dW_l = lr (z_l^+ - z_l^-) zbar_{l-1}^T / beta,  z_L^+ - z_L^- = -beta e

    where e is the gradient of each example's loss with respect to the readout. One forward pass,
    in which both states agree, and one sweep from above to below settle the states: the mean
    zbar moves in second order only, so the drives keep the values of the forward pass. The
    update tends to the gradient as beta falls, with an error of order beta^2 for alpha = 1/2 and
    of order beta for other alpha. Weights are read in both directions; maximum pooling sends
    errors back to where the forward pass took its maxima. On recurrent networks the states are
    those of every area at every step.

    Parameters
    ----------
    alpha : float
        From 0 to 1: how the feedback is shared between the two states.
    beta : float
        Strength of the nudge at the readout, on each example's own loss.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Hoier, Staudt & Zach (2023), "Dual propagation: accelerating contrastive Hebbian learning with
    dyadic neurons", ICML, arXiv 2302.01228; Hoier & Zach (2024), "Two tales of single-phase
    contrastive Hebbian learning", ICML, arXiv 2402.08573 (the variant for any alpha).

    Examples
    --------
    >>> DualPropagation(alpha=0.5, beta=0.01).exactness
    'bp_limit'
    """

    alpha: float = 0.5
    beta: float = 0.1

    name: ClassVar[str] = "dual_propagation"
    family: ClassVar[str] = "energy"
    citation: ClassVar[str] = (
        "Hoier, Staudt & Zach 2023, arXiv 2302.01228; Hoier & Zach 2024, arXiv 2402.08573"
    )
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "symmetry"})
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"separate_error", "distinct_phases", "derivatives"}
    )

    def __post_init__(self) -> None:
        check_shares(self, "alpha")
        check_positive(self, "beta")

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas whose neurons act on their own drive alone."""
        return differentiable_graph(
            architecture,
            normalised_by(architecture, NORMS, why=_OWN_DRIVE),
            activated_otherwise(architecture, ELEMENTWISE, why=_OWN_DRIVE),
            joined_by_gain(architecture, why="the rule takes the inputs of an area as a sum"),
            keeps_state(architecture, why="the rule sets each state from what arrives alone"),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, or one in which neurons of an area act on each
            other.
        """
        check_support(self, network)
        return _DualPropagationEstimator(cast(Network, network), generator, rule=self)


class _DualPropagationEstimator(Estimator):
    network: Network

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: DualPropagation
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the products of the states' difference above and their mean below."""
        labels = labels_of(batch, rule=self.rule.name)
        with torch.no_grad():
            dyads = _forward_pass(self.network, batch.images)
            scores = dyads[-1].mean
            self._sweep(dyads, cross_entropy_error(scores, labels))
            self._write(dyads, batch_size=len(batch.images))
            return StepInfo(
                loss=functional.cross_entropy(scores, labels).item(),
                n_correct=count_correct(scores, labels),
            )

    def _sweep(self, dyads: Sequence[_Dyad], error: Tensor) -> None:
        """Settle the states from above to below: the readout of the last step comes first."""
        dyads[-1].difference = -self.rule.beta * error
        for dyad in reversed(dyads):
            if dyad is not dyads[-1] and dyad.feedback is not None:
                plus = dyad.area.respond_to(dyad.drive + (1 - self.rule.alpha) * dyad.feedback)
                minus = dyad.area.respond_to(dyad.drive - self.rule.alpha * dyad.feedback)
                dyad.difference = plus - minus
                dyad.mean = torch.lerp(minus, plus, self.rule.alpha)
            if dyad.difference is not None:
                for arrival in dyad.arrivals:
                    arrival.send_back(dyad.difference)

    def _write(self, dyads: Sequence[_Dyad], *, batch_size: int) -> None:
        total: dict[nn.Parameter, Tensor] = {}
        for dyad in dyads:
            if dyad.difference is None:
                continue  # nothing above it reaches the loss
            for parameter, product in dyad.products():
                known = total.get(parameter)
                total[parameter] = product if known is None else known + product
        for parameter in trainable(self.network):
            found = total.get(parameter)
            scale = -1 / (self.rule.beta * batch_size)
            parameter.grad = torch.zeros_like(parameter) if found is None else scale * found


class _Arrival:
    """What came to an area through a connection, and the way back.

    The operation is undone by its weight, the pooling before and after it by the derivative that
    it had in the forward pass.
    """

    def __init__(
        self, connection: Connection, activations: Tensor, gain: float, source: _Dyad | None
    ) -> None:
        self.op = connection.op
        self.source = source
        self._forward = activations
        self._gain = gain
        self._pool_in, pool_out = connection.pool_in, connection.pool_out
        self._entering, self._pooled = _through(self._pool_in, activations)
        self._product, self._arrived = _through(pool_out, self.op(self._pooled.detach()))
        self._returned: Tensor | None = None

    @property
    def arrived(self) -> Tensor:
        """What the target received."""
        return self._scaled(self._arrived.detach())

    def send_back(self, difference: Tensor) -> None:
        """Take the difference of the target's states back to the states of the source."""
        self._returned = _undone(self._arrived, self._product, self._scaled(difference))
        if self.source is not None:
            into = _transposed(self.op, self._returned, self._pooled.shape)
            sent = _undone(self._pooled, self._entering, into)
            known = self.source.feedback
            self.source.feedback = sent if known is None else known + sent

    def product(self) -> Tensor:
        """Return the sum over the batch of difference above times mean below."""
        mean = self._forward if self.source is None else self.source.mean
        return correlation(self.op, self._pool_in(mean), cast(Tensor, self._returned))

    def _scaled(self, signal: Tensor) -> Tensor:
        return signal if self._gain == 1.0 else self._gain * signal


class _Dyad:
    """The two states of the neurons of an area at a step, as their difference and their mean."""

    def __init__(self, area: AreaModule, drive: Tensor, arrivals: tuple[_Arrival, ...]) -> None:
        self.area = area
        self.drive = drive
        self.arrivals = arrivals
        self.mean = area.respond_to(drive)
        self.difference: Tensor | None = None
        self.feedback: Tensor | None = None

    def products(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Yield what each parameter of the area and its connections moves by."""
        if self.difference is None:
            return
        if self.area.bias is not None and self.area.bias.requires_grad:
            others = [axis for axis in range(self.difference.ndim) if axis != 1]
            yield self.area.bias, self.difference.sum(dim=others)
        for arrival in self.arrivals:
            if arrival.op.weight.requires_grad:
                yield arrival.op.weight, arrival.product()


def _forward_pass(network: Network, images: Tensor) -> list[_Dyad]:
    """Run the network and return its dyads in the order of their computation, states agreeing."""
    dyads: dict[Node, _Dyad] = {}
    graph = ((node, edges) for node, edges in network.graph().items() if node.area != IMAGE)
    waiting: list[tuple[Connection, Tensor, float]] = []

    def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
        waiting.append((connection, activations, gain))
        return activations

    def answer(area: AreaModule, _: Sequence[Tensor]) -> Tensor:
        node, edges = next(graph)
        arrivals = tuple(
            _Arrival(*came, source=dyads.get(edge.parent))
            for came, edge in zip(waiting, edges, strict=True)
        )
        waiting.clear()
        drive = area.drive([arrival.arrived for arrival in arrivals])
        dyads[node] = _Dyad(area, drive, arrivals)
        return dyads[node].mean

    for _ in network.run(images, carry=carry, answer=answer):
        pass
    return list(dyads.values())


def _through(pool: nn.Module, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Pool a signal, and keep how it depends on what entered."""
    if isinstance(pool, nn.Identity):
        return signal, signal
    with torch.enable_grad():
        entering = signal.detach().requires_grad_()
        return entering, pool(entering)


def _undone(pooled: Tensor, entering: Tensor, signal: Tensor) -> Tensor:
    """Send a signal back through pooling."""
    if pooled is entering:
        return signal
    (back,) = torch.autograd.grad(pooled, entering, signal)
    return back


def _transposed(op: Operation, signal: Tensor, shape: torch.Size) -> Tensor:
    """Send a signal back through the weight of an operation."""
    if isinstance(op, Convolution):
        return conv2d_input(shape, op.weight, signal, stride=op.stride, padding=op.padding)
    if isinstance(op, FullyConnected):
        return (signal @ op.weight).view(shape)
    with torch.enable_grad():  # linear, so that any input will do
        entering = signal.new_zeros(shape).requires_grad_()
        return torch.autograd.grad(op(entering), entering, signal)[0]

"""Rules that carry derivatives forward in time: RTRL and its local approximations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
    Exactness,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_choices
from brainscore_lite.learning_rules.support import no_elman_network, support, untrainable
from brainscore_lite.networks.elman import ElmanNetwork
from brainscore_lite.schema import ContractError

#: Real-time recurrent learning costs n^4 operations a step and n^3 numbers an image.
MOST_UNITS = 64

Supervised = Literal["last", "all"]
SUPERVISED = ("last", "all")


@dataclass(frozen=True)
class RealTimeRecurrentLearning:
    """Carry the derivative of every unit with respect to every weight forward in time.

    P_t = (1 - 1/tau) P_{t-1} + phi'(u_t) / tau * (W P_{t-1} + du_t/dtheta),
    dtheta = sum_t (V^T e_t)^T P_t

    Equal to backpropagation through time, without going back.

    Parameters
    ----------
    supervised : {"last", "all"}
        Steps whose readout has an error e_t: the last, which is the network's answer, or all (their
        mean, so that the gradient is that of another loss).

    Raises
    ------
    ContractError
        If a setting is none of its choices.

    References
    ----------
    Williams & Zipser (1989), doi:10.1162/neco.1989.1.2.270.

    Examples
    --------
    >>> RealTimeRecurrentLearning().exactness
    'bp'
    """

    supervised: Supervised = "last"

    name: ClassVar[str] = "rtrl"
    family: ClassVar[str] = "temporal"
    citation: ClassVar[str] = "Williams & Zipser 1989, doi:10.1162/neco.1989.1.2.270"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choices(self, supervised=SUPERVISED)

    @property
    def exactness(self) -> Exactness:
        """Backprop if the loss is that of the network's answer, after the last step."""
        return "bp" if self.supervised == "last" else "approximate"

    def supports(self, architecture: Any) -> Support:
        """Accept an ElmanNetwork of at most `MOST_UNITS` units."""
        finding = no_elman_network(architecture)
        if not finding and len(architecture.bias) > MOST_UNITS:
            finding = (
                f"it has {len(architecture.bias)} recurrent units, and carrying the derivative of "
                f"each with respect to every weight is out of reach beyond {MOST_UNITS}. Use "
                "'snap1', 'e_prop' or 'bptt'."
            )
        return support(untrainable(architecture), finding)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no ElmanNetwork, or too large.
        """
        check_support(self, network)
        return _RTRLEstimator(network, generator, rule=self)


@dataclass(frozen=True)
class EligibilityTraces:
    """Keep one trace per synapse of how it moves its own unit, and gate it by a learning signal.

    "snap1":  p_t = (1 - 1/tau) p_{t-1} + phi'(u_t) / tau * (W_jj p_{t-1} + z_t),  L_t = V^T e_t
    "e_prop": the same trace,                                                     L_t = B e_t
    "rflo":   p_t = (1 - 1/tau) p_{t-1} + phi'(u_t) / tau * z_t,                  L_t = B e_t

    dW_jk = sum_t L_t,j p_t,jk, with z_t what the synapse carries and B fixed and random. What a
    weight does to other units is left out; without connections between units nothing is, and
    "snap1" is backpropagation through time. What a unit does to itself through W_jj is part of the
    trace of "snap1", and here of "e_prop", which is SnAp-1 with random feedback; where that path is
    left out too, the rule on this network is "rflo".

    Parameters
    ----------
    trace : {"snap1", "e_prop", "rflo"}
    supervised : {"last", "all"}
        Steps whose readout has an error e_t: the last, or all (their mean).

    Raises
    ------
    ContractError
        If a setting is none of its choices.

    References
    ----------
    Menick et al. (2021), arXiv 2006.07232 (SnAp-1); Bellec et al. (2020),
    doi:10.1038/s41467-020-17236-y (e-prop); Murray (2019), doi:10.7554/eLife.43299 (RFLO).

    Examples
    --------
    >>> EligibilityTraces("rflo").name
    'rflo'
    """

    trace: Literal["snap1", "e_prop", "rflo"] = "snap1"
    supervised: Supervised = "last"

    family: ClassVar[str] = "temporal"
    exactness: ClassVar[Exactness] = "approximate"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __post_init__(self) -> None:
        check_choices(self, trace=_CITATIONS, supervised=SUPERVISED)

    @property
    def name(self) -> str:
        """The published name of the approximation."""
        return self.trace

    @property
    def citation(self) -> str:
        """Where the approximation was published."""
        return _CITATIONS[self.trace]

    @property
    def makes_local(self) -> frozenset[str]:
        """With random feedback no weight is transported."""
        return frozenset() if self.trace == "snap1" else frozenset({"weight_transport"})

    def supports(self, architecture: Any) -> Support:
        """Accept an ElmanNetwork."""
        return support(untrainable(architecture), no_elman_network(architecture))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no ElmanNetwork.
        """
        check_support(self, network)
        return _TracesEstimator(network, generator, rule=self)


_CITATIONS = {
    "snap1": "Menick et al. 2021, arXiv 2006.07232",
    "e_prop": "Bellec et al. 2020, doi:10.1038/s41467-020-17236-y",
    "rflo": "Murray 2019, doi:10.7554/eLife.43299",
}


class _OnlineEstimator(Estimator):
    """Run forward once, carrying an influence of the weights on the hidden state along."""

    def __init__(
        self,
        network: nn.Module,
        generator: torch.Generator,
        *,
        rule: RealTimeRecurrentLearning | EligibilityTraces,
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule

    @property
    def elman(self) -> ElmanNetwork:
        """The network, known to be one."""
        if not isinstance(self.network, ElmanNetwork):
            raise ContractError(f"expected an ElmanNetwork, got {type(self.network).__name__}.")
        return self.network

    def loss(self, batch: Batch) -> Tensor | None:
        """Return the mean cross-entropy of the steps that have an error, or None without labels."""
        if batch.labels is None or self.rule.supervised == "last":
            return super().loss(batch)
        hidden = self.elman.start(len(batch.images))
        losses = []
        for row in self.elman.rows(batch.images):
            hidden = self.elman.advance(hidden, row)
            losses.append(functional.cross_entropy(self.elman.readout(hidden), batch.labels))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the update of recurrent, input and readout weights."""
        labels = labels_of(batch, rule=self.rule.name)
        net = self.elman
        rows = net.rows(batch.images)
        hidden = net.start(len(batch.images))
        influence: Tensor | None = None
        incoming = torch.zeros_like(_incoming_weights(net))
        readout = torch.zeros_like(net.readout.weight), torch.zeros_like(net.readout.bias)
        counted = range(0 if self.rule.supervised == "all" else len(rows) - 1, len(rows))
        loss = 0.0
        for now, row in enumerate(rows):
            carried = torch.cat([hidden, row, row.new_ones(len(row), 1)], dim=1)
            response = torch.tanh(carried @ _incoming_weights(net).T)
            influence = self.carry(influence, carried, (1 - response**2) / net.tau)
            hidden = (1 - 1 / net.tau) * hidden + response / net.tau
            if now in counted:
                scores = net.readout(hidden)
                error = cross_entropy_error(scores, labels) / (len(scores) * len(counted))
                incoming += self.credit(influence, error)
                readout[0].addmm_(error.T, hidden)
                readout[1].add_(error.sum(0))
                loss += functional.cross_entropy(scores, labels).item() / len(counted)
        n_units = len(net.bias)
        for parameter, gradient in (
            (net.recurrent, incoming[:, :n_units]),
            (net.input, incoming[:, n_units:-1]),
            (net.bias, incoming[:, -1]),
            (net.readout.weight, readout[0]),
            (net.readout.bias, readout[1]),
        ):
            if parameter.requires_grad:
                parameter.grad = gradient.clone()
        return StepInfo(loss=loss, n_correct=count_correct(scores, labels))

    def carry(self, influence: Tensor | None, carried: Tensor, slope: Tensor) -> Tensor:
        """Return the influence of the weights on the hidden state after one more step.

        Parameters
        ----------
        influence : Tensor or None
            Before the step; None before the first.
        carried : Tensor, shape (batch, n_incoming)
            What the synapses carry: hidden state, row and a 1 for the bias.
        slope : Tensor, shape (batch, n_units)
            phi'(u_t) / tau.
        """
        raise NotImplementedError

    def credit(self, influence: Tensor, error: Tensor) -> Tensor:
        """Return the update (n_units, n_incoming) for an error (batch, n_classes)."""
        raise NotImplementedError


class _RTRLEstimator(_OnlineEstimator):
    def carry(self, influence: Tensor | None, carried: Tensor, slope: Tensor) -> Tensor:
        """Return P_t of shape (batch, n_units, n_units, n_incoming): unit, then synapse."""
        n_images, n_units = slope.shape
        leak = 1 - 1 / self.elman.tau
        if influence is None:
            influence = carried.new_zeros(n_images, n_units, n_units, carried.shape[1])
        else:
            flat = influence.view(n_images, n_units, -1)
            passed = torch.matmul(self.elman.recurrent, flat).mul_(slope[:, :, None])
            influence = passed.add_(flat, alpha=leak).view_as(influence)
        own = torch.einsum("bu,bk->buk", slope, carried)
        influence.diagonal(dim1=1, dim2=2).add_(own.transpose(1, 2))
        return influence

    def credit(self, influence: Tensor, error: Tensor) -> Tensor:
        """Return sum over images and units of (V^T e)_i P_i."""
        signal = error @ self.elman.readout.weight
        return (signal.reshape(1, -1) @ influence.flatten(0, 1).flatten(1)).view(
            influence.shape[2:]
        )


class _TracesEstimator(_OnlineEstimator):
    def __init__(
        self, network: nn.Module, generator: torch.Generator, *, rule: EligibilityTraces
    ) -> None:
        super().__init__(network, generator, rule=rule)
        self.trace = rule.trace
        weight = self.elman.readout.weight
        drawn = torch.randn(weight.shape, generator=generator) / weight.shape[1] ** 0.5
        self.feedback: Tensor | None
        self.register_buffer("feedback", None if rule.trace == "snap1" else drawn.to(weight))

    def carry(self, influence: Tensor | None, carried: Tensor, slope: Tensor) -> Tensor:
        """Return p_t of shape (batch, n_units, n_incoming)."""
        own = torch.einsum("bu,bk->buk", slope, carried)
        if influence is None:
            return own
        kept = influence.new_full(slope.shape, 1 - 1 / self.elman.tau)
        if self.trace != "rflo":
            kept = kept + slope * self.elman.recurrent.diagonal()
        return own.addcmul_(influence, kept[:, :, None])

    def credit(self, influence: Tensor, error: Tensor) -> Tensor:
        """Return sum over images of L_j p_jk."""
        signal = error @ (self.elman.readout.weight if self.feedback is None else self.feedback)
        return torch.einsum("bu,buk->uk", signal, influence)


def _incoming_weights(net: ElmanNetwork) -> Tensor:
    return torch.cat([net.recurrent, net.input, net.bias[:, None]], dim=1)

"""Contrastive Hebbian learning and GeneRec: a free phase, and one with the readout at the target.

Feedback is weak, gamma W^T, so that errors shrink by gamma from area to area on their way down;
the update of an area counts gamma^(k - L) times as much, where k is its height and L the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.energy.clamped_phases import clamped_states
from brainscore_lite.learning_rules.energy.fixed_points import (
    FixedPointEstimator,
    FreePhase,
    settles,
)
from brainscore_lite.learning_rules.energy.hopfield import States
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_counts, check_flags, check_positive
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class ContrastiveHebbian:
    """Learn from the clamped phase and unlearn from the free one.

    dW_k = lr gamma^(k-L) (s_k^+ s_{k-1}^+T - s_k^- s_{k-1}^-T),    feedback gamma W^T

    Free states are s^-; s^+ are those with the readout held at the class's unit vector. As
    gamma -> 0 this is backprop on the squared error, with an error of order gamma.

    Parameters
    ----------
    gamma : float
    free_steps, clamped_steps : int

    Raises
    ------
    ContractError
        If a setting is not above 0.

    References
    ----------
    Movellan (1991), Connectionist Models, Proceedings of the 1990 Summer School; Xie & Seung
    (2003), doi:10.1162/089976603762552988.

    Examples
    --------
    >>> ContrastiveHebbian(gamma=0.05).exactness
    'bp_limit'
    """

    gamma: float = 0.05
    free_steps: int = 30
    clamped_steps: int = 10

    name: ClassVar[str] = "contrastive_hebbian"
    family: ClassVar[str] = "energy"
    citation: ClassVar[str] = "Xie & Seung 2003, doi:10.1162/089976603762552988"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "symmetry", "bounded_activation"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"separate_error", "derivatives"})

    def __post_init__(self) -> None:
        check_positive(self, "gamma")
        check_counts(self, "free_steps", "clamped_steps")

    def supports(self, architecture: Any) -> Support:
        """Accept chains of areas with bounded activations and without norms."""
        return settles(architecture, n_steps=self.free_steps, chain=True)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain or cannot settle.
        """
        check_support(self, network)
        return _bound(self, cast(Network, network), generator)


@dataclass(frozen=True)
class GeneRec:
    """Learn from the difference of the receiver between phases, at the sender's free state.

    dW_k = lr gamma^(k-L) (s_k^+ - s_k^-) s_{k-1}^-T,    feedback gamma W^T

    Symmetric learning adds what the connection back learns; the midpoint takes the sender's mean
    over both phases. Together the two are contrastive Hebbian learning.

    Parameters
    ----------
    gamma : float
    symmetric, midpoint : bool
    free_steps, clamped_steps : int

    Raises
    ------
    ContractError
        If a setting is not above 0.

    References
    ----------
    O'Reilly (1996), doi:10.1162/neco.1996.8.5.895.

    Examples
    --------
    >>> GeneRec(symmetric=True, midpoint=True).ngrad
    True
    """

    gamma: float = 0.05
    symmetric: bool = False
    midpoint: bool = False
    free_steps: int = 30
    clamped_steps: int = 10

    name: ClassVar[str] = "generec"
    family: ClassVar[str] = "energy"
    citation: ClassVar[str] = "O'Reilly 1996, doi:10.1162/neco.1996.8.5.895"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "symmetry", "bounded_activation"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"separate_error", "derivatives"})

    def __post_init__(self) -> None:
        check_positive(self, "gamma")
        check_flags(self, "symmetric", "midpoint")
        check_counts(self, "free_steps", "clamped_steps")

    def supports(self, architecture: Any) -> Support:
        """Accept chains of areas with bounded activations and without norms."""
        return settles(architecture, n_steps=self.free_steps, chain=True)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain or cannot settle.
        """
        check_support(self, network)
        return _bound(self, cast(Network, network), generator)


def _bound(
    rule: ContrastiveHebbian | GeneRec, network: Network, generator: torch.Generator
) -> Estimator:
    return _ContrastiveEstimator(
        network, generator, rule=rule, objective="squared_error", feedback=rule.gamma
    )


class _ContrastiveEstimator(FixedPointEstimator):
    rule: ContrastiveHebbian | GeneRec

    def gradients(self, free: FreePhase, targets: Tensor) -> dict[nn.Parameter, Tensor]:
        rule, before = self.rule, free.states
        after = clamped_states(self, free, [targets], n_steps=rule.clamped_steps)
        factors = {
            name: -(rule.gamma ** (k + 1 - len(self.areas))) / len(targets)
            for k, name in enumerate(self.areas)
        }
        learnt = {name: factors[name] * (after[name] - before[name]) for name in before}
        if isinstance(rule, ContrastiveHebbian):
            upper = {name: factors[name] * after[name] for name in after}
            lower = {name: -factors[name] * before[name] for name in before}
            return free.energy.gradient(_below(after, before), _below(upper, lower), learnt)
        senders = dict(before)
        if rule.midpoint:
            senders = {name: 0.5 * (before[name] + after[name]) for name in before}
        if not rule.symmetric:
            return free.energy.gradient(senders, learnt, learnt)
        changed = {name: after[name] - before[name] for name in before}
        receiving = {name: factors[name] * senders[name] for name in before}
        return free.energy.gradient(_below(senders, changed), _below(learnt, receiving), learnt)


def _below(first: States, second: States) -> States:
    """Return the rows of one phase above those of another."""
    return {name: torch.cat([first[name], second[name]]) for name in first}

"""Almeida-Pineda recurrent backpropagation: errors settle at the network's free fixed point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.energy.fixed_points import (
    FixedPointEstimator,
    FreePhase,
    settles,
)
from brainscore_lite.learning_rules.energy.hopfield import States, add
from brainscore_lite.learning_rules.energy.settling import settle
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.output_losses import OUTPUT_LOSSES, OutputLoss
from brainscore_lite.learning_rules.settings import check_choices, check_counts
from brainscore_lite.learning_rules.slopes import SLOPES
from brainscore_lite.learning_rules.support import pooled_by_maximum, support
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class AlmeidaPineda:
    """Follow the exact gradient of the loss at the fixed point of a recurrent network.

    (I - J^T) lambda = dL/ds,    J = rho' d2Phi/ds2,    dL/dW = <rho' lambda, d2Phi/ds dW>

    The linear system is solved by letting the errors settle, lambda <- J^T lambda + dL/ds, in the
    network that the states have settled in. The network is the symmetric one that equilibrium
    propagation trains.

    Parameters
    ----------
    free_steps, error_steps : int
    objective : {"cross_entropy", "squared_error"}

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Almeida (1987), IEEE First International Conference on Neural Networks; Pineda (1987),
    doi:10.1103/PhysRevLett.59.2229.

    Examples
    --------
    >>> AlmeidaPineda().ngrad
    False
    """

    free_steps: int = 30
    error_steps: int = 30
    objective: OutputLoss = "cross_entropy"

    name: ClassVar[str] = "almeida_pineda"
    family: ClassVar[str] = "energy"
    citation: ClassVar[str] = "Pineda 1987, doi:10.1103/PhysRevLett.59.2229"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "symmetry", "bounded_activation"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choices(self, objective=OUTPUT_LOSSES)
        check_counts(self, "free_steps", "error_steps")

    def supports(self, architecture: Any) -> Support:
        """Accept bounded activations without norms and maxima, in any feedforward graph."""
        settling = settles(architecture, n_steps=min(self.free_steps, self.error_steps))
        why = "the errors settle through connections that are linear"
        return settling if not settling.ok else support(pooled_by_maximum(architecture, why=why))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network cannot settle.
        """
        check_support(self, network)
        return _AlmeidaPinedaEstimator(
            cast(Network, network), generator, rule=self, objective=self.objective
        )


class _AlmeidaPinedaEstimator(FixedPointEstimator):
    rule: AlmeidaPineda

    def gradients(self, free: FreePhase, targets: Tensor) -> dict[nn.Parameter, Tensor]:
        states = free.states
        errors = self._settled_errors(free, targets)
        both_sources = {n: torch.cat([states[n], errors[n]]) for n in states}
        both_targets = {n: torch.cat([errors[n], states[n]]) for n in states}
        found = free.energy.gradient(both_sources, both_targets, errors)
        weights = targets.new_full((len(targets), 1), 1 / len(targets))
        direct = free.objective.gradient(states, targets, weights)
        for parameter, gradient in direct.items():
            add(found, parameter, gradient)
        return found

    def _settled_errors(self, free: FreePhase, targets: Tensor) -> States:
        """Return rho' lambda, mean over the batch: what the transposed network settles to."""
        slopes = {name: self._slope(name, state) for name, state in free.states.items()}
        forces = free.objective.slope(free.states, targets)
        forces = {name: force / len(targets) for name, force in forces.items()}

        def answer(name: str, drive: Tensor, before: States) -> Tensor:
            return drive.mul_(slopes[name])

        errors: States = {}
        settle(
            free.energy.linear(forces),
            errors,
            answer,
            n_steps=self.rule.error_steps,
            first=free.objective.nudged,
        )
        return errors

    def _slope(self, name: str, state: Tensor) -> Tensor:
        settings = cast(AreaModule, self.network.areas[name]).settings
        return SLOPES[settings.activation](state)

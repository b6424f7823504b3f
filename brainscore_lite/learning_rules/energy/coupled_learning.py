"""Coupled learning: the output is held a little closer to the target than it settles freely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.energy.clamped_phases import clamped_states
from brainscore_lite.learning_rules.energy.fixed_points import (
    FixedPointEstimator,
    FreePhase,
    settles,
)
from brainscore_lite.learning_rules.energy.nudged_phases import phase_gradient
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_choices, check_counts, check_shares
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network

VARIANTS = ("centered", "positive", "negative")


@dataclass(frozen=True)
class CoupledLearning:
    """Follow the difference between states with the readout held nearer to and farther from y.

    o^beta = (1 - beta) o + beta y,    dW = lr (dPhi(s^beta)/dW - dPhi(s^-beta)/dW) / (2 beta)

    The readout is held at o^beta while the areas below settle. Positive and negative variants
    compare one of the two with the free state. As beta -> 0 this is equilibrium propagation with
    the force on the readout multiplied by the stiffness of the network below it,
    H = d(s - drive)/ds at the readout: the gradient where feedback to the areas below is weak,
    and a direction of descent wherever the free state is a minimum of the energy.

    Parameters
    ----------
    variant : {"centered", "positive", "negative"}
    beta : float
        How far the readout is moved, as a share of its distance from the target; at most 1,
        where it is held at the target itself.
    free_steps, clamped_steps : int

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Stern, Hexner, Rocks & Liu (2021), doi:10.1103/PhysRevX.11.021045; variants: Scellier, Ernoult,
    Kendall & Kumar (2023), arXiv 2312.15103.

    Examples
    --------
    >>> CoupledLearning(variant="negative").name
    'coupled_learning_negative'
    """

    variant: Literal["centered", "positive", "negative"] = "centered"
    beta: float = 0.25
    free_steps: int = 30
    clamped_steps: int = 10

    family: ClassVar[str] = "energy"
    citation: ClassVar[str] = "Stern et al. 2021, doi:10.1103/PhysRevX.11.021045"
    exactness: ClassVar[Exactness] = "approximate"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "symmetry", "bounded_activation"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"separate_error", "derivatives"})

    def __post_init__(self) -> None:
        check_choices(self, variant=VARIANTS)
        check_shares(self, "beta", above_0=True)
        check_counts(self, "free_steps", "clamped_steps")

    @property
    def name(self) -> str:
        """By the variant; the centered one has no ending."""
        return "coupled_learning" + ("" if self.variant == "centered" else f"_{self.variant}")

    def supports(self, architecture: Any) -> Support:
        """Accept areas with bounded activations and without norms, in any feedforward graph."""
        return settles(architecture, n_steps=self.free_steps)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network cannot settle.
        """
        check_support(self, network)
        return _CoupledLearningEstimator(
            cast(Network, network), generator, rule=self, objective="squared_error"
        )


class _CoupledLearningEstimator(FixedPointEstimator):
    rule: CoupledLearning

    def gradients(self, free: FreePhase, targets: Tensor) -> dict[nn.Parameter, Tensor]:
        beta = self.rule.beta
        shares = {"centered": (beta, -beta), "positive": (beta,), "negative": (-beta,)}
        moved = shares[self.rule.variant]
        output = free.states[READOUT]
        held = [output + share * (targets - output) for share in moved]
        states = clamped_states(self, free, held, n_steps=self.rule.clamped_steps)
        if len(moved) == 1:
            states = {n: torch.cat([state, free.states[n]]) for n, state in states.items()}
            factors = [-1 / moved[0], 1 / moved[0]]
        else:
            factors = [-0.5 / beta, 0.5 / beta]
        weights = output.new_tensor(factors).div_(len(output)).repeat_interleave(len(output))
        return phase_gradient(free, states, weights.unsqueeze(1))

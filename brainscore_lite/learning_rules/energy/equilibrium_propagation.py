"""Equilibrium propagation: settle freely, then nudged; the difference is the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.energy.fixed_points import (
    UNBOUNDED,
    FixedPointEstimator,
    FreePhase,
    settles,
)
from brainscore_lite.learning_rules.energy.nudged_phases import (
    Point,
    around_a_circle,
    centered,
    nudged_gradient,
    one_sided,
)
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.output_losses import OUTPUT_LOSSES, OutputLoss
from brainscore_lite.learning_rules.settings import check_choices, check_counts, check_positive
from brainscore_lite.learning_rules.support import pooled_by_maximum, support
from brainscore_lite.networks.areas import BOUNDED_ACTIVATIONS, HOLOMORPHIC_ACTIVATIONS
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

NUDGINGS = ("centered", "one_sided", "random_sign", "holomorphic")
BOUNDED_AND_HOLOMORPHIC = BOUNDED_ACTIVATIONS & HOLOMORPHIC_ACTIVATIONS


@dataclass(frozen=True)
class EquilibriumPropagation:
    """Follow the difference between nudged and free fixed points of an energy.

    s_l <- rho(dPhi/ds_l - beta dL/ds_l),    dW = -lr sum_k c_k dF/dW(s^beta_k),   F = beta L - Phi

    Phi = sum_l <s_l, W_l s_{l-1} + b_l>, with connections of any kind in place of W. Points
    beta_k and coefficients c_k: one-sided 0 and beta, random-sign the same with a sign drawn for
    each batch, centered -beta and beta, holomorphic n points on a circle around 0 in the complex
    plane.

    Parameters
    ----------
    nudging : {"centered", "one_sided", "random_sign", "holomorphic"}
    beta : float
        Strength of the nudge. Centered at 1 is no gradient any more; one-sided is biased in
        proportion to beta.
    n_points : int
        Of "holomorphic".
    free_steps, nudged_steps : int
        In each step all areas are updated, as far as that changes anything (see `settling`).
    objective : {"cross_entropy", "squared_error"}
        Of a softmax readout outside the dynamics, or of a linear readout within.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    Notes
    -----
    Weights drawn for a single pass upwards are strong for areas that drive each other: units hold
    each other at their bounds, where a nudge does not move them. ``ConvNet(initial_gain=0.5)``
    starts the areas between their bounds.

    One-sided and random-sign nudging need more free steps; set ``free_steps=200``. What the free
    state still drifts is divided by beta and learned, where centered nudging cancels it.
    `MATCHED_MLP` at that gain, before training, has a cosine of 0.06 to the gradient in its lowest
    area after 30 free steps and of 0.93 after 200 (digits, one-sided).

    References
    ----------
    Scellier & Bengio (2017), doi:10.3389/fncom.2017.00024; random-sign and centered, softmax
    readout: Laborieux et al. (2021), doi:10.3389/fnins.2021.633674; holomorphic: Laborieux & Zenke
    (2022), arXiv 2209.00530.

    Examples
    --------
    >>> EquilibriumPropagation(nudging="one_sided").name
    'equilibrium_propagation_one_sided'
    """

    nudging: Literal["centered", "one_sided", "random_sign", "holomorphic"] = "centered"
    beta: float = 0.1
    n_points: int = 4
    free_steps: int = 30
    nudged_steps: int = 10
    objective: OutputLoss = "cross_entropy"

    family: ClassVar[str] = "energy"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = True
    makes_local: ClassVar[frozenset[str]] = frozenset({"separate_error", "derivatives"})

    def __post_init__(self) -> None:
        check_choices(self, nudging=NUDGINGS, objective=OUTPUT_LOSSES)
        check_positive(self, "beta")
        check_counts(self, "free_steps", "nudged_steps")
        check_counts(self, "n_points", least=2)
        if self.objective == "squared_error" and self.nudging != "one_sided" and self.beta >= 1:
            raise ContractError(
                f"{self.name}: beta is {self.beta}, but the squared error times -1 leaves the "
                "readout's energy without a minimum. Set beta below 1; 0.1 is usual."
            )

    @property
    def name(self) -> str:
        """By the way of nudging; the centered one has no ending."""
        ending = "" if self.nudging == "centered" else f"_{self.nudging}"
        return f"equilibrium_propagation{ending}"

    @property
    def citation(self) -> str:
        """Where this way of nudging was proposed."""
        if self.nudging == "one_sided":
            return "Scellier & Bengio 2017, doi:10.3389/fncom.2017.00024"
        if self.nudging == "holomorphic":
            return "Laborieux & Zenke 2022, arXiv 2209.00530"
        return "Laborieux et al. 2021, doi:10.3389/fnins.2021.633674"

    @property
    def requires(self) -> frozenset[str]:
        """Labels, symmetric feedback and bounded activations; holomorphic ones for the circle."""
        needed = frozenset({"labels", "symmetry", "bounded_activation"})
        return needed | {"holomorphic_activation"} if self.nudging == "holomorphic" else needed

    def supports(self, architecture: Any) -> Support:
        """Accept areas with bounded activations and without norms, in any feedforward graph."""
        if self.nudging != "holomorphic":
            return settles(architecture, n_steps=self.free_steps)
        analytic = settles(
            architecture,
            n_steps=self.free_steps,
            activations=BOUNDED_AND_HOLOMORPHIC,
            why=f"complex nudges need it analytic, and {UNBOUNDED}",
        )
        why = "the maximum is not analytic"
        return analytic if not analytic.ok else support(pooled_by_maximum(architecture, why=why))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network cannot settle, or is not analytic where it must be.
        """
        check_support(self, network)
        return _EquilibriumPropagationEstimator(
            cast(Network, network), generator, rule=self, objective=self.objective
        )

    def points(self, generator: torch.Generator) -> tuple[Point, ...]:
        """Return the points at which one batch is nudged."""
        if self.nudging == "centered":
            return centered(self.beta)
        if self.nudging == "holomorphic":
            return around_a_circle(self.beta, self.n_points)
        if self.nudging == "one_sided":
            return one_sided(self.beta)
        positive = torch.rand((), generator=generator, device=generator.device) < 0.5
        return one_sided(self.beta if positive else -self.beta)


class _EquilibriumPropagationEstimator(FixedPointEstimator):
    rule: EquilibriumPropagation

    def gradients(self, free: FreePhase, targets: Tensor) -> dict[nn.Parameter, Tensor]:
        points = self.rule.points(self.generator)
        return nudged_gradient(self, free, targets, points, n_steps=self.rule.nudged_steps)

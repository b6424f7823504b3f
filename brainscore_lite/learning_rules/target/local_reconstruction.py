"""Local difference reconstruction: targets whose way back learns the transpose of the way up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.draws import normal_like
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.slopes import SLOPES
from brainscore_lite.learning_rules.stages import stages
from brainscore_lite.learning_rules.target.inverses import Inverse
from brainscore_lite.learning_rules.target.propagation import (
    TargetEstimator,
    check_settings,
    supports_targets,
)
from brainscore_lite.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class LocalDifferenceReconstruction:
    """Propagate target differences through feedback whose Jacobian learns to be J_f^T.

    t_l = r_l + g_l(t_{l+1}) - g_l(r_{l+1}),  dW_l = -(lr / step) grad 1/2 |r_l - t_l|^2

    The feedback of each stage has a loss of its own that involves no other stage,

    L = (-2 xi . (g(f(r + xi)) - g(f(r))) + |g(f(r) + eta) - g(f(r))|^2) / noise^2

    with xi, eta ~ N(0, noise^2). For small noise its mean is |J_g - J_f^T|^2 - |J_f|^2, least where
    J_g = J_f^T; there the targets lie down the gradient of the loss.

    That J_g can be J_f^T, feedback neurons are as steep as their forward twins: g(r) = V psi(r)
    with psi'(phi(a)) = phi'(a) for the upper area's activation phi. Differences of g are taken
    along its tangent, g(r + d) - g(r) = V (psi'(r) * d), since for saturating activations a finite
    difference would let one sign of d pass at each edge, in which the gradient takes no part.
    (The paper's networks are of ELUs, and psi is an ELU there.) psi' is 1 where the steepness
    cannot be told from the output, as for SiLU or where a `post_norm` follows the activation: V
    then learns the mean of J_f^T.

    Parameters
    ----------
    output_step : float
        How far the readout's target lies down the gradient.
    noise : float
        Standard deviation of xi and eta.
    feedback_steps : int
        Steps of the feedback weights per batch.
    feedback_epochs : int
        Epochs in which the feedback weights are trained alone, before the forward weights move.
    feedback_lr_multiplier : float
        Learning rate of the feedback weights over that of the forward weights.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Ernoult et al. (2022), "Towards scaling difference target propagation by learning backprop
    targets", ICML, arXiv 2201.13415.

    Examples
    --------
    >>> LocalDifferenceReconstruction().exactness
    'bp_limit'
    """

    output_step: float = 0.1
    noise: float = 0.1
    feedback_steps: int = 1
    feedback_epochs: int = 0
    feedback_lr_multiplier: float = 5.0

    name: ClassVar[str] = "local_difference_reconstruction"
    family: ClassVar[str] = "target"
    citation: ClassVar[str] = "Ernoult et al. 2022, arXiv 2201.13415"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "inverse"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"weight_transport", "separate_error"})

    def __post_init__(self) -> None:
        check_settings(self)

    def supports(self, architecture: Any) -> Support:
        """Accept any chain of areas without batch normalisation."""
        return supports_targets(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain of areas, or one with batch normalisation.
        """
        check_support(self, network)
        chain = cast(Network, network)
        pathway = TransposingPathway(chain, generator, noise=self.noise)
        return TargetEstimator(chain, generator, rule=self, pathway=pathway)


class TransposingPathway(nn.Module):
    """Feedback of every stage but the first, trained to transpose the Jacobian of its stage.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
        Of the weights.
    noise : float
    """

    def __init__(self, network: Network, generator: torch.Generator, *, noise: float) -> None:
        super().__init__()
        self._stages = stages(network)
        self._noise = noise
        shapes = [*network.activation_shapes().values()]
        self.inverses = nn.ModuleList(
            Inverse(stage, shape, generator=generator)
            for stage, shape in zip(self._stages[1:], shapes[:-1], strict=True)
        )

    def targets(self, activations: Sequence[Tensor], error: Tensor, step: float) -> list[Tensor]:
        """Return t_l for the areas below the readout, from below to above."""
        target = activations[-1] - step * error
        targets: list[Tensor] = []
        for lower in range(len(self.inverses), 0, -1):
            above = activations[lower + 1]
            difference = self._slope(lower, above) * (target - above)
            target = activations[lower] + self.inverses[lower - 1](difference)
            targets.append(target)
        return targets[::-1]

    def loss(self, activations: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """Return the sum of the losses of all stages, mean over the batch."""
        losses = []
        for index, inverse in enumerate(self.inverses, start=1):
            lower, upper = activations[index], activations[index + 1]
            with torch.no_grad():
                xi = self._noise * normal_like(lower, generator)
                eta = self._noise * normal_like(upper, generator)
                slope = self._slope(index, upper)
                moved = slope * (self._stages[index](lower + xi) - upper)
                entering = torch.cat([moved, slope * eta])
            returned = inverse(entering)
            towards, along = returned[: len(lower)], returned[len(lower) :]
            losses.append((along * along).sum() - 2 * (xi * towards).sum())
        return torch.stack(losses).sum() / (len(activations[0]) * self._noise**2)

    def _slope(self, lower: int, above: Tensor) -> Tensor:
        """Return psi'(r) of the stage above an area."""
        settings = self._stages[lower].area.settings
        if settings.post_norm != "none" or settings.activation not in SLOPES:
            return torch.ones_like(above)
        return SLOPES[settings.activation](above)

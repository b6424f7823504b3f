"""Targets from direct linear feedback that learns the damped steps of Gauss and Newton."""

from __future__ import annotations

import math
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
from brainscore_lite.learning_rules.settings import check_not_negative
from brainscore_lite.learning_rules.stages import stages
from brainscore_lite.learning_rules.target.propagation import (
    TargetEstimator,
    check_settings,
    supports_targets,
)
from brainscore_lite.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class DirectDifferenceTargetPropagation:
    """Send the readout's target difference to every area at once, through linear feedback.

    t_l = r_l + Q_l (t_L - r_L),  dW_l = -(lr / step) grad 1/2 |r_l - t_l|^2

    Q_l learns from the difference reconstruction loss, where f_{L..l} are all stages above area l,

    L = |Q_l (f_{L..l}(r_l + xi) - r_L) - xi|^2 / noise^2 + damping |Q_l|^2,  xi ~ N(0, noise^2)

    For small noise and a fixed image it is least at Q_l = J^T (J J^T + damping)^-1 with J the
    Jacobian of f_{L..l}: the damped step of Gauss and Newton. (The second term is the mean of
    damping |Q_l xi_2|^2 / noise^2 over a noise xi_2 that the paper adds at the readout.)

    Parameters
    ----------
    output_step : float
        How far the readout's target lies down the gradient.
    noise : float
        Standard deviation of xi.
    damping : float
        0 asks for the pseudo-inverse; large values turn it towards the transpose.
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
    Meulemans, Carzaniga, Suykens, Sacramento & Grewe (2020), "A theoretical framework for target
    propagation", NeurIPS, arXiv 2006.14331.

    Examples
    --------
    >>> DirectDifferenceTargetPropagation().exactness
    'gn_limit'
    """

    output_step: float = 0.061
    noise: float = 0.091
    damping: float = 0.1
    feedback_steps: int = 1
    feedback_epochs: int = 6
    feedback_lr_multiplier: float = 8.0

    name: ClassVar[str] = "direct_difference_target_propagation"
    family: ClassVar[str] = "target"
    citation: ClassVar[str] = "Meulemans et al. 2020, arXiv 2006.14331"
    exactness: ClassVar[Exactness] = "gn_limit"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "inverse"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"weight_transport", "separate_error"})

    def __post_init__(self) -> None:
        check_settings(self)
        check_not_negative(self, "damping")

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
        pathway = DirectFeedback(chain, generator, noise=self.noise, damping=self.damping)
        return TargetEstimator(chain, generator, rule=self, pathway=pathway)


class DirectFeedback(nn.Module):
    """Linear feedback from the readout to each area below it.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
        Of the weights, drawn from N(0, 1 / n_classes).
    noise, damping : float
    """

    def __init__(
        self, network: Network, generator: torch.Generator, *, noise: float, damping: float
    ) -> None:
        super().__init__()
        self._stages = stages(network)
        self._noise = noise
        self._damping = damping
        *shapes, (n_classes,) = network.activation_shapes().values()
        like = next(network.parameters())
        self.weights = nn.ParameterList(
            nn.Parameter(
                normal_like(like, generator, shape=(math.prod(shape), n_classes))
                / math.sqrt(n_classes)
            )
            for shape in shapes
        )

    def targets(self, activations: Sequence[Tensor], error: Tensor, step: float) -> list[Tensor]:
        """Return t_l = r_l - Q_l step e for the areas below the readout, from below to above."""
        return [
            activation - step * (error @ weight.T).view_as(activation)
            for activation, weight in zip(activations[1:-1], self.weights, strict=True)
        ]

    def loss(self, activations: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """Return the sum of the losses of all areas, mean over the batch.

        The noisy copies of all areas climb together, each joining the batch at its own area.
        """
        batch, n_areas = len(activations[0]), len(self.weights)
        with torch.no_grad():
            noises = [normal_like(each, generator) for each in activations[1:-1]]
            climbing = activations[-1][:0]
            for index, (below, xi) in enumerate(zip(activations[1:-1], noises, strict=True)):
                noisy = below + self._noise * xi
                climbing = torch.cat([climbing, noisy]) if index else noisy
                climbing = self._stages[index + 1](climbing)
            moved = (climbing - activations[-1].repeat(n_areas, 1)) / self._noise
        losses = []
        for index, (weight, xi) in enumerate(zip(self.weights, noises, strict=True)):
            found = moved[index * batch : (index + 1) * batch] @ weight.T
            missed = ((found - xi.flatten(1)) ** 2).sum() / batch
            losses.append(missed + self._damping * (weight * weight).sum())
        return torch.stack(losses).sum()

"""Target propagation through learned inverses, plain and with the difference correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.draws import normal_like
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_choices
from brainscore_lite.learning_rules.stages import Stage, stages
from brainscore_lite.learning_rules.target.inverses import Inverse
from brainscore_lite.learning_rules.target.propagation import (
    TargetEstimator,
    check_settings,
    supports_targets,
)
from brainscore_lite.networks.areas import ACTIVATIONS
from brainscore_lite.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class TargetPropagation:
    """Hand targets down through learned inverses of the stages.

    t_L = r_L - step e,  t_l = g_l(t_{l+1}),  dW_l = -(lr / step) grad 1/2 |r_l - t_l|^2

    where e is the gradient of each example's loss with respect to the readout and g_l learns to
    undo the stage above, from min |g_l(f_{l+1}(r_l + xi)) - (r_l + xi)|^2 with xi ~ N(0, noise^2).
    If all stages are invertible and the inverses perfect, t_l - r_l = -step J^-1 e to first order,
    the step of Gauss and Newton rather than that of the gradient. A learned inverse exists for any
    stage, so every chain can be trained, but this theorem holds for invertible ones only; elsewhere
    the error of reconstruction adds to every target, and is divided by the step.

    Parameters
    ----------
    output_step : float
        How far the readout's target lies down the gradient.
    noise : float
        Standard deviation of what is added to the activations that the inverses reconstruct.
    feedback_steps : int
        Steps of the inverses per batch.
    feedback_epochs : int
        Epochs in which the inverses are trained alone, before the forward weights move.
    feedback_lr_multiplier : float
        Learning rate of the inverses over that of the forward weights.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Bengio (2014), arXiv 1407.7906.

    Examples
    --------
    >>> TargetPropagation().name
    'target_propagation'
    """

    output_step: float = 1.0
    noise: float = 0.1
    feedback_steps: int = 1
    feedback_epochs: int = 1
    feedback_lr_multiplier: float = 1.0

    name: ClassVar[str] = "target_propagation"
    family: ClassVar[str] = "target"
    citation: ClassVar[str] = "Bengio 2014, arXiv 1407.7906"
    exactness: ClassVar[Exactness] = "gn_limit"
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
        pathway = LayerwiseInverses(
            chain, generator, noise=self.noise, difference=False, penultimate="feedback"
        )
        return TargetEstimator(chain, generator, rule=self, pathway=pathway)


@dataclass(frozen=True, kw_only=True)
class DifferenceTargetPropagation:
    """Hand targets down through learned inverses, less what they fail to reconstruct.

    t_l = r_l + g_l(t_{l+1}) - g_l(r_{l+1}),  dW_l = -(lr / step) grad 1/2 |r_l - t_l|^2

    so that t_l = r_l wherever t_{l+1} = r_{l+1}, however poor the inverse. The inverses are trained
    as in :class:`TargetPropagation`. As in the paper, the readout hands its gradient W_L^T e itself
    to the area below, since few classes cannot be inverted to many units; "feedback" takes a
    learned inverse there too (simplified difference target propagation).

    Parameters
    ----------
    output_step : float
        How far the first target lies down the gradient.
    penultimate : {"gradient", "feedback"}
        Where the target of the highest area below the readout comes from.
    noise : float
        Standard deviation of what is added to the activations that the inverses reconstruct.
    feedback_steps : int
        Steps of the inverses per batch.
    feedback_epochs : int
        Epochs in which the inverses are trained alone, before the forward weights move.
    feedback_lr_multiplier : float
        Learning rate of the inverses over that of the forward weights.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Lee, Zhang, Fischer & Bengio (2015), doi:10.1007/978-3-319-23528-8_31, arXiv 1412.7525;
    Bartunov et al. (2018), arXiv 1807.04587.

    Examples
    --------
    >>> DifferenceTargetPropagation().exactness
    'gn_limit'
    """

    output_step: float = 0.3
    penultimate: Literal["gradient", "feedback"] = "gradient"
    noise: float = 0.1
    feedback_steps: int = 1
    feedback_epochs: int = 1
    feedback_lr_multiplier: float = 1.0

    name: ClassVar[str] = "difference_target_propagation"
    family: ClassVar[str] = "target"
    citation: ClassVar[str] = "Lee, Zhang, Fischer & Bengio 2015, doi:10.1007/978-3-319-23528-8_31"
    exactness: ClassVar[Exactness] = "gn_limit"
    ngrad: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "inverse"})

    def __post_init__(self) -> None:
        check_settings(self)
        check_choices(self, penultimate=("gradient", "feedback"))

    @property
    def makes_local(self) -> frozenset[str]:
        """What the rule does without: weight transport only if the readout has an inverse too."""
        if self.penultimate == "gradient":
            return frozenset({"separate_error"})
        return frozenset({"weight_transport", "separate_error"})

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
        pathway = LayerwiseInverses(
            chain, generator, noise=self.noise, difference=True, penultimate=self.penultimate
        )
        return TargetEstimator(chain, generator, rule=self, pathway=pathway)


class LayerwiseInverses(nn.Module):
    """One learned inverse per stage, each trained to reconstruct the area below its stage.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
        Of the weights.
    noise : float
    difference : bool
        Whether targets are corrected for what the inverses fail to reconstruct.
    penultimate : {"gradient", "feedback"}
    """

    def __init__(
        self,
        network: Network,
        generator: torch.Generator,
        *,
        noise: float,
        difference: bool,
        penultimate: Literal["gradient", "feedback"],
    ) -> None:
        super().__init__()
        self._stages = stages(network)
        self._noise = noise
        self._difference = difference
        self._hands_gradient = penultimate == "gradient"
        inverted = self._stages[1:-1] if self._hands_gradient else self._stages[1:]
        shapes = [*network.activation_shapes().values()]
        self.inverses = nn.ModuleList(
            Inverse(stage, shape, top=_range_of(below), generator=generator)
            for (below, stage), shape in zip(
                pairwise(self._stages[: len(inverted) + 1]), shapes, strict=False
            )
        )

    def targets(self, activations: Sequence[Tensor], error: Tensor, step: float) -> list[Tensor]:
        """Return t_l for the areas below the readout, from below to above."""
        target = activations[-1] - step * error
        targets: list[Tensor] = []
        if self._hands_gradient and len(self._stages) > 1:
            target = activations[-2] - step * _handed_down(self._stages[-1], activations[-2], error)
            targets.append(target)
        for lower in range(len(self.inverses), 0, -1):
            inverse, batch = self.inverses[lower - 1], len(target)
            if self._difference:
                both = inverse(torch.cat([target, activations[lower + 1]]))
                target = activations[lower] + (both[:batch] - both[batch:])
            else:
                target = inverse(target)
            targets.append(target)
        return targets[::-1]

    def loss(self, activations: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """Return sum over stages of |g(f(r + xi)) - (r + xi)|^2, mean over the batch."""
        losses = []
        for index, inverse in enumerate(self.inverses, start=1):
            lower = activations[index]
            with torch.no_grad():
                noisy = lower + self._noise * normal_like(lower, generator)
                above = self._stages[index](noisy)
            found = inverse(above)
            losses.append(functional.mse_loss(found, noisy, reduction="sum") / len(lower))
        return torch.stack(losses).sum()


def _range_of(below: Stage) -> nn.Module:
    """Return what keeps reconstructions in the range of an area's activations."""
    settings = below.area.settings
    normalised = settings.post_norm != "none"
    return nn.Identity() if normalised else ACTIVATIONS[settings.activation]()


def _handed_down(readout: Stage, activations: Tensor, error: Tensor) -> Tensor:
    """Return the gradient below the readout: error times the Jacobian of the readout."""
    with torch.enable_grad():
        below = activations.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(readout(below), below, error)
    return gradient

"""Areas that each contrast views of an image by a loss of their own, then a linear readout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    ParameterGroup,
    StepInfo,
    trainable,
)
from brainscore_lite.learning_rules.linear_readout import FeaturesThenReadout
from brainscore_lite.learning_rules.local.area_losses import (
    detached,
    pooled,
    pooling,
)
from brainscore_lite.learning_rules.self_supervised.views import (
    VIEWS_PHASE,
    encoder_parameters,
    two_views,
)
from brainscore_lite.networks.model import READOUT, device_of
from brainscore_lite.networks.network import Network


class GreedyEstimator(FeaturesThenReadout):
    """A network whose areas each compare summaries of two views, cut off from each other.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
        Draws the weights of the comparison from N(0, 1 / units^2): small, for larger ones drive the
        units into silence or saturation before they compare anything.
    name : str
        Of the rule, for messages.
    pooled_units : int
        Most numbers in an area's summary.
    comparisons : tuple of str
        Names of the square matrices that each area's comparison has.
    contrast : callable
        Writes the gradients; called with the estimator and the areas' summaries.
    """

    def __init__(
        self,
        network: Network,
        generator: torch.Generator,
        *,
        name: str,
        pooled_units: int,
        comparisons: tuple[str, ...],
        contrast: Callable[[GreedyEstimator, Sequence[tuple[str, Tensor]]], Tensor],
    ) -> None:
        super().__init__(network, generator, name=name, feature_phases=(VIEWS_PHASE,))
        self.contrast = contrast
        weight = next(network.parameters())
        self.sides: dict[str, int] = {}
        self.comparisons = nn.ModuleDict()
        shapes = network.activation_shapes()
        del shapes[READOUT]
        for area, shape in shapes.items():
            self.sides[area] = pooling(shape, pooled_units)
            n = pooled(torch.zeros(1, *shape), self.sides[area]).shape[1]
            drawn = {
                each: nn.Parameter(torch.randn(n, n, generator=generator) / n)
                for each in comparisons
            }
            self.comparisons[area] = nn.ParameterDict(drawn).to(device_of(network), weight.dtype)

    def feature_groups(self) -> list[ParameterGroup]:
        """Return everything below the readout with the comparisons."""
        below = encoder_parameters(self.network)
        return [ParameterGroup((*below, *trainable(self.comparisons)))]

    def learn_features(self, batch: Batch) -> StepInfo:
        """Write the gradient of each area's own loss."""
        loss = self.contrast(self, self.summaries(batch))
        return StepInfo(loss=loss.item())

    def summaries(self, batch: Batch) -> list[tuple[str, Tensor]]:
        """Run the network on both views with its areas cut off from each other.

        Parameters
        ----------
        batch : Batch
            With two views.

        Returns
        -------
        list of (area, Tensor of shape (2, batch, units))
            Averages over squares of each area's maps, at each step that a signal has reached it.
        """
        found = []
        for activations in self.network.run(two_views(batch, rule=self.name), carry=detached):
            for area, side in self.sides.items():
                if area in activations:
                    summary = pooled(activations[area], side)
                    found.append((area, summary.unflatten(0, (2, -1))))
        return found

    def comparison(self, area: str) -> Mapping[str, nn.Parameter]:
        """Return the matrices of an area's comparison, by name."""
        return cast(Mapping[str, nn.Parameter], self.comparisons[area])

"""Backprop of an objective on two views of each image, then a linear readout."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    ParameterGroup,
    StepInfo,
)
from brainscore_lite.learning_rules.linear_readout import FeaturesThenReadout
from brainscore_lite.learning_rules.self_supervised.projector import projector
from brainscore_lite.learning_rules.self_supervised.views import (
    VIEWS_PHASE,
    encoder_parameters,
    features,
    n_features,
    two_views,
)
from brainscore_lite.networks.model import device_of
from brainscore_lite.networks.network import Network


class TwoViewEstimator(FeaturesThenReadout):
    """A network with a projector on what its readout reads.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
        Draws the projector.
    name : str
        Of the rule, for messages.
    units : tuple of int
        Of the projector's layers.
    objective : callable
        Of the projections of the two views, each of shape (batch, units[-1]).
    """

    def __init__(
        self,
        network: Network,
        generator: torch.Generator,
        *,
        name: str,
        units: tuple[int, ...],
        objective: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__(network, generator, name=name, feature_phases=(VIEWS_PHASE,))
        weight = next(network.parameters())
        made = projector((n_features(network), *units), generator)
        self.projector = made.to(device_of(network), weight.dtype)
        self.objective = objective

    def feature_groups(self) -> list[ParameterGroup]:
        """Return everything below the readout with the projector."""
        return [ParameterGroup((*encoder_parameters(self.network), *self.projector.parameters()))]

    def learn_features(self, batch: Batch) -> StepInfo:
        """Write the gradient of the objective."""
        loss = self.objective(*self.projections(batch))
        loss.backward()
        return StepInfo(loss=loss.item())

    def projections(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what the objective compares: both views, each of shape (batch, units)."""
        views = two_views(batch, rule=self.name)
        one, other = self.projector(features(self.network, views)).chunk(2)
        return one, other

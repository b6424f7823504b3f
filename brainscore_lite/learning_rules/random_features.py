"""A readout on features that were never learned: the control of unsupervised rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn

from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.linear_readout import FeaturesThenReadout, frozen_readout
from brainscore_lite.learning_rules.support import (
    no_graph_of_areas,
    normalised_by,
    support,
    trained_black_box,
    untrainable,
)
from brainscore_lite.networks.areas import BATCH_NORMS
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class RandomFeatures:
    """Leave the areas as they were drawn and train the readout alone.

    dW_l = 0 below the readout, which follows the gradient of its cross-entropy.

    Unsupervised rules end with the same phase, so what they reach above this control is what their
    features add. Where the network has batch norms, these first see the training images once,
    without labels, for their statistics: those of the rules it is compared with have seen them too.

    Examples
    --------
    >>> RandomFeatures().name
    'random_features'
    """

    name: ClassVar[str] = "random_features"
    family: ClassVar[str] = "none"
    citation: ClassVar[str] = "control"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas whose readout can be trained and is no black box."""
        return support(
            untrainable(architecture),
            no_graph_of_areas(architecture),
            trained_black_box(architecture, {READOUT}),
            frozen_readout(architecture),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, whose readout is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, or its readout is frozen or a black box.
        """
        check_support(self, network)
        return _RandomFeaturesEstimator(cast(Network, network), generator, name=self.name)


class _RandomFeaturesEstimator(FeaturesThenReadout):
    def __init__(self, network: Network, generator: torch.Generator, *, name: str) -> None:
        normed = normalised_by(network, BATCH_NORMS, why="statistics are learned")
        phases = (Phase(name="statistics", epochs=1, labels=False),) if normed else ()
        super().__init__(network, generator, name=name, feature_phases=phases)

    def feature_groups(self) -> list[ParameterGroup]:
        return []

    def learn_features(self, batch: Batch) -> StepInfo:
        """Let the norms see a batch."""
        with torch.no_grad():
            self.network(batch.images)
        return StepInfo(loss=0.0)

"""A readout on features that were never learned: the control of unsupervised rules."""

from __future__ import annotations

from collections.abc import Callable
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
from brainscore_lite.learning_rules.linear_readout import (
    READOUT_PHASE,
    readout_group,
    train_readout,
)
from brainscore_lite.learning_rules.support import (
    no_graph_of_areas,
    support,
    trained_black_box,
    untrainable,
)
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class RandomFeatures:
    """Leave the areas as they were drawn and train the readout alone.

    dW_l = 0 below the readout, which follows the gradient of its cross-entropy.

    Unsupervised rules end with the same phase, so what they reach above this control is what their
    features add.

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
        """Accept any graph of areas whose readout is no black box."""
        return support(
            untrainable(architecture),
            no_graph_of_areas(architecture),
            trained_black_box(architecture, {READOUT}),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, whose readout is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, or its readout is a black
            box.
        """
        check_support(self, network)
        return _RandomFeaturesEstimator(cast(Network, network), generator)


class _RandomFeaturesEstimator(Estimator):
    network: Network

    def phases(self) -> tuple[Phase, ...]:
        """Return the phase of the readout."""
        return (READOUT_PHASE,)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the weights of the readout."""
        return [readout_group(self.network)]

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the gradient of the readout."""
        return train_readout(self.network, batch, rule=RandomFeatures.name)

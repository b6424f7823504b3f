"""The linear readout with which unsupervised rules end: the network's own, on fixed features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.classification import count_correct, labels_of
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    ParameterGroup,
    Phase,
    StepInfo,
    trainable,
)
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import Connection
from brainscore_lite.networks.model import READOUT, evaluation_mode
from brainscore_lite.networks.network import Network

#: The last phase of an unsupervised rule, the same for all whatever their own optimiser. Crops that
#: are strong enough to learn features from would hide from the readout what it is to read.
READOUT_PHASE = Phase(name="readout", augmented=False, optimizer="adam", lr=2e-3)


def readout_parameters(network: Network) -> tuple[nn.Parameter, ...]:
    """Return what of the network's readout is trained: its weight and bias, unless frozen."""
    into = [each for each in network.connections.values() if each.target == READOUT]
    return trainable(*into, network.areas[READOUT])


def frozen_readout(architecture: Any) -> str:
    """Find that nothing of a network's readout can be trained."""
    if not isinstance(architecture, Network) or readout_parameters(architecture):
        return ""
    return (
        "its readout is frozen, and the rule ends with training the readout on fixed features. Set "
        "requires_grad on the readout's weight or bias."
    )


class FeaturesThenReadout(Estimator):
    """Learn features in phases of the rule's own, then a readout that leaves them alone.

    A rule says in `feature_groups` and `learn_features` how features are learned. While the readout
    is trained the network is in evaluation mode, so that the readout learns from features as they
    are probed, and no statistics of a norm move.

    Parameters
    ----------
    network : Network
        With a readout that `frozen_readout` finds nothing wrong with.
    generator : torch.Generator
    name : str
        Of the rule, for messages.
    feature_phases : tuple of Phase
        Those before the readout's.
    """

    network: Network

    def __init__(
        self,
        network: Network,
        generator: torch.Generator,
        *,
        name: str,
        feature_phases: tuple[Phase, ...],
    ) -> None:
        super().__init__(network, generator)
        self.name = name
        self.feature_phases = feature_phases

    def feature_groups(self) -> list[ParameterGroup]:
        """Return what the current phase of the features trains."""
        raise NotImplementedError

    def learn_features(self, batch: Batch) -> StepInfo:
        """Write the updates of the current phase of the features."""
        raise NotImplementedError

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases of the features, then that of the readout."""
        return (*self.feature_phases, READOUT_PHASE)

    @property
    def reads_out(self) -> bool:
        """Whether the readout is trained now."""
        return (self.phase or self.phases()[0]) == READOUT_PHASE

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return what the features learn with, or the readout."""
        if self.reads_out:
            return [ParameterGroup(self.readout_parameters())]
        return self.feature_groups()

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the updates of the features, or the gradient of the readout.

        Raises
        ------
        ContractError
            If the readout is to learn from a batch without labels.
        """
        if not self.reads_out:
            return self.learn_features(batch)
        labels = labels_of(batch, rule=self.name)
        with evaluation_mode(self.network):
            scores = self.read_out(batch.images)
        loss = functional.cross_entropy(scores, labels)
        parameters = self.readout_parameters()
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return StepInfo(loss=loss.item(), n_correct=count_correct(scores, labels))

    def loss(self, batch: Batch) -> Tensor | None:
        """Return the mean cross-entropy, for the readout on features as they are probed."""
        if not self.reads_out:
            return super().loss(batch)
        with evaluation_mode(self.network):
            return super().loss(batch)

    def readout_parameters(self) -> tuple[nn.Parameter, ...]:
        """Return what the last phase trains."""
        return readout_parameters(self.network)

    def read_out(self, images: Tensor) -> Tensor:
        """Return the scores, (batch, n_classes), with a graph that ends at the features."""

        def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
            with torch.set_grad_enabled(connection.target == READOUT):
                return connection(activations, gain=gain)

        def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
            with torch.set_grad_enabled(area.name == READOUT):
                return area(arriving)

        for activations in self.network.run(images, carry=carry, answer=answer):
            last = activations
        return last[READOUT]

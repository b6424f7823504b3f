"""The linear readout with which unsupervised rules end: the network's own, on fixed features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.classification import count_correct, labels_of
from brainscore_lite.learning_rules.learning_rule import Batch, ParameterGroup, Phase, StepInfo
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import Connection
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network

#: The last phase of an unsupervised rule, the same for all whatever their own optimiser. Crops that
#: are strong enough to learn features from would hide from the readout what it is to read.
READOUT_PHASE = Phase(name="readout", augmented=False, optimizer="adam", lr=2e-3)


def readout_parameters(network: Network) -> tuple[nn.Parameter, ...]:
    """Return what the readout phase trains: weight and bias of the network's readout."""
    into = [each for each in network.connections.values() if each.target == READOUT]
    return (*(p for each in into for p in each.parameters()), *network.areas[READOUT].parameters())


def readout_group(network: Network) -> ParameterGroup:
    """Return the readout's parameters as the group that its phase steps."""
    return ParameterGroup(readout_parameters(network))


def train_readout(network: Network, batch: Batch, *, rule: str) -> StepInfo:
    """Write the gradient of the mean cross-entropy into the readout, and into nothing below.

    Parameters
    ----------
    network : Network
    batch : Batch
        With labels.
    rule : str
        Name, for the message.

    Raises
    ------
    ContractError
        If the batch has no labels.
    """
    labels = labels_of(batch, rule=rule)

    def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
        if connection.target == READOUT:
            return connection(activations, gain=gain)
        with torch.no_grad():
            return connection(activations, gain=gain)

    def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
        with torch.set_grad_enabled(area.name == READOUT):
            return area(arriving)

    for activations in network.run(batch.images, carry=carry, answer=answer):
        scores = activations[READOUT]
    loss = functional.cross_entropy(scores, labels)
    parameters = readout_parameters(network)
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    return StepInfo(loss=loss.item(), n_correct=count_correct(scores, labels))

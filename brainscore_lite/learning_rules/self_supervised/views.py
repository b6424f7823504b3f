"""What rules that compare two views of an image share."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.learning_rule import Batch, Phase
from brainscore_lite.learning_rules.linear_readout import readout_parameters
from brainscore_lite.networks.connections import Connection
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

#: Before the readout: two views of each image, and no labels.
VIEWS_PHASE = Phase(name="views", labels=False, augmented=False, views=2)


def two_views(batch: Batch, *, rule: str) -> Tensor:
    """Return the views of a batch, one after the other.

    Parameters
    ----------
    batch : Batch
    rule : str
        Name, for the message.

    Returns
    -------
    Tensor, shape (2 * batch, channels, height, width)

    Raises
    ------
    ContractError
        If there are not two views, or only one image.
    """
    n_views = 0 if batch.views is None else len(batch.views)
    if batch.views is None or n_views != 2:
        raise ContractError(f"{rule}: the batch has {n_views} views of each image; it needs 2.")
    if len(batch.images) < 2:
        raise ContractError(
            f"{rule}: a batch of one image has nothing to be told apart from. Choose a batch_size "
            "that leaves no single image over."
        )
    return batch.views.flatten(0, 1)


def encoder_parameters(network: Network) -> tuple[nn.Parameter, ...]:
    """Return what is trained before the readout: all of the network but the readout."""
    readout = {id(p) for p in readout_parameters(network)}
    return tuple(p for p in network.parameters() if p.requires_grad and id(p) not in readout)


def features(network: Network, images: Tensor) -> Tensor:
    """Return what the readout reads at the last step.

    Parameters
    ----------
    network : Network
    images : Tensor, shape (batch, channels, height, width)

    Returns
    -------
    Tensor, shape (batch, n_features)
    """
    read: dict[str, Tensor] = {}

    def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
        if connection.target == READOUT:
            read[connection.name] = connection.pool_in(activations).flatten(1)
        return connection(activations, gain=gain)

    for _ in network.run(images, carry=carry):
        pass
    return torch.cat([*read.values()], dim=1)


def n_features(network: Network) -> int:
    """Return how many numbers the readout reads."""
    connections = (cast(Connection, each) for each in network.connections.values())
    return sum(each.op.weight.shape[1] for each in connections if each.target == READOUT)

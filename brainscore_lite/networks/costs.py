"""What a network costs: parameters that learn, and operations for an image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.model import READOUT

if TYPE_CHECKING:
    from brainscore_lite.networks.network import Network, Node


@dataclass(frozen=True)
class Costs:
    """What a network has to learn, and what it computes for one image.

    Parameters
    ----------
    parameters : int
        Weights and biases on a way to the readout within the network's steps: those that receive a
        gradient. Those of norms are not among them.
    norm_parameters : int
        Gains and biases of norms.
    flops : int
        Multiplications and additions of all connections over all steps; norms, activations and
        pooling are not counted. What comes from the image is computed once, for all steps.
    """

    parameters: int
    norm_parameters: int
    flops: int


def costs(network: Network) -> Costs:
    """Count the parameters and the operations of a network of areas.

    Parameters
    ----------
    network : Network
        Its weights are not looked at, so they may be on torch's "meta" device.

    Returns
    -------
    Costs
    """
    _, areas = _on_the_way(network)
    return Costs(
        parameters=n_parameters(network),
        norm_parameters=_n_entries(p for area in areas for p in _norm_parameters(area)),
        flops=2 * _products(network),
    )


def n_parameters(network: Network) -> int:
    """Count the weights and biases that receive a gradient; see `Costs`."""
    connections, areas = _on_the_way(network)
    joined = (cast(Connection, network.connections[name]) for name in connections)
    weights = [each.op.weight for each in joined]
    biases = [area.bias for area in areas if area.bias is not None]
    return _n_entries(weights + biases)


def _on_the_way(network: Network) -> tuple[list[str], list[AreaModule]]:
    """Return connections, and areas at their steps, from which a signal reaches the readout."""
    graph = network.graph()
    reached: set[Node] = set()
    connections: set[str] = set()
    for node, edges in reversed(graph.items()):
        if node.area == READOUT:
            reached.add(node)
        if node in reached:
            reached |= {edge.parent for edge in edges}
            connections |= {edge.connection for edge in edges}
    areas = [network.area_at(node) for node in reached if node.area != IMAGE]
    return sorted(connections), areas


def _products(network: Network) -> int:
    """Count the multiplications of all connections for one image, over all steps."""
    counted: dict[str, int] = {}

    def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
        raw = connection.op(connection.pool_in(activations))
        found = counted.get(connection.name, 0)
        if connection.source != IMAGE or not found:
            fan_in = math.prod(connection.op.weight.shape[1:])
            counted[connection.name] = found + raw[0].numel() * fan_in
        return connection.pool_out(raw)

    def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
        return arriving[0]  # an area answers in the shape of what arrives

    blank = next(network.parameters()).new_zeros(1, *network.image_shape)
    with torch.no_grad():
        for _ in network.run(blank, carry=carry, answer=answer):
            pass
    return sum(counted.values())


def _n_entries(parameters: Iterable[nn.Parameter]) -> int:
    """Count the numbers in parameters, each parameter once."""
    return sum({id(p): p.numel() for p in parameters}.values())


def _norm_parameters(area: AreaModule) -> list[nn.Parameter]:
    return [*area.norm.parameters(), *area.post_norm.parameters()]

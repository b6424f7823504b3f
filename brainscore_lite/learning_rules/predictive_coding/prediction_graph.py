"""The computation graph of a network, cut at its nodes into predictions and values.

A node is an area at a step. Its prediction f_n follows from the values of its parents, and its
value v_n is free: that is what predictive coding adds to a network. The walk itself is the
network's own `run`, so that chains, skip connections and unrolled recurrence go by the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network, Node


class CutPass(NamedTuple):
    """One pass through a network in which no gradient crosses a node.

    Parameters
    ----------
    predictions : dict of Node to Tensor, each of shape (batch, ...)
        Attached to the weights and to the values of the parents, to nothing below.
    values : dict of Node to Tensor
        Leaves that require gradients; the output has none.
    """

    predictions: dict[Node, Tensor]
    values: dict[Node, Tensor]


class PredictionGraph:
    """The nodes of a network from which its output can be reached.

    Parameters
    ----------
    network : Network

    Attributes
    ----------
    output : Node
        The readout at the last step.
    walked : tuple of Node
        All that the network computes, in its order; the images are no nodes.
    nodes, hidden : tuple of Node
        Those that the output depends on, in the same order, with and without the output.
    path_lengths : dict of Node to frozenset of int
        Lengths, in edges, of the paths from a node to the output.
    first : frozenset of Node
        Nodes that only the image drives: their predictions do not depend on values.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.output = Node(READOUT, network.n_steps - 1)
        graph = network.graph()
        self.walked = tuple(node for node in graph if node.area != IMAGE)
        self._edges = tuple((node, edge.parent) for node in self.walked for edge in graph[node])
        self.parents: dict[Node, tuple[Node, ...]] = {
            node: tuple(edge.parent for edge in graph[node] if edge.parent.area != IMAGE)
            for node in self.walked
        }
        self.path_lengths = self._lengths()
        self.nodes = tuple(node for node in self.walked if node in self.path_lengths)
        self.hidden = tuple(node for node in self.nodes if node != self.output)
        self.first = frozenset(node for node in self.nodes if not self.parents[node])

    @property
    def depth(self) -> int:
        """Length of the longest path from a node to the output."""
        return max(max(lengths) for lengths in self.path_lengths.values())

    @property
    def levelled(self) -> bool:
        """Whether all paths from any one node to the output are equally long, as in a chain."""
        return all(len(lengths) == 1 for lengths in self.path_lengths.values())

    def start(self, images: Tensor) -> CutPass:
        """Compute every node from below to above, and let the values equal the predictions."""
        predictions: dict[Node, Tensor] = {}
        values: dict[Node, Tensor] = {}
        nodes = iter(self.walked)

        def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
            node, prediction = next(nodes), area(arriving)
            if node not in self.path_lengths:
                return prediction.detach()
            predictions[node] = prediction
            value = prediction.detach().clone()  # its own memory: values move in place
            if node != self.output:
                values[node] = value.requires_grad_()
            return value

        for _ in self.network.run(images, answer=answer):
            pass
        return CutPass(predictions, values)

    def predict(
        self,
        images: Tensor,
        values: Mapping[Node, Tensor],
        *,
        known: Mapping[Node, Tensor] | None = None,
    ) -> dict[Node, Tensor]:
        """Predict every node from the values of its parents.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width)
        values : mapping of Node to Tensor
        known : mapping of Node to Tensor, optional
            Predictions of the nodes that only the image drives, which are not computed again.

        Returns
        -------
        dict of Node to Tensor
        """
        known = known or {}
        predictions: dict[Node, Tensor] = {}
        edges, nodes = iter(self._edges), iter(self.walked)

        def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
            node, _ = next(edges)
            if node in known or node not in self.path_lengths:
                return activations
            return connection(activations, gain=gain)

        def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
            node = next(nodes)
            if node not in self.path_lengths:
                return arriving[0]
            predictions[node] = known[node] if node in known else area(arriving)
            return values.get(node, predictions[node])

        for _ in self.network.run(images, carry=carry, answer=answer):
            pass
        return predictions

    def send_down(
        self,
        predictions: Mapping[Node, Tensor],
        values: Mapping[Node, Tensor],
        errors: Mapping[Node, Tensor],
        *,
        keep: bool,
    ) -> dict[Node, Tensor]:
        """Return J^T e, summed over the children of each node: what errors send to their parents.

        Parameters
        ----------
        predictions, values : mapping of Node to Tensor
            Of one pass.
        errors : mapping of Node to Tensor
            Of some of the nodes.
        keep : bool
            Whether the pass is used again.
        """
        senders = [node for node in errors if self.parents[node]]
        receivers = list(dict.fromkeys(p for node in senders for p in self.parents[node]))
        if not receivers:
            return {}
        sent = torch.autograd.grad(
            [predictions[node] for node in senders],
            [values[node] for node in receivers],
            grad_outputs=[errors[node] for node in senders],
            retain_graph=keep,
        )
        return dict(zip(receivers, sent, strict=True))

    def _lengths(self) -> dict[Node, frozenset[int]]:
        found: dict[Node, frozenset[int]] = {self.output: frozenset({0})}
        for node in reversed(self.walked):
            for parent in self.parents[node] if node in found else ():
                longer = frozenset(length + 1 for length in found[node])
                found[parent] = found.get(parent, frozenset()) | longer
        return found


def write_gradients(
    parameters: Sequence[nn.Parameter],
    predictions: Mapping[Node, Tensor],
    errors: Mapping[Node, Tensor],
    *,
    factor: float,
) -> None:
    """Write ``p.grad`` = -factor * sum_n (d f_n / d p)^T e_n, the gradient of the energy.

    Parameters
    ----------
    parameters : sequence of Parameter
    predictions, errors : mapping of Node to Tensor
        The nodes without an error are left out of the sum.
    factor : float
        One over the number of examples, for a mean over the batch.
    """
    learning = [node for node in errors if predictions[node].requires_grad]
    gradients = torch.autograd.grad(
        [predictions[node] for node in learning],
        list(parameters),
        grad_outputs=[-factor * errors[node] for node in learning],
        materialize_grads=True,
    )
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient

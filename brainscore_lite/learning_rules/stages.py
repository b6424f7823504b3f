"""A feedforward network as a line of stages, for rules that walk it one area at a time."""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor

from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import Connection
from brainscore_lite.networks.network import Network


class Stage(NamedTuple):
    """An area with the one connection that leads to it: r_l = f_l(r_{l-1})."""

    connection: Connection
    area: AreaModule

    @property
    def name(self) -> str:
        """Name of the area."""
        return self.area.name

    def drive(self, activations: Tensor) -> Tensor:
        """Return a_l = pool(op(r_{l-1})) + bias, of shape (batch, ...)."""
        return self.area.drive([self.connection(activations)])

    def __call__(self, activations: Tensor) -> Tensor:
        """Return r_l, of shape (batch, ...)."""
        return self.area.respond_to(self.drive(activations))


def stages(network: Network) -> tuple[Stage, ...]:
    """Return the stages of a chain of areas, from below to above, the readout last.

    Parameters
    ----------
    network : Network
        One that `support.no_chain` finds nothing wrong with.
    """
    connections = (cast(Connection, each) for each in network.connections.values())
    into = {connection.target: connection for connection in connections}
    return tuple(Stage(into[name], cast(AreaModule, area)) for name, area in network.areas.items())

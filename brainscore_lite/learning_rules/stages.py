"""A feedforward network as a line of stages, for rules that walk it one area at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import Connection
from brainscore_lite.networks.network import Network


@dataclass(frozen=True, eq=False)
class Stage:
    """An area with the one connection that leads to it: r_l = f_l(r_{l-1}).

    Iterating over it gives these two modules.

    Parameters
    ----------
    connection : Connection
    area : AreaModule
    network : Network
        Whose they are: it knows the gain of the connection.
    """

    connection: Connection
    area: AreaModule
    network: Network

    def __iter__(self) -> Iterator[nn.Module]:
        return iter((self.connection, self.area))

    @property
    def name(self) -> str:
        """Name of the area."""
        return self.area.name

    @property
    def gain(self) -> float:
        """The run-time factor on the connection: 1, except within `Network.lesioned`."""
        return self.network.gain(self.connection.name)

    def scaled(self, arriving: Tensor) -> Tensor:
        """Return gain * arriving."""
        return arriving if self.gain == 1.0 else self.gain * arriving

    def arriving(self, activations: Tensor) -> Tensor:
        """Return gain * pool(op(r_{l-1})), of shape (batch, ...)."""
        return self.connection(activations, gain=self.gain)

    def drive(self, activations: Tensor) -> Tensor:
        """Return a_l = gain * pool(op(r_{l-1})) + bias, of shape (batch, ...)."""
        return self.area.drive([self.arriving(activations)])

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
    areas = (cast(AreaModule, area) for area in network.areas.values())
    return tuple(Stage(into[area.name], area, network) for area in areas)

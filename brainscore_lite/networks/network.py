"""A network of areas and named connections, run step by step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.model import (
    READOUT,
    Step,
    check_layers,
    device_of,
    evaluation_mode,
)
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

#: How a connection carries activations to its target: (connection, activations, gain) -> arriving.
Carry = Callable[[Connection, Tensor, float], Tensor]
#: How an area answers what arrives through its connections.
Answer = Callable[[AreaModule, Sequence[Tensor]], Tensor]


class Node(NamedTuple):
    """An area at a step."""

    area: str
    step: int


class Edge(NamedTuple):
    """What a node receives: through which connection, from which node."""

    connection: str
    parent: Node


class Network(nn.Module):
    """Areas joined by named connections; built by `ConvNet.build`.

    Parameters
    ----------
    name : str
    areas : sequence of AreaModule
        From below to above; the last is the readout.
    connections : sequence of Connection
        At most one per pair of areas.
    preprocessing : Preprocessing
        How an image becomes the network's input.
    field_degrees : float or None
        Visual field that the input spans, in degrees of visual angle.
    n_steps : int
        Steps that the network runs.

    Raises
    ------
    ContractError
        If the connections do not fit the areas, the last area is not the readout, or there are no
        steps.
    """

    def __init__(
        self,
        name: str,
        areas: Sequence[AreaModule],
        *,
        connections: Sequence[Connection],
        preprocessing: Preprocessing,
        field_degrees: float | None = None,
        n_steps: int = 1,
    ) -> None:
        super().__init__()
        _check_wiring([area.name for area in areas], connections)
        _check_steps(name, [area.name for area in areas], n_steps=n_steps)
        self.name = name
        self.areas = nn.ModuleDict({area.name: area for area in areas})
        self.connections = nn.ModuleDict({each.name: each for each in connections})
        self.preprocessing = preprocessing
        self.field_degrees = field_degrees
        self.n_steps = n_steps
        self._gains: dict[str, float] = {}
        self._incoming = {
            area.name: tuple(each for each in connections if each.target == area.name)
            for area in areas
        }

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the areas from below to above, the readout last."""
        return tuple(self.areas)

    @property
    def image_size(self) -> int:
        """Height and width of the input in pixels."""
        return self.preprocessing.size

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (channels, image_size, image_size)."""
        return (self.preprocessing.n_channels, self.image_size, self.image_size)

    def activation_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the activations that one image causes, by area.

        Returns
        -------
        dict of str to tuple of int
            (channels, rows, columns) or (units,), from below to above, the readout last. An area
            that no signal reaches is absent.
        """
        blank = next(self.parameters()).new_zeros(1, *self.image_shape)
        with evaluation_mode(self), torch.no_grad():
            for activations in self.run(blank):
                last = activations
        return {area: tuple(last[area].shape[1:]) for area in self.areas if area in last}

    def gain(self, connection: str) -> float:
        """Return the factor on a connection by its name: 1, except within `lesioned`."""
        return self._gains.get(connection, 1.0)

    def graph(self, n_steps: int | None = None) -> dict[Node, tuple[Edge, ...]]:
        """Unroll the network into its computation graph.

        Parameters
        ----------
        n_steps : int, optional
            The network's own number by default.

        Returns
        -------
        dict
            Nodes in an order in which they can be computed, each with what it receives. An area
            that no signal has reached at a step has no node there, and a connection whose signal
            has not arrived gives no edge.
        """
        nodes: dict[Node, tuple[Edge, ...]] = {}
        for step in range(self.n_steps if n_steps is None else n_steps):
            nodes[Node(IMAGE, step)] = ()
            for area, incoming in self._incoming.items():
                parents = [(each.name, Node(each.source, step - each.delay)) for each in incoming]
                edges = tuple(Edge(name, node) for name, node in parents if node in nodes)
                if edges:
                    nodes[Node(area, step)] = edges
        return nodes

    @contextmanager
    def lesioned(self, gains: Mapping[str, float]) -> Iterator[None]:
        """Scale named connections while the context lasts.

        Parameters
        ----------
        gains : mapping of str to float
            Factor by connection, as in ``{"V4->IT": 0.0}``; 0 is a lesion, 1 leaves it intact.

        Raises
        ------
        ContractError
            If a connection is unknown.
        """
        unknown = [name for name in gains if name not in self.connections]
        if unknown:
            raise ContractError(
                f"Network '{self.name}' has no connection '{unknown[0]}'. Its connections are: "
                f"{', '.join(self.connections)}."
            )
        found = self._gains
        self._gains = {**found, **gains}
        try:
            yield
        finally:
            self._gains = found

    def entering(self, images: Tensor) -> Tensor:
        """Check the shape of images and lay them out for the network.

        Channels last is the faster layout for convolutions on a CPU; the numbers stay the same.

        Raises
        ------
        ContractError
            If the shape is not (batch, channels, image_size, image_size).
        """
        self._check_images(images)
        return images.contiguous(memory_format=torch.channels_last)

    def run(
        self, images: Tensor, *, carry: Carry | None = None, answer: Answer | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the activations by area, step after step.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, image_size, image_size)
        carry : callable, optional
            Takes the place of ``connection(activations, gain=gain)``. Learning rules detach here,
            or send errors back through other weights.
        answer : callable, optional
            Takes the place of ``area(arriving)``. Learning rules perturb or tap the drive here.

        Yields
        ------
        dict of str to Tensor
            The areas that a signal has reached, and "image".
        """
        carry = carry or _carried
        answer = answer or _answered
        image = self.entering(images)
        before: dict[str, Tensor] = {}
        for _ in range(self.n_steps):
            now = {IMAGE: image}
            for area, incoming in self._incoming.items():
                arriving = []
                for connection in incoming:
                    sources = before if connection.delay else now
                    if connection.source in sources:
                        gain = self.gain(connection.name)
                        arriving.append(carry(connection, sources[connection.source], gain))
                if arriving:
                    now[area] = answer(cast(AreaModule, self.areas[area]), arriving)
            yield now
            before = now

    def forward(self, images: Tensor) -> Tensor:
        """Return the readout at the last step.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, image_size, image_size)

        Returns
        -------
        Tensor, shape (batch, n_classes)
        """
        for activations in self.run(images):
            last = activations
        return last[READOUT]

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the activations of the named layers, in evaluation mode (see `Model`)."""
        chosen = check_layers(layers, self.layer_names, model=self.name)
        steps = self.run(images.to(device_of(self)))
        for index in range(self.n_steps):
            with evaluation_mode(self):  # not across the yield: the caller may stop or train there
                activations = next(steps)
            yield Step(
                index, {layer: activations[layer] for layer in chosen if layer in activations}
            )

    def _check_images(self, images: Tensor) -> None:
        expected = self.image_shape
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ContractError(
                f"Network '{self.name}' takes images of shape (batch, {expected[0]}, "
                f"{expected[1]}, {expected[2]}), not {tuple(images.shape)}. Prepare them with its "
                "preprocessing."
            )


def _carried(connection: Connection, activations: Tensor, gain: float) -> Tensor:
    return connection(activations, gain=gain)


def _answered(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
    return area(arriving)


def _check_wiring(areas: Sequence[str], connections: Sequence[Connection]) -> None:
    if len(set(areas)) < len(areas):
        raise ContractError(f"Two areas have the same name: {list(areas)}. Give each its own.")
    bad = [name for name in areas if "." in name or name == IMAGE]
    if bad:
        raise ContractError(f"An area cannot be named '{bad[0]}': no dots, and not '{IMAGE}'.")
    place = {IMAGE: -1, **{name: index for index, name in enumerate(areas)}}
    names = [connection.name for connection in connections]
    for connection in connections:
        if names.count(connection.name) > 1:
            raise ContractError(
                f"Two connections are called '{connection.name}', but areas are joined by at most "
                "one in each direction. Leave one of them out."
            )
        if connection.delay not in (0, 1):
            raise ContractError(
                f"Connection '{connection.name}' has delay={connection.delay}; a signal takes 0 "
                "steps or 1. Give it delay=0 or delay=1."
            )
        missing = [end for end in (connection.source, connection.target) if end not in place]
        if missing:
            raise ContractError(
                f"Connection '{connection.name}' names an area that does not exist: '{missing[0]}'."
                f" The areas are: {', '.join(areas)}."
            )
        if connection.delay == 0 and place[connection.source] >= place[connection.target]:
            raise ContractError(
                f"Connection '{connection.name}' leads back without delay. Give it delay=1."
            )


def _check_steps(name: str, areas: Sequence[str], *, n_steps: int) -> None:
    if not areas or areas[-1] != READOUT:
        raise ContractError(
            f"Network '{name}' has the areas {list(areas)}, but the last must be the readout. Add "
            f"Dense('{READOUT}', n_classes, activation='identity')."
        )
    if n_steps < 1:
        raise ContractError(f"Network '{name}' has n_steps={n_steps}; it must run at least 1.")

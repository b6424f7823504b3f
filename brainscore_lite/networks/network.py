"""A network of areas and named connections, run step by step."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.model import (
    READOUT,
    Step,
    check_layers,
    evaluation_mode,
)
from brainscore_lite.networks.recomputing import once_and_again
from brainscore_lite.networks.wiring import check_steps, check_wiring, first_steps
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
    tau : float
        Time constant of the areas in steps, from a state of 0: h_t = h_{t-1} + (new - h_{t-1}) /
        tau. The readout has none.
    cumulative : bool
        Whether the readout is the running sum of what each step gives.

    Attributes
    ----------
    recomputes : bool
        Whether to keep only the states between steps for the backward pass, and compute the rest
        of each step again there: less memory, more time, the same numbers. False at first. Runs
        with `carry` or `answer`, which may draw or note something, keep everything.

    Raises
    ------
    ContractError
        If the connections do not fit the areas, the last area is not the readout, there are no
        steps, or `tau` is below 1.
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
        tau: float = 1.0,
        cumulative: bool = False,
    ) -> None:
        super().__init__()
        check_wiring([area.name for area in areas], connections)
        check_steps(name, [area.name for area in areas], n_steps=n_steps, tau=tau)
        self.name = name
        self.areas = nn.ModuleDict({area.name: area for area in areas})
        self.connections = nn.ModuleDict({each.name: each for each in connections})
        self.preprocessing = preprocessing
        self.field_degrees = field_degrees
        self.n_steps = n_steps
        self.tau = tau
        self.cumulative = cumulative
        self.recomputes = False
        self._gains: dict[str, float] = {}
        self._incoming = {
            area.name: tuple(each for each in connections if each.target == area.name)
            for area in areas
        }
        self._first_steps = first_steps(self._incoming)

    @property
    def lateral(self) -> tuple[str, ...]:
        """Names of the connections of areas with themselves."""
        joined = cast(Iterable[Connection], self.connections.values())
        return tuple(each.name for each in joined if each.source == each.target)

    @property
    def feedback(self) -> tuple[str, ...]:
        """Names of the connections to an area from one above it."""
        place = {name: index for index, name in enumerate((IMAGE, *self.areas))}
        joined = cast(Iterable[Connection], self.connections.values())
        return tuple(each.name for each in joined if place[each.source] > place[each.target])

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

    def area_at(self, node: "Node") -> AreaModule:
        """Return an area as it is at a step: with the norms of that step, where it has such."""
        area = self.areas[node.area]
        if isinstance(area, AreaModule):
            return area.at(node.step - self._first_steps[node.area])
        return cast(AreaModule, area)  # another module has taken its place

    def gain(self, connection: str) -> float:
        """Return the factor on a connection by its name: 1, unless it is lesioned."""
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
        """Scale named connections while the context lasts, for the steps that are taken in it.

        Parameters
        ----------
        gains : mapping of str to float
            Factor by connection, as in ``{"V4->IT": 0.0}``; 0 is a lesion, 1 leaves it intact.

        Raises
        ------
        ContractError
            If a connection is unknown.
        """
        found = self._gains
        self.lesion(gains)
        try:
            yield
        finally:
            self._gains = found

    def lesion(self, gains: Mapping[str, float]) -> None:
        """Scale named connections from now on; `lesioned` does so for a while.

        Factors are no weights: no file of weights holds them.

        Parameters
        ----------
        gains : mapping of str to float
            Factor by connection.

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
        joined = {**self._gains, **gains}
        self._gains = {name: joined[name] for name in sorted(joined) if joined[name] != 1.0}

    def extra_repr(self) -> str:
        """Say what the areas and connections alone do not, where it is not usual."""
        tau = f"tau={self.tau}" if self.tau != 1.0 else ""
        gains = f"gains={self._gains}" if self._gains else ""
        return ", ".join(filter(None, (tau, "cumulative" * self.cumulative, gains)))

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
        image = self.entering(images)
        recomputes = self.recomputes and carry is None and answer is None
        still = {} if carry else self._still_drives(image)
        advance = partial(
            self._advance,
            carry=carry or partial(_carried, still=still),
            answer=answer or _answered,
        )
        before: dict[str, Tensor] = {}
        for step in range(self.n_steps):
            if recomputes and torch.is_grad_enabled():
                now = checkpoint(
                    advance,
                    image,
                    before,
                    step,
                    self._gains,
                    use_reentrant=False,
                    context_fn=partial(once_and_again, self),
                )
            else:
                now = advance(image, before, step, self._gains)
            yield now
            before = now

    def _advance(
        self,
        image: Tensor,
        before: Mapping[str, Tensor],
        step: int,
        gains: Mapping[str, float],
        *,
        carry: Carry,
        answer: Answer,
    ) -> dict[str, Tensor]:
        now = {IMAGE: image}
        for area, incoming in self._incoming.items():
            arriving = []
            for connection in incoming:
                sources = before if connection.delay else now
                if connection.source in sources:
                    gain = gains.get(connection.name, 1.0)
                    arriving.append(carry(connection, sources[connection.source], gain))
            if arriving:
                new = answer(self.area_at(Node(area, step)), arriving)
                now[area] = self._kept(area, new, before.get(area))
        return now

    def _kept(self, area: str, new: Tensor, before: Tensor | None) -> Tensor:
        """Join what an area answers now with what it keeps of its state before."""
        if area == READOUT:
            return new + before if self.cumulative and before is not None else new
        if self.tau == 1.0:
            return new
        return new / self.tau if before is None else before + (new - before) / self.tau

    def _still_drives(self, image: Tensor) -> dict[str, Tensor]:
        """Return what arrives from the image, by connection: the same at all steps."""
        if self.n_steps == 1:
            return {}
        joined = cast(Iterable[Connection], self.connections.values())
        return {
            each.name: each(image, gain=self.gain(each.name))
            for each in joined
            if each.source == IMAGE
        }

    def forward(self, images: Tensor) -> Tensor:
        """Return the readout at the last step.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, image_size, image_size)

        Returns
        -------
        Tensor, shape (batch, n_classes)

        Raises
        ------
        ContractError
            If no signal reaches the readout within `n_steps`, or the images have another shape.
        """
        for activations in self.run(images):
            last = activations
        if READOUT not in last:
            raise ContractError(
                f"Network '{self.name}' runs n_steps={self.n_steps}, within which no signal "
                "reaches the readout. Give it more steps."
            )
        return last[READOUT]

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the activations of the named layers, in evaluation mode (see `Model`).

        Images take the device and the floating-point type of the weights.
        """
        chosen = check_layers(layers, self.layer_names, model=self.name)
        steps = self.run(images.to(next(self.parameters())))
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


def _carried(
    connection: Connection, activations: Tensor, gain: float, *, still: Mapping[str, Tensor]
) -> Tensor:
    if connection.name in still:
        return still[connection.name]
    return connection(activations, gain=gain)


def _answered(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
    return area(arriving)

"""Settings of convolutional networks, from feedforward to recurrent."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, cast

import torch

from brainscore_lite.networks.areas import Area, AreaModule, Dense, weight_gain
from brainscore_lite.networks.connections import IMAGE, Connection, Pool, initialise
from brainscore_lite.networks.costs import Costs, costs, n_parameters
from brainscore_lite.networks.joining import (
    bottom_up_connection,
    feedback_connection,
    lateral_connection,
    lateral_kernel,
    passed,
    skip_connection,
)
from brainscore_lite.networks.matching import matched
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network
from brainscore_lite.networks.wiring import first_steps
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class ConvNet:
    """Settings of a network of areas, from feedforward to recurrent.

    Areas are joined from below to above, and a dense readout without activation follows the last.
    Lateral connections join an area with itself, feedback connections lead to an area from one
    above; "recurrent" means either. With B, L and T for bottom-up, lateral and top-down weights,

        h_{t,l} = phi(N(B_l * pool(h_{t,l-1}) + L_l * h_{t-1,l} + up(T_l * h_{t-1,l+1}) + b_l))

    so that B, BL, BT and BLT (Spoerer et al. 2017) are one setting with two flags. Networks built
    from equal generators have equal bottom-up weights, whatever their other connections.

    Parameters
    ----------
    areas : tuple of Area or Dense
        From below to above.
    n_classes : int
        Units of the readout, the layer "readout".
    image_size : int
        Height and width of the input in pixels.
    in_channels : {1, 3}
        Gray or colour input.
    lateral : bool
        Whether each area is connected with itself. Of an area of several convolutions the last is.
    feedback : bool or tuple of (source, target)
        Connections from above: none, between neighbours, or those named, as in (("IT", "V1"),).
        The kernel is as large as the bottom-up kernel of the target, which must be odd; the maps of
        the source are convolved and then enlarged to those of the target.
    skip : tuple of (source, target)
        Bottom-up connections that leave out the areas between, as in (("V1", "V4"),), with the
        kernel of the target.
    n_steps : int
        Steps that the network runs on an image. Lateral and feedback signals take one step.
    unroll : {"engineering", "biological"}
        Whether a bottom-up signal passes all areas within a step, or takes a step from area to
        area; the readout reads the last area at the same step.
    combine : {"add", "gain"}
        How lateral and feedback input m join the bottom-up input b: b + m, or b (1 + tanh m).
    readout : {"step", "cumulative"}
        Logits of each step, or their running sum.
    tau : float
        Time constant of an area in steps, from a state of 0: h_t = h_{t-1} + (new - h_{t-1}) / tau.
        In an area of several convolutions each has it; the readout has none.
    readout_pool : Pool, optional
        Applied to the last area's maps before they are flattened for the readout.
    preprocessing : Preprocessing, optional
        By default resizing to `image_size` and ImageNet's channel means and deviations (0.5 and
        0.25 for gray input).
    field_degrees : float, optional
        Visual field that the input spans, in degrees of visual angle.
    initial_gain : float
        Factor on the initial weights. Below 1 for rules whose areas drive each other until they
        settle, such as equilibrium propagation.
    name : str

    Raises
    ------
    ContractError
        If settings contradict each other; the message names them.

    References
    ----------
    Spoerer, McClure & Kriegeskorte (2017), doi:10.3389/fpsyg.2017.01551; Liao & Poggio (2016),
    arXiv:1604.03640; Nayebi et al. (2018), arXiv:1807.00053.

    Examples
    --------
    >>> areas = (Area("V1", 16), Area("V4", 16, pool_in=Pool()), Area("IT", 16, pool_in=Pool()))
    >>> feedforward = ConvNet(areas=areas, n_classes=10, image_size=32)
    >>> recurrent = replace(feedforward, lateral=True, feedback=True, n_steps=4)
    >>> recurrent.build(torch.Generator().manual_seed(0)).feedback
    ('V4->V1', 'IT->V4')
    """

    areas: tuple[Area | Dense, ...]
    n_classes: int
    image_size: int
    in_channels: int = 3
    lateral: bool = False
    feedback: bool | tuple[tuple[str, str], ...] = False
    skip: tuple[tuple[str, str], ...] = ()
    n_steps: int = 1
    unroll: Literal["engineering", "biological"] = "engineering"
    combine: Literal["add", "gain"] = "add"
    readout: Literal["step", "cumulative"] = "step"
    tau: float = 1.0
    readout_pool: Pool | None = None
    preprocessing: Preprocessing | None = None
    field_degrees: float | None = None
    initial_gain: float = 1.0
    name: str = "convnet"

    def __post_init__(self) -> None:
        if not self.areas:
            raise ContractError(f"Network '{self.name}' has no areas. Give it at least one.")
        if self.in_channels not in (1, 3):
            raise ContractError(
                f"Network '{self.name}' has in_channels={self.in_channels}; images have 1 (gray) "
                "or 3 (colour)."
            )
        kinds = [isinstance(area, Dense) for area in self.areas]
        if kinds != sorted(kinds):
            raise ContractError(
                f"Network '{self.name}' has a convolutional area above a dense one. Put dense "
                "areas last."
            )
        if not 0 < self.initial_gain < math.inf:
            raise ContractError(
                f"Network '{self.name}' has initial_gain={self.initial_gain}; it must be a "
                "positive number."
            )
        self._check_recurrence()
        eye = self.eye
        if (eye.size, eye.n_channels) != (self.image_size, self.in_channels):
            raise ContractError(
                f"Network '{self.name}' takes {self.in_channels} x {self.image_size} pixels, but "
                f"its preprocessing makes {eye.n_channels} x {eye.size}. Make them equal."
            )

    @property
    def eye(self) -> Preprocessing:
        """The preprocessing in force: the one given, or the default."""
        if self.preprocessing is not None:
            return self.preprocessing
        if self.in_channels == 1:
            return Preprocessing(size=self.image_size, mean=(0.5,), std=(0.25,), channels="L")
        return Preprocessing(size=self.image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def single_areas(self) -> tuple[Area | Dense, ...]:
        """Areas of depth 1 from below to above, and the readout."""
        single: list[Area | Dense] = []
        for area in self.areas:
            single += _single_areas(area) if isinstance(area, Area) else [area]
        readout = Dense(READOUT, self.n_classes, pool_in=self.readout_pool, activation="identity")
        return (*single, readout)

    def build(self, generator: torch.Generator) -> Network:
        """Build the network, its weights drawn from N(0, gain^2 / fan_in), its biases 0.

        The gain of an area is that of its activation times `initial_gain`.

        Parameters
        ----------
        generator : torch.Generator
            The only source of randomness; equal generators give equal weights.

        Returns
        -------
        Network

        Raises
        ------
        ContractError
            If an area's input is smaller than its kernel or pooling, or no signal reaches the
            readout within `n_steps`.
        """
        network = self.wired()
        activations = {area.name: area.activation for area in self.single_areas}
        for connection in cast(Iterable[Connection], network.connections.values()):
            gain = self.initial_gain * weight_gain(activations[connection.target])
            initialise(connection.op, generator, gain=gain)
        return network

    def costs(self) -> Costs:
        """Count the parameters and the operations for an image, without building the weights."""
        with torch.device("meta"):
            return costs(self.wired())

    @property
    def n_parameters(self) -> int:
        """Weights and biases that receive a gradient; those of norms are not among them."""
        with torch.device("meta"):
            return n_parameters(self.wired())

    def wired(self) -> Network:
        """Build the network with weights of 0."""
        connections: list[Connection] = []
        source = IMAGE
        maps = torch.zeros(1, self.in_channels, self.image_size, self.image_size)
        shapes: dict[str, tuple[int, ...]] = {}
        ends = [area.name for area in self.areas]
        for settings in self.single_areas:
            between = source in ends and settings.name != READOUT
            connection = bottom_up_connection(
                source, settings, tuple(maps.shape[1:]), name=self.name
            )
            connection.delay = self._delay if between else 0
            maps = passed(connection, maps, name=self.name)
            shapes[settings.name] = tuple(maps.shape[1:])
            connections.append(connection)
            source = settings.name
        by_name = {area.name: area for area in self.areas}
        for source, target in self.skip:
            skipping = skip_connection(source, by_name[target], shapes, name=self.name)
            skipping.delay = self._delay
            connections.append(skipping)
        if self.lateral:
            connections += [lateral_connection(area, shapes[area.name]) for area in self.areas]
        connections += [
            feedback_connection(source, by_name[target], shapes)
            for source, target in self.feedback_edges
        ]
        return self._joined(connections)

    @property
    def _delay(self) -> int:
        """Steps that a signal takes from an area to the next."""
        return int(self.unroll == "biological")

    def _joined(self, connections: list[Connection]) -> Network:
        incoming: dict[str, list[Connection]] = {area.name: [] for area in self.single_areas}
        for connection in connections:
            incoming[connection.target].append(connection)
        first = first_steps(incoming)
        if first[READOUT] >= self.n_steps:
            raise ContractError(
                f"Network '{self.name}' runs n_steps={self.n_steps}, but unroll='biological' needs "
                f"{first[READOUT] + 1} until a signal reaches the readout. Give it more steps."
            )
        areas = [
            AreaModule(area, n_steps=self.n_steps - first[area.name], combine=self.combine)
            for area in self.single_areas
        ]
        return Network(
            self.name,
            areas,
            connections=connections,
            preprocessing=self.eye,
            field_degrees=self.field_degrees,
            n_steps=self.n_steps,
            tau=self.tau,
            cumulative=self.readout == "cumulative",
        )

    @property
    def feedback_edges(self) -> tuple[tuple[str, str], ...]:
        """Feedback connections as (source, target), from the lowest source upwards."""
        if not isinstance(self.feedback, bool):
            return self.feedback
        names = [area.name for area in self.areas]
        return tuple((above, below) for below, above in pairwise(names)) if self.feedback else ()

    def matched(self, control: Literal["depth", "width", "kernel"]) -> "ConvNet":
        """Return the feedforward control with as many parameters as this recurrent network.

        See `brainscore_lite.networks.matching.matched`.
        """
        return matched(self, control)

    def _check_recurrence(self) -> None:
        self._check_edges(self.feedback_edges, "feedback", "an area to one below it", nearest=1)
        self._check_edges(self.skip, "skip", "an area to one at least two above it", nearest=-2)
        if self.skip and self.combine == "gain":
            raise ContractError(
                f"Network '{self.name}' has skip connections and combine='gain', by which all but "
                "one input of an area modulate. Use combine='add'."
            )
        if (self.lateral or self.feedback_edges) and self.n_steps < 2:
            raise ContractError(
                f"Network '{self.name}' has lateral or feedback connections, but "
                f"n_steps={self.n_steps}: their signals arrive from the second step on. Give it at "
                "least 2 steps."
            )
        choices = {
            "unroll": ("engineering", "biological"),
            "combine": ("add", "gain"),
            "readout": ("step", "cumulative"),
        }
        for setting, known in choices.items():
            if getattr(self, setting) not in known:
                raise ContractError(
                    f"Network '{self.name}' has {setting}='{getattr(self, setting)}', which is "
                    f"unknown. Choose one of: {', '.join(known)}."
                )
        even = [area.name for area in self.areas if self.lateral and not lateral_kernel(area) % 2]
        if even:
            raise ContractError(
                f"Area '{even[0]}' of network '{self.name}' has an even lateral kernel, which has "
                "no middle. Set lateral_kernel to an odd number."
            )
        fed = {target for _, target in self.feedback_edges}
        for area in self.areas:
            if isinstance(area, Area) and area.name in fed and area.kernel % 2 == 0:
                raise ContractError(
                    f"Area '{area.name}' of network '{self.name}' has kernel={area.kernel}, and "
                    "feedback to it a kernel as large, which has no middle. Set kernel to an odd "
                    "number, or leave the feedback out."
                )

    def _check_edges(
        self, edges: tuple[tuple[str, str], ...], setting: str, rule: str, *, nearest: int
    ) -> None:
        """Refuse edges between unknown areas, repeated ones, and those that lead elsewhere."""
        given: Iterable[Any] = edges
        if any(isinstance(edge, str) or len(edge) != 2 for edge in given):
            raise ContractError(
                f"Network '{self.name}' has {setting}={edges!r}; its edges are pairs of areas, "
                "source and target. Write them as in (('IT', 'V1'),)."
            )
        place = {area.name: index for index, area in enumerate(self.areas)}
        for source, target in edges:
            known = source in place and target in place
            ends = place.get(source, 0) - place.get(target, 0)
            right = ends >= nearest if nearest > 0 else ends <= nearest
            if not known or not right or edges.count((source, target)) > 1:
                raise ContractError(
                    f"Network '{self.name}' asks for {setting} from '{source}' to '{target}'; it "
                    f"leads, once, from {rule}. The areas are, from below: {', '.join(place)}."
                )


def _single_areas(area: Area) -> list[Area | Dense]:
    """Split an area of depth d into d areas of depth 1, the last under its own name."""
    if area.depth == 1:
        return [area]
    first = replace(area, name=f"{area.name}_1", depth=1, pool_out=None)
    inner = replace(area, depth=1, stride=1, padding=None, pool_in=None, pool_out=None)
    middle = [replace(inner, name=f"{area.name}_{i}") for i in range(2, area.depth)]
    return [first, *middle, replace(inner, pool_out=area.pool_out)]

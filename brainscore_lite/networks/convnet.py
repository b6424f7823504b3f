"""Settings of convolutional networks, and the ready-made ones."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from brainscore_lite.networks.areas import Area, AreaModule, Dense, weight_gain
from brainscore_lite.networks.connections import (
    IMAGE,
    Connection,
    Convolution,
    FullyConnected,
    LocallyConnected,
    Operation,
    Pool,
    build_pool,
    initialise,
)
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class ConvNet:
    """Settings of a network of areas, from feedforward to recurrent.

    Areas are joined from below to above, and a dense readout without activation follows the last.
    This version builds feedforward networks of one step.

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
        Whether each convolutional area is connected with itself.
    feedback : bool or tuple of (source, target)
        Connections from above: none, between neighbours, or those named.
    n_steps : int
        Steps that the network runs on an image.
    unroll : {"engineering", "biological"}
        Whether a bottom-up signal passes all areas within a step, or one connection per step.
    combine : {"add", "gain"}
        How lateral and feedback input join the bottom-up input: b + m, or b (1 + tanh m).
    readout : {"step", "cumulative"}
        Logits of each step, or their running sum.
    tau : float
        Time constant of an area in steps: h_t = h_{t-1} + (new - h_{t-1}) / tau.
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
    """

    areas: tuple[Area | Dense, ...]
    n_classes: int
    image_size: int
    in_channels: int = 3
    lateral: bool = False
    feedback: bool | tuple[tuple[str, str], ...] = False
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
            If the settings ask for what this version does not build, or an area's input is
            smaller than its kernel or pooling.
        """
        self._check_feedforward()
        areas: list[AreaModule] = []
        connections: list[Connection] = []
        source = IMAGE
        maps = torch.zeros(1, self.in_channels, self.image_size, self.image_size)
        for settings in self.single_areas:
            connection = _bottom_up(source, settings, tuple(maps.shape[1:]), name=self.name)
            gain = self.initial_gain * weight_gain(settings.activation)
            initialise(connection.op, generator, gain=gain)
            maps = _passed(connection, maps, name=self.name)
            areas.append(AreaModule(settings))
            connections.append(connection)
            source = settings.name
        return Network(
            self.name,
            areas,
            connections=connections,
            preprocessing=self.eye,
            field_degrees=self.field_degrees,
        )

    def matched(self, control: Literal["depth", "width", "kernel"]) -> "ConvNet":
        """Return the feedforward control with as many parameters as this recurrent network.

        Raises
        ------
        ContractError
            If the network has no lateral or feedback connections: there is nothing to match.
        """
        if not self.lateral and not self.feedback:
            raise ContractError(
                f"Network '{self.name}' is feedforward: it has no lateral or feedback parameters "
                f"that a control of equal {control} could match. It is its own control."
            )
        raise ContractError(
            f"Network '{self.name}' is recurrent, and this version builds feedforward networks "
            "only; matched controls come with recurrent networks."
        )

    def _check_feedforward(self) -> None:
        asked = {
            "lateral=True": self.lateral,
            "feedback": self.feedback,
            f"n_steps={self.n_steps}": self.n_steps != 1,
            "unroll='biological'": self.unroll != "engineering",
            "combine='gain'": self.combine != "add",
            "readout='cumulative'": self.readout != "step",
            f"tau={self.tau}": self.tau != 1,
        }
        wanted = [setting for setting, asked_for in asked.items() if asked_for]
        if wanted:
            raise ContractError(
                f"Network '{self.name}' asks for {', '.join(wanted)}, but this version builds "
                "feedforward networks of one step only. Leave recurrent settings at their defaults."
            )


def _single_areas(area: Area) -> list[Area | Dense]:
    """Split an area of depth d into d areas of depth 1, the last under its own name."""
    if area.depth == 1:
        return [area]
    first = replace(area, name=f"{area.name}_1", depth=1, pool_out=None)
    inner = replace(area, depth=1, stride=1, padding=None, pool_in=None, pool_out=None)
    middle = [replace(inner, name=f"{area.name}_{i}") for i in range(2, area.depth)]
    return [first, *middle, replace(inner, pool_out=area.pool_out)]


def _bottom_up(
    source: str, target: Area | Dense, shape: tuple[int, ...], *, name: str
) -> Connection:
    pool_out: Pool | None = None
    if isinstance(target, Area):
        op: Operation = _window_operation(target, shape, name=name)
        pool_out = target.pool_out
    else:
        maps = torch.zeros(1, *shape)
        pooled = _attempt(build_pool(target.pool_in), maps, target.name, name=name)
        op = FullyConnected((target.units, pooled.numel()))
    return Connection(source, target.name, op=op, pool_in=target.pool_in, pool_out=pool_out)


def _window_operation(
    target: Area, shape: tuple[int, ...], *, name: str
) -> Convolution | LocallyConnected:
    kernel = target.kernel
    padding = kernel // 2 if target.padding is None else target.padding
    kernels = (target.channels, shape[0], kernel, kernel)
    convolution = Convolution(kernels, stride=target.stride, padding=padding)
    if target.shared:
        return convolution
    pooled = _attempt(build_pool(target.pool_in), torch.zeros(1, *shape), target.name, name=name)
    with torch.no_grad():
        rows, columns = _attempt(convolution, pooled, target.name, name=name).shape[2:]
    return LocallyConnected((rows, columns), kernels, stride=target.stride, padding=padding)


def _passed(connection: Connection, maps: Tensor, *, name: str) -> Tensor:
    with torch.no_grad():
        return _attempt(connection, maps, connection.target, name=name)


def _attempt(module: torch.nn.Module, maps: Tensor, area: str, *, name: str) -> Tensor:
    try:
        return module(maps)
    except RuntimeError as error:
        raise ContractError(
            f"Area '{area}' of network '{name}' cannot take an input of shape "
            f"{tuple(maps.shape[1:])}: {error}. Use a larger image, or smaller kernels and pooling."
        ) from error

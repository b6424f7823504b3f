"""Areas: the sum of incoming connections, then ``norm -> activation -> post_norm``."""

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor, nn

from brainscore_lite.networks.connections import Pool
from brainscore_lite.schema import ContractError


class ClippedReLU(nn.Module):
    """Rectify and saturate: min(max(x, 0), 1). The bounded activation of the matched network."""

    def forward(self, drive: Tensor) -> Tensor:
        """Return activations between 0 and 1."""
        return drive.clamp(0.0, 1.0)


class Triangle(nn.Module):
    """Rectify what exceeds the mean over channels or units: max(x_k - <x>_k, 0)^power.

    Parameters
    ----------
    power : float

    References
    ----------
    Coates, Ng & Lee (2011); with a power, Journe et al. (2023), arXiv:2209.11883.
    """

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, drive: Tensor) -> Tensor:
        """Return activations of at least 0, of the shape of `drive`, (batch, units, ...)."""
        above = (drive - drive.mean(dim=1, keepdim=True)).clamp_min(0.0)
        return above if self.power == 1.0 else above.pow(self.power)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "clipped_relu": ClippedReLU,
    "elu": nn.ELU,
    "hard_tanh": nn.Hardtanh,
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "triangle": Triangle,
    "triangle_0.7": lambda: Triangle(0.7),
    "triangle_1.4": lambda: Triangle(1.4),
}
BOUNDED_ACTIVATIONS = frozenset({"clipped_relu", "hard_tanh", "sigmoid", "tanh"})
#: Analytic around the real line, so that they can be run on complex numbers.
HOLOMORPHIC_ACTIVATIONS = frozenset({"identity", "sigmoid", "silu", "tanh"})
RECTIFYING_ACTIVATIONS = frozenset({"clipped_relu", "relu"})

CONVOLUTIONAL_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(math.gcd(32, channels), channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "local_response": lambda channels: nn.LocalResponseNorm(5),
}
DENSE_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda units: nn.Identity(),
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
}


@dataclass(frozen=True)
class Area:
    """Settings of a convolutional area.

    Parameters
    ----------
    name : str
        For example "V4"; it is the name of the layer.
    channels : int
        Number of feature maps.
    kernel : int
        Side of the bottom-up kernel, in pixels of its input.
    depth : int
        Number of bottom-up convolutions in the area. The first takes the input from below, the
        last carries the area's name, the others are "V4_1", "V4_2", ...
    pool_in, pool_out : Pool, optional
        Of the bottom-up connection, before and after its convolution.
    lateral_kernel : int, optional
        Side of the lateral kernel; None is `kernel`.
    activation : str
        A key of `ACTIVATIONS`.
    norm, post_norm : str
        Before and after the activation; keys of `CONVOLUTIONAL_NORMS`.
    stride : int
        Of the bottom-up convolution, in pixels.
    padding : int, optional
        In pixels; None keeps the size (kernel // 2).
    bias : bool
        Whether the area adds a bias per channel.
    shared : bool
        Whether all places of the image share their bottom-up weights, as in a convolution. Without
        sharing every unit has its own kernel (local receptive fields).
    """

    name: str
    channels: int
    _: KW_ONLY
    kernel: int = 3
    depth: int = 1
    pool_in: Pool | None = None
    pool_out: Pool | None = None
    lateral_kernel: int | None = None
    activation: str = "relu"
    norm: str = "none"
    post_norm: str = "none"
    stride: int = 1
    padding: int | None = None
    bias: bool = True
    shared: bool = True

    def __post_init__(self) -> None:
        _check_sizes(self.name, channels=self.channels, kernel=self.kernel, depth=self.depth)
        _check_choices(self, CONVOLUTIONAL_NORMS)


@dataclass(frozen=True)
class Dense:
    """Settings of a fully connected area.

    Parameters
    ----------
    name : str
        It is the name of the layer.
    units : int
    pool_in : Pool, optional
        Applied to the maps of a convolutional source before they are flattened.
    activation : str
        A key of `ACTIVATIONS`.
    norm, post_norm : str
        Before and after the activation; keys of `DENSE_NORMS`.
    bias : bool
        Whether the area adds a bias per unit.
    """

    name: str
    units: int
    _: KW_ONLY
    pool_in: Pool | None = None
    activation: str = "relu"
    norm: str = "none"
    post_norm: str = "none"
    bias: bool = True

    def __post_init__(self) -> None:
        _check_sizes(self.name, units=self.units)
        _check_choices(self, DENSE_NORMS)


class AreaModule(nn.Module):
    """One area: ``post_norm(activation(norm(sum of inputs + bias)))``.

    Parameters
    ----------
    settings : Area or Dense
    """

    def __init__(self, settings: Area | Dense) -> None:
        super().__init__()
        convolutional = isinstance(settings, Area)
        size = settings.channels if isinstance(settings, Area) else settings.units
        norms = CONVOLUTIONAL_NORMS if convolutional else DENSE_NORMS
        self.name = settings.name
        self.settings = settings
        self.bias = nn.Parameter(torch.zeros(size)) if settings.bias else None
        self._spread = (-1, 1, 1) if convolutional else (-1,)
        self.norm = norms[settings.norm](size)
        self.activation = ACTIVATIONS[settings.activation]()
        self.post_norm = norms[settings.post_norm](size)

    @property
    def spread_bias(self) -> Tensor | None:
        """The bias, shaped so that it adds to a drive; None where the area has none."""
        return None if self.bias is None else self.bias.view(self._spread)

    def drive(self, inputs: Sequence[Tensor]) -> Tensor:
        """Sum what arrives through the connections, and the bias.

        Parameters
        ----------
        inputs : sequence of Tensor, each of shape (batch, ...)
            One per connection whose signal has arrived; at least one.

        Returns
        -------
        Tensor, shape (batch, ...)
        """
        total = inputs[0]
        for arriving in inputs[1:]:
            total = total + arriving
        bias = self.spread_bias
        return total if bias is None else total + bias

    def respond_to(self, drive: Tensor) -> Tensor:
        """Return the activations, of the same shape, for a drive of shape (batch, ...)."""
        return self.post_norm(self.activation(self.norm(drive)))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the activations for what arrives through the connections."""
        return self.respond_to(self.drive(inputs))


def weight_gain(activation: str) -> float:
    """Return the gain of a weight before this activation: sqrt(2) before a rectifier, else 1."""
    return math.sqrt(2.0) if activation in RECTIFYING_ACTIVATIONS else 1.0


def _check_sizes(name: str, **sizes: int) -> None:
    for what, size in sizes.items():
        if size < 1:
            raise ContractError(f"Area '{name}' has {what}={size}; it must be at least 1.")


def _check_choices(settings: Area | Dense, norms: dict[str, Callable[[int], nn.Module]]) -> None:
    for what, chosen, known in (
        ("activation", settings.activation, ACTIVATIONS),
        ("norm", settings.norm, norms),
        ("post_norm", settings.post_norm, norms),
    ):
        if chosen not in known:
            raise ContractError(
                f"Area '{settings.name}' has {what}='{chosen}', which is unknown. "
                f"Choose one of: {', '.join(known)}."
            )

"""Areas: the sum of incoming connections, then ``norm -> activation -> post_norm``."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import reduce
from operator import add
from typing import Literal

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

#: Batch statistics at each step apart, with gains and biases of their own.
PER_STEP = "batch_per_step"
#: Norms that make the examples of a batch depend on each other.
BATCH_NORMS = frozenset({"batch", PER_STEP})
CONVOLUTIONAL_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "batch": nn.BatchNorm2d,
    PER_STEP: nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(math.gcd(32, channels), channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "local_response": lambda channels: nn.LocalResponseNorm(5),
}
DENSE_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda units: nn.Identity(),
    "batch": nn.BatchNorm1d,
    PER_STEP: nn.BatchNorm1d,
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
        Side of the lateral kernel, odd; None is `kernel`.
    activation : str
        A key of `ACTIVATIONS`.
    norm, post_norm : str
        Before and after the activation; keys of `CONVOLUTIONAL_NORMS`. "batch_per_step" keeps the
        statistics, gains and biases of each step apart.
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
    """One area: ``post_norm(activation(norm(drive)))``.

    Its drive is the sum of what arrives and the bias, or b (1 + tanh m): what arrives from below,
    b, with the bias, multiplied by what arrives from beside and above, m.

    Parameters
    ----------
    settings : Area or Dense
    n_steps : int
        Steps at which the area is active: norms "batch_per_step" keep statistics, gains and
        biases for each; later steps share those of the last.
    combine : {"add", "gain"}

    References
    ----------
    Statistics of each step: Cooijmans et al. (2017), arXiv:1603.09025; Liao & Poggio (2016),
    arXiv:1604.03640.
    """

    def __init__(
        self,
        settings: Area | Dense,
        *,
        n_steps: int = 1,
        combine: Literal["add", "gain"] = "add",
    ) -> None:
        super().__init__()
        convolutional = isinstance(settings, Area)
        size = settings.channels if isinstance(settings, Area) else settings.units
        norms = CONVOLUTIONAL_NORMS if convolutional else DENSE_NORMS
        self.name = settings.name
        self.settings = settings
        self.combine = combine
        self.bias = nn.Parameter(torch.zeros(size)) if settings.bias else None
        self._spread = (-1, 1, 1) if convolutional else (-1,)
        self.norm = _norm_of_steps(settings.norm, norms, size=size, n_steps=n_steps)
        self.activation = ACTIVATIONS[settings.activation]()
        self.post_norm = _norm_of_steps(settings.post_norm, norms, size=size, n_steps=n_steps)

    def extra_repr(self) -> str:
        """Say how inputs are joined, where they are not summed."""
        return "" if self.combine == "add" else f"combine={self.combine}"

    def at(self, step: int) -> "AreaModule":
        """Return the area with the norms of a step, counted from the first at which it is active.

        It shares all parameters with this one, and is this one where no norm is of a step.
        """
        parts = {"norm": self.norm, "post_norm": self.post_norm}
        of_steps = {
            name: banks[min(step, len(banks) - 1)]
            for name, banks in parts.items()
            if isinstance(banks, nn.ModuleList)
        }
        if not of_steps:
            return self
        area = copy.copy(self)
        area._modules = {**self._modules, **of_steps}
        return area

    @property
    def spread_bias(self) -> Tensor | None:
        """The bias, shaped so that it adds to a drive; None where the area has none."""
        return None if self.bias is None else self.bias.view(self._spread)

    def drive(self, inputs: Sequence[Tensor]) -> Tensor:
        """Join what arrives through the connections, and the bias.

        Parameters
        ----------
        inputs : sequence of Tensor, each of shape (batch, ...)
            One per connection whose signal has arrived; at least one. Where the area combines by
            gain, the first comes from below and the others modulate it.

        Returns
        -------
        Tensor, shape (batch, ...)
        """
        n_driving = 1 if self.combine == "gain" else len(inputs)
        driving, modulating = inputs[:n_driving], inputs[n_driving:]
        bias = self.spread_bias
        drive = reduce(add, driving if bias is None else (*driving, bias))
        return drive * (1.0 + torch.tanh(reduce(add, modulating))) if modulating else drive

    def respond_to(self, drive: Tensor) -> Tensor:
        """Return the activations, of the same shape, for a drive of shape (batch, ...)."""
        return self.post_norm(self.activation(self.norm(drive)))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the activations for what arrives through the connections."""
        return self.respond_to(self.drive(inputs))


def _norm_of_steps(
    norm: str, norms: dict[str, Callable[[int], nn.Module]], *, size: int, n_steps: int
) -> nn.Module:
    if norm == PER_STEP and n_steps > 1:
        return nn.ModuleList(norms[norm](size) for _ in range(n_steps))
    return norms[norm](size)


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

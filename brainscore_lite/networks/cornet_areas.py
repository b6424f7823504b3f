"""The areas that the CORnets are made of."""

import math
from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

NORM_GROUPS = 32
BOTTLENECK = 4  # channels inside an area of CORnet-S, in channels of the area


class PooledArea(nn.Module):
    """Area of CORnet-Z: convolution -> ReLU -> overlapping max pooling.

    Parameters
    ----------
    channels, out_channels : int
    kernel : int
        Side of the kernel; one of 7 has stride 2.
    """

    def __init__(self, channels: int, out_channels: int, *, kernel: int) -> None:
        super().__init__()
        stride = 2 if kernel == 7 else 1
        self.convolution = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (batch, out_channels, rows, columns)."""
        return self.pool(self.convolution(maps).relu())


class LateralArea(nn.Module):
    """Area of CORnet-R and -RT: a convolution of the input, and one of input plus state.

    Parameters
    ----------
    channels, out_channels : int
    size : tuple of int
        Kernel and stride of the first convolution.
    """

    def __init__(self, channels: int, out_channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        kernel, stride = size
        groups = math.gcd(NORM_GROUPS, out_channels)
        self.entering = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2)
        self.entering_norm = nn.GroupNorm(groups, out_channels)
        self.lateral = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.lateral_norm = nn.GroupNorm(groups, out_channels)

    def forward(self, maps: Tensor, state: Tensor | None) -> Tensor:
        """Return the state one step later; None is the state of zeros before the first."""
        drive = self.entering_norm(self.entering(maps)).relu()
        if state is not None:
            drive = drive + state
        return self.lateral_norm(self.lateral(drive)).relu()


class BottleneckArea(nn.Module):
    """Area of CORnet-S: a bottleneck that repeats with shared weights and its own normalisations.

    Parameters
    ----------
    channels, out_channels : int
    repetitions : int
    """

    def __init__(self, channels: int, out_channels: int, *, repetitions: int) -> None:
        super().__init__()
        inside = BOTTLENECK * out_channels
        self.entering = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.skip = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.skip_norm = nn.BatchNorm2d(out_channels)
        self.widen = nn.Conv2d(out_channels, inside, 1, bias=False)
        self.spread = nn.Conv2d(inside, inside, 3, padding=1, bias=False)
        self.narrow = nn.Conv2d(inside, out_channels, 1, bias=False)
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(width) for width in (inside, inside, out_channels))
            for _ in range(repetitions)
        )

    def states(self, maps: Tensor) -> Iterator[Tensor]:
        """Yield the state after each repetition, shape (batch, out_channels, rows, columns)."""
        state = self.entering(maps)
        for index, norms in enumerate(self.norms):
            widened, spread, narrowed = cast(nn.ModuleList, norms)
            stride = 2 if index == 0 else 1
            skip = state if index else self.skip_norm(self.skip(state[:, :, ::2, ::2]))
            inside = widened(self.widen(state)).relu()
            inside = functional.conv2d(inside, self.spread.weight, stride=stride, padding=1)
            inside = spread(inside).relu()
            state = (narrowed(self.narrow(inside)) + skip).relu()
            yield state


def stem(channels: int, out_channels: int) -> nn.Sequential:
    """Make V1 of CORnet-S: two convolutions, normalised and rectified, and max pooling between."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )

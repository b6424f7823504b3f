"""Blocks of the local and the global predictive coding network."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LocalBlock(nn.Module):
    """A block of the local predictive coding network.

    Parameters
    ----------
    n_inputs, n_channels : int
    n_cycles : int
    """

    def __init__(self, n_inputs: int, n_channels: int, *, n_cycles: int) -> None:
        super().__init__()
        self.n_cycles = n_cycles
        self.norm = nn.BatchNorm2d(n_inputs)
        self.feedforward = _convolution(n_inputs, n_channels)
        self.bypass = nn.Conv2d(n_inputs, n_channels, 1, bias=False)
        if n_cycles > 0:
            self.feedback = _convolution(n_channels, n_inputs)
            self.rate = nn.Parameter(torch.zeros(n_channels, 1, 1))

    def forward(self, below: Tensor) -> list[Tensor]:
        """Return y_k + V x for k = 0 ... n_cycles, each (batch, n_channels, rows, columns)."""
        x = self.norm(below)
        bypassed = self.bypass(x)
        y = self.feedforward(x).relu()
        outputs = [y + bypassed]
        for _ in range(self.n_cycles):
            missed = (x - self.feedback(y)).relu()
            y = y + (self.rate + 1).relu() * self.feedforward(missed)
            outputs.append(y + bypassed)
        return outputs


class GlobalBlock(nn.Module):
    """A block of the global predictive coding network: W and, with cycles, W' and its rate b.

    Parameters
    ----------
    n_inputs, n_channels : int
    pooled, cycling : bool
    """

    def __init__(
        self,
        n_inputs: int,
        n_channels: int,
        *,
        pooled: bool,
        cycling: bool,
    ) -> None:
        super().__init__()
        self.pooled = pooled
        self.feedforward = _convolution(n_inputs, n_channels)
        if cycling:
            self.feedback = _convolution(n_channels, n_inputs)
            self.rate = nn.Parameter(torch.ones(n_channels, 1, 1))

    def drive(self, below: Tensor) -> Tensor:
        """Return W x, of shape (batch, n_channels, rows, columns)."""
        driven = self.feedforward(below)
        return functional.max_pool2d(driven, 2) if self.pooled else driven

    def predict(self, above: Tensor) -> Tensor:
        """Return W' r, of shape (batch, n_inputs, rows, columns)."""
        if self.pooled:
            above = functional.interpolate(above, scale_factor=2, mode="bilinear")
        return self.feedback(above)

    def update(self, state: Tensor, missed: Tensor) -> Tensor:
        """Return ReLU(r + b W e)."""
        return (state + self.rate.relu() * self.drive(missed)).relu()


def _convolution(n_inputs: int, n_channels: int) -> nn.Conv2d:
    """Make a 3 x 3 convolution that keeps the maps' size, without a bias."""
    return nn.Conv2d(n_inputs, n_channels, 3, padding=1, bias=False)

"""Residual networks for CIFAR-10, with akamaster's names of parameters (BSD licence)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A).

    Where the map shrinks, the shortcut takes every second pixel and fills the new channels with
    zeros, half before and half after.

    Parameters
    ----------
    channels, out_channels, stride : int
    """

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.added = (out_channels - channels) // 2

    def forward(self, maps: Tensor) -> Tensor:
        """Return (batch, out_channels, rows / stride, columns / stride)."""
        residual = self.bn2(self.conv2(self.bn1(self.conv1(maps)).relu()))
        kept = maps[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(kept, (0, 0, 0, 0, self.added, self.added))
        return (residual + shortcut).relu()


class CifarResNet(nn.Module):
    """Residual network of 6 n + 2 layers for 32 x 32 images, 10 classes.

    Parameters
    ----------
    depth : {20, 32, 44, 56, ...}
        Number of layers, 6 n + 2.

    References
    ----------
    He, Zhang, Ren & Sun (2016), doi:10.1109/CVPR.2016.90, section 4.2.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, n_blocks=n)
        self.layer2 = _stage(16, 32, n_blocks=n)
        self.layer3 = _stage(32, 64, n_blocks=n)
        self.linear = nn.Linear(64, 10)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights from He-normal distributions, as the paper does.

        Parameters
        ----------
        generator : torch.Generator
            The only source of randomness.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (batch, 10), of images of shape (batch, 3, 32, 32)."""
        maps = self.bn1(self.conv1(images)).relu()
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.linear(maps.mean((2, 3)))


def _stage(channels: int, out_channels: int, *, n_blocks: int) -> nn.Sequential:
    first = Block(channels, out_channels, 1 if channels == out_channels else 2)
    others = (Block(out_channels, out_channels, 1) for _ in range(n_blocks - 1))
    return nn.Sequential(first, *others)

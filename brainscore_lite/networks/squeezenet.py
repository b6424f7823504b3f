"""SqueezeNet 1.1, with torchvision's names of parameters."""

import torch
from torch import Tensor, nn


class Fire(nn.Module):
    """Squeeze to few channels, expand with 1x1 and 3x3 kernels.

    Parameters
    ----------
    channels, squeezed, expanded : int
        Of the input, the squeeze layer, and each of the two expand layers.
    """

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (batch, 2 expanded, rows, columns)."""
        narrow = self.squeeze(maps).relu()
        return torch.cat((self.expand1x1(narrow), self.expand3x3(narrow)), 1).relu()


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1: 1,235,496 parameters, 1000 classes.

    References
    ----------
    Iandola et al. (2016), arXiv 1602.07360.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights as torchvision does: He-uniform, the classifier N(0, 0.01^2).

        Parameters
        ----------
        generator : torch.Generator
            The only source of randomness.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is self.classifier[1]:
                    nn.init.normal_(module.weight, std=0.01, generator=generator)
                else:
                    nn.init.kaiming_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (batch, 1000), of images of shape (batch, 3, size, size)."""
        return self.classifier(self.features(images)).flatten(1)

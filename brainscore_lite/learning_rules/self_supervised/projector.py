"""The small network through which self-supervised objectives look at the features."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from brainscore_lite.networks.connections import FullyConnected, initialise


def projector(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """Build dense layers with batch normalisation and ReLU between them.

    Batch normalisation uses the statistics of each batch and keeps none.

    Parameters
    ----------
    sizes : tuple of int
        Units, from the features to what is compared.
    generator : torch.Generator
        Draws the weights from N(0, 2 / fan_in), the last ones from N(0, 1 / fan_in).
    """
    layers: list[nn.Module] = []
    for place, (below, above) in enumerate(pairwise(sizes), start=2):
        last = place == len(sizes)
        layer = FullyConnected((above, below))
        initialise(layer, generator, gain=1.0 if last else 2**0.5)
        layers.append(layer)
        if not last:
            layers += [nn.BatchNorm1d(above, track_running_stats=False), nn.ReLU()]
    return nn.Sequential(*layers)

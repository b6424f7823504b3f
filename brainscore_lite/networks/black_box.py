"""A stage of unknown function inside a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError


class BlackBox(nn.Module):
    """Pass activations through a function of which nothing is known, not even a derivative.

    Parameters
    ----------
    function : callable
        From a Tensor of shape (batch, ...) to another; a Module keeps its buffers in the state of
        the network. It is run outside of autograd.

    Examples
    --------
    >>> box = BlackBox(torch.sign)
    >>> box(torch.ones(2, requires_grad=True)).requires_grad
    False
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, activations: Tensor) -> Tensor:
        """Return what the function makes of the activations."""
        with torch.no_grad():
            return self.function(activations.detach())


def put_black_box(network: Network, area: str, function: Callable[[Tensor], Tensor]) -> Network:
    """Let all that an area sends on pass through an unknown function.

    Parameters
    ----------
    network : Network
        Changed in place.
    area : str
    function : callable
        Keeps the shape (batch, ...).

    Returns
    -------
    Network
        The one given.

    Raises
    ------
    ContractError
        If the network has no such area.
    """
    if area not in network.areas:
        raise ContractError(
            f"Network '{network.name}' has no area '{area}' to put a black box on. Its areas are: "
            f"{', '.join(network.areas)}."
        )
    module = cast(AreaModule, network.areas[area])
    module.post_norm = nn.Sequential(module.post_norm, BlackBox(function))
    return network

"""Feedback that predicts a lower layer from a higher one, and its transpose."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.schema import ContractError


class Decoder(nn.Module):
    """Predict a lower layer from a higher one by a transposed convolution: d = W m + b.

    The stride is how many times larger the lower maps are, the kernel as large as it takes to
    cover them, and two places more where the higher layer has more than one place. A dense layer
    is a map of one place.

    Parameters
    ----------
    lower, higher : tuple of int
        Shapes of the activations of one image: (channels, rows, columns) or (units,).
    generator : torch.Generator
        Draws the weight from N(0, 1 / fan_in); the bias is 0.

    Raises
    ------
    ContractError
        If the higher layer has more rows or columns than the lower.
    """

    def __init__(
        self, lower: tuple[int, ...], higher: tuple[int, ...], *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.lower = lower
        n_lower, *places_below = _as_map(lower)
        n_higher, *places_above = _as_map(higher)
        ratios = [below // above for below, above in zip(places_below, places_above, strict=True)]
        if min(ratios) < 1:
            raise ContractError(
                f"A layer of shape {higher} has more places than the layer below it, {lower}, "
                "that its feedback is to predict. Choose layers whose maps do not grow."
            )
        self.stride = tuple(ratios)
        self.padding = tuple(int(above > 1) for above in places_above)
        kernel = [
            below - (above - 1) * ratio + 2 * padding
            for below, above, ratio, padding in zip(
                places_below, places_above, self.stride, self.padding, strict=True
            )
        ]
        weight = torch.empty(n_higher, n_lower, *kernel)
        # A place of the lower layer receives 1 / stride^2 of the kernels of all higher channels.
        fan_in = n_higher * math.prod(kernel) / math.prod(self.stride)
        self.weight = nn.Parameter(weight.normal_(0.0, fan_in**-0.5, generator=generator))
        self.bias = nn.Parameter(torch.zeros(n_lower))

    def forward(self, higher: Tensor) -> Tensor:
        """Return the prediction, (batch, *lower), from activations, (batch, *higher)."""
        predicted = functional.conv_transpose2d(
            _with_places(higher), self.weight, self.bias, stride=self.stride, padding=self.padding
        )
        return predicted.flatten(1) if len(self.lower) == 1 else predicted

    def transposed(self, lower: Tensor, higher: Tensor) -> Tensor:
        """Send something of the lower layer's shape up through the same weights: W^T x.

        Parameters
        ----------
        lower : Tensor, shape (batch, *lower)
        higher : Tensor, shape (batch, *higher)
            Only its shape is used.

        Returns
        -------
        Tensor, shape (batch, *higher)
        """
        sent = functional.conv2d(
            _with_places(lower), self.weight, stride=self.stride, padding=self.padding
        )
        return sent.reshape(higher.shape)

    def extra_repr(self) -> str:
        """Say what the weight alone does not."""
        return f"{tuple(self.weight.shape)}, stride={self.stride}, padding={self.padding}"


def _as_map(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (1, 3):
        raise ContractError(
            f"A layer of shape {shape} is neither maps (channels, rows, columns) nor units "
            "(units,), so no feedback can predict it. Choose another layer."
        )
    return (*shape, 1, 1) if len(shape) == 1 else shape


def _with_places(activations: Tensor) -> Tensor:
    return activations[:, :, None, None] if activations.ndim == 2 else activations

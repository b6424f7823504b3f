"""A small recurrent network that reads an image row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from brainscore_lite.networks.model import (
    READOUT,
    Step,
    check_layers,
    device_of,
    evaluation_mode,
)
from brainscore_lite.networks.stepping import check_images
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

HIDDEN = "hidden"


class ElmanNetwork(nn.Module):
    """Read one row of the image at each step, and classify after the last.

    u_t = W h_{t-1} + U x_t + b,  h_t = (1 - 1/tau) h_{t-1} + tanh(u_t) / tau,  y_t = V h_t + c

    Small enough for rules that carry the derivative of every unit with respect to every weight.

    Parameters
    ----------
    n_units : int
    n_classes : int
    generator : torch.Generator
        Draws the weights from N(0, 1 / fan_in); biases are 0.
    preprocessing : Preprocessing
        How an image becomes the input; its size is the number of steps.
    tau : float
        Time constant in steps; at least 1.
    name : str

    Raises
    ------
    ContractError
        If there are no units or no classes, or `tau` is below 1.

    References
    ----------
    Elman (1990), doi:10.1207/s15516709cog1402_1.
    """

    def __init__(
        self,
        n_units: int,
        n_classes: int,
        *,
        generator: torch.Generator,
        preprocessing: Preprocessing,
        tau: float = 1.0,
        name: str = "elman",
    ) -> None:
        super().__init__()
        if min(n_units, n_classes) < 1 or tau < 1:
            raise ContractError(
                f"Network '{name}' has {n_units} units, {n_classes} classes and tau={tau:g}; it "
                "needs at least one unit, one class and one step of time constant."
            )
        self.name = name
        self.preprocessing = preprocessing
        self.field_degrees: float | None = None
        self.tau = tau
        n_inputs = preprocessing.n_channels * preprocessing.size
        self.recurrent = nn.Parameter(_drawn((n_units, n_units), generator))
        self.input = nn.Parameter(_drawn((n_units, n_inputs), generator))
        self.bias = nn.Parameter(torch.zeros(n_units))
        self.readout = skip_init(nn.Linear, n_units, n_classes)  # its own draws would be global
        with torch.no_grad():
            self.readout.weight.copy_(_drawn((n_classes, n_units), generator))
            self.readout.bias.zero_()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The hidden units and the readout."""
        return (HIDDEN, READOUT)

    @property
    def image_size(self) -> int:
        """Height and width of the input in pixels."""
        return self.preprocessing.size

    @property
    def n_steps(self) -> int:
        """One step for each row of the image."""
        return self.preprocessing.size

    def rows(self, images: Tensor) -> Tensor:
        """Return the sequence of inputs.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width)

        Returns
        -------
        Tensor, shape (n_steps, batch, channels * width)

        Raises
        ------
        ContractError
            If the images have another shape than the preprocessing makes.
        """
        check_images(images, self.preprocessing, model=self.name)
        return images.permute(2, 0, 1, 3).flatten(2)

    def start(self, n_images: int) -> Tensor:
        """Return the hidden state before the first step: zeros, shape (n_images, n_units)."""
        return self.bias.new_zeros(n_images, len(self.bias))

    def advance(self, hidden: Tensor, row: Tensor) -> Tensor:
        """Return the hidden state one step later.

        Parameters
        ----------
        hidden : Tensor, shape (batch, n_units)
        row : Tensor, shape (batch, channels * width)

        Returns
        -------
        Tensor, shape (batch, n_units)
        """
        drive = functional.linear(hidden, self.recurrent) + functional.linear(
            row, self.input, self.bias
        )
        return (1 - 1 / self.tau) * hidden + torch.tanh(drive) / self.tau

    def forward(self, images: Tensor) -> Tensor:
        """Return the readout after the last row, of shape (batch, n_classes)."""
        hidden = self.start(len(images))
        for row in self.rows(images):
            hidden = self.advance(hidden, row)
        return self.readout(hidden)

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the named layers after each row, in evaluation mode (see `Model`)."""
        chosen = check_layers(layers, self.layer_names, model=self.name)
        hidden = self.start(len(images))
        for index, row in enumerate(self.rows(images.to(device_of(self)))):
            with evaluation_mode(self):
                hidden = self.advance(hidden, row)
                found = {HIDDEN: hidden, READOUT: self.readout(hidden)}
            yield Step(index, {layer: found[layer] for layer in chosen})


def _drawn(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) / math.sqrt(shape[1])

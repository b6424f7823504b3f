"""A V1-like model without learning: Gabor simple cells and energy complex cells."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.networks.model import Step, check_layers, device_of
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

SIMPLE_PHASES = 4  # 0, 90, 180 and 270 degrees: both signs of a quadrature pair


@dataclass(frozen=True, kw_only=True)
class GaborEnergy:
    """Settings of the Gabor energy model.

    An even and an odd Gabor filter (a quadrature pair) see each place of a grid at each scale and
    orientation. Four *simple* cells per pair are the half-rectified filter outputs and their
    negatives (phases 0, 90, 180, 270 degrees); one *complex* cell is the pair's energy,
    sqrt(even^2 + odd^2), which does not depend on the phase of a grating. With
    `semisaturation` > 0 every cell is divided by the contrast energy that all scales and
    orientations see at its place,

        r = r / (semisaturation + sqrt(sum of complex^2 over scales and orientations)).

    Filters have zero mean and unit response to their best grating of full contrast (luminance
    between 0 and 1).

    Parameters
    ----------
    frequencies : tuple of float
        Preferred spatial frequencies, in `unit`.
    n_orientations : int
        Evenly spaced from 0 degrees; the orientation is that of the bars, anticlockwise from
        horizontal.
    unit : {"cycles_per_image", "cycles_per_degree"}
        Cycles per degree need `field_degrees`.
    image_size : int
        Height and width of the input in pixels.
    grid : int
        Places per row and column; it divides `image_size`.
    bandwidth : float
        Full width at half height of the frequency tuning, in octaves.
    aspect : float
        Length of the Gaussian envelope along the bars over its width across them.
    semisaturation : float
        In units of the response to the best grating; 0 leaves divisive normalisation out.
    field_degrees : float, optional
        Visual field that the input spans, in degrees of visual angle.
    name : str

    References
    ----------
    Adelson & Bergen (1985), doi:10.1364/JOSAA.2.000284 (energy);
    Heeger (1992), doi:10.1017/S0952523800009640 (normalisation);
    Jones & Palmer (1987), doi:10.1152/jn.1987.58.6.1233 (Gabor receptive fields).
    """

    frequencies: tuple[float, ...] = (3.0, 6.0, 12.0, 24.0)
    n_orientations: int = 8
    unit: Literal["cycles_per_image", "cycles_per_degree"] = "cycles_per_image"
    image_size: int = 112
    grid: int = 14
    bandwidth: float = 1.4
    aspect: float = 1.4
    semisaturation: float = 0.0
    field_degrees: float | None = None
    name: str = "gabor_energy"

    def __post_init__(self) -> None:
        if self.unit not in ("cycles_per_image", "cycles_per_degree"):
            raise ContractError(
                f"Frequencies in '{self.unit}' are unknown. Use 'cycles_per_image' or "
                "'cycles_per_degree'."
            )
        if self.unit == "cycles_per_degree" and self.field_degrees is None:
            raise ContractError(
                "Frequencies in cycles per degree need field_degrees, the visual field that the "
                "input spans. Give it, or use cycles_per_image."
            )
        if self.grid < 1 or self.image_size % self.grid:
            raise ContractError(
                f"The grid of {self.grid} places does not divide image_size={self.image_size}. "
                "Choose a divisor."
            )
        if self.n_orientations < 1 or not self.frequencies:
            raise ContractError("The model needs at least one orientation and one frequency.")
        for frequency, cycles in zip(self.frequencies, self.cycles_per_image, strict=True):
            if not 0 < cycles <= self.image_size / 2:
                raise ContractError(
                    f"The frequency {frequency:g} ({self.unit}) is {cycles:g} cycles per image; an "
                    f"image of {self.image_size} pixels carries more than 0 and at most "
                    f"{self.image_size / 2:g}. Lower it or enlarge image_size."
                )

    @property
    def cycles_per_image(self) -> tuple[float, ...]:
        """Preferred frequencies in cycles per image."""
        field = self.field_degrees if self.unit == "cycles_per_degree" else 1.0
        return tuple(frequency * (field or 1.0) for frequency in self.frequencies)

    @property
    def orientations(self) -> tuple[float, ...]:
        """Preferred orientations in degrees."""
        return tuple(180.0 * i / self.n_orientations for i in range(self.n_orientations))

    @property
    def preprocessing(self) -> Preprocessing:
        """Luminance around gray: -0.5 to 0.5, so that the surround of an image is gray."""
        return Preprocessing(size=self.image_size, mean=(0.5,), std=(1.0,), channels="L")

    def build(self) -> "GaborNetwork":
        """Make the filters."""
        return GaborNetwork(self)


class GaborNetwork(nn.Module):
    """The Gabor energy model as a `Model` with the layers "simple" and "complex".

    Channels are ordered by frequency, then orientation (then phase, for simple cells).

    Parameters
    ----------
    settings : GaborEnergy
    """

    layer_names = ("simple", "complex")
    n_steps = 1

    def __init__(self, settings: GaborEnergy) -> None:
        super().__init__()
        self.settings = settings
        self.name = settings.name
        self.image_size = settings.image_size
        self.preprocessing = settings.preprocessing
        self.field_degrees = settings.field_degrees
        for index, cycles in enumerate(settings.cycles_per_image):
            filters = _filter_bank(cycles / settings.image_size, settings)
            self.register_buffer(f"filters_{index}", filters)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the responses of both kinds of cells.

        Parameters
        ----------
        images : Tensor, shape (batch, 1, image_size, image_size)
            Luminance minus 0.5.

        Returns
        -------
        dict
            "simple": (batch, 4 n_frequencies n_orientations, grid, grid);
            "complex": (batch, n_frequencies n_orientations, grid, grid).
        """
        size = self.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (1, size, size):
            raise ContractError(
                f"Model '{self.name}' takes images of shape (batch, 1, {size}, {size}), not "
                f"{tuple(images.shape)}. Prepare them with its preprocessing."
            )
        banks = [bank for name, bank in self.named_buffers() if name.startswith("filters_")]
        pairs = torch.cat([_filtered(images, bank, self.settings.grid) for bank in banks], dim=1)
        even, odd = pairs[:, 0::2], pairs[:, 1::2]
        energy = even.square() + odd.square()
        simple = torch.stack((even, odd, -even, -odd), dim=2).flatten(1, 2).clamp(min=0.0)
        responses = {"simple": simple, "complex": energy.sqrt()}
        if self.settings.semisaturation > 0:
            pool = self.settings.semisaturation + energy.sum(1, keepdim=True).sqrt()
            responses = {layer: cells / pool for layer, cells in responses.items()}
        return responses

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the responses of the named layers (see `Model`)."""
        chosen = check_layers(layers, self.layer_names, model=self.name)
        responses = self(images.to(device_of(self)))
        yield Step(0, {layer: responses[layer] for layer in chosen})


def gabor_pair(
    frequency: float, orientation: float, *, bandwidth: float = 1.4, aspect: float = 1.4
) -> Tensor:
    """Make an even and an odd Gabor filter with zero mean.

    exp(-(u^2 / (2 s^2) + v^2 / (2 (aspect s)^2))) times cos or sin of 2 pi frequency u, with u
    across the bars and v along them; s follows from the bandwidth b in octaves:
    s = sqrt(ln 2 / 2) / (pi frequency) * (2^b + 1) / (2^b - 1).

    Parameters
    ----------
    frequency : float
        In cycles per pixel.
    orientation : float
        Of the bars, in degrees anticlockwise from horizontal.
    bandwidth : float
        In octaves.
    aspect : float
        Length of the envelope over its width.

    Returns
    -------
    Tensor, shape (2, side, side)
        Even and odd, in float64, each with unit amplitude of its response to its best grating of
        full contrast (amplitude 0.5).
    """
    ratio = (2**bandwidth + 1) / (2**bandwidth - 1)
    sigma = math.sqrt(math.log(2) / 2) / (math.pi * frequency) * ratio
    half = math.ceil(3 * sigma * max(1.0, aspect))
    axis = torch.arange(-half, half + 1, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    angle = math.radians(orientation)
    across = columns * math.sin(angle) + rows * math.cos(angle)
    along = columns * math.cos(angle) - rows * math.sin(angle)
    envelope = torch.exp(
        -across.square() / (2 * sigma**2) - along.square() / (2 * (aspect * sigma) ** 2)
    )
    phase = 2 * math.pi * frequency * across
    even = envelope * (phase.cos() - (envelope * phase.cos()).sum() / envelope.sum())
    odd = envelope * phase.sin()
    pair = torch.stack((even, odd))
    carriers = torch.stack((phase.cos(), phase.sin()))
    return pair / (0.5 * (pair * carriers).sum((1, 2), keepdim=True))


def _filter_bank(frequency: float, settings: GaborEnergy) -> Tensor:
    pairs = [
        gabor_pair(frequency, angle, bandwidth=settings.bandwidth, aspect=settings.aspect)
        for angle in settings.orientations
    ]
    return torch.cat(pairs).unsqueeze(1).float()


def _filtered(images: Tensor, bank: Tensor, grid: int) -> Tensor:
    """Filter at the centres of a grid; beyond its edge the image is gray (0)."""
    stride = images.shape[-1] // grid
    half = bank.shape[-1] // 2
    before = half - (stride - 1) // 2
    after = half + stride
    padded = functional.pad(images, (before, after, before, after))
    return functional.conv2d(padded, bank, stride=stride)[..., :grid, :grid]

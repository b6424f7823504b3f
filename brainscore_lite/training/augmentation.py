"""Random changes of images: mirrored, shifted, cropped, recoloured; all images at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.stimuli import LUMINANCE
from brainscore_lite.training.settings import Augmentation


def augmented(pixels: Tensor, augmentation: Augmentation, *, rng: torch.Generator) -> Tensor:
    """Change each image at random, in the order in which `Augmentation` names the changes.

    Parameters
    ----------
    pixels : uint8 Tensor, shape (batch, height, width, channels)
        3 channels where colours are changed.
    augmentation : Augmentation
    rng : torch.Generator
        On the CPU. Changes that are not asked for draw no numbers, but for the shift.

    Returns
    -------
    Tensor, shape (batch, height, width, channels)
        Of the same type, or float32 between 0 and 255 if images are cropped or recoloured.
    """
    if augmentation == Augmentation():
        return pixels
    changed = _moved(pixels, augmentation, rng=rng)
    if augmentation.crop_scale < 1 or augmentation.crop_aspect > 1:
        changed = _cropped(changed, augmentation, rng=rng)
    return _recoloured(changed, augmentation, rng=rng)


def _moved(pixels: Tensor, augmentation: Augmentation, *, rng: torch.Generator) -> Tensor:
    """Flip and shift."""
    n, height, width, _ = pixels.shape
    reach = augmentation.shift
    down, right = torch.randint(-reach, reach + 1, (2, n, 1), generator=rng)
    rows = _reflected(torch.arange(height) + down, height)
    columns = _reflected(torch.arange(width) + right, width)
    if augmentation.flip:
        mirrored = torch.rand((n, 1), generator=rng) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    if not reach and not augmentation.flip:
        return pixels
    image = torch.arange(n)[:, None, None]
    rows, columns, image = (each.to(pixels.device) for each in (rows, columns, image))
    return pixels[image, rows[:, :, None], columns[:, None, :]]


def _cropped(pixels: Tensor, augmentation: Augmentation, *, rng: torch.Generator) -> Tensor:
    """Cut out a rectangle that lies in the image, and resize it to the image's size."""
    n, height, width, channels = pixels.shape
    share, ratio, right, down = torch.rand((4, n), generator=rng)
    share = augmentation.crop_scale + (1 - augmentation.crop_scale) * share
    ratio = (math.log(augmentation.crop_aspect) * (2 * ratio - 1)).exp()
    wide = (share * ratio).sqrt().clamp(max=1)  # as shares of the image's sides
    tall = (share / ratio).sqrt().clamp(max=1)
    zero = torch.zeros(n)
    across = torch.stack([wide, zero, (2 * right - 1) * (1 - wide)], dim=1)
    along = torch.stack([zero, tall, (2 * down - 1) * (1 - tall)], dim=1)
    where = functional.affine_grid(
        torch.stack([across, along], dim=1).to(pixels.device),
        [n, channels, height, width],
        align_corners=False,
    )
    maps = pixels.permute(0, 3, 1, 2).float()
    found = functional.grid_sample(maps, where, padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1)


def _recoloured(pixels: Tensor, augmentation: Augmentation, *, rng: torch.Generator) -> Tensor:
    """Scale brightness, contrast and saturation, and take the colour away."""

    def factor(reach: float) -> Tensor:
        drawn = 1 + reach * (2 * torch.rand((len(pixels), 1, 1, 1), generator=rng) - 1)
        return drawn.to(pixels.device)

    if augmentation.brightness:
        pixels = (factor(augmentation.brightness) * pixels).clamp(0, 255)
    if augmentation.contrast:
        mean = _luminance(pixels).mean(dim=(1, 2, 3), keepdim=True)
        pixels = (mean + factor(augmentation.contrast) * (pixels - mean)).clamp(0, 255)
    if augmentation.saturation:
        gray = _luminance(pixels)
        pixels = (gray + factor(augmentation.saturation) * (pixels - gray)).clamp(0, 255)
    if augmentation.gray:
        faded = torch.rand((len(pixels), 1, 1, 1), generator=rng) < augmentation.gray
        pixels = torch.where(faded.to(pixels.device), _luminance(pixels), pixels.float())
    return pixels


def _luminance(pixels: Tensor) -> Tensor:
    colours = pixels.float()
    return (colours @ colours.new_tensor(LUMINANCE))[..., None]


def _reflected(positions: Tensor, length: int) -> Tensor:
    last = max(length - 1, 1)
    folded = positions.remainder(2 * last)
    return torch.minimum(folded, 2 * last - folded).clamp(max=length - 1)

"""Labels written into images, on a few pixels or as waves, and how the first layer reads them."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.local.forward_forward_goodness import normalised
from brainscore_lite.learning_rules.stages import Stage
from brainscore_lite.networks.network import Network

LabelsAs = Literal["pixels", "waves"]

#: Strength of labels that trains best on handwritten digits.
LABEL_STRENGTHS: dict[LabelsAs, float] = {"pixels": 8.0, "waves": 1.0}
#: Wavelengths of the waves in pixels, in turn: short enough for a small kernel to tell apart.
_WAVELENGTHS = (4.0, 8.0)


class LabelCode(nn.Module):
    """Write a label into an image: x' = keep * x + P_label.

    "pixels" replaces the first pixels of the image, one for each class, by black, and that of the
    label by white. "waves" adds to the whole image a sinusoid whose orientation and wavelength are
    those of the label, so that every place of the image tells the label. A label need not be
    certain: the neutral label, which gives every class the same probability, has the mean pattern.

    Parameters
    ----------
    network : Network
        Says the shape and the normalisation of its images.
    n_classes : int
    written : {"pixels", "waves"}
    strength : float
        Of the contrast between black and white: that of a label's pixel with the others, or the
        amplitude of its wave.

    References
    ----------
    Hinton (2022), arXiv:2212.13345; Scodellaro et al. (2025), doi:10.1038/s41598-025-26235-2.
    """

    keep: Tensor
    patterns: Tensor

    def __init__(
        self, network: Network, n_classes: int, *, written: LabelsAs, strength: float
    ) -> None:
        super().__init__()
        weight = next(network.parameters())
        eye = network.preprocessing
        mean = torch.tensor(eye.mean, dtype=weight.dtype).view(-1, 1, 1)
        std = torch.tensor(eye.std, dtype=weight.dtype).view(-1, 1, 1)
        black, contrast = -mean / std, strength / std
        size = network.image_size
        keep = torch.ones(1, size, size, dtype=weight.dtype)
        if written == "pixels":
            shown = torch.eye(n_classes, size * size, dtype=weight.dtype)
            shown = shown.view(n_classes, 1, size, size)
            keep = keep - shown.sum(dim=0)
            patterns = black * (1 - keep) + contrast * shown
        else:
            patterns = contrast * waves(n_classes, size).to(weight.dtype)
        self.register_buffer("keep", keep.to(weight.device), persistent=False)
        self.register_buffer("patterns", patterns.to(weight.device), persistent=False)

    @property
    def neutral(self) -> Tensor:
        """Pattern of the neutral label, of shape (channels, size, size)."""
        return self.patterns.mean(dim=0)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Write labels into images, or the neutral label where none are given.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, size, size)
        labels : int64 Tensor, shape (batch,), optional

        Returns
        -------
        Tensor, of the shape of the images
        """
        pattern = self.neutral if labels is None else self.patterns[labels]
        return images * self.keep + pattern


def wrong_labels(labels: Tensor, n_classes: int, *, generator: torch.Generator) -> Tensor:
    """Draw for each label one of the others, each as likely, of shape (batch,)."""
    device = generator.device
    ahead = torch.randint(1, n_classes, labels.shape, generator=generator, device=device)
    return (labels + ahead.to(labels.device)) % n_classes


def labelled_drive(stage: Stage, images: Tensor, labels: Tensor, *, code: LabelCode) -> Tensor:
    """Return the first layer's drive for images that are each shown with several labels.

    W x^ = (sqrt(d) / |x'|) (W (keep * x) + W P_label) for x' = keep * x + P_label: where the
    connection is linear, each image and each pattern pass through it once, however many labels an
    image is shown with.

    Parameters
    ----------
    stage : Stage
        The first area.
    images : Tensor, shape (batch, channels, size, size)
        Without labels.
    labels : int64 Tensor, shape (n_shown, batch)
        Labels that each image is shown with.
    code : LabelCode

    Returns
    -------
    Tensor, shape (n_shown * batch, ...)
        All images with their first label, then all with their second, and so on.
    """
    n_shown, batch = labels.shape
    if any(isinstance(each, nn.MaxPool2d | nn.AdaptiveMaxPool2d) for each in _pools(stage)):
        shown = images.repeat(n_shown, 1, 1, 1)
        return stage.drive(normalised(code(shown, labels.flatten())))
    bare, patterns = images * code.keep, code.patterns
    scale = _scale(bare.flatten(1), patterns.flatten(1), labels)
    told = functional.one_hot(labels, len(patterns)).to(scale.dtype) * scale.unsqueeze(2)
    of_images, of_patterns = stage.arriving(bare), stage.arriving(patterns)
    each = scale.view(n_shown, batch, *[1] * (of_images.ndim - 1))
    from_labels = _maps(told.flatten(0, 1) @ _rows(of_patterns), of_images)
    from_images = (each * of_images).flatten(0, 1)
    return stage.area.drive([from_images + from_labels])


def _pools(stage: Stage) -> tuple[nn.Module, nn.Module]:
    return stage.connection.pool_in, stage.connection.pool_out


def _scale(bare: Tensor, patterns: Tensor, labels: Tensor) -> Tensor:
    """Return sqrt(d) / |x'| for each label and image, of shape (n_shown, batch)."""
    squares = torch.einsum("bi,bi->b", bare, bare)
    products = (bare @ patterns.T).gather(1, labels.T).T
    of_patterns = torch.einsum("ki,ki->k", patterns, patterns)[labels]
    return (bare.shape[1] / (squares + 2 * products + of_patterns)).sqrt()


def _rows(maps: Tensor) -> Tensor:
    """Lay each example's activities out in one row, channels last as they lie in memory."""
    return maps.permute(0, 2, 3, 1).flatten(1) if maps.ndim == 4 else maps


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """Undo `_rows`."""
    if like.ndim == 2:
        return rows
    channels, height, width = like.shape[1:]
    return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)


def waves(n_classes: int, size: int) -> Tensor:
    """Draw one sinusoid for each class: orientations evenly apart, wavelengths in turn.

    P_k(x, y) = cos(2 pi (x cos a_k + y sin a_k) / wavelength_k),  a_k = pi k / n_classes

    Parameters
    ----------
    n_classes : int
    size : int
        Height and width in pixels.

    Returns
    -------
    float64 Tensor, shape (n_classes, 1, size, size)
    """
    index = torch.arange(n_classes)
    angle = math.pi * index.double() / n_classes
    wavelength = torch.tensor(_WAVELENGTHS, dtype=torch.float64)[index % len(_WAVELENGTHS)]
    across = torch.arange(size, dtype=torch.float64)
    frequency_x = (angle.cos() / wavelength).view(-1, 1, 1, 1)
    frequency_y = (angle.sin() / wavelength).view(-1, 1, 1, 1)
    phase = frequency_x * across.view(1, 1, 1, -1) + frequency_y * across.view(1, 1, -1, 1)
    return (2 * math.pi * phase).cos()

"""Draw the ten digits once, at every place between pixels, to compose images of them quickly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SUBPIXELS = 16  # 32 pixels are drawn on a canvas of 512, as in the paper
FONT_SIZE = 384 / 512  # of the image's side
EDGE = 10 / 512  # of a line of 20, half lies under the face
BOLD = 12 / 512  # by which the face is thickened: the font is regular, the paper's bold
WHITE = 255.0
BACKGROUND = 119

Plane = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DigitGlyphs:
    """Hold the digits at every place between pixels; black faces with white edges.

    Parameters
    ----------
    coverage : float32 array, shape (10, 16, 16, height, width)
        How much of a pixel the digit covers, 0 to 1, by digit and by its shift down and to the
        right in sixteenths of a pixel.
    light : float32 array, shape (10, 16, 16, height, width)
        What the digit adds to a pixel, 0 to 255: over a background of value v a pixel becomes
        ``v * (1 - coverage) + light``.
    """

    coverage: Plane
    light: Plane

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels of what holds any digit at any shift."""
        return self.coverage.shape[-2], self.coverage.shape[-1]

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width of the box in whose middle each digit lies, in sixteenths of a pixel."""
        height, width = self.shape
        return SUBPIXELS * (height - 1), SUBPIXELS * (width - 1)

    def templates(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.intp]]:
        """Return the digits to cut fragments from, trimmed to the pixels that they cover.

        Returns
        -------
        values : uint8 array, shape (10, height, width)
            On the background.
        covered : bool array, shape (10, height, width)
            Pixels of which the digit covers at least half.
        shapes : int array, shape (10, 2)
            Height and width of each digit, which starts at row and column 0.
        """
        covered = self.coverage[:, 0, 0] >= 0.5
        values = BACKGROUND * (1 - self.coverage[:, 0, 0]) + self.light[:, 0, 0]
        shapes = np.empty((len(covered), 2), dtype=np.intp)
        for digit, mask in enumerate(covered):
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            corner = (-int(rows[0]), -int(columns[0]))
            covered[digit] = np.roll(mask, corner, axis=(0, 1))
            values[digit] = np.roll(values[digit], corner, axis=(0, 1))
            shapes[digit] = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        return values.round().astype(np.uint8), covered, shapes


@lru_cache(maxsize=4)
def digit_glyphs(size: int) -> DigitGlyphs:
    """Draw the digits for images of `size` pixels, with the font that comes with Pillow.

    Parameters
    ----------
    size : int
        Side of the images; the font's size is three quarters of it.

    Returns
    -------
    DigitGlyphs
    """
    inked = [_inked(str(digit), size=size) for digit in range(10)]
    height, width = (max(whole.shape[axis] for whole, _ in inked) for axis in (0, 1))
    # To a whole number of pixels, so that the middle of the box is known in sixteenths of them.
    height, width = (-(-length // SUBPIXELS) * SUBPIXELS for length in (height, width))
    shifted = [
        [_at_every_shift(_centred(plane, height, width)) for plane in planes] for planes in inked
    ]
    coverage, face = (np.stack([each[part] for each in shifted]) for part in (0, 1))
    return DigitGlyphs(coverage, np.maximum(coverage - face, 0) * np.float32(WHITE))


def _inked(digit: str, *, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the whole digit and its face, 0 to 255, trimmed to the whole digit's ink."""
    side = size * SUBPIXELS
    font = ImageFont.load_default(size=FONT_SIZE * side)
    planes = []
    for width in (BOLD + EDGE, BOLD):
        plane = Image.new("L", (side, side))
        ImageDraw.Draw(plane).text(
            (side / 2, side / 2),
            digit,
            255,
            font=font,
            anchor="mm",
            stroke_width=round(width * side),
        )
        planes.append(np.asarray(plane))
    rows, columns = (np.flatnonzero(planes[0].any(axis=axis)) for axis in (1, 0))
    ink = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return planes[0][ink], planes[1][ink]


def _centred(plane: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    top, left = (height - plane.shape[0]) // 2, (width - plane.shape[1]) // 2
    bottom, right = height - plane.shape[0] - top, width - plane.shape[1] - left
    return np.pad(plane, ((top, bottom), (left, right)))


def _at_every_shift(plane: NDArray[np.uint8]) -> Plane:
    """Average over pixels at all 16 x 16 shifts, shape (16, 16, rows, columns), 0 to 1."""
    total = np.pad(plane.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = (_edges(length) for length in plane.shape)
    bands = np.diff(total[rows], axis=1)  # (down, rows, fine columns)
    pixels = np.diff(bands[:, :, columns], axis=3)  # (down, rows, right, columns)
    means = pixels / (WHITE * SUBPIXELS**2)
    return np.ascontiguousarray(means.swapaxes(1, 2), dtype=np.float32)


def _edges(length: int) -> NDArray[np.intp]:
    """Fine coordinates of the edges of pixels, by shift: shape (16, pixels + 1)."""
    pixels = np.arange(length // SUBPIXELS + 2)
    shifts = np.arange(SUBPIXELS)[:, np.newaxis]
    edges: NDArray[np.intp] = np.clip(SUBPIXELS * pixels - shifts, 0, length)
    return edges

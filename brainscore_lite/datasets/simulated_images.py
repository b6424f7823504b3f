"""Draw images for simulated recordings: textured shapes in random poses on random backgrounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
Mask = NDArray[np.bool_]


def _star(u: Plane, v: Plane) -> Mask:
    angle = np.arctan2(v, u)
    return np.asarray(np.hypot(u, v) < 0.7 + 0.3 * np.cos(5 * angle))


def _triangle(u: Plane, v: Plane) -> Mask:
    return np.asarray((v > -0.5) & (v < 1 - np.sqrt(3) * np.abs(u)))


SHAPES: dict[str, Callable[[Plane, Plane], Mask]] = {
    "disc": lambda u, v: np.hypot(u, v) < 0.8,
    "bar": lambda u, v: (np.abs(u) < 1.0) & (np.abs(v) < 0.3),
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.75,
    "triangle": _triangle,
    "star": _star,
    "cross": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.25) & (np.hypot(u, v) < 1.0),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.7) < 0.25,
    "crescent": lambda u, v: (np.hypot(u, v) < 0.9) & (np.hypot(u - 0.45, v) > 0.7),
}


def draw(shape: str, *, size: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one object in a random pose, filled with a random texture, on a random background.

    Parameters
    ----------
    shape : str
        One of `SHAPES`.
    size : int
        Side in pixels.
    random : numpy.random.Generator

    Returns
    -------
    uint8 array, shape (size, size, 3)
    """
    y, x = np.meshgrid(*(2 * [np.linspace(-1, 1, size)]), indexing="ij")
    centre, scale = random.uniform(-0.2, 0.2, 2), random.uniform(0.5, 0.75)
    turn = random.uniform(-np.pi / 8, np.pi / 8)
    u = (np.cos(turn) * (x - centre[0]) + np.sin(turn) * (y - centre[1])) / scale
    v = (np.cos(turn) * (y - centre[1]) - np.sin(turn) * (x - centre[0])) / scale
    inside = SHAPES[shape](u, v)[..., np.newaxis]
    ground = _coloured(_texture(x, y, random), level=(0.4, 0.6), contrast=0.15, random=random)
    level = [(0.05, 0.25), (0.75, 0.95)][random.integers(2)]
    figure = _coloured(_texture(u, v, random), level=level, contrast=0.3, random=random)
    return np.asarray(np.where(inside, figure, ground) * 255).round().astype(np.uint8)


def _texture(u: Plane, v: Plane, random: np.random.Generator) -> Plane:
    """Make a pattern with values in -1..1: grating, checks, gradient or 1/f noise."""
    kind = random.integers(4)
    if kind == 3:
        return _pink_noise(len(u), random)
    turn, frequency, phase = random.uniform([0, 1.5, 0], [np.pi, 5, 2 * np.pi])
    along = np.cos(turn) * u + np.sin(turn) * v
    if kind == 0:
        return np.asarray(np.sin(np.pi * frequency * along + phase))
    if kind == 1:
        across = np.cos(turn) * v - np.sin(turn) * u
        return np.asarray(np.sign(np.sin(np.pi * frequency * along) * np.sin(4 * across + phase)))
    return np.asarray(np.clip(along, -1, 1))


def _pink_noise(size: int, random: np.random.Generator) -> Plane:
    frequency = np.hypot(np.fft.fftfreq(size)[:, np.newaxis], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.standard_normal((size, size))) / frequency
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(np.clip(noise / (2.5 * noise.std()), -1, 1))


def _coloured(
    pattern: Plane, *, level: tuple[float, float], contrast: float, random: np.random.Generator
) -> Plane:
    """Give a pattern a mean colour and a contrast; values in 0..1."""
    colour = random.uniform(*level) + random.uniform(-0.1, 0.1, 3)
    return np.clip(colour + 0.5 * contrast * pattern[..., np.newaxis], 0, 1)

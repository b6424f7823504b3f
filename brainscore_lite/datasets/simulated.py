"""Simulate V4 and IT recordings whose tuning, noise and ceiling are known.

The generator is a small hierarchy: luminance -> Gabor energy (V1) -> divisive normalisation ->
random local combinations, rectified (V4) -> maximum over positions, random combinations, rectified
(IT). A trial is ``tuning + noise``, with Gaussian noise of variance

    sigma^2 = n_repetitions * s^2 * (1 - c) / c

where s^2 is the variance of the neuroid's tuning over these very stimuli, so that the response
averaged over repetitions has reliability ``s^2 / (s^2 + sigma^2 / n_repetitions) = c`` and no model
correlates with it better, in expectation, than sqrt(c).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.configuration import digest
from brainscore_lite.datasets.dataset import Dataset, DatasetError
from brainscore_lite.datasets.simulated_images import SHAPES, draw
from brainscore_lite.schema import activations, responses
from brainscore_lite.seeding import generator
from brainscore_lite.stimuli import LUMINANCE, StimulusSet

NAME = "simulated_v4_it"
REGIONS = ("V4", "IT")
_ORIENTATIONS = np.arange(4) * np.pi / 4
_WAVELENGTHS = (4.0, 8.0, 16.0)  # pixels
_GRID = 8  # V1 is pooled onto _GRID x _GRID places
_FIELD = 3  # side of a V4 receptive field, in places
_MEAN_RATE, _TUNING_DEVIATION = 10.0, 3.0  # spikes/s

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedRecording:
    """Settings of a simulated recording.

    Parameters
    ----------
    n_stimuli : int
        Images; the eight object classes take turns.
    reliability : float
        c, the reliability of the averaged response, 0 < c <= 1.
    n_repetitions : int
        Trials of each image.
    n_neuroids : int
        In each region, shared out evenly between the animals.
    animals : tuple of str
    image_size : int
        Side in pixels.
    seed : int
    """

    n_stimuli: int = 400
    reliability: float = 0.8
    n_repetitions: int = 8
    n_neuroids: int = 32
    animals: tuple[str, ...] = ("sim1", "sim2")
    image_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.reliability <= 1:
            raise DatasetError(f"reliability is {self.reliability}, expected 0 < c <= 1.")
        smallest = (self.n_stimuli, self.n_repetitions, self.n_neuroids, len(self.animals))
        if min(smallest) < 1 or self.n_stimuli < 2 or len(set(self.animals)) < len(self.animals):
            raise DatasetError(
                f"{self}: expected at least two stimuli, one repetition, one neuroid and one "
                "animal, the animals' names unique."
            )
        if self.image_size < 4 * _GRID:
            raise DatasetError(f"image_size is {self.image_size}, expected at least {4 * _GRID}.")

    @property
    def ceiling(self) -> float:
        """Best expected Pearson r of any model with the averaged response: sqrt(c)."""
        return float(np.sqrt(self.reliability))


def load(settings: SimulatedRecording | None = None) -> Dataset:
    """Simulate a recording.

    Parameters
    ----------
    settings : SimulatedRecording, optional
        The defaults if not given.

    Returns
    -------
    Dataset
        Regions "V4" and "IT", dims (repetition, stimulus, neuroid), in spikes/s; stimulus coords
        ``object_name`` and ``block`` (the class).
    """
    settings = settings or SimulatedRecording()
    stimuli = _stimuli(settings)
    return Dataset(
        name=NAME,
        recordings={region: _trials(settings, region, stimuli) for region in REGIONS},
        stimuli=stimuli,
        simulated=True,
        species="none",
        reference="brainscore_lite, simulated recording",
        licence="BSD-3-Clause",
        caveats=("simulated",),
        sha256={"settings": digest(settings)},
    )


def true_activations(settings: SimulatedRecording | None = None) -> xr.DataArray:
    """Return the noise-free tuning of every neuroid: the features of the true generator.

    Returns
    -------
    DataArray, dims (stimulus, neuroid)
        Layers "V4" and "IT".
    """
    settings = settings or SimulatedRecording()
    stimuli = _stimuli(settings)
    return activations(
        np.concatenate([_tuning(settings)[region] for region in REGIONS], axis=1),
        stimulus=stimuli.ids,
        layer=[region for region in REGIONS for _ in range(settings.n_neuroids)],
        neuroid=[label for region in REGIONS for label in _labels(settings, region)],
    )


def _trials(settings: SimulatedRecording, region: str, stimuli: StimulusSet) -> xr.DataArray:
    tuning = _tuning(settings)[region]
    c, repetitions = settings.reliability, settings.n_repetitions
    deviation = tuning.std(axis=0) * np.sqrt(repetitions * (1 - c) / c)
    random = generator(settings.seed, NAME, region, "noise")
    noise = random.standard_normal((repetitions, *tuning.shape)) * deviation
    return responses(
        tuning + noise,
        stimulus=stimuli.ids,
        neuroid=_labels(settings, region),
        region=region,
        animal=[label.split("_")[0] for label in _labels(settings, region)],
        stimulus_coords=stimuli.coords,
        name=f"{NAME}.{region}",
    )


def _labels(settings: SimulatedRecording, region: str) -> list[str]:
    turns = (settings.animals[i % len(settings.animals)] for i in range(settings.n_neuroids))
    return [f"{animal}_{region}_{i:03d}" for i, animal in enumerate(sorted(turns))]


def _stimuli(settings: SimulatedRecording) -> StimulusSet:
    classes = tuple(list(SHAPES)[i % len(SHAPES)] for i in range(settings.n_stimuli))
    return StimulusSet.from_arrays(
        NAME,
        _images(settings.n_stimuli, settings.image_size, settings.seed),
        ids=tuple(f"simulated/image{i:04d}" for i in range(1, settings.n_stimuli + 1)),
        coords={"object_name": classes, "block": classes},
    )


@functools.lru_cache(maxsize=4)
def _images(n_stimuli: int, size: int, seed: int) -> NDArray[np.uint8]:
    random = generator(seed, NAME, "images")
    names = list(SHAPES)
    images = [draw(names[i % len(names)], size=size, random=random) for i in range(n_stimuli)]
    return np.stack(images)


@functools.lru_cache(maxsize=4)
def _tuning(settings: SimulatedRecording) -> dict[str, Array]:
    """Return each region's tuning, (n_stimuli, n_neuroids), in spikes/s."""
    images = _images(settings.n_stimuli, settings.image_size, settings.seed)
    luminance = images.astype(np.float64) @ np.array(LUMINANCE) / 255
    random = generator(settings.seed, NAME, "tuning")
    v4_maps = _v4(_v1(luminance), n_channels=max(64, settings.n_neuroids), random=random)
    n_places = v4_maps.shape[2]
    channels = random.permutation(v4_maps.shape[1])[: settings.n_neuroids]
    places = random.integers(n_places, size=settings.n_neuroids)
    it = _rectified_combinations(v4_maps.max(axis=2), settings.n_neuroids, random)
    return {"V4": _as_rates(v4_maps[:, channels, places]), "IT": _as_rates(it)}


def _v1(luminance: Array) -> Array:
    """Compute normalised Gabor energy, pooled: (n, height, width) -> (n, channel, place, place)."""
    size = luminance.shape[1]
    spectrum = np.fft.fft2(luminance - luminance.mean(axis=(1, 2), keepdims=True))
    energies = []
    for wavelength in _WAVELENGTHS:
        for orientation in _ORIENTATIONS:
            passed = np.fft.ifft2(spectrum * _one_sided_gabor(size, wavelength, orientation))
            energies.append(np.abs(passed))  # both phases of the quadrature pair at once
    energy = np.stack(energies, axis=1)
    energy /= 0.05 + energy.mean(axis=1, keepdims=True)
    step = size // _GRID
    trimmed = energy[:, :, : step * _GRID, : step * _GRID]
    return np.asarray(
        trimmed.reshape(*energy.shape[:2], _GRID, step, _GRID, step).mean(axis=(3, 5))
    )


def _one_sided_gabor(size: int, wavelength: float, orientation: float) -> Array:
    """Make the transfer function of an analytic Gabor filter, one octave wide."""
    fy, fx = np.meshgrid(*(2 * [np.fft.fftfreq(size)]), indexing="ij")
    along = fx * np.cos(orientation) + fy * np.sin(orientation) - 1 / wavelength
    across = fy * np.cos(orientation) - fx * np.sin(orientation)
    width = 0.35 / wavelength
    return np.asarray(np.exp(-(along**2 + across**2) / (2 * width**2)))


def _v4(v1: Array, *, n_channels: int, random: np.random.Generator) -> Array:
    """Combine V1 within local fields: (n, channel, place, place) -> (n, V4 channel, place)."""
    fields = np.lib.stride_tricks.sliding_window_view(v1, (_FIELD, _FIELD), axis=(2, 3))
    n, _, rows, columns = fields.shape[:4]
    inputs = fields.transpose(0, 2, 3, 1, 4, 5).reshape(n * rows * columns, -1)
    combined = _rectified_combinations(inputs, n_channels, random)
    return combined.reshape(n, rows * columns, n_channels).transpose(0, 2, 1)


def _rectified_combinations(inputs: Array, n_outputs: int, random: np.random.Generator) -> Array:
    """Combine a random quarter of the standardised inputs; rectify at the lower third."""
    standard = (inputs - inputs.mean(axis=0)) / (inputs.std(axis=0) + 1e-9)
    weights = random.standard_normal((inputs.shape[1], n_outputs))
    weights *= random.random(weights.shape) < 0.25
    drive = standard @ weights
    return np.asarray(np.maximum(drive - np.quantile(drive, 1 / 3, axis=0), 0))


def _as_rates(tuning: Array) -> Array:
    standard = (tuning - tuning.mean(axis=0)) / tuning.std(axis=0)
    return np.asarray(_MEAN_RATE + _TUNING_DEVIATION * standard)

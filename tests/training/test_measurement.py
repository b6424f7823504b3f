from typing import Any

import pytest
import torch
from torch import nn

from brainscore_lite.learning_rules import Backprop, Batch, Untrained
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.training import alignment, weight_change
from brainscore_lite.training.measurement import layer_of


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(10, 3, 8, 8, generator=generator), torch.arange(10) % 2)


def test_backprop_is_aligned_with_the_gradient(tiny: ConvNet, batch: Batch) -> None:
    estimator = Backprop().bind(tiny.build(torch.Generator().manual_seed(0)), torch.Generator())
    angles = alignment(estimator, batch)
    assert set(angles) == {"V1", "IT", "readout"}
    assert all(cosine == pytest.approx(1, abs=1e-6) for cosine in angles.values())


def test_no_update_has_no_angle(tiny: ConvNet, batch: Batch) -> None:
    estimator = Untrained().bind(tiny.build(torch.Generator()), torch.Generator())
    assert alignment(estimator, batch) == {}
    assert alignment(estimator, Batch(batch.images)) == {}


def test_measuring_leaves_the_estimator_as_it_was(tiny: ConvNet, batch: Batch, busy: Any) -> None:
    estimator = busy.bind(tiny.build(torch.Generator()), torch.Generator().manual_seed(1))
    before = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    angles = alignment(estimator, batch)
    assert all(0.9 < cosine < 1 for cosine in angles.values())
    after = estimator.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(p.grad is None for p in estimator.parameters())


def test_both_passes_draw_the_same_dropout(tiny: ConvNet, batch: Batch) -> None:
    network = tiny.build(torch.Generator().manual_seed(0))
    network.areas["IT"] = nn.Sequential(network.areas["IT"], nn.Dropout(0.5))
    estimator = Backprop().bind(network, torch.Generator())
    with torch.random.fork_rng(devices=[]):
        first = alignment(estimator, batch)
        assert all(cosine > 0.999 for cosine in first.values())
        torch.manual_seed(17)
        before = torch.get_rng_state()
        assert alignment(estimator, batch) == first
        assert torch.equal(torch.get_rng_state(), before)


def test_weight_change_is_relative_to_the_weights_before(tiny: ConvNet) -> None:
    estimator = Untrained().bind(tiny.build(torch.Generator()), torch.Generator())
    before = {n: p.detach().clone() for n, p in estimator.network.named_parameters()}
    with torch.no_grad():
        for name, parameter in estimator.network.named_parameters():
            if layer_of(name, estimator.model.layer_names) == "IT":
                parameter *= 1.25
    changes = weight_change(before, estimator)
    assert changes == {"V1": 0.0, "IT": pytest.approx(0.25), "readout": 0.0}


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("connections.image->V1.op.weight", "V1"),
        ("connections.V1->IT.op.weight", "IT"),
        ("areas.IT.bias", "IT"),
        ("areas.IT_1.bias", "IT_1"),
        ("module.features.3.weight", "features.3"),
        ("stem.weight", "stem"),
        ("temperature", "temperature"),
    ],
)
def test_parameters_belong_to_layers(parameter: str, layer: str) -> None:
    assert layer_of(parameter, ("V1", "IT_1", "IT", "features.3", "readout")) == layer

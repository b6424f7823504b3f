"""Weights drawn from one generator."""

import math

import torch
from torch import nn

from brainscore_lite.networks.drawing import drawn


def make() -> nn.Module:
    return nn.Sequential(nn.Conv2d(20, 50, 5), nn.GroupNorm(2, 50), nn.Linear(400, 200))


def test_weights_have_the_variance_of_their_fan_in_and_biases_are_zero() -> None:
    network = drawn(make, torch.Generator().manual_seed(0), gain=3.0)
    for layer, fan_in in ((network[0], 500), (network[2], 400)):
        assert abs(layer.weight.std().item() * math.sqrt(fan_in) / 3 - 1) < 0.02
        assert not layer.bias.any()
    assert (network[1].weight == 1).all()


def test_only_the_generator_is_drawn_from() -> None:
    before = torch.random.get_rng_state()
    one = drawn(make, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.random.get_rng_state())
    other = drawn(make, torch.Generator().manual_seed(0))
    assert torch.equal(one[2].weight, other[2].weight)

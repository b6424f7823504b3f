"""Steepness of activations, told from what they return."""

import torch

from brainscore_lite.learning_rules.slopes import SLOPES
from brainscore_lite.networks.areas import ACTIVATIONS


def test_steepness_is_told_from_the_output() -> None:
    """phi'(a) from phi(a) for every activation in the table, to 1e-12."""
    drive = torch.linspace(-3.05, 3.05, 62, dtype=torch.float64, requires_grad=True)
    for name, slope in SLOPES.items():
        response = ACTIVATIONS[name]()(drive)
        (expected,) = torch.autograd.grad(response.sum(), drive)
        assert torch.allclose(slope(response.detach()), expected, rtol=1e-10, atol=1e-12), name
    assert {"silu", "triangle"} <= ACTIVATIONS.keys() - SLOPES.keys()  # not functions of it

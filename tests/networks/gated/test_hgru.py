"""The horizontal GRU: equations, symmetric weights, time constants, lesions, filters."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.networks.gated import HORIZONTAL_GRU, HorizontalGRU
from brainscore_lite.networks.gated.hgru import LESIONS, gabor_filters
from brainscore_lite.seeding import torch_generator
from brainscore_lite.stimuli import Preprocessing

EYE = Preprocessing(size=12, mean=(0.0,), std=(1.0,), channels="L")
SETTINGS = HorizontalGRU(n_orientations=2, kernel=5, n_steps=4, n_classes=3, preprocessing=EYE)


def built(settings: HorizontalGRU = SETTINGS) -> Any:
    network = settings.build(torch_generator(0)).double().eval()
    with torch.no_grad():
        network.gabor.bias.fill_(0.1)
        network.norm.running_mean.fill_(0.2)
        network.norm.running_var.fill_(0.6)
        network.evidence_norm.running_mean.fill_(-0.3)
        network.evidence_norm.weight.fill_(1.3)
    return network


def images() -> Tensor:
    source = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, 12, 12, generator=source, dtype=torch.float64)


def test_equals_the_equations_step_by_step() -> None:
    network = built()
    p = {key.removeprefix("layer."): value for key, value in network.state_dict().items()}
    kernel = network.layer.kernel.detach()
    alpha, mu, omega, kappa = (p[f"letters.{greek}"] for greek in LESIONS)
    x = functional.conv2d(images(), p["gabor.weight"], p["gabor.bias"], padding=3) ** 2
    h = torch.zeros_like(x)
    for step in network.respond(images()):
        g_1 = torch.sigmoid(functional.conv2d(h, p["gain_gate.weight"]) + p["gain_bias"])
        c_1 = functional.conv2d(g_1 * h, kernel, padding=2)
        i = torch.tanh(x - (alpha * h + mu) * c_1)
        g_2 = torch.sigmoid(functional.conv2d(i, p["mixing_gate.weight"]) + p["mixing_bias"])
        c_2 = p["gamma"] * functional.conv2d(i, kernel, padding=2)
        e = torch.tanh(kappa * (i + c_2) + omega * i * c_2)
        h = p["eta"][step.index] * (g_2 * h + (1 - g_2) * e)
        torch.testing.assert_close(step.activations["gabor"], x, rtol=0, atol=1e-12)
        torch.testing.assert_close(step.activations["horizontal"], h, rtol=0, atol=1e-12)
        z = (h - 0.2) / (0.6 + 1e-5) ** 0.5
        z = functional.conv2d(z, p["evidence.weight"]).flatten(2).max(2).values
        z = 1.3 * (z + 0.3) / (1 + 1e-5) ** 0.5
        expected = z @ p["readout.weight"].T + p["readout.bias"]
        torch.testing.assert_close(step.activations["readout"], expected, rtol=0, atol=1e-12)


def test_horizontal_weights_are_symmetric_between_channels_and_count_once() -> None:
    layer = built().layer
    kernel = layer.kernel
    assert kernel.shape == (5, 5, 5, 5)
    assert torch.equal(kernel, kernel.transpose(0, 1))
    assert len(kernel[:, :, 0, 0].unique()) == 15
    assert layer.horizontal.numel() == 15 * 25


def test_parameters_of_the_published_size() -> None:
    """25 channels: filters 1250, W 73,125, gates 1300, Greek letters 125, eta 8, readout 60."""
    network = HORIZONTAL_GRU.build(torch_generator(0))
    assert HORIZONTAL_GRU.n_channels == 25
    assert network.layer.kernel.shape == (25, 25, 15, 15)
    assert sum(parameter.numel() for parameter in network.parameters()) == 75_868


def test_channels_start_with_time_constants_from_one_step_to_all() -> None:
    layer = replace(SETTINGS, n_orientations=200, n_steps=8).build(torch_generator(0)).layer
    assert torch.equal(layer.gain_bias, -layer.mixing_bias)
    constants = layer.mixing_bias.exp()
    assert constants.min() >= 1
    assert constants.max() <= 7
    assert constants.mean().item() == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize(
    "lesions",
    [(greek,) for greek in LESIONS]
    + [pair for pair in combinations(LESIONS, 2) if pair != ("omega", "kappa")],
)
def test_a_lesion_is_the_parameter_at_zero(lesions: tuple[str, ...]) -> None:
    whole, lesioned = built(), built(replace(SETTINGS, lesions=lesions))
    lesioned.load_state_dict(whole.state_dict(), strict=False)
    intact = list(whole.respond(images()))[-1].activations["horizontal"]
    with torch.no_grad():
        for greek in lesions:
            assert greek not in lesioned.layer.letters
            whole.layer.letters[greek].zero_()
    for one, other in zip(whole.respond(images()), lesioned.respond(images()), strict=True):
        for layer, activations in one.activations.items():
            torch.testing.assert_close(activations, other.activations[layer], rtol=0, atol=1e-12)
    assert (one.activations["horizontal"] - intact).abs().max() > 1e-6


@pytest.mark.parametrize("lesions", [("alpha",), ("alpha", "mu"), ("alpha", "omega")])
def test_a_lesioned_network_has_no_weight_without_a_gradient(lesions: tuple[str, ...]) -> None:
    network = built(replace(SETTINGS, lesions=lesions)).train()
    batch = images().repeat(2, 1, 1, 1) * torch.rand(4, 1, 1, 1).double()
    functional.cross_entropy(network(batch), torch.arange(4) % 3).backward()
    assert not [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert hasattr(network.layer, "gain_gate") == (lesions != ("alpha", "mu"))


def test_filters_have_mean_zero_and_length_one_and_see_their_orientation() -> None:
    filters = gabor_filters(4)
    assert filters.shape == (9, 1, 7, 7)
    assert filters.mean((1, 2, 3)).abs().max() < 1e-7
    torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(9))
    rows = torch.arange(7.0).view(7, 1).expand(7, 7)
    grating = torch.sin(torch.pi * rows / 2)  # horizontal bars, 4 pixels a cycle
    energy = (filters[:, 0] * grating).sum((1, 2)).square()[:8].view(4, 2).sum(1)
    assert energy.argmax() == 0
    assert energy[0] > 5 * energy[2]


def test_filters_are_spread_over_the_channels_of_a_colour_image() -> None:
    colour = Preprocessing(size=12)
    network = replace(SETTINGS, preprocessing=colour).build(torch_generator(0))
    assert network.gabor.weight.shape == (5, 3, 7, 7)
    assert torch.equal(network.gabor.weight[:, 0], network.gabor.weight[:, 2])

"""The rule of Bienenstock, Cooper and Munro: selectivity, and fixed points at the threshold."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import BCM, Batch, Estimator
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network

N_UNITS = 6


@pytest.fixture
def patterns() -> Tensor:
    """Two images that overlap."""
    pair = torch.tensor([[1.0, 0.6, 0, 0], [0.6, 1.0, 0, 0]], dtype=torch.float64)
    return pair.view(2, 1, 2, 2)


@pytest.fixture
def network() -> Network:
    area = Dense("units", N_UNITS)
    settings = ConvNet(areas=(area,), n_classes=2, image_size=2, in_channels=1)
    network = settings.build(torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        network.connections["image->units"].op.weight.abs_()
    return network


def taught(estimator: Estimator, batch: Tensor, *, lr: float, n_steps: int) -> None:
    estimator.begin(estimator.phases()[0])
    for _ in range(n_steps):
        estimator(Batch(batch), lambda: None)
        with torch.no_grad():
            for group in estimator.parameter_groups():
                for p in group.parameters:
                    p -= lr * group.lr_multiplier * p.grad


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("n_first", [1, 3])
def test_units_become_selective_for_one_of_two_patterns(
    normalised: bool, n_first: int, network: Network, patterns: Tensor
) -> None:
    """At the fixed point, the response to the one is the threshold, and to the other nothing."""
    rule = BCM(normalised=normalised, centred=False, threshold_rate=0.5)
    estimator = rule.bind(network, torch.Generator())
    batch = patterns[[0] * n_first + [1]]
    taught(estimator, batch, lr=0.2 if normalised else 0.12, n_steps=1200)
    weight = network.connections["image->units"].op.weight.detach()
    responses = (patterns.flatten(1) @ weight.T).clamp_min(0)
    preferred = responses.argmax(dim=0)
    assert torch.allclose(responses.min(dim=0).values, torch.zeros(N_UNITS).double(), atol=1e-3)
    shares = torch.tensor([n_first, 1]).double() / (n_first + 1)
    assert torch.allclose(responses.max(dim=0).values, 1 / shares[preferred], rtol=1e-3)
    assert torch.allclose(estimator.threshold(0), responses.max(dim=0).values, rtol=1e-3)


def test_the_fixed_point_is_stable(network: Network, patterns: Tensor) -> None:
    weight = network.connections["image->units"].op.weight
    answers = torch.tensor([[2.0, 0], [0, 2.0]]).double().repeat(3, 1)
    with torch.no_grad():
        weight.copy_(answers @ torch.linalg.pinv(patterns.flatten(1)).T)
    estimator = BCM(centred=False, threshold_rate=1.0).bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    growth = {}
    for scale in (0.9, 1.0, 1.1):
        with torch.no_grad():
            weight *= scale
        estimator(Batch(patterns), lambda: None)
        growth[scale] = -(weight.grad * weight.detach()).sum(dim=1)
        with torch.no_grad():
            weight /= scale
    assert torch.allclose(growth[1.0], torch.zeros(N_UNITS).double(), atol=1e-12)
    assert (growth[0.9] > 0.01).all()
    assert (growth[1.1] < -0.01).all()


def test_the_threshold_is_a_running_mean_of_squares(network: Network) -> None:
    estimator = BCM(threshold_rate=0.25, centred=False).bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    generator = torch.Generator().manual_seed(2)
    weight = network.connections["image->units"].op.weight.detach()
    squares, kept = [], 0.75 ** torch.arange(3).flip(0).double()
    for _ in range(3):
        images = torch.randn(5, 1, 2, 2, generator=generator).double()
        squares.append((images.flatten(1) @ weight.T).clamp_min(0).square().mean(dim=0))
        estimator(Batch(images), lambda: None)
    expected = (torch.stack(squares) * kept[:, None]).sum(dim=0) / kept.sum()
    assert torch.allclose(estimator.threshold(0), expected, rtol=1e-12)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("centred", [True, False])
def test_the_update_is_the_rule_summed_patch_by_patch(normalised: bool, centred: bool) -> None:
    area = Area("V1", 3, stride=2)
    network = ConvNet(areas=(area,), n_classes=2, image_size=8).build(torch.Generator()).double()
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    rule = BCM(normalised=normalised, centred=centred)
    estimator = rule.bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    estimator(Batch(images), lambda: None)
    x = functional.unfold(images, 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
    if centred:
        x = x - x.mean(dim=0)
    weight = network.connections["image->V1"].op.weight
    y = (x @ weight.detach().flatten(1).T).clamp_min(0)
    theta = y.square().mean(dim=0)
    expected = (y * (y - theta)).T @ x / len(x)
    if normalised:
        expected /= theta[:, None] * x.square().sum(dim=1).mean()
    assert torch.allclose(-weight.grad.flatten(1), expected, rtol=1e-10, atol=1e-14)
    assert (network.areas["V1"].bias.grad is not None) == centred

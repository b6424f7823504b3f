"""Oja's and Sanger's rules: they find the principal components, and say what they compute."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import (
    BCM,
    Batch,
    LatentPredictiveLearning,
    LearningRule,
    PrincipalComponents,
    SoftHebb,
    UnsupportedNetworkError,
)
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.black_box import put_black_box
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network

PIXELS = 9


def linear(units: int, **settings: object) -> Network:
    """Make a layer of linear units that sees 3 x 3 pixels."""
    area = Dense("units", units, activation="identity", **settings)
    network = ConvNet(areas=(area,), n_classes=2, image_size=3, in_channels=1)
    return network.build(torch.Generator().manual_seed(3)).double()


@pytest.fixture
def seen() -> Tensor:
    """Images off zero whose components have well separated variances."""
    generator = torch.Generator().manual_seed(5)
    basis, _ = torch.linalg.qr(torch.randn(PIXELS, PIXELS, generator=generator).double())
    deviations = 1.5 ** -torch.arange(PIXELS, dtype=torch.float64)
    latent = torch.randn(500, PIXELS, generator=generator).double() * deviations
    return (latent @ basis.T + 2).view(500, 1, 3, 3)


def components(seen: Tensor) -> Tensor:
    """Return the principal components in rows, the first on top."""
    return torch.linalg.eigh(seen.flatten(1).T.cov()).eigenvectors.flip(1).T


def trained(rule: PrincipalComponents, network: Network, seen: Tensor, n_steps: int) -> Tensor:
    estimator = rule.bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    for _ in range(n_steps):
        estimator(Batch(seen), lambda: None)
        with torch.no_grad():
            for group in estimator.parameter_groups():
                for p in group.parameters:
                    p -= rule.lr * group.lr_multiplier * p.grad
    return network.connections["image->units"].op.weight.detach()


@pytest.mark.parametrize("deflation", ["subspace", "sequential"])
def test_one_unit_becomes_the_first_component_of_unit_norm(deflation: str, seen: Tensor) -> None:
    network = linear(1)
    weight = trained(PrincipalComponents(deflation=deflation), network, seen, 400)
    cosine = functional.cosine_similarity(weight, components(seen)[:1])
    assert abs(cosine.item()) > 0.9999
    assert weight.norm().item() == pytest.approx(1, abs=1e-6)
    mean = seen.flatten(1).mean(dim=0)
    assert torch.allclose(network.areas["units"].bias, -weight @ mean, atol=1e-6)


def test_sanger_finds_the_components_in_order(seen: Tensor) -> None:
    weight = trained(PrincipalComponents(deflation="sequential", lr=1.5), linear(4), seen, 400)
    overlap = (weight @ components(seen)[:4].T).abs()
    assert torch.allclose(overlap, torch.eye(4).double(), atol=1e-3)
    assert torch.allclose(weight @ weight.T, torch.eye(4).double(), atol=1e-3)


def test_oja_with_more_units_finds_their_subspace_only(seen: Tensor) -> None:
    weight = trained(PrincipalComponents(lr=1.5), linear(4), seen, 400)
    first = components(seen)[:4]
    assert torch.allclose(weight.T @ weight, first.T @ first, atol=1e-3)
    overlap = (weight @ first.T).abs()
    assert not torch.allclose(overlap, torch.eye(4).double(), atol=0.1)


@pytest.mark.parametrize("deflation", ["subspace", "sequential"])
def test_the_update_is_the_rule_summed_image_by_image(deflation: str, seen: Tensor) -> None:
    network = linear(3)
    estimator = PrincipalComponents(deflation=deflation).bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    estimator(Batch(seen), lambda: None)
    weight = network.connections["image->units"].op.weight
    x = seen.flatten(1) - seen.flatten(1).mean(dim=0)
    expected = torch.zeros_like(weight)
    for image in x:
        y = weight.detach() @ image
        among = torch.outer(y, y)
        kept = among.tril() if deflation == "sequential" else among
        expected += torch.outer(y, image) - kept @ weight.detach()
    expected /= x.square().sum()
    assert torch.allclose(-weight.grad, expected, rtol=1e-12, atol=1e-14)


def test_convolutions_see_patches() -> None:
    area = Area("V1", 3, pool_in=Pool("average", 2), stride=2, activation="identity")
    network = ConvNet(areas=(area,), n_classes=2, image_size=12).build(torch.Generator()).double()
    images = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(1)).double()
    estimator = PrincipalComponents(deflation="sequential").bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    loss = estimator(Batch(images), lambda: None).loss
    pooled = functional.avg_pool2d(images, 2)
    patches = functional.unfold(pooled, 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
    x = patches - patches.mean(dim=0)
    weight = network.connections["image->V1"].op.weight.detach().flatten(1)
    y = x @ weight.T
    expected = (y.T @ x - (y.T @ y).tril() @ weight) / x.square().sum()
    written = -network.connections["image->V1"].op.weight.grad.flatten(1)
    assert torch.allclose(written, expected, rtol=1e-10, atol=1e-14)
    unexplained = (x - y @ weight).square().sum() / x.square().sum()
    assert loss == pytest.approx(unexplained.item(), rel=1e-10)


def test_names_and_papers_follow_the_variant() -> None:
    assert [PrincipalComponents(deflation=d).name for d in ("subspace", "sequential")] == [
        "oja",
        "sanger",
    ]
    assert "Sanger" in PrincipalComponents(deflation="sequential").citation


def test_an_area_without_bias_or_with_fixed_weights_is_left_alone(seen: Tensor) -> None:
    network = linear(3, bias=False)
    estimator = PrincipalComponents().bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    assert [len(group.parameters) for group in estimator.parameter_groups()] == [1]
    network.connections["image->units"].op.weight.requires_grad_(False)
    assert estimator.parameter_groups() == []
    assert estimator(Batch(seen), lambda: None).loss == 0


def test_the_readout_needs_labels(seen: Tensor) -> None:
    estimator = PrincipalComponents().bind(linear(3), torch.Generator())
    estimator.begin(estimator.phases()[1])
    with pytest.raises(ValueError, match="oja: the batch has no labels"):
        estimator(Batch(seen), lambda: None)


def test_refuses_what_is_no_chain() -> None:
    recurrent = ConvNet(areas=(Area("V1", 4),), n_classes=2, image_size=8, lateral=True, n_steps=2)
    for architecture in (recurrent, torch.nn.Linear(2, 2)):
        support = PrincipalComponents().supports(architecture)
        assert not support.ok
        assert "'backprop'" in support.reason


@pytest.mark.parametrize("rule", [PrincipalComponents(), SoftHebb(), BCM()])
def test_refuses_weights_that_see_one_place_alone(rule: LearningRule) -> None:
    windows = ConvNet(areas=(Area("V1", 4, shared=False),), n_classes=2, image_size=8)
    reason = rule.supports(windows).reason
    assert reason.startswith("area 'V1' has shared=False, but the rule averages what one weight")
    assert LatentPredictiveLearning().supports(windows).ok
    assert reason.endswith(f"or use '{LatentPredictiveLearning.name}'.")


@pytest.mark.parametrize("rule", [PrincipalComponents(), SoftHebb(), BCM()])
def test_only_the_readout_needs_a_derivative(rule: LearningRule) -> None:
    assert rule.supports(put_black_box(linear(3), "units", torch.sign)).ok
    reason = rule.supports(put_black_box(linear(3), "readout", torch.sign)).reason
    assert reason.startswith("area 'readout' is to be trained and ends in a black box")


def test_bind_refuses_frozen_networks() -> None:
    with pytest.raises(UnsupportedNetworkError, match="oja cannot train this network: none of its"):
        PrincipalComponents().bind(linear(3).requires_grad_(False), torch.Generator())

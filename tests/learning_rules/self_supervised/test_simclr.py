"""SimCLR's objective against its definition, and what it makes of two views."""

import math

import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules import Batch, SimCLR, UnsupportedNetworkError
from brainscore_lite.learning_rules.self_supervised.simclr import contrast
from brainscore_lite.learning_rules.self_supervised.two_view_estimator import TwoViewEstimator
from brainscore_lite.learning_rules.self_supervised.views import features
from brainscore_lite.networks.areas import Area
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.schema import ContractError


def bound(network: nn.Module) -> TwoViewEstimator:
    estimator = SimCLR(projector_units=(16, 8)).bind(network, torch.Generator().manual_seed(0))
    estimator.begin(estimator.phases()[0])
    assert isinstance(estimator, TwoViewEstimator)
    return estimator


@pytest.fixture
def seen(toy: Batch) -> Batch:
    """The toy without labels, in two views."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(2, *toy.images.shape, generator=generator, dtype=torch.float64)
    return Batch(toy.images, views=toy.images + 0.3 * noise)


def drawn() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    one, other = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    return one, other


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_objective_equals_its_definition(temperature: float) -> None:
    one, other = drawn()
    views = [*one, *other]
    terms = []
    for a, view in enumerate(views):
        partner = (a + 5) % 10
        scores = {b: cosine(view, views[b]) / temperature for b in range(10) if b != a}
        terms.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[partner])
    expected = pytest.approx(sum(terms) / 10, rel=1e-12)
    assert contrast(one, other, temperature=temperature).item() == expected


def test_objective_does_not_depend_on_the_order_of_views_or_images() -> None:
    one, other = drawn()
    loss = contrast(one, other, temperature=0.5)
    torch.testing.assert_close(contrast(other, one, temperature=0.5), loss, rtol=1e-13, atol=0)
    order = [4, 2, 0, 1, 3]
    mixed = contrast(one[order], other[order], temperature=0.5)
    torch.testing.assert_close(mixed, loss, rtol=1e-13, atol=0)
    swapped = torch.tensor([True, False, True, False, False])[:, None]
    crossed = contrast(one.where(swapped, other), other.where(swapped, one), temperature=0.5)
    torch.testing.assert_close(crossed, loss, rtol=1e-13, atol=0)
    assert not torch.allclose(contrast(one, other[order], temperature=0.5), loss)


def test_updates_are_the_gradient_of_the_objective(tiny: nn.Module, seen: Batch) -> None:
    estimator = bound(tiny)
    (group,) = estimator.parameter_groups()
    loss = contrast(*estimator.projections(seen), temperature=0.5)
    expected = torch.autograd.grad(loss, group.parameters)
    info = estimator(seen, lambda: None)
    assert info.loss == pytest.approx(loss.item())
    for parameter, gradient in zip(group.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-15)


def test_training_brings_views_together_and_images_apart(tiny: nn.Module, seen: Batch) -> None:
    """Augmentation invariance: cosines of views of one image rise over those of different ones.

    And no collapse: unit vectors whose variance sums to nearly 1, in more than one direction.
    """

    def margin() -> float:
        with torch.no_grad():
            one, other = (nn.functional.normalize(z, dim=1) for z in estimator.projections(seen))
        cosines = one @ other.T
        n = len(cosines)
        own = cosines.diagonal().mean()
        return float(own - (cosines.sum() - cosines.trace()) / (n * (n - 1)))

    estimator = bound(tiny)
    (group,) = estimator.parameter_groups()
    before = margin()
    for _ in range(60):
        estimator(seen, lambda: None)
        with torch.no_grad():
            for parameter in group.parameters:
                parameter -= 0.3 * parameter.grad
                parameter.grad = None
    assert margin() > before + 0.1
    with torch.no_grad():
        one, _ = (nn.functional.normalize(z, dim=1) for z in estimator.projections(seen))
    shares = torch.linalg.eigvalsh(one.T.cov())
    assert shares.sum() > 0.9
    assert shares[-2] > 0.02


def test_reads_what_the_readout_reads() -> None:
    """Features are the last area's, pooled as the readout pools them."""
    areas = (Area("V1", 4), Area("IT", 5))
    network = ConvNet(
        areas=areas, n_classes=3, image_size=8, readout_pool=Pool("average", size=None)
    ).build(torch.Generator().manual_seed(0))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    (step,) = network.respond(images, ["IT"])
    expected = step.activations["IT"].mean(dim=(2, 3))
    torch.testing.assert_close(features(network, images), expected)
    assert bound(network).projector[0].weight.shape == (16, 5)


def test_refusals(tiny: nn.Module, toy: Batch) -> None:
    with pytest.raises(ContractError, match="simclr: the batch has 0 views of each image"):
        bound(tiny)(Batch(toy.images), lambda: None)
    three = toy.images.expand(3, *toy.images.shape)
    with pytest.raises(ContractError, match="simclr: the batch has 3 views of each image"):
        bound(tiny)(Batch(toy.images, views=three), lambda: None)
    with pytest.raises(UnsupportedNetworkError, match="a Linear is no graph of areas"):
        SimCLR().bind(nn.Linear(2, 2), torch.Generator())
    for units in (8, (8, 0), (8, 2.5), [8]):
        with pytest.raises(ContractError, match=r"projector_units is .* whole numbers above 0\."):
            SimCLR(projector_units=units)

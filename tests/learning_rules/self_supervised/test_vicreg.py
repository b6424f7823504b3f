"""VICReg's terms against their definitions, and that it does not collapse."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules import Batch, UnsupportedNetworkError, VICReg
from brainscore_lite.learning_rules.self_supervised.two_view_estimator import TwoViewEstimator
from brainscore_lite.learning_rules.self_supervised.vicreg import covariance, too_little_variance
from brainscore_lite.schema import ContractError


def bound(network: nn.Module, **weights: float) -> TwoViewEstimator:
    rule = VICReg(projector_units=(16, 8), **weights)
    estimator = rule.bind(network, torch.Generator().manual_seed(0))
    estimator.begin(estimator.phases()[0])
    assert isinstance(estimator, TwoViewEstimator)
    return estimator


def drawn() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    one, other = 0.8 * torch.randn(2, 9, 6, generator=generator, dtype=torch.float64)
    return one, other


def test_terms_equal_their_definitions() -> None:
    one, other = drawn()
    z = one.numpy()
    deviations = [np.sqrt(np.var(z[:, j], ddof=1) + 1e-4) for j in range(6)]
    assert min(deviations) < 1 < max(deviations)
    lacking = np.mean([max(0.0, 1 - each) for each in deviations])
    assert too_little_variance(one).item() == pytest.approx(lacking, rel=1e-12)
    shared = np.cov(z, rowvar=False)
    squares = sum(shared[j, k] ** 2 for j in range(6) for k in range(6) if j != k) / 6
    assert covariance(one).item() == pytest.approx(squares, rel=1e-12)

    rule = VICReg(invariance=2.0, variance=3.0, covariance=5.0)
    agreement = np.mean((one.numpy() - other.numpy()) ** 2)
    spread = float(too_little_variance(one) + too_little_variance(other)) / 2
    repeated = float(covariance(one) + covariance(other))
    expected = 2 * agreement + 3 * spread + 5 * repeated
    assert rule.objective(one, other).item() == pytest.approx(expected, rel=1e-12)


def test_objective_does_not_depend_on_the_order_of_views_or_images() -> None:
    one, other = drawn()
    rule, order = VICReg(), [3, 1, 5, 0, 2, 4, 8, 7, 6]
    loss = rule.objective(one, other)
    torch.testing.assert_close(rule.objective(other, one), loss, rtol=1e-13, atol=0)
    torch.testing.assert_close(rule.objective(one[order], other[order]), loss, rtol=1e-13, atol=0)


def trained(network: nn.Module, toy: Batch, *, lr: float, **weights: float) -> Tensor:
    """Return projections of one view after 100 steps."""
    estimator = bound(network, **weights)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(2, *toy.images.shape, generator=generator, dtype=torch.float64)
    batch = Batch(toy.images, views=toy.images + 0.3 * noise)
    (group,) = estimator.parameter_groups()
    for _ in range(100):
        estimator(batch, lambda: None)
        with torch.no_grad():
            for parameter in group.parameters:
                parameter -= lr * parameter.grad
                parameter.grad = None
    with torch.no_grad():
        return estimator.projections(batch)[0]


def effective_rank(projections: Tensor) -> float:
    """exp of the entropy of the eigenvalues of the covariance."""
    values = torch.linalg.eigvalsh(projections.T.cov()).clamp(min=1e-300)
    share = values / values.sum()
    return float(torch.exp(-(share * share.log()).sum()))


def test_views_come_to_agree(tiny: nn.Module, toy: Batch) -> None:
    """Augmentation invariance: views of one image draw nearer than images are to each other."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(2, *toy.images.shape, generator=generator, dtype=torch.float64)
    batch = Batch(toy.images, views=toy.images + 0.3 * noise)
    estimator = bound(tiny)

    def apart() -> float:
        """Square distance of views, over the mean square distance of images."""
        with torch.no_grad():
            one, other = estimator.projections(batch)
        return float(
            (one - other).square().sum(dim=1).mean() / torch.cdist(one, other).square().mean()
        )

    before = apart()
    (group,) = estimator.parameter_groups()
    for _ in range(100):
        estimator(batch, lambda: None)
        with torch.no_grad():
            for parameter in group.parameters:
                parameter -= 0.02 * parameter.grad
                parameter.grad = None
    assert apart() < 0.5 * before


def test_does_not_collapse(tiny: nn.Module, toy: Batch) -> None:
    """Every unit keeps varying, and units differ; without the two terms that see to it, views come
    to agree by varying less."""
    kept = trained(copy.deepcopy(tiny), toy, lr=0.02)
    assert kept.std(dim=0).min() > 0.5
    assert effective_rank(kept) > 4
    collapsed = trained(tiny, toy, lr=0.2, variance=0.0, covariance=0.0)
    assert collapsed.std(dim=0).mean() < 0.1


def test_refusals(tiny: nn.Module, toy: Batch) -> None:
    with pytest.raises(ContractError, match="vicreg: the batch has 0 views of each image"):
        bound(tiny)(Batch(toy.images), lambda: None)
    with pytest.raises(UnsupportedNetworkError, match="a Linear is no graph of areas"):
        VICReg().bind(nn.Linear(2, 2), torch.Generator())
    for units in (8, (8, 0), (8, 2.5), [8]):
        with pytest.raises(ContractError, match=r"projector_units is .* whole numbers above 0\."):
            VICReg(projector_units=units)

"""Greedy InfoMax against its definition, and its areas cut off from each other."""

import math

import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules import Batch, GreedyInfoMax, UnsupportedNetworkError
from brainscore_lite.learning_rules.local.greedy_estimator import GreedyEstimator
from brainscore_lite.learning_rules.local.greedy_infomax import information_loss
from brainscore_lite.schema import ContractError
from brainscore_lite.training.measurement import layer_of


def bound(network: nn.Module) -> GreedyEstimator:
    estimator = GreedyInfoMax().bind(network, torch.Generator().manual_seed(0))
    estimator.begin(estimator.phases()[0])
    assert isinstance(estimator, GreedyEstimator)
    return estimator


@pytest.fixture
def seen(toy: Batch) -> Batch:
    """The toy without labels, in two views."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(2, *toy.images.shape, generator=generator, dtype=torch.float64)
    return Batch(toy.images, views=toy.images + 0.3 * noise)


def drawn(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    summary = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    return summary, torch.randn(5, 5, generator=generator, dtype=torch.float64)


def test_loss_equals_its_definition() -> None:
    """-log exp(z_i W c_i) / sum_j exp(z_j W c_i), image by image and context by context."""
    summary, predict = drawn()
    terms = []
    for context, future in ((0, 1), (1, 0)):
        for i in range(6):
            scores = [float(summary[future, j] @ predict @ summary[context, i]) for j in range(6)]
            terms.append(math.log(sum(math.exp(each) for each in scores)) - scores[i])
    assert information_loss(summary, predict).item() == pytest.approx(sum(terms) / 12, rel=1e-12)


def test_loss_does_not_depend_on_the_order_of_views_or_images() -> None:
    summary, predict = drawn()
    loss = information_loss(summary, predict)
    torch.testing.assert_close(information_loss(summary.flip(0), predict), loss, rtol=1e-13, atol=0)
    mixed = summary[:, [3, 1, 5, 0, 2, 4]]
    torch.testing.assert_close(information_loss(mixed, predict), loss, rtol=1e-13, atol=0)


def test_without_a_prediction_the_loss_is_that_of_guessing() -> None:
    summary, predict = drawn()
    assert information_loss(summary, 0 * predict).item() == pytest.approx(math.log(6))


def test_no_gradient_leaves_the_area(tiny: nn.Module, seen: Batch) -> None:
    estimator = bound(tiny)
    parameters = dict(estimator.named_parameters())
    areas = [area for area, _ in estimator.summaries(seen)]
    assert areas == ["V1", "IT"]
    for area, summary in estimator.summaries(seen):
        loss = information_loss(summary, estimator.comparison(area)["predict"])
        found = torch.autograd.grad(loss, [*parameters.values()], allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            outside = layer_of(name, ["V1", "IT", "readout"]) != area
            assert (gradient is None) == outside, f"loss of {area}, {name}"


def test_writes_the_gradient_of_each_area_s_own_loss(tiny: nn.Module, seen: Batch) -> None:
    estimator = bound(tiny)
    (group,) = estimator.parameter_groups()
    losses = [
        information_loss(summary, estimator.comparison(area)["predict"])
        for area, summary in estimator.summaries(seen)
    ]
    expected = torch.autograd.grad(sum(losses), group.parameters)
    info = estimator(seen, lambda: None)
    for parameter, gradient in zip(group.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-15)
    assert info.loss == pytest.approx(sum(each.item() for each in losses))


def test_refusals(tiny: nn.Module, toy: Batch) -> None:
    estimator = bound(tiny)
    with pytest.raises(ContractError, match="greedy_infomax: the batch has 0 views of each image"):
        estimator(Batch(toy.images), lambda: None)
    single = Batch(toy.images[:1], views=toy.images[:1].expand(2, -1, -1, -1, -1))
    with pytest.raises(ContractError, match="a batch of one image has nothing to be told apart"):
        estimator(single, lambda: None)
    with pytest.raises(UnsupportedNetworkError, match="a Linear is no graph of areas"):
        GreedyInfoMax().bind(nn.Linear(2, 2), torch.Generator())

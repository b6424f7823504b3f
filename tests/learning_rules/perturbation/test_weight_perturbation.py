"""Weight perturbation: unbiased, with a variance in proportion to the number of weights."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    Estimator,
    UnsupportedNetworkError,
    WeightPerturbation,
)
from brainscore_lite.networks import put_black_box
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

BatchFor = Callable[..., Batch]
Gradient = Callable[[nn.Module, Batch], Tensor]
Estimate = Callable[[Estimator, Batch], Tensor]


def bound(rule: WeightPerturbation, network: nn.Module) -> Estimator:
    return rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(7))


def test_noise_along_every_weight_in_turn_gives_the_gradient(
    network: Network,
    batch_for: BatchFor,
    gradient: Gradient,
    estimate: Estimate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unbiased: with +- sigma sqrt(N) e_i for i = 1..N the mean is the gradient."""
    n = sum(p.numel() for p in network.parameters())
    sigma = 1e-6
    rows = iter([*torch.eye(n, dtype=torch.float64), *-torch.eye(n, dtype=torch.float64)])

    def dealt(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parts = (next(rows) * sigma * n**0.5).split([w.numel() for w in weights.values()])
        return {k: p.view_as(w) for (k, w), p in zip(weights.items(), parts, strict=True)}

    estimator = bound(WeightPerturbation(sigma, n_samples=2 * n), network)
    monkeypatch.setattr(estimator, "draw", dealt)
    batch = batch_for(network, 3)
    expected = gradient(network, batch)
    assert ((estimate(estimator, batch) - expected).norm() / expected.norm()).item() < 1e-7


def test_cosine_follows_samples_and_weights(
    chain: Network, batch_for: BatchFor, gradient: Gradient, estimate: Estimate
) -> None:
    """E|ĝ - g|^2 = (N + 1) |g|^2 / K, so cos = 1 / sqrt(1 + (N + 1) / K)."""
    batch = batch_for(chain)
    g = gradient(chain, batch)
    found = estimate(bound(WeightPerturbation(1e-6, n_samples=400), chain), batch)
    cosine = functional.cosine_similarity(g, found, dim=0).item()
    assert cosine == pytest.approx((1 + (len(g) + 1) / 400) ** -0.5, abs=0.04)


@pytest.mark.parametrize("units", [2, 6])
@pytest.mark.parametrize("n_samples", [1, 10])
def test_variance_grows_with_the_number_of_weights_and_falls_with_samples(
    units: int, n_samples: int, batch_for: BatchFor, gradient: Gradient, estimate: Estimate
) -> None:
    """Over repeated draws: mean slope 1, and mean |ĝ - g|^2 = (N + 1) |g|^2 / K."""
    areas = (Dense("IT", units, activation="tanh"),)
    network = ConvNet(areas=areas, n_classes=3, image_size=2, in_channels=1)
    network = network.build(torch.Generator().manual_seed(0)).double()
    batch = batch_for(network)
    g, estimator = gradient(network, batch), bound(WeightPerturbation(1e-6, n_samples), network)
    n_draws = 1000 // n_samples
    found = torch.stack([estimate(estimator, batch) for _ in range(n_draws)])
    spread = 4 * (2 / 1000) ** 0.5  # four standard errors
    assert (found @ g / (g @ g)).mean().item() == pytest.approx(1, abs=spread)
    square = (found - g).square().sum(dim=1).mean() / (g @ g)
    assert square.item() == pytest.approx((len(g) + 1) / n_samples, rel=0.25)


@pytest.mark.slow
def test_slope_is_one_and_cosine_near_one_at_ten_thousand_samples(
    chain: Network, batch_for: BatchFor, gradient: Gradient, estimate: Estimate
) -> None:
    batch = batch_for(chain)
    g = gradient(chain, batch)
    found = estimate(bound(WeightPerturbation(1e-4, 10_000), chain), batch)
    assert (g @ found / (g @ g)).item() == pytest.approx(1, abs=0.02)
    cosine = functional.cosine_similarity(g, found, dim=0).item()
    assert cosine == pytest.approx((1 + (len(g) + 1) / 1e4) ** -0.5, abs=0.003)
    assert cosine > 0.97


class Dropping(nn.Module):
    """Draws from torch's own stream, once per pass."""

    def __init__(self) -> None:
        super().__init__()
        self.readout = nn.Linear(192, 2, dtype=torch.float64)
        self.drop = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.readout(self.drop(images.flatten(1)))


def test_modules_that_draw_draw_the_same_in_every_pass(toy: Batch, estimate: Estimate) -> None:
    """Else the difference of two masks, divided by sigma, would swamp the update."""
    with torch.random.fork_rng(devices=[]):  # dropout draws from torch's own stream
        torch.manual_seed(0)
        found = estimate(bound(WeightPerturbation(1e-6), Dropping()), toy)
    assert found.norm() < 1e3


def test_weights_come_back_to_the_bit(tiny: Network, toy: Batch, estimate: Estimate) -> None:
    estimator = bound(WeightPerturbation(n_samples=3), tiny)
    estimate(estimator, toy)
    for found, before in zip(estimator.network.parameters(), tiny.parameters(), strict=True):
        assert torch.equal(found, before)


def test_learns_through_a_black_box(
    tiny: Network, trained_on_toy: Callable[..., list[float]]
) -> None:
    put_black_box(tiny, "V1", lambda activations: (4 * activations).round() / 4)
    losses = trained_on_toy(bound(WeightPerturbation(0.03, n_samples=10), tiny), 30, 0.03)
    assert losses[-1] < 0.8 * losses[0]


def test_refuses_a_network_without_trainable_weights(tiny: Network) -> None:
    tiny.requires_grad_(False)
    with pytest.raises(UnsupportedNetworkError, match="none of its weights can be trained"):
        bound(WeightPerturbation(), tiny)


def test_refuses_settings_and_batches(tiny: Network, toy: Batch) -> None:
    with pytest.raises(ContractError, match=r"weight_perturbation: sigma is -1, expected"):
        WeightPerturbation(sigma=-1)
    with pytest.raises(ContractError, match=r"weight_perturbation: n_samples is 0, expected"):
        WeightPerturbation(n_samples=0)
    with pytest.raises(ContractError, match="weight_perturbation: the batch has no labels"):
        bound(WeightPerturbation(), tiny)(Batch(toy.images), lambda: None)

"""Forward gradient: exactly unbiased, in one forward pass."""

import copy
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    Estimator,
    ForwardGradient,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.perturbation.forward_gradient import slope_along
from brainscore_lite.networks import put_black_box
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

BatchFor = Callable[..., Batch]
Gradient = Callable[[nn.Module, Batch], Tensor]
Estimate = Callable[[Estimator, Batch], Tensor]


def bound(rule: ForwardGradient, network: nn.Module) -> Estimator:
    return rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(7))


def shaped(network: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    """Cut a vector into one tensor for each parameter."""
    named = dict(network.named_parameters())
    parts = vector.split([p.numel() for p in named.values()])
    return {name: part.view_as(named[name]) for name, part in zip(named, parts, strict=True)}


def test_sums_to_the_gradient_over_any_orthonormal_basis(
    network: Network, batch_for: BatchFor, gradient: Gradient
) -> None:
    """Sum over i of (grad L . v_i) v_i = grad L: exactly unbiased, to 1e-12."""
    batch = batch_for(network, 3)
    expected = gradient(network, batch)
    generator = torch.Generator().manual_seed(2)
    drawn = torch.randn(len(expected), len(expected), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(drawn).Q
    total = torch.zeros_like(expected)
    for direction in basis:
        _, slope, _ = slope_along(
            network, batch.images, batch.labels, direction=shaped(network, direction)
        )
        total += slope * direction
    assert ((total - expected).norm() / expected.norm()).item() < 1e-12


def test_update_is_the_mean_of_slope_times_direction(
    tiny: Network, toy: Batch, gradient: Gradient, estimate: Estimate
) -> None:
    found = estimate(bound(ForwardGradient(n_samples=2), tiny), toy)
    generator = torch.Generator().manual_seed(7)
    g = gradient(tiny, toy)
    expected = torch.zeros_like(g)
    for _ in range(2):
        parts = [torch.empty_like(p).normal_(generator=generator) for p in tiny.parameters()]
        v = torch.cat([part.detach().flatten() for part in parts])
        expected += (g @ v) * v / 2
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def test_cosine_follows_samples_and_weights(
    chain: Network, batch_for: BatchFor, gradient: Gradient, estimate: Estimate
) -> None:
    """E|ĝ - g|^2 = (N + 1) |g|^2 / K, so cos = 1 / sqrt(1 + (N + 1) / K)."""
    batch = batch_for(chain)
    g = gradient(chain, batch)
    found = estimate(bound(ForwardGradient(300), chain), batch)
    cosine = functional.cosine_similarity(g, found, dim=0).item()
    assert cosine == pytest.approx((1 + (len(g) + 1) / 300) ** -0.5, abs=0.04)


def test_needs_one_forward_pass_and_no_graph(tiny: Network, toy: Batch) -> None:
    calls: list[bool] = []
    estimator = bound(ForwardGradient(), tiny)
    estimator.network.register_forward_hook(lambda *given: calls.append(given[2].requires_grad))
    estimator(toy, lambda: None)
    assert calls == [False]


def test_reports_loss_and_correct_images(tiny: Network, toy: Batch) -> None:
    info = bound(ForwardGradient(), tiny)(toy, lambda: None)
    scores = tiny(toy.images)
    assert info.loss == pytest.approx(functional.cross_entropy(scores, toy.labels).item())
    assert info.n_correct == int((scores.argmax(1) == toy.labels).sum())


def test_keeps_to_itself_what_torch_says_as_it_loads() -> None:
    """In a process of its own: torch says it at the first call only."""
    program = """
import warnings
import torch
from brainscore_lite.learning_rules.perturbation.forward_gradient import slope_along
network, images = torch.nn.Linear(2, 2), torch.ones(1, 2)
direction = {name: torch.ones_like(p) for name, p in network.named_parameters()}
warnings.simplefilter("error")
slope_along(network, images, torch.zeros(1, dtype=torch.int64), direction=direction)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_refuses_a_black_box(tiny: Network) -> None:
    put_black_box(tiny, "V1", torch.sign)
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"^forward_gradient cannot train this network: 'areas\.V1\.post_norm\.1' is a black "
        r"box, through which no derivative passes\. Use 'node_perturbation' or",
    ):
        bound(ForwardGradient(), tiny)


def test_refuses_settings_and_batches(tiny: Network, toy: Batch) -> None:
    with pytest.raises(ContractError, match=r"forward_gradient: n_samples is 0, expected"):
        ForwardGradient(n_samples=0)
    with pytest.raises(ContractError, match="forward_gradient: the batch has no labels"):
        bound(ForwardGradient(), tiny)(Batch(toy.images), lambda: None)

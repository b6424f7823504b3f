"""Reward-modulated Hebb: its mean update is the gradient of the expected reward."""

import copy
import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import Batch, Estimator, UnsupportedNetworkError
from brainscore_lite.learning_rules.hebbian.three_factor import RewardModulatedHebb
from brainscore_lite.networks import put_black_box
from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.connections import Connection, FullyConnected, initialise
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

FOUR_DRIVES = ConvNet(
    areas=(Dense("IT", 2, activation="tanh"),), n_classes=2, image_size=1, in_channels=1
)


def bound(rule: RewardModulatedHebb, network: nn.Module) -> Estimator:
    return rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(7))


def written(estimator: Estimator) -> Tensor:
    return torch.cat([p.grad.flatten() for p in estimator.network.parameters()])


@pytest.mark.parametrize("usual_reward", [0.0, -3.0])
def test_mean_update_is_the_gradient_of_the_expected_reward(
    usual_reward: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-E[(R - <R>) xi h^T] / sigma^2 = -grad E[R] at any sigma, for any <R>.

    The mean over the noise of all four drives is taken by Gauss-Hermite quadrature.
    """
    sigma = 0.3
    network = FOUR_DRIVES.build(torch.Generator().manual_seed(3)).double()
    x, w = np.polynomial.hermite_e.hermegauss(12)
    points = torch.tensor(list(product(x, repeat=4)), dtype=torch.float64) * sigma
    weights = torch.tensor(list(product(w / w.sum(), repeat=4)), dtype=torch.float64).prod(dim=1)
    n = len(points)
    batch = Batch(torch.full((n, 1, 1, 1), 0.8, dtype=torch.float64), torch.ones(n).long())

    estimator = bound(RewardModulatedHebb(sigma, "log_likelihood"), network)
    estimator.usual_reward.fill_(usual_reward)
    dealt: Iterator[Tensor] = iter([points[:, :2], points[:, 2:]])
    monkeypatch.setattr(estimator, "fluctuation", lambda drive: next(dealt))
    surprise = estimator.surprise
    monkeypatch.setattr(estimator, "surprise", lambda rewards: surprise(rewards) * weights * n)
    estimator(batch, lambda: None)
    found = written(estimator)

    again: Iterator[Tensor] = iter([points[:, :2], points[:, 2:]])

    def answer(area: AreaModule, arriving: list[Tensor]) -> Tensor:
        return area.respond_to(area.drive(arriving) + next(again))

    (activations,) = network.run(batch.images, answer=answer)
    losses = functional.cross_entropy(activations["readout"], batch.labels, reduction="none")
    gradients = torch.autograd.grad(losses @ weights, list(network.parameters()))
    expected = torch.cat([g.flatten() for g in gradients])
    assert ((found - expected).norm() / expected.norm()).item() < 1e-8


def test_reward_for_correct_choices_follows_their_probability() -> None:
    """P(correct) = Phi(d / (sigma sqrt 2)) for two noisy scores that differ by d."""
    sigma = 0.5
    op = FullyConnected((2, 3))
    initialise(op, torch.Generator().manual_seed(1), gain=0.5)
    network = Network(
        "readout only",
        [AreaModule(Dense("readout", 2, activation="identity"))],
        connections=[Connection("image", "readout", op=op)],
        preprocessing=Preprocessing(size=1),
    ).double()
    image = torch.tensor([0.5, -1.0, 0.8], dtype=torch.float64).view(1, 3, 1, 1)
    n = 200_000
    estimator = bound(RewardModulatedHebb(sigma), network)
    estimator.usual_reward.fill_(0.5)
    info = estimator(Batch(image.expand(n, -1, -1, -1), torch.ones(n).long()), lambda: None)

    weight = network.connections["image->readout"].op.weight
    difference = (weight[1] - weight[0]) @ image.flatten()
    chance = 0.5 * (1 + torch.erf(difference / (2 * sigma)))
    (expected,) = torch.autograd.grad(-chance, weight)
    found = estimator.network.connections["image->readout"].op.weight.grad
    assert ((found - expected).norm() / expected.norm()).item() < 0.02
    assert -info.loss == pytest.approx(chance.item(), abs=3 / math.sqrt(n))
    assert info.n_correct == round(-info.loss * n)


def test_the_usual_reward_is_a_running_average(tiny: Network, toy: Batch) -> None:
    estimator = bound(RewardModulatedHebb(rate=0.25), tiny)
    expected = 0.0
    for _ in range(3):
        reward = -estimator(toy, lambda: None).loss
        expected += 0.25 * (reward - expected)
        assert estimator.usual_reward.item() == pytest.approx(expected)
    assert "usual_reward" in estimator.state_dict()


def test_runs_a_single_pass(tiny: Network, toy: Batch) -> None:
    """No second phase without noise, which a brain would have to run beside."""
    calls: list[int] = []
    estimator = bound(RewardModulatedHebb(), tiny)
    for connection in estimator.network.connections.values():
        connection.register_forward_hook(lambda *_: calls.append(1))
    estimator(toy, lambda: None)
    assert len(calls) == len(tiny.connections)


def test_learns_on_both_sides_of_a_black_box(
    tiny: Network, toy: Batch, trained_on_toy: Callable[..., list[float]]
) -> None:
    put_black_box(tiny, "V1", lambda activations: (4 * activations).round() / 4)
    estimator = bound(RewardModulatedHebb(), tiny)
    losses = trained_on_toy(estimator, 150, 0.03)
    assert losses[-1] < losses[0]
    assert (estimator.predict(toy.images).argmax(dim=1) == toy.labels).double().mean() > 0.95


def test_refuses_norms_that_noise_cannot_train() -> None:
    settings = ConvNet(areas=(Area("V1", 4, norm="batch"),), n_classes=2, image_size=8)
    with pytest.raises(UnsupportedNetworkError, match=r"depend on the noise of others\. Set norm="):
        RewardModulatedHebb().bind(settings.build(torch.Generator()), torch.Generator())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sigma": 0.0}, r"reward_modulated_hebb: sigma is 0\.0, expected a number above 0\."),
        ({"rate": 2.0}, r"reward_modulated_hebb: rate is 2\.0, expected a number from 0 to 1\."),
        (
            {"reward": "juice"},
            r"reward is 'juice', which is unknown\. Choose one of: correct, log_likelihood\.",
        ),
    ],
)
def test_refuses_settings_out_of_range(settings: dict, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        RewardModulatedHebb(**settings)


def test_refuses_a_batch_without_labels(tiny: Network, toy: Batch) -> None:
    with pytest.raises(ContractError, match="reward_modulated_hebb: the batch has no labels"):
        bound(RewardModulatedHebb(), tiny)(Batch(toy.images), lambda: None)

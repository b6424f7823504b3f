"""The restricted Boltzmann machine against the enumeration of all its states."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from brainscore_lite.learning_rules import Batch, Estimator, RestrictedBoltzmannMachine
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

N_VISIBLE, N_HIDDEN = 4, 3


def states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)


def images(visible: Tensor) -> Tensor:
    return visible.view(-1, 1, 2, 2)


@pytest.fixture
def network() -> Network:
    """Seven units, with weights large enough for strong correlations."""
    area = Dense("hidden", N_HIDDEN, activation="sigmoid")
    settings = ConvNet(areas=(area,), n_classes=2, image_size=2, in_channels=1)
    network = settings.build(torch.Generator()).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        network.connections["image->hidden"].op.weight.normal_(0, 1.2, generator=generator)
        network.areas["hidden"].bias.normal_(0, 0.5, generator=generator)
    return network


@pytest.fixture
def shares() -> Tensor:
    """How often the data show each visible state, of 16."""
    return torch.rand(16, generator=torch.Generator().manual_seed(8)).double().softmax(0)


def ready(network: Network, seed: int = 0, **settings: Any) -> Estimator:
    rule = RestrictedBoltzmannMachine(visible="bernoulli", **settings)
    estimator = rule.bind(network, torch.Generator().manual_seed(seed))
    estimator.begin(estimator.phases()[0])
    with torch.no_grad():
        estimator.visible_biases[0].copy_(torch.tensor([0.4, -0.3, 0.2, 0.1]))
    return estimator


def parts(estimator: Estimator) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, hidden and visible biases."""
    network = estimator.network
    weight = network.connections["image->hidden"].op.weight
    return weight, network.areas["hidden"].bias, estimator.visible_biases[0]


def log_joint(estimator: Estimator) -> Tensor:
    """-energy of all 16 x 8 states."""
    weight, hidden_bias, visible_bias = parts(estimator)
    v, h = states(N_VISIBLE), states(N_HIDDEN)
    return v @ weight.T @ h.T + (h @ hidden_bias) + (v @ visible_bias)[:, None]


def log_likelihood(estimator: Estimator, shares: Tensor) -> Tensor:
    joint = log_joint(estimator)
    return (shares * joint.logsumexp(dim=1)).sum() - joint.flatten().logsumexp(dim=0)


def exact_gradient(estimator: Estimator, shares: Tensor) -> Tensor:
    """Of minus the log likelihood, by enumeration."""
    found = torch.autograd.grad(-log_likelihood(estimator, shares), parts(estimator))
    return torch.cat([gradient.flatten() for gradient in found])


def statistics(estimator: Estimator, share: Tensor) -> Tensor:
    """<h v>, <h> and <v> where visible states have these shares and hidden units follow."""
    weight, bias, _ = (p.detach() for p in parts(estimator))
    v = states(N_VISIBLE)
    h = torch.sigmoid(v @ weight.T + bias)
    weighted = share[:, None] * h
    return torch.cat([(weighted.T @ v).flatten(), weighted.sum(dim=0), share @ v])


def after_gibbs(estimator: Estimator, share: Tensor, n_steps: int) -> Tensor:
    """Shares of visible states after steps of Gibbs sampling, by enumeration."""
    joint = log_joint(estimator).detach()
    hidden_given = joint.softmax(dim=1)
    visible_given = joint.softmax(dim=0)
    for _ in range(n_steps):
        share = visible_given @ (share @ hidden_given)
    return share


def mean_update(estimator: Estimator, visible: Tensor, n_calls: int) -> Tensor:
    total = torch.zeros(())
    for _ in range(n_calls):
        estimator(Batch(images(visible)), lambda: None)
        total = total + torch.cat([p.grad.flatten() for p in parts(estimator)])
    return total / n_calls


def drawn(shares: Tensor, n: int) -> Tensor:
    """Visible states, each as often as its share of n asks, to rounding."""
    return states(N_VISIBLE).repeat_interleave((shares * n).round().long(), dim=0)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def test_long_chains_give_the_exact_gradient(network: Network, shares: Tensor) -> None:
    """And one step does not, for it is a truncation, of the size that enumeration says."""
    data = drawn(shares, 20_000)
    exact = exact_gradient(ready(network), shares)
    assert relative(mean_update(ready(network, n_steps=40), data, 5), exact) < 0.03
    one_step = mean_update(ready(network), data, 10)
    estimator = ready(network)
    model = after_gibbs(estimator, shares, 1)
    truncated = statistics(estimator, model) - statistics(estimator, shares)
    assert relative(one_step, truncated) < 0.05
    assert relative(one_step, exact) > 0.2


def test_data_from_the_model_leave_it_where_it_is(network: Network) -> None:
    """The fixed point of contrastive divergence at any number of steps: data = model."""
    estimator = ready(network)
    model = log_joint(estimator).detach().logsumexp(dim=1).softmax(dim=0)
    assert torch.allclose(after_gibbs(estimator, model, 1), model, atol=1e-14)
    assert exact_gradient(estimator, model).norm() < 1e-14
    data = drawn(model, 20_000)
    assert mean_update(estimator, data, 10).norm() < 0.01
    elsewhere = drawn(torch.full((16,), 1 / 16).double(), 20_000)
    assert mean_update(estimator, elsewhere, 10).norm() > 0.1


def test_persistent_chains_reach_the_exact_gradient_at_one_step_a_batch(
    network: Network, shares: Tensor
) -> None:
    data = drawn(shares, 2000)
    estimator = ready(network, persistent=True, n_chains=5000)
    mean_update(estimator, data, 40)
    exact = exact_gradient(estimator, shares)
    assert relative(mean_update(estimator, data, 40), exact) < 0.03


def test_chains_go_on_from_batch_to_batch_and_are_part_of_the_state(network: Network) -> None:
    data = states(N_VISIBLE)
    estimator = ready(network, persistent=True, n_chains=7)
    start = estimator.get_buffer("chains_0").clone()
    estimator(Batch(images(data)), lambda: None)
    assert estimator.get_buffer("chains_0").shape == (7, N_VISIBLE)
    assert not torch.equal(estimator.get_buffer("chains_0"), start)
    assert "chains_0" in estimator.state_dict()


@pytest.mark.parametrize("persistent", [False, True])
def test_a_machine_learns_what_another_makes(persistent: bool, network: Network) -> None:
    """The exact divergence from the other's distribution falls to a fraction."""
    made = log_joint(ready(network)).detach().logsumexp(dim=1).softmax(dim=0)
    estimator = ready(network, persistent=persistent, n_chains=500)
    data = drawn(made, 500)
    with torch.no_grad():
        for p in parts(estimator):
            p *= 0.1

    def divergence() -> float:
        return ((made * made.log()).sum() - log_likelihood(estimator, made)).item()

    before = divergence()
    for _ in range(400):
        estimator(Batch(images(data)), lambda: None)
        with torch.no_grad():
            for p in parts(estimator):
                p -= 0.3 * p.grad
    assert divergence() < 0.1 * before


def test_gaussian_visible_units_model_means_of_real_images() -> None:
    """Without weights, the visible biases go to the mean of the images."""
    area = Dense("hidden", N_HIDDEN, activation="sigmoid")
    settings = ConvNet(areas=(area,), n_classes=2, image_size=2, in_channels=1)
    network = settings.build(torch.Generator()).double()
    estimator = RestrictedBoltzmannMachine().bind(network, torch.Generator().manual_seed(1))
    estimator.begin(estimator.phases()[0])
    with torch.no_grad():
        network.connections["image->hidden"].op.weight.zero_()
    generator = torch.Generator().manual_seed(2)
    mean = torch.tensor([3.0, -2.0, 0.5, 1.0]).double()
    data = mean + torch.randn(4000, 4, generator=generator).double()
    estimator(Batch(images(data)), lambda: None)
    expected = estimator.visible_biases[0] - mean
    assert torch.allclose(estimator.visible_biases[0].grad, expected, atol=0.1)


def test_machines_are_stacked_one_after_the_other() -> None:
    areas = tuple(Dense(name, 5, activation="sigmoid") for name in ("V1", "IT"))
    network = ConvNet(areas=areas, n_classes=2, image_size=2, in_channels=1).build(
        torch.Generator()
    )
    estimator = RestrictedBoltzmannMachine(epochs=2).bind(network, torch.Generator())
    assert [phase.name for phase in estimator.phases()] == ["machine_V1", "machine_IT", "readout"]
    assert [phase.epochs for phase in estimator.phases()] == [2, 2, None]
    data = torch.rand(6, 1, 2, 2)
    for phase, source, target in (
        (estimator.phases()[0], "image", "V1"),
        (estimator.phases()[1], "V1", "IT"),
    ):
        estimator.begin(phase)
        estimator(Batch(data), lambda: None)
        written = {name for name, p in network.named_parameters() if p.grad is not None}
        assert written == {f"areas.{target}.bias", f"connections.{source}->{target}.op.weight"}
        network.zero_grad()


def test_refuses_what_is_no_such_machine() -> None:
    rule = RestrictedBoltzmannMachine()

    def reason(area: Area | Dense) -> str:
        return rule.supports(ConvNet(areas=(area,), n_classes=2, image_size=8)).reason

    assert "Use Dense areas, or another unsupervised rule" in reason(Area("V1", 4))
    assert "Choose one of: sigmoid." in reason(Dense("IT", 4))
    normed = Dense("IT", 4, activation="sigmoid", norm="layer")
    assert "a hidden unit's probability has no norm" in reason(normed)
    assert reason(Dense("IT", 4, activation="sigmoid")) == ""


def test_binary_visible_units_refuse_other_images(network: Network) -> None:
    estimator = ready(network)
    with pytest.raises(ContractError, match=r"images reach from -1 to 0.5, but visible='bernoulli"):
        estimator(Batch(torch.tensor([-1.0, 0, 0.5, 0]).double().view(1, 1, 2, 2)), lambda: None)


@pytest.mark.parametrize("setting", ["n_steps", "n_chains"])
def test_refuses_settings_without_meaning(setting: str) -> None:
    with pytest.raises(ContractError, match=f"{setting} is 0, expected a whole number"):
        RestrictedBoltzmannMachine(**{setting: 0})

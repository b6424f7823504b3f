"""Feedback weights that learn: Kolen-Pollack and the weight mirror."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    Estimator,
    KolenPollack,
    LearningRule,
    UnsupportedNetworkError,
    WeightMirror,
)
from brainscore_lite.learning_rules.transport.learned_feedback import correlated
from brainscore_lite.networks.connections import (
    Connection,
    Convolution,
    FullyConnected,
    LocallyConnected,
    Operation,
)
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.training import TrainingConfig
from brainscore_lite.training.optimization import build_optimizer, set_learning_rate

Written = Callable[[Estimator, Batch], dict[str, Tensor]]
Gradient = Callable[[nn.Module, Batch], dict[str, Tensor]]
Compare = Callable[[dict[str, Tensor], dict[str, Tensor]], float]

BOTH = (KolenPollack(), WeightMirror())
each_rule = pytest.mark.parametrize("rule", BOTH, ids=[rule.name for rule in BOTH])


def bound(rule: LearningRule, network: nn.Module) -> Estimator:
    return rule.bind(network, torch.Generator().manual_seed(5))


def differences(estimator: Estimator) -> list[Tensor]:
    """W - B^T for every weight that an error crosses."""
    pairs = estimator.feedback.pairs(estimator.network)
    return [(weight - feedback).detach().clone() for weight, feedback in pairs]


def distance(estimator: Estimator) -> float:
    return math.sqrt(sum(each.square().sum().item() for each in differences(estimator)))


def optimizer_of(estimator: Estimator, config: TrainingConfig) -> torch.optim.Optimizer:
    (phase,) = estimator.phases()
    optimizer = build_optimizer(estimator.parameter_groups(), phase=phase, config=config)
    assert optimizer is not None
    set_learning_rate(optimizer, config.lr)
    return optimizer


def train(
    estimator: Estimator, optimizer: torch.optim.Optimizer, batch: Batch, *, n_steps: int
) -> None:
    for _ in range(n_steps):
        estimator(batch, lambda: None)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def degrees_apart(estimator: Estimator) -> list[float]:
    """Angle between W^T and B of every connection."""
    pairs = estimator.feedback.pairs(estimator.network)
    cosines = [
        functional.cosine_similarity(weight.flatten(), feedback.flatten(), dim=0)
        for weight, feedback in pairs
    ]
    return [math.degrees(math.acos(min(1.0, cosine.item()))) for cosine in cosines]


@each_rule
@pytest.mark.parametrize("name", ["mlp", "cnn", "recurrent"])
def test_is_backprop_with_transposed_weights(
    rule: LearningRule,
    name: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
    relative_error: Compare,
) -> None:
    network = make_network(name)
    estimator = bound(rule, network)
    with torch.no_grad():
        for weight, feedback in estimator.feedback.pairs(network):
            feedback.copy_(weight)
    assert relative_error(written(estimator, few), gradient(network, few)) < 1e-15


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("mlp", "sgd"), ("mlp", "adam"), ("cnn", "adam"), ("recurrent", "sgd")],
)
def test_difference_of_weight_and_feedback_only_decays(
    name: str, optimizer: str, make_network: Callable[..., Network], few: Batch
) -> None:
    """|W - B^T| after t steps is (1 - lr decay)^t of what it was, to 1e-14: plain SGD and Adam."""
    estimator = bound(KolenPollack(decay=0.1), make_network(name))
    config = TrainingConfig(optimizer=optimizer, lr=0.1, momentum=0.0)  # lr decay = 0.01
    stepped = optimizer_of(estimator, config)
    start, done = distance(estimator), 0
    pairs = estimator.feedback.pairs(estimator.network)
    before = [weight.detach().clone() for weight, _ in pairs]
    for t in (1, 100, 300) if name == "mlp" else (1, 50):
        train(estimator, stepped, few, n_steps=t - done)
        done = t
        assert abs(distance(estimator) / start - 0.99**t) < 1e-14
    for (weight, _), fresh in zip(pairs, before, strict=True):
        assert (weight - fresh).norm() > 0.1 * fresh.norm()


def test_difference_follows_the_recurrence_of_momentum(
    make_network: Callable[..., Network], few: Batch
) -> None:
    """v <- m v + decay D, D <- D - lr (decay D + m v) with Nesterov's momentum, to 1e-13."""
    estimator = bound(KolenPollack(decay=0.1), make_network("mlp"))
    lr, m, decay = 0.1, 0.9, 0.1
    optimizer = optimizer_of(estimator, TrainingConfig(optimizer="sgd", lr=lr, momentum=m))
    start, share, velocity = distance(estimator), 1.0, 0.0
    for _ in range(60):
        train(estimator, optimizer, few, n_steps=1)
        velocity = m * velocity + decay * share
        share -= lr * (decay * share + m * velocity)
        assert abs(distance(estimator) / start - abs(share)) < 1e-13


def test_theorem_breaks_where_only_the_weight_is_stepped_by_adam(
    make_network: Callable[..., Network], few: Batch
) -> None:
    """Why W and B share a parameter group."""
    estimator = bound(KolenPollack(decay=0.1), make_network("mlp"))
    weights, feedback = (list(m.parameters()) for m in (estimator.network, estimator.feedback))
    adam = torch.optim.AdamW(weights, lr=0.1, weight_decay=0.1)
    sgd = torch.optim.SGD(feedback, lr=0.1, weight_decay=0.1)
    start = distance(estimator)
    for _ in range(30):
        estimator(few, lambda: None)
        for optimizer in (adam, sgd):
            optimizer.step()
            optimizer.zero_grad()
    assert abs(distance(estimator) / start - 0.99**30) > 0.1


def test_gradient_is_the_limit_of_long_training(
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
    relative_error: Compare,
) -> None:
    network = make_network("mlp")
    estimator = bound(KolenPollack(decay=0.1), network)
    assert relative_error(written(estimator, few), gradient(network, few)) > 0.3
    optimizer = optimizer_of(estimator, TrainingConfig(optimizer="sgd", lr=1.0, momentum=0.0))
    train(estimator, optimizer, few, n_steps=300)  # 0.9^300 = 2e-14
    assert relative_error(written(estimator, few), gradient(network, few)) < 1e-12


def test_weights_and_feedback_share_a_group_and_its_decay(
    make_network: Callable[..., Network],
) -> None:
    network = make_network("cnn")
    estimator = bound(KolenPollack(decay=0.03), network)
    tied, rest = estimator.parameter_groups()
    names = {id(p): name for name, p in estimator.named_parameters()}
    assert tied.weight_decay == 0.03
    assert rest.weight_decay is None
    assert all("weight" in names[id(p)] or "feedback" in names[id(p)] for p in tied.parameters)
    assert sum("feedback" in names[id(p)] for p in tied.parameters) == 5
    assert not any("op.weight" in names[id(p)] for p in rest.parameters)
    assert {id(p) for g in (tied, rest) for p in g.parameters} == set(names)


def test_weights_that_are_not_trained_keep_their_feedback(
    make_network: Callable[..., Network], few: Batch
) -> None:
    network = make_network("mlp")
    network.connections["V4->IT"].requires_grad_(False)
    estimator = bound(KolenPollack(), network)
    estimator(few, lambda: None)
    trained = {id(p) for g in estimator.parameter_groups() for p in g.parameters}
    fixed = estimator.feedback(network.connections["V4->IT"])
    assert id(fixed) not in trained
    assert fixed.grad is None
    assert trained == {id(p) for p in estimator.parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("op", "places"),
    [
        (FullyConnected((4, 6)), ()),
        (Convolution((3, 2, 3, 3), padding=1), (5, 5)),
        (Convolution((3, 2, 3, 3), padding=0), (5, 5)),
        (Convolution((3, 2, 5, 5), padding=2, stride=2), (6, 6)),
        (LocallyConnected((2, 2), (3, 2, 3, 3), stride=2), (5, 5)),
    ],
    ids=["dense", "padded", "valid", "strided", "windows"],
)
def test_correlation_of_white_noise_is_the_weight(op: Operation, places: tuple[int, ...]) -> None:
    """Exact for patterns whose correlations are exactly white: sqrt(n) times the n unit vectors."""
    generator = torch.Generator().manual_seed(0)
    op = op.double()
    nn.init.normal_(op.weight, generator=generator)
    shape = (op.weight.shape[1], *places)
    n = math.prod(shape)
    patterns = math.sqrt(n) * torch.eye(n, dtype=torch.float64).view(n, *shape)
    connection = Connection("V1", "V2", op=op)
    with torch.no_grad():
        found = correlated(connection, patterns, op(patterns))
    torch.testing.assert_close(found, op.weight.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "n_steps"),
    [("mlp", 400), ("cnn", 400), pytest.param("recurrent", 2000, marks=pytest.mark.slow)],
)
def test_mirror_turns_feedback_into_transposed_weights(
    name: str, n_steps: int, make_network: Callable[..., Network]
) -> None:
    """Every B is within 10 degrees of W^T, and as long, after so many times 64 noise patterns."""
    estimator = bound(WeightMirror(), make_network(name))
    assert min(degrees_apart(estimator)) > 60
    for _ in range(n_steps):
        estimator.mirror()
    assert max(degrees_apart(estimator)) < 10
    for weight, feedback in estimator.feedback.pairs(estimator.network):
        assert feedback.norm().item() == pytest.approx(weight.norm().item(), rel=0.05)


def test_mirror_settles_at_noise_variance_over_decay(
    make_network: Callable[..., Network],
) -> None:
    """B -> noise^2 / decay W^T."""
    rule = WeightMirror(mirror_rate=0.02, noise=2.0, decay=0.5)
    estimator = bound(rule, make_network("mlp"))
    for _ in range(800):
        estimator.mirror()
    for weight, feedback in estimator.feedback.pairs(estimator.network):
        assert feedback.norm().item() == pytest.approx(8 * weight.norm().item(), rel=0.05)


def test_each_mode_changes_its_own_weights(
    make_network: Callable[..., Network], few: Batch
) -> None:
    estimator = bound(WeightMirror(n_mirror=3), make_network("recurrent"))
    before = {name: each.clone() for name, each in estimator.state_dict().items()}
    estimator(few, lambda: None)
    engaged = estimator.state_dict()
    assert all(torch.equal(each, before[name]) for name, each in engaged.items())
    estimator.after_step(0.1)
    mirrored = estimator.state_dict()
    for name, each in mirrored.items():
        assert torch.equal(each, before[name]) == name.startswith("network."), name


def test_mirror_leaves_gradients_and_modes_alone(
    make_network: Callable[..., Network], few: Batch
) -> None:
    estimator = bound(WeightMirror(), make_network("cnn"))
    estimator.after_step(0.1)
    assert estimator.network.training
    assert all(p.grad is None for p in estimator.parameters())


@each_rule
def test_refuses_what_is_no_graph_of_areas(rule: LearningRule) -> None:
    with pytest.raises(
        UnsupportedNetworkError,
        match=rf"^{rule.name} cannot train this network: a Linear is no graph of areas",
    ):
        bound(rule, nn.Linear(3, 2))


def test_refuses_settings_out_of_range() -> None:
    with pytest.raises(ContractError, match=r"^kolen_pollack: decay is -1, expected a number of"):
        KolenPollack(decay=-1)
    with pytest.raises(ContractError, match=r"^kolen_pollack: scale is 0, expected a number"):
        KolenPollack(scale=0)
    with pytest.raises(ContractError, match=r"^weight_mirror: n_mirror is 0, expected a whole"):
        WeightMirror(n_mirror=0)
    with pytest.raises(
        ContractError, match=r"^weight_mirror: mirror_rate \* decay is 2, so B would overshoot\."
    ):
        WeightMirror(mirror_rate=2.0)

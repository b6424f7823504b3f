from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from brainscore_lite.learning_rules import Batch, EquilibriumPropagation, UnsupportedNetworkError
from brainscore_lite.learning_rules.classification import one_hot
from brainscore_lite.learning_rules.energy.nudged_phases import (
    Point,
    around_a_circle,
    nudged_gradient,
)
from brainscore_lite.learning_rules.energy.objectives import stacked
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

Build = Callable[..., Network]
each_objective = pytest.mark.parametrize("objective", ["cross_entropy", "squared_error"])
GENERATOR = torch.Generator()


def estimate(
    defined: SimpleNamespace, network: Network, batch: Batch, **settings: object
) -> dict[torch.nn.Parameter, torch.Tensor]:
    rule = EquilibriumPropagation(**{"free_steps": 80, "nudged_steps": 60, **settings})
    return defined.written(rule.bind(network, torch.Generator().manual_seed(0)), batch)


@each_objective
def test_bias_of_one_sided_is_of_first_and_of_centered_of_second_order(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str
) -> None:
    network = settling("sigmoid")
    true = defined.bptt(network, few, objective, 60)
    orders = (("one_sided", (1.4e-2, 1.4e-3), 10), ("centered", (2.2e-4, 2.2e-6), 100))
    for nudging, bounds, rate in orders:
        errors = [
            defined.distance(
                estimate(defined, network, few, nudging=nudging, beta=beta, objective=objective),
                true,
            )
            for beta in (0.01, 0.001)
        ]
        assert errors[0] < bounds[0]
        assert errors[1] < bounds[1]
        assert errors[0] / errors[1] == pytest.approx(rate, rel=0.1)


@each_objective
@pytest.mark.parametrize("n_steps", [1, 3, 5, 10])
@pytest.mark.parametrize("activation", ["tanh", "clipped_relu"])
def test_nudged_steps_are_steps_of_truncated_bptt(
    settling: Build,
    few: Batch,
    defined: SimpleNamespace,
    objective: str,
    n_steps: int,
    activation: str,
) -> None:
    network = settling(activation)
    found = estimate(defined, network, few, beta=1e-4, nudged_steps=n_steps, objective=objective)
    assert defined.distance(found, defined.bptt(network, few, objective, n_steps)) < 3e-8


@each_objective
@pytest.mark.parametrize("n_steps", [4, 7, 30])
def test_free_phase_is_that_of_synchronous_steps(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str, n_steps: int
) -> None:
    """Half of the updates are left out, and no state is another for it."""
    network = settling("clipped_relu", scale=1.0)
    with torch.no_grad():
        for area in network.areas.values():
            area.bias.zero_()  # without biases, areas that nothing has reached stay at 0
    rule = EquilibriumPropagation(free_steps=n_steps, objective=objective)
    (step,) = rule.bind(network, GENERATOR).respond(few.images)
    names = list(network.areas)[: None if objective == "squared_error" else -1]
    expected = defined.from_zero(network, few.images, names, n_steps)
    for name, state in expected.items():
        assert torch.allclose(step.activations[name], state, rtol=0, atol=1e-13), name


def test_free_phase_settles_and_says_how_far(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling()
    residuals = []
    for n_steps in (5, 10, 80):
        rule = EquilibriumPropagation(free_steps=n_steps, objective="squared_error")
        (step,) = rule.bind(network, GENERATOR).respond(few.images)
        residuals.append(step.residual)
    assert residuals[0] > residuals[1] > residuals[2]
    assert residuals[2] < 1e-12
    states = {n: s.requires_grad_() for n, s in step.activations.items()}
    after = defined.synchronous_step(network, few.images, states)
    assert all(torch.allclose(after[n], states[n], rtol=0, atol=1e-12) for n in states)
    info = rule.bind(network, GENERATOR)(few, lambda: None)
    assert info.settling_residual == residuals[2]


def test_residual_is_the_change_of_the_last_step(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling("clipped_relu", scale=1.0)
    with torch.no_grad():
        for area in network.areas.values():
            area.bias.zero_()
    rule = EquilibriumPropagation(free_steps=6, objective="squared_error")
    (step,) = rule.bind(network, GENERATOR).respond(few.images)
    before, after = (defined.from_zero(network, few.images, list(network.areas), n) for n in (5, 6))
    older = defined.from_zero(network, few.images, list(network.areas), 4)
    moved = {n: (after[n] - before[n]) if (after[n] - before[n]).any() else 0 for n in after}
    moved = {n: moved[n] if torch.is_tensor(moved[n]) else before[n] - older[n] for n in after}
    squares = sum(change.square().sum() for change in moved.values())
    expected = (squares / sum(change.numel() for change in moved.values())).sqrt()
    assert step.residual == pytest.approx(expected.item(), rel=1e-9)


@each_objective
def test_holomorphic_error_falls_exponentially(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str
) -> None:
    network = settling("sigmoid")
    true = defined.bptt(network, few, objective, 60)
    errors = [
        defined.distance(
            estimate(
                defined,
                network,
                few,
                nudging="holomorphic",
                beta=0.2,
                n_points=n_points,
                objective=objective,
            ),
            true,
        )
        for n_points in (2, 4, 6, 8)
    ]
    for error, bound in zip(errors, (8.7e-2, 4.2e-3, 6.3e-4, 4.5e-5), strict=True):
        assert error < bound
    assert all(later < earlier / 5 for earlier, later in pairwise(errors))


@each_objective
def test_two_points_on_the_circle_are_centered(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str
) -> None:
    network = settling()
    settings = {"beta": 0.2, "objective": objective, "nudged_steps": 8}
    centered = estimate(defined, network, few, **settings)
    two = estimate(defined, network, few, nudging="holomorphic", n_points=2, **settings)
    assert defined.distance(two, centered) < 1e-14


@each_objective
@pytest.mark.parametrize("n_points", [3, 4])
def test_half_of_the_circle_says_what_all_of_it_says(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str, n_points: int
) -> None:
    network = settling()
    rule = EquilibriumPropagation(nudging="holomorphic", objective=objective, free_steps=20)
    estimator = rule.bind(network, GENERATOR)
    unit = torch.arange(n_points, dtype=torch.float64) * 2 * torch.pi / n_points
    circle = [complex(torch.polar(torch.ones(()).double(), angle)) for angle in unit]
    every = [Point(0.2 * z, z.conjugate() / (n_points * 0.2)) for z in circle]
    with torch.no_grad():
        free = estimator.free_phase(few.images)
        y = one_hot(few.labels, like=free.scores)
        half, whole = (
            nudged_gradient(estimator, free, y, points, n_steps=7)
            for points in (around_a_circle(0.2, n_points), every)
        )
    assert len(around_a_circle(0.2, n_points)) == n_points // 2 + 1
    assert defined.distance(half, whole) < 1e-13


def test_centered_with_a_strong_nudge_is_no_gradient(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling(scale=1.0)
    true = defined.bptt(network, few, "squared_error", 60)
    cosines = [
        defined.cosine(estimate(defined, network, few, beta=beta, objective="squared_error"), true)
        for beta in (0.01, 0.1, 0.95)
    ]
    assert cosines[0] > 0.9999
    assert cosines[1] > 0.99
    assert cosines[2] < 0.75


def test_one_sided_mistakes_drift_for_error_and_centered_does_not(
    defined: SimpleNamespace,
) -> None:
    """What a network still moves when it is nudged enters one-sided estimates, divided by beta.

    Training by it rises and collapses; both phases of the centered estimate drift alike.
    """
    areas = tuple(Dense(name, 64, activation="clipped_relu") for name in ("A", "B"))
    network = ConvNet(areas=areas, n_classes=3, image_size=8)
    network = network.build(torch.Generator().manual_seed(0)).double()
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    batch = Batch(images, torch.arange(16) % 3)
    loss = EquilibriumPropagation(free_steps=100).bind(network, GENERATOR).loss(batch)
    below = [p for p in network.parameters() if len(p) == 64]
    true = dict(zip(below, torch.autograd.grad(loss, below), strict=True))
    cosines = {
        nudging: defined.cosine(
            estimate(defined, network, batch, nudging=nudging, free_steps=15, nudged_steps=10), true
        )
        for nudging in ("one_sided", "centered")
    }
    assert cosines["one_sided"] < 0.3
    assert cosines["centered"] > 0.6


def test_holomorphic_with_a_wide_circle_converges_slowly(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling(scale=1.0)
    true = defined.bptt(network, few, "squared_error", 60)
    narrow, wide = (
        defined.distance(
            estimate(
                defined,
                network,
                few,
                nudging="holomorphic",
                beta=beta,
                n_points=8,
                objective="squared_error",
            ),
            true,
        )
        for beta in (0.1, 0.5)
    )
    assert wide > 0.05
    assert narrow < wide / 50


@each_objective
@pytest.mark.parametrize("nudging", ["one_sided", "centered"])
def test_losses_are_those_of_single_images(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str, nudging: str
) -> None:
    """A batch is nudged as each of its images would be alone: no share of 1/6 in the dynamics."""
    network = settling()
    settings = {"beta": 0.3, "free_steps": 12, "nudged_steps": 6, "objective": objective}
    together = estimate(defined, network, few, nudging=nudging, **settings)
    alone = [
        estimate(
            defined, network, Batch(few.images[[i]], few.labels[[i]]), nudging=nudging, **settings
        )
        for i in range(6)
    ]
    mean = {p: sum(each[p] for each in alone) / 6 for p in together}
    assert defined.distance(together, mean) < 1e-13


def test_random_sign_is_one_sided_with_either_sign(
    settling: Build, few: Batch, defined: SimpleNamespace
) -> None:
    network = settling()
    rule = EquilibriumPropagation(nudging="random_sign")
    estimator = rule.bind(network, torch.Generator().manual_seed(0))
    drawn = [defined.written(estimator, few) for _ in range(12)]
    free = estimator.free_phase(few.images)
    y = one_hot(few.labels, like=free.scores)
    with torch.no_grad():
        signs = [
            nudged_gradient(estimator, free, y, (Point(0.0, -1 / b), Point(b, 1 / b)), n_steps=10)
            for b in (0.1, -0.1)
        ]
    which = [[defined.distance(each, sign) < 1e-14 for sign in signs] for each in drawn]
    assert all(sum(row) == 1 for row in which)
    assert 0 < sum(row[0] for row in which) < 12


@each_objective
def test_loss_is_taken_at_the_free_fixed_point(
    settling: Build, few: Batch, defined: SimpleNamespace, objective: str
) -> None:
    network = settling()
    rule = EquilibriumPropagation(free_steps=80, objective=objective)
    estimator = rule.bind(network, GENERATOR)
    loss = estimator.loss(few)
    parameters = list(network.parameters())
    found = dict(zip(parameters, torch.autograd.grad(loss, parameters), strict=True))
    assert defined.distance(found, defined.bptt(network, few, objective, 80)) < 1e-10
    assert estimator(few, lambda: None).loss == pytest.approx(loss.item(), rel=1e-12)
    assert estimator.loss(Batch(few.images)) is None


def test_probes_what_it_predicts_from(settling: Build, few: Batch) -> None:
    network = settling()
    estimator = EquilibriumPropagation().bind(network, GENERATOR)
    (step,) = estimator.respond(few.images, ["readout", "V1"])
    assert list(step.activations) == ["readout", "V1"]
    assert torch.equal(step.activations["readout"], estimator.predict(few.images))
    assert not torch.allclose(
        step.activations["V1"], next(network.respond(few.images)).activations["V1"]
    )


def test_lesions_cut_both_ways(settling: Build, few: Batch) -> None:
    network = settling()
    estimator = EquilibriumPropagation().bind(network, GENERATOR)
    with network.lesioned({"V4->IT": 0.0}):
        (step,) = estimator.respond(few.images)
        alone = step.activations["IT"]
    assert torch.allclose(alone, torch.tanh(network.areas["IT"].bias).expand(6, -1))
    with torch.no_grad():
        network.connections["V4->IT"].op.weight.zero_()
    (step,) = estimator.respond(few.images)
    assert torch.equal(step.activations["IT"], alone)


def test_leaves_no_graph_behind(settling: Build, few: Batch, defined: SimpleNamespace) -> None:
    gradients = estimate(defined, settling(), few, free_steps=5, nudged_steps=2)
    assert not any(gradient.requires_grad for gradient in gradients.values())


def test_names_citations_and_demands_follow_the_nudging() -> None:
    rules = {n: EquilibriumPropagation(nudging=n) for n in ("centered", "one_sided", "holomorphic")}
    assert rules["centered"].name == "equilibrium_propagation"
    assert rules["one_sided"].name == "equilibrium_propagation_one_sided"
    assert "Scellier & Bengio" in rules["one_sided"].citation
    assert "Laborieux et al." in rules["centered"].citation
    assert "holomorphic_activation" in rules["holomorphic"].requires


def convnet(**settings: object) -> ConvNet:
    area = {"pool_out": Pool("average", 2), "activation": "tanh", **settings}
    return ConvNet(areas=(Area("V1", 4, **area),), n_classes=2, image_size=8)


@pytest.mark.parametrize(
    ("settings", "rule", "sentence"),
    [
        ({"activation": "relu"}, {}, "activation='relu', but feedback .* without limit. Choose"),
        ({"norm": "batch"}, {}, "norm='batch', but the energy has no term for it. Set norm='none'"),
        ({"post_norm": "layer"}, {}, "post_norm='layer', but the energy has no term for it"),
        (
            {"activation": "clipped_relu"},
            {"nudging": "holomorphic"},
            "complex nudges need it analytic, .* Choose one of: sigmoid, tanh",
        ),
        (
            {"pool_out": Pool("max", 2)},
            {"nudging": "holomorphic"},
            "pools by maximum, but the maximum is not analytic. Use Pool\\('average'",
        ),
        ({}, {"free_steps": 1}, "1 steps of settling are too few to pass its 2 areas"),
    ],
)
def test_refuses_networks_that_cannot_settle(settings: dict, rule: dict, sentence: str) -> None:
    network = convnet(**settings)
    with pytest.raises(UnsupportedNetworkError, match=sentence):
        EquilibriumPropagation(**rule).bind(network.build(GENERATOR), GENERATOR)
    assert not EquilibriumPropagation(**rule).supports(network).ok


def test_refuses_recurrence_of_the_networks_own_and_foreign_modules() -> None:
    recurrent = ConvNet(
        areas=(Area("V1", 4, activation="tanh"),),
        n_classes=2,
        image_size=8,
        lateral=True,
        n_steps=2,
    )
    reason = EquilibriumPropagation().supports(recurrent).reason
    assert "it is recurrent" in reason
    assert "Use a feedforward ConvNet" in reason
    assert "no graph of areas" in EquilibriumPropagation().supports(torch.nn.Linear(2, 2)).reason


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"nudging": "left"}, "nudging is 'left', which is unknown. Choose one of: centered"),
        ({"objective": "hinge"}, "objective is 'hinge'"),
        ({"beta": 0.0}, "beta is 0.0, expected a number above 0"),
        ({"n_points": 1}, "n_points is 1, expected a whole number of at least 2"),
        ({"beta": 1.0, "objective": "squared_error"}, "without a minimum. Set beta below 1"),
    ],
)
def test_refuses_settings_out_of_range(settings: dict, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        EquilibriumPropagation(**settings)


def test_asks_for_labels(settling: Build, few: Batch) -> None:
    with pytest.raises(ContractError, match="the batch has no labels"):
        EquilibriumPropagation().bind(settling(), GENERATOR)(Batch(few.images), lambda: None)


def test_trains_a_network_that_pools_by_maximum(few: Batch, defined: SimpleNamespace) -> None:
    network = ConvNet(
        areas=(
            Area("V1", 4, pool_out=Pool("max", 2), activation="tanh"),
            Area("V2", 6, pool_in=Pool("max", 2), activation="tanh"),
            Dense("IT", 5, pool_in=Pool("average", None), activation="tanh"),
        ),
        n_classes=3,
        image_size=8,
    ).build(torch.Generator().manual_seed(1))
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.3)
    found = estimate(defined, network, few, beta=1e-4, free_steps=40, nudged_steps=30)
    assert defined.distance(found, defined.bptt(network, few, "cross_entropy", 30)) < 1e-7


def test_real_states_are_stacked_as_they_are() -> None:
    states = torch.rand(3, 2)
    assert stacked(states) is states

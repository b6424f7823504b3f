"""Rule and connectivity are separate axes: every rule on lateral and feedback connections."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import (
    LEARNING_RULES,
    Backprop,
    BackpropThroughTime,
    DirectFeedbackAlignment,
)
from brainscore_lite.learning_rules.learning_rule import Batch, UnsupportedNetworkError
from brainscore_lite.learning_rules.linear_readout import READOUT_PHASE
from brainscore_lite.networks.areas import PER_STEP, Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.seeding import torch_generator

AVERAGED = Pool("average", 2)
B = ConvNet(
    areas=(
        Area("V1", 4, pool_out=AVERAGED, activation="clipped_relu"),
        Area("V4", 4, pool_out=AVERAGED, activation="clipped_relu"),
        Dense("IT", 8, activation="clipped_relu"),
    ),
    n_classes=3,
    image_size=8,
    in_channels=1,
    name="b",
)
BLT = replace(B, lateral=True, feedback=True, n_steps=3, name="blt")
WIRINGS = {
    "bl": replace(BLT, feedback=False),
    "bt": replace(BLT, lateral=False),
    "blt": BLT,
    "biological": replace(BLT, unroll="biological", n_steps=5),
    "gain": replace(BLT, combine="gain"),
    "leaky": replace(BLT, tau=2.0),
    "cumulative": replace(BLT, readout="cumulative"),
    "norm_per_step": replace(BLT, areas=tuple(replace(a, norm=PER_STEP) for a in BLT.areas)),
}
every_wiring = pytest.mark.parametrize("wiring", WIRINGS)
EXACT = ("feedback_alignment", "kolen_pollack", "weight_mirror")


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=generator)
    views = torch.stack([images, images.flip(3)])
    return Batch(images=images, labels=torch.arange(6) % 3, views=views)


def built(settings: ConvNet) -> Network:
    return settings.build(torch_generator(0)).double()


def update(rule: Any, network: Network) -> dict[str, Tensor]:
    estimator = rule.bind(network, torch_generator(1))
    phases = [phase for phase in estimator.phases() if phase != READOUT_PHASE]
    estimator.begin((phases or estimator.phases())[-1])
    estimator(batch(), lambda: None)
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


def follow_backprop(network: Network) -> dict[str, Tensor]:
    return update(Backprop(), network)


@pytest.mark.parametrize("wiring", ["blt", "biological", "gain", "leaky"])
@pytest.mark.parametrize("name", LEARNING_RULES)
def test_rule_trains_a_wiring_or_says_what_would_work(name: str, wiring: str) -> None:
    rule, settings = LEARNING_RULES[name], WIRINGS[wiring]
    network = built(settings)
    support = rule.supports(settings)
    assert rule.supports(network).ok == support.ok
    if not support.ok:
        assert " Use " in support.reason or "Choose" in support.reason or " Set " in support.reason
        with pytest.raises(UnsupportedNetworkError):
            rule.bind(network, torch_generator(1))
        return
    found = update(rule, network)
    assert all(grad.isfinite().all() for grad in found.values())


def test_feedback_among_one_area_alone_leaves_a_chain() -> None:
    alone = replace(B, areas=B.areas[:1], feedback=True)
    rule = LEARNING_RULES["target_propagation"]
    assert built(alone).feedback == ()
    assert rule.supports(alone).ok
    assert rule.supports(built(alone)).ok


@every_wiring
@pytest.mark.parametrize("name", EXACT)
def test_errors_through_the_forward_weights_are_those_of_backprop_through_time(
    name: str, wiring: str
) -> None:
    network = built(WIRINGS[wiring])
    estimator = LEARNING_RULES[name].bind(network, torch_generator(1))
    with torch.no_grad():
        for weight, feedback in estimator.feedback.pairs(network):
            feedback.copy_(weight)
    estimator.begin(estimator.phases()[0])
    estimator(batch(), lambda: None)
    found = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    expected = follow_backprop(built(WIRINGS[wiring]))
    assert set(found) == set(expected)
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "rule",
    [
        LEARNING_RULES["node_perturbation"],
        LEARNING_RULES["reward_modulated_hebb"],
        LEARNING_RULES["burstprop"],
        LEARNING_RULES["predictive_coding"],
        BackpropThroughTime(horizon=2),
        BackpropThroughTime(supervised="all"),
    ],
)
def test_steps_computed_again_change_no_update(rule: Any) -> None:
    network = built(BLT)
    expected = update(rule, network)
    again = built(BLT)
    again.recomputes = True
    found = update(rule, again)
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


@pytest.mark.parametrize("horizon", [1, 2])
@pytest.mark.parametrize(("tau", "readout"), [(2.0, "step"), (1.0, "cumulative")])
def test_horizon_ends_in_leaky_areas_and_in_readouts_that_add_up(
    horizon: int, tau: float, readout: Any
) -> None:
    areas = (Dense("PFC", 4, activation="tanh"),)
    settings = replace(BLT, areas=areas, feedback=False, tau=tau, readout=readout, n_steps=4)
    network, sample = built(settings), batch()
    found = update(BackpropThroughTime(horizon=horizon), network)

    expected = dict(built(settings).named_parameters())
    weight = {name: expected[f"connections.{name}.op.weight"] for name in network.connections}
    state, total = torch.zeros(6, 4).double(), torch.zeros(6, 3).double()
    for step in range(4):
        if step == 4 - horizon:
            state, total = state.detach(), total.detach()
        drive = sample.images.flatten(1) @ weight["image->PFC"].T + state @ weight["PFC->PFC"].T
        state = state + ((drive + expected["areas.PFC.bias"]).tanh() - state) / tau
        read = state @ weight["PFC->readout"].T + expected["areas.readout.bias"]
        total = total + read if readout == "cumulative" else read
    functional.cross_entropy(total, sample.labels).backward()
    for name, parameter in expected.items():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("wiring", ["blt", "biological"])
def test_direct_feedback_gives_every_step_of_an_area_the_same_error(wiring: str) -> None:
    network, sample = built(WIRINGS[wiring]), batch()
    estimator = DirectFeedbackAlignment().bind(network, torch_generator(1))
    estimator(sample, lambda: None)
    found = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    steps = list(network.run(sample.images))
    scores = steps[-1]["readout"]
    error = (scores.softmax(1) - functional.one_hot(sample.labels, 3)).detach() / 6
    for area in ("V1", "V4", "IT"):
        sent = estimator.feedback.error(area, error)
        into = [each for each in network.connections.values() if each.target == area]
        for connection in into:
            expected = torch.zeros_like(connection.op.weight)
            for index, step in enumerate(steps):
                source = steps[index - connection.delay] if index >= connection.delay else {}
                if area in step and connection.source in source:
                    arriving = {
                        each.name: each(steps[index - each.delay][each.source].detach())
                        for each in into
                        if index >= each.delay and each.source in steps[index - each.delay]
                    }
                    answer = network.areas[area](list(arriving.values()))
                    (gradient,) = torch.autograd.grad(
                        answer, connection.op.weight, sent, retain_graph=True
                    )
                    expected += gradient
            name = f"connections.{connection.name}.op.weight"
            torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-14)

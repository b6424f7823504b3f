"""Chains obey the run-time gains of their connections, wherever they are walked."""

import copy

import pytest
import torch

from brainscore_lite.learning_rules import (
    Batch,
    Estimator,
    ForwardForward,
    LearningRule,
    RecurrentForwardForward,
    SoftHebb,
    UnsupervisedForwardForward,
)
from brainscore_lite.learning_rules.stages import stages
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network

DENSE = ConvNet(
    areas=tuple(Dense(name, 10) for name in ("h1", "h2", "h3")),
    n_classes=2,
    image_size=8,
    name="dense",
)
WALK_STAGES = {
    "goodness": ForwardForward(),
    "readout": ForwardForward(prediction="readout"),
    "hard": ForwardForward(negatives="hard"),
    "unsupervised": UnsupervisedForwardForward(),
    "recurrent": RecurrentForwardForward(),
}
each_rule = pytest.mark.parametrize("rule", WALK_STAGES.values(), ids=WALK_STAGES)
#: A lesion, and a connection at half its strength.
each_gain = pytest.mark.parametrize("gain", [0.0, 0.5])


@pytest.fixture
def network() -> Network:
    return DENSE.build(torch.Generator().manual_seed(1)).double()


def bound(rule: LearningRule, network: Network) -> Estimator:
    estimator = rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(2))
    estimator.begin(estimator.phases()[0])
    return estimator


def scaled(estimator: Estimator, connection: str, gain: float) -> Estimator:
    """Scale the weights of a connection; where its adjoint has weights of its own, these too."""
    changed = copy.deepcopy(estimator)
    target = connection.partition("->")[2]
    with torch.no_grad():
        for name, weight in changed.named_parameters():
            if name == f"network.connections.{connection}.op.weight" or name == f"down.{target}":
                weight *= gain
    return changed


@each_gain
@pytest.mark.parametrize("connection", ["image->h1", "h1->h2", "h2->h3", "h3->readout"])
def test_stages_answer_as_the_network_does(
    connection: str, gain: float, network: Network, toy: Batch
) -> None:
    chain = stages(network)
    with network.lesioned({connection: gain}):
        responses = toy.images
        for stage in chain:
            responses = stage(responses)
        assert torch.equal(responses, network(toy.images))
        assert [stage.gain for stage in chain] == [network.gain(n) for n in network.connections]
    assert all(stage.gain == 1 for stage in chain)


@each_rule
@each_gain
@pytest.mark.parametrize("connection", ["image->h1", "h1->h2", "h2->h3", "h3->readout"])
def test_a_gain_is_a_factor_on_the_weights_whatever_is_done_with_the_network(
    rule: LearningRule, connection: str, gain: float, network: Network, toy: Batch
) -> None:
    """In what is predicted, probed and learned from."""
    estimator = bound(rule, network)
    if isinstance(rule, UnsupervisedForwardForward):  # its own readout reads layers from 0 weights
        torch.nn.init.normal_(estimator.readout.between[0].weight, generator=torch.Generator())
    other = scaled(estimator, connection, gain)
    with estimator.network.lesioned({connection: gain}):
        found, expected = (each.predict(toy.images) for each in (estimator, other))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        (step,), (same) = estimator.respond(toy.images), next(other.respond(toy.images))
        for layer, activations in step.activations.items():
            torch.testing.assert_close(activations, same.activations[layer], rtol=1e-10, atol=1e-12)
        losses = [each(toy, lambda: None).loss for each in (estimator, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)


@each_rule
@pytest.mark.parametrize("connection", ["image->h1", "h1->h2", "h2->h3"])
def test_a_lesion_changes_predictions_and_probed_activity_together(
    rule: LearningRule, connection: str, network: Network, toy: Batch
) -> None:
    estimator = bound(rule, network)
    before = estimator.predict(toy.images)
    (probed,) = estimator.respond(toy.images)
    target = connection.partition("->")[2]
    with estimator.network.lesioned({connection: 0.0}):
        (lesioned,) = estimator.respond(toy.images)
        after = estimator.predict(toy.images)
    assert not torch.allclose(before, after)
    assert torch.equal(lesioned.activations["readout"], after)
    assert not torch.allclose(probed.activations[target], lesioned.activations[target])
    assert torch.equal(estimator.predict(toy.images), before)


def test_areas_that_learn_see_what_a_lesion_leaves(network: Network, toy: Batch) -> None:
    estimator = bound(SoftHebb(biases="none", norm_power=0.0), network)
    with estimator.network.lesioned({"h1->h2": 0.0}):
        estimator(toy, lambda: None)
    written = {n: p.grad for n, p in estimator.network.named_parameters() if p.grad is not None}
    assert written["connections.h1->h2.op.weight"].abs().sum() > 0
    assert written["connections.h2->h3.op.weight"].abs().sum() == 0

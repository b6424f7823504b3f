"""Laws that every learning rule keeps, as far as its declared properties imply them."""

import copy
import dataclasses
import re
import typing
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.configuration import from_json, to_json
from brainscore_lite.learning_rules import (
    LEARNING_RULES,
    LOCALITIES,
    REQUIREMENTS,
    Batch,
    Estimator,
    LearningRule,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.learning_rule import Exactness
from brainscore_lite.networks.convnet import ConvNet

each_rule = pytest.mark.parametrize("rule", LEARNING_RULES.values(), ids=list(LEARNING_RULES))

#: Rules that cannot train the convolutional network `tiny` name here what they are tried on
#: instead: settings for the 8 x 8 images and 2 classes of `toy`.
NETWORK_OF: dict[str, ConvNet] = {}


@pytest.fixture
def network(rule: LearningRule, tiny: nn.Module) -> nn.Module:
    """What a rule is tried on, in float64."""
    if rule.name not in NETWORK_OF:
        return tiny
    return NETWORK_OF[rule.name].build(torch.Generator().manual_seed(1)).double()


def bound(rule: LearningRule, network: nn.Module, *, seed: int = 0) -> Estimator:
    estimator = rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(seed))
    estimator.begin(estimator.phases()[0])
    return estimator


def trainable(rule: LearningRule, network: nn.Module, *, seed: int = 0) -> Estimator:
    """Bind a rule, or skip the law: it is about updates, and the rule writes none."""
    estimator = bound(rule, network, seed=seed)
    if not estimator.parameter_groups():
        pytest.skip(f"{rule.name} trains nothing, so it has no updates")
    return estimator


def update(estimator: Estimator, batch: Batch) -> dict[str, Tensor]:
    """What the rule writes, inside the batch and at its end."""
    total: dict[str, Tensor] = {}

    def collect() -> None:
        for name, parameter in estimator.named_parameters():
            if parameter.grad is not None:
                total[name] = total.get(name, 0) + parameter.grad
        estimator.zero_grad(set_to_none=True)

    estimator(batch, collect)
    collect()
    return total


@each_rule
def test_is_a_frozen_dataclass_with_declared_properties(rule: LearningRule) -> None:
    assert isinstance(rule, LearningRule)
    assert rule.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert LEARNING_RULES[rule.name] is rule
    assert rule.exactness in typing.get_args(Exactness)
    assert isinstance(rule.ngrad, bool)
    assert rule.requires <= REQUIREMENTS
    assert rule.makes_local <= LOCALITIES
    assert rule.family
    assert rule.citation


@each_rule
def test_settings_round_trip_through_json(rule: LearningRule) -> None:
    assert from_json(to_json(rule), types=(type(rule),)) == rule
    assert dataclasses.is_dataclass(rule)


@each_rule
def test_supports_the_network_that_it_is_tried_on(rule: LearningRule, network: nn.Module) -> None:
    assert rule.supports(network).ok, "give the rule an entry in NETWORK_OF"


@each_rule
def test_refuses_in_the_words_of_supports(rule: LearningRule, tiny: nn.Module) -> None:
    tried = (tiny, copy.deepcopy(tiny).requires_grad_(False))
    refused = [network for network in tried if not rule.supports(network).ok]
    if not refused:
        pytest.skip(f"{rule.name} supports every network tried")
    for network in refused:
        reason = rule.supports(network).reason
        assert reason
        with pytest.raises(UnsupportedNetworkError, match=f": {re.escape(reason)}$"):
            rule.bind(network, torch.Generator())


@each_rule
def test_updates_are_finite_and_shaped_like_the_weights(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    estimator = trainable(rule, network)
    parameters = dict(estimator.named_parameters())
    for name, gradient in update(estimator, toy).items():
        assert gradient.shape == parameters[name].shape
        assert torch.isfinite(gradient).all()


@each_rule
def test_what_is_trained_gets_an_update_and_nothing_else(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, network)
    names = {id(p): name for name, p in estimator.named_parameters()}
    trained = {names[id(p)] for group in estimator.parameter_groups() for p in group.parameters}
    assert set(update(estimator, toy)) == trained


@each_rule
def test_same_seed_same_update(rule: LearningRule, network: nn.Module, toy: Batch) -> None:
    first, second = (update(trainable(rule, network, seed=3), toy) for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@each_rule
def test_global_random_numbers_have_no_say(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        update(bound(rule, network), toy)
        assert torch.equal(torch.get_rng_state(), before)


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_device_are_kept(
    rule: LearningRule, dtype: torch.dtype, network: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, network.to(dtype))
    images = toy.images.to(dtype)
    gradients = update(estimator, Batch(images, toy.labels)).values()
    assert {(g.dtype, g.device) for g in gradients} <= {(dtype, images.device)}
    assert estimator.predict(images).dtype == dtype


@each_rule
def test_state_round_trips(
    rule: LearningRule,
    network: nn.Module,
    toy: Batch,
    trained_on_toy: Callable[[Estimator, int], list[float]],
) -> None:
    trained = bound(rule, network, seed=1)
    trained_on_toy(trained, 2)
    trained.begin(trained.phases()[0])
    fresh = bound(rule, network, seed=2)
    fresh.load_state_dict({k: v.clone() for k, v in trained.state_dict().items()})
    assert torch.equal(fresh.predict(toy.images), trained.predict(toy.images))
    first, second = update(fresh, toy), update(trained, toy)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in second)


@each_rule
def test_entering_a_phase_changes_no_state(rule: LearningRule, network: nn.Module) -> None:
    estimator = bound(rule, network)
    before = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    for phase in estimator.phases():
        estimator.begin(phase)
    after = estimator.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@each_rule
def test_predicts_every_class_and_responds_with_every_layer(
    rule: LearningRule, network: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, network)
    assert estimator.predict(toy.images).shape == (len(toy.images), 2)
    steps = list(estimator.respond(toy.images))
    assert [step.index for step in steps] == list(range(estimator.model.n_steps))
    assert set(steps[-1].activations) == set(estimator.model.layer_names)


@each_rule
def test_weights_stay_where_nothing_is_trained(
    rule: LearningRule,
    network: nn.Module,
    trained_on_toy: Callable[[Estimator, int], list[float]],
) -> None:
    estimator = bound(rule, network)
    if estimator.parameter_groups():
        pytest.skip(f"{rule.name} trains weights")
    before = {name: p.detach().clone() for name, p in estimator.named_parameters()}
    trained_on_toy(estimator, 3)
    assert before
    assert all(torch.equal(p, before[name]) for name, p in estimator.named_parameters())


@each_rule
def test_learns_two_classes_where_it_should(
    rule: LearningRule,
    network: nn.Module,
    toy: Batch,
    trained_on_toy: Callable[[Estimator, int], list[float]],
) -> None:
    if "labels" not in rule.requires:
        pytest.skip(f"{rule.name} needs no labels, so nothing tells it which class is which")
    estimator = bound(rule, network)
    losses = trained_on_toy(estimator, 60)
    assert losses[-1] < 0.5 * losses[0]
    correct = estimator.predict(toy.images).argmax(dim=1) == toy.labels
    assert correct.double().mean() > 0.95

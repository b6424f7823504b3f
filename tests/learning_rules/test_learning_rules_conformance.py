"""Laws that every learning rule keeps, as far as its declared properties imply them."""

import copy
import dataclasses
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
)
from brainscore_lite.learning_rules.learning_rule import Exactness

each_rule = pytest.mark.parametrize("rule", LEARNING_RULES.values(), ids=list(LEARNING_RULES))


def bound(rule: LearningRule, network: nn.Module, *, seed: int = 0) -> Estimator:
    estimator = rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(seed))
    estimator.begin(estimator.phases()[0])
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
def test_accepts_a_convolutional_network_or_says_why_not(
    rule: LearningRule, tiny: nn.Module
) -> None:
    support = rule.supports(tiny)
    assert support.ok or support.reason


@each_rule
def test_updates_are_finite_and_shaped_like_the_weights(
    rule: LearningRule, tiny: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, tiny)
    parameters = dict(estimator.named_parameters())
    for name, gradient in update(estimator, toy).items():
        assert gradient.shape == parameters[name].shape
        assert torch.isfinite(gradient).all()


@each_rule
def test_everything_that_is_trained_gets_an_update(
    rule: LearningRule, tiny: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, tiny)
    names = {id(p): name for name, p in estimator.named_parameters()}
    trained = {names[id(p)] for group in estimator.parameter_groups() for p in group.parameters}
    assert set(update(estimator, toy)) == trained


@each_rule
def test_same_seed_same_update(rule: LearningRule, tiny: nn.Module, toy: Batch) -> None:
    first, second = (update(bound(rule, tiny, seed=3), toy) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@each_rule
def test_global_random_numbers_have_no_say(rule: LearningRule, tiny: nn.Module, toy: Batch) -> None:
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        update(bound(rule, tiny), toy)
        assert torch.equal(torch.get_rng_state(), before)


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_device_are_kept(
    rule: LearningRule, dtype: torch.dtype, tiny: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, tiny.to(dtype))
    images = toy.images.to(dtype)
    for gradient in update(estimator, Batch(images, toy.labels)).values():
        assert (gradient.dtype, gradient.device) == (dtype, images.device)
    assert estimator.predict(images).dtype == dtype


@each_rule
def test_state_round_trips(
    rule: LearningRule,
    tiny: nn.Module,
    toy: Batch,
    trained_on_toy: Callable[[Estimator, int], list[float]],
) -> None:
    trained = bound(rule, tiny, seed=1)
    trained_on_toy(trained, 2)
    trained.begin(trained.phases()[0])
    fresh = bound(rule, tiny, seed=2)
    fresh.load_state_dict({k: v.clone() for k, v in trained.state_dict().items()})
    assert torch.equal(fresh.predict(toy.images), trained.predict(toy.images))
    first, second = update(fresh, toy), update(trained, toy)
    assert all(torch.equal(first[name], second[name]) for name in second)


@each_rule
def test_entering_a_phase_changes_no_state(rule: LearningRule, tiny: nn.Module) -> None:
    estimator = bound(rule, tiny)
    before = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    for phase in estimator.phases():
        estimator.begin(phase)
    after = estimator.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@each_rule
def test_predicts_every_class_and_responds_with_every_layer(
    rule: LearningRule, tiny: nn.Module, toy: Batch
) -> None:
    estimator = bound(rule, tiny)
    assert estimator.predict(toy.images).shape == (len(toy.images), 2)
    for step in estimator.respond(toy.images):
        assert set(step.activations) <= set(estimator.model.layer_names)


@each_rule
def test_learns_two_classes_where_it_should(
    rule: LearningRule,
    tiny: nn.Module,
    toy: Batch,
    trained_on_toy: Callable[[Estimator, int], list[float]],
) -> None:
    estimator = bound(rule, tiny)
    losses = trained_on_toy(estimator, 60)
    if "labels" not in rule.requires:
        return  # nothing says which class is which: an untrained network need not learn
    assert losses[-1] < 0.5 * losses[0]
    correct = estimator.predict(toy.images).argmax(dim=1) == toy.labels
    assert correct.double().mean() > 0.95

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    LEARNING_RULES,
    Backprop,
    BackpropThroughTime,
    Batch,
    Estimator,
    FixedPredictionCoding,
    LearningRule,
    Phase,
    RealTimeRecurrentLearning,
    UnsupportedNetworkError,
    ZeroDivergenceInferenceLearning,
    distinct,
)
from brainscore_lite.schema import ContractError


@pytest.fixture
def estimator(tiny: nn.Module) -> Estimator:
    return Estimator(tiny, torch.Generator().manual_seed(5))


def test_defaults_train_the_network_in_one_phase(estimator: Estimator, tiny: nn.Module) -> None:
    assert estimator.phases() == (Phase(name="training"),)
    (group,) = estimator.parameter_groups()
    assert [id(p) for p in group.parameters] == [id(p) for p in tiny.parameters()]


def test_default_loss_is_the_cross_entropy(estimator: Estimator, toy: Batch) -> None:
    expected = functional.cross_entropy(estimator.network(toy.images), toy.labels)
    assert torch.equal(estimator.loss(toy), expected)
    assert estimator.loss(Batch(toy.images)) is None


def test_default_response_and_prediction_are_the_network_s(
    estimator: Estimator, toy: Batch
) -> None:
    (step,) = estimator.respond(toy.images, ["IT", "readout"])
    assert set(step.activations) == {"IT", "readout"}
    assert torch.equal(step.activations["readout"], estimator.predict(toy.images))


def test_state_holds_the_generator(estimator: Estimator) -> None:
    state = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    first = torch.rand(3, generator=estimator.generator)
    estimator.load_state_dict(state)
    assert torch.equal(first, torch.rand(3, generator=estimator.generator))


def test_a_rule_must_say_how_it_learns(estimator: Estimator, toy: Batch) -> None:
    with pytest.raises(NotImplementedError):
        estimator(toy, lambda: None)


def test_rules_that_follow_the_gradient_are_one_model() -> None:
    groups = distinct(LEARNING_RULES.values())
    exact = {name for name, rule in LEARNING_RULES.items() if rule.exactness == "bp"}
    assert set(groups["backprop"]) == exact > {"backprop"}
    assert {name for names in groups.values() for name in names} == set(LEARNING_RULES)
    assert all(names == (name,) for name, names in groups.items() if name != "backprop")


@pytest.mark.parametrize(
    "rule",
    [
        FixedPredictionCoding(output_loss="squared_error"),
        FixedPredictionCoding(n_steps=1),
        ZeroDivergenceInferenceLearning(output_loss="squared_error"),
        RealTimeRecurrentLearning("all"),
        BackpropThroughTime(horizon=2),
    ],
    ids=repr,
)
def test_settings_with_another_gradient_are_models_of_their_own(rule: LearningRule) -> None:
    groups = distinct([Backprop(), rule, FixedPredictionCoding(1.0, 1, "backward")])
    assert groups["backprop"] == ("backprop", "predictive_coding_fixed")
    assert len(groups) == 2


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Phase(name="training").name = "other"  # type: ignore[misc]


def test_unsupported_network_is_a_broken_contract() -> None:
    assert issubclass(UnsupportedNetworkError, ContractError)

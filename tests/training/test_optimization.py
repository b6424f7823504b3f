import pytest
import torch
from torch import nn

from brainscore_lite.learning_rules import ParameterGroup, Phase
from brainscore_lite.training import TrainingConfig
from brainscore_lite.training.optimization import (
    build_optimizer,
    learning_rate,
    set_learning_rate,
)
from brainscore_lite.training.settings import ADAM_BETAS, ADAM_EPSILON, NESTEROV

PHASE = Phase(name="training")


def rate(
    epochs_done: float, *, step: float = 0.25, phase: Phase = PHASE, **settings: object
) -> float:
    config = TrainingConfig(lr=0.1, **settings)  # type: ignore[arg-type]
    return learning_rate(epochs_done, step=step, n_epochs=4, phase=phase, config=config)


def test_cosine_falls_from_the_peak_to_zero() -> None:
    assert [rate(t) for t in (0, 2, 4)] == pytest.approx([0.1, 0.05, 0])


def test_constant_stays() -> None:
    assert rate(3.9, schedule="constant") == 0.1


def test_warmup_rises_linearly_and_not_from_zero() -> None:
    assert [rate(t, warmup_epochs=2.0) for t in (0, 0.75, 1.75, 2, 3)] == pytest.approx(
        [0.0125, 0.05, 0.1, 0.1, 0.05]
    )


def test_warmup_shorter_than_a_step_starts_at_the_peak() -> None:
    assert rate(0, step=0.25, warmup_epochs=0.1) == 0.1


def test_fixed_numbers_reach_the_optimizers() -> None:
    groups = [ParameterGroup((nn.Parameter(torch.ones(1)),))]
    sgd = build_optimizer(groups, phase=PHASE, config=TrainingConfig())
    adam = build_optimizer(groups, phase=PHASE, config=TrainingConfig(optimizer="adam"))
    assert sgd.defaults["nesterov"] is NESTEROV
    assert (adam.defaults["betas"], adam.defaults["eps"]) == (ADAM_BETAS, ADAM_EPSILON)


def test_the_rate_of_a_phase_goes_first() -> None:
    assert rate(0, phase=Phase(name="feedback", lr=0.3)) == 0.3


def test_groups_have_their_own_rate_and_decay() -> None:
    one, other = (nn.Parameter(torch.ones(1)) for _ in range(2))
    groups = [ParameterGroup((one,), lr_multiplier=2.0), ParameterGroup((other,), weight_decay=0.1)]
    config = TrainingConfig(momentum=0.0)
    optimizer = build_optimizer(groups, phase=PHASE, config=config)
    set_learning_rate(optimizer, 0.1)
    for parameter in (one, other):
        parameter.grad = torch.ones(1)
    optimizer.step()
    assert one.item() == pytest.approx(1 - 0.2)
    assert other.item() == pytest.approx(1 - 0.1 * 1.1)


def test_the_optimizer_of_a_phase_goes_first() -> None:
    groups = [ParameterGroup((nn.Parameter(torch.ones(1)),))]
    locked = Phase(name="training", optimizer="sgd")
    config = TrainingConfig(optimizer="adam")
    assert isinstance(build_optimizer(groups, phase=locked, config=config), torch.optim.SGD)
    assert isinstance(build_optimizer(groups, phase=PHASE, config=config), torch.optim.AdamW)


def test_nothing_to_step_needs_no_optimizer() -> None:
    assert build_optimizer([], phase=PHASE, config=TrainingConfig()) is None

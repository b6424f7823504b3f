"""Optimiser and learning rate of a phase."""

import math
from collections.abc import Sequence

import torch

from brainscore_lite.learning_rules.learning_rule import ParameterGroup, Phase
from brainscore_lite.training.settings import (
    ADAM_BETAS,
    ADAM_EPSILON,
    NESTEROV,
    TrainingConfig,
)


def build_optimizer(
    groups: Sequence[ParameterGroup], *, phase: Phase, config: TrainingConfig
) -> torch.optim.Optimizer | None:
    """Build the optimiser of a phase.

    Parameters
    ----------
    groups : sequence of ParameterGroup
    phase : Phase
        Its optimiser goes before the configuration's.
    config : TrainingConfig

    Returns
    -------
    torch.optim.Optimizer or None
        SGD with Nesterov momentum, or Adam with decoupled weight decay; None where no group has
        anything to step.
    """
    described = [
        {
            "params": list(group.parameters),
            "lr_multiplier": group.lr_multiplier,
            "weight_decay": (
                config.weight_decay if group.weight_decay is None else group.weight_decay
            ),
        }
        for group in groups
    ]
    if not described:
        return None
    if (phase.optimizer or config.optimizer) == "adam":
        return torch.optim.AdamW(described, betas=ADAM_BETAS, eps=ADAM_EPSILON)
    momentum = config.momentum if phase.momentum is None else phase.momentum
    return torch.optim.SGD(described, momentum=momentum, nesterov=NESTEROV and momentum > 0)


def learning_rate(
    epochs_done: float, *, step: float, n_epochs: int, phase: Phase, config: TrainingConfig
) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    epochs_done : float
        Since the phase began, before the step, in epochs.
    step : float
        Length of the step in epochs.
    n_epochs : int
        Length of the phase.
    phase : Phase
        Its learning rate goes before the configuration's.
    config : TrainingConfig

    Returns
    -------
    float
    """
    peak = config.lr if phase.lr is None else phase.lr
    warmup = min(config.warmup_epochs, n_epochs)
    if epochs_done < warmup:
        return peak * min(1.0, (epochs_done + step) / warmup)
    if config.schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (epochs_done - warmup) / (n_epochs - warmup)))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group the learning rate times its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_multiplier"]

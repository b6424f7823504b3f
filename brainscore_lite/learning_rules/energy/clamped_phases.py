"""Clamped phases: the network settles again while the readout is held at a given state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from brainscore_lite.learning_rules.energy.fixed_points import FixedPointEstimator, FreePhase
from brainscore_lite.learning_rules.energy.hopfield import States
from brainscore_lite.learning_rules.energy.settling import settle
from brainscore_lite.networks.model import READOUT


def clamped_states(
    estimator: FixedPointEstimator, free: FreePhase, held: Sequence[Tensor], *, n_steps: int
) -> States:
    """Settle from the free state with the readout held, in one batch for all states it is held at.

    Parameters
    ----------
    estimator : FixedPointEstimator
        Its readout takes part in the dynamics.
    free : FreePhase
    held : sequence of Tensor, each of shape (batch, n_classes)
    n_steps : int

    Returns
    -------
    dict of str to Tensor, each of shape (len(held) * batch, ...)
    """
    states = {name: torch.cat([state] * len(held)) for name, state in free.states.items()}
    states[READOUT] = torch.cat(list(held))
    settle(
        free.energy.repeated(len(held)),
        states,
        estimator.answer,
        n_steps=n_steps,
        first=(),
        moved=(READOUT,),
        held=(READOUT,),
    )
    return states

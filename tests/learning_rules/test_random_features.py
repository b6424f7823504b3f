import copy
from collections.abc import Callable

import torch
from torch import nn

from brainscore_lite.learning_rules import Estimator, RandomFeatures


def test_moves_the_readout_alone(
    tiny: nn.Module, trained_on_toy: Callable[..., list[float]]
) -> None:
    before = copy.deepcopy(tiny)
    estimator: Estimator = RandomFeatures().bind(tiny, torch.Generator())
    losses = trained_on_toy(estimator, 20)
    assert losses[-1] < losses[0]
    moved = {
        name
        for (name, one), other in zip(tiny.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert moved == {"areas.readout.bias", "connections.IT->readout.op.weight"}

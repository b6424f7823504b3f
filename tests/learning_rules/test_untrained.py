import torch
from torch import nn

from brainscore_lite.learning_rules import Batch, Untrained


def test_trains_nothing(tiny: nn.Module, toy: Batch) -> None:
    before = {name: p.clone() for name, p in tiny.named_parameters()}
    estimator = Untrained().bind(tiny, torch.Generator())
    assert estimator(toy, lambda: None).loss > 0
    assert estimator.parameter_groups() == []
    assert [phase.epochs for phase in estimator.phases()] == [0]
    assert all(torch.equal(p, before[name]) for name, p in tiny.named_parameters())
    assert all(p.grad is None for p in tiny.parameters())


def test_supports_a_network_without_trainable_weights(tiny: nn.Module) -> None:
    assert Untrained().supports(tiny.requires_grad_(False)).ok

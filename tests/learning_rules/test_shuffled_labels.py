import torch
from torch import nn

from brainscore_lite.learning_rules import Backprop, Batch, ShuffledLabels


def test_is_backprop_on_what_it_is_told(tiny: nn.Module, toy: Batch) -> None:
    """The shuffling is the loop's: given the same batch, the update is backprop's."""
    updates = []
    for rule in (Backprop(), ShuffledLabels()):
        rule.bind(tiny, torch.Generator())(toy, lambda: None)
        updates.append([p.grad.clone() for p in tiny.parameters()])
        tiny.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(*updates, strict=True))


def test_asks_for_shuffled_labels(tiny: nn.Module) -> None:
    (phase,) = ShuffledLabels().bind(tiny, torch.Generator()).phases()
    assert phase.labels
    assert phase.shuffled

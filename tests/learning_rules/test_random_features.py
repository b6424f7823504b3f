import copy
from collections.abc import Callable

import torch
from torch import nn

from brainscore_lite.learning_rules import Batch, Estimator, RandomFeatures
from brainscore_lite.networks import Area, ConvNet


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


def test_batch_norms_see_the_images_first() -> None:
    settings = ConvNet(areas=(Area("V1", 3, norm="batch"),), n_classes=2, image_size=8)
    network = settings.build(torch.Generator().manual_seed(0))
    estimator: Estimator = RandomFeatures().bind(network, torch.Generator())
    statistics, readout = estimator.phases()
    assert (statistics.epochs, statistics.labels, readout.labels) == (1, False, True)
    estimator.begin(statistics)
    assert not estimator.parameter_groups()
    estimator.train()
    weights = {name: p.clone() for name, p in network.named_parameters()}
    before = {name: b.clone() for name, b in network.named_buffers() if "running" in name}
    batch = Batch(torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 2)
    estimator(batch, lambda: None)
    now = dict(network.named_buffers())
    assert before
    assert all(not torch.equal(now[name], b) for name, b in before.items())
    assert all(torch.equal(p, weights[name]) for name, p in network.named_parameters())

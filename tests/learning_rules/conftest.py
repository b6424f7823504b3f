"""Small networks and toy images on which every rule is tried."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from brainscore_lite.learning_rules import Batch, Estimator
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet

TINY = ConvNet(
    areas=(Area("V1", 4, pool_out=Pool("average", 2)), Dense("IT", 8)),
    n_classes=2,
    image_size=8,
    name="tiny",
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only lose time to threads waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny() -> nn.Module:
    """A convolutional and a dense area, in float64."""
    return TINY.build(torch.Generator().manual_seed(1)).double()


@pytest.fixture
def toy() -> Batch:
    """Two classes: noise that is brighter on the left or on the right half."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(32) % 2
    images = 0.5 * torch.randn(32, 3, 8, 8, generator=generator, dtype=torch.float64)
    images[labels == 0, :, :, :4] += 1
    images[labels == 1, :, :, 4:] += 1
    return Batch(images, labels)


@pytest.fixture
def trained_on_toy(toy: Batch) -> Callable[[Estimator, int], list[float]]:
    """Let an estimator take plain gradient steps on the toy; returns the loss before each."""

    def train(estimator: Estimator, n_steps: int) -> list[float]:
        losses = []
        for phase in estimator.phases():
            estimator.begin(phase)
            groups = estimator.parameter_groups()
            parameters = [p for group in groups for p in group.parameters]

            def step(parameters: list[nn.Parameter] = parameters) -> None:
                with torch.no_grad():
                    for parameter in parameters:
                        if parameter.grad is not None:
                            parameter -= 0.1 * parameter.grad
                            parameter.grad = None

            for _ in range(n_steps):
                losses.append(estimator(toy, step).loss)
                step()
                estimator.after_step(0.1)
        return losses

    return train

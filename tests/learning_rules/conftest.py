"""Small networks and toy images on which every rule is tried."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from brainscore_lite.learning_rules import Batch, Estimator, Phase
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet

TINY = ConvNet(
    areas=(
        Area("V1", 4, pool_out=Pool("average", 2), activation="clipped_relu"),
        Dense("IT", 8, activation="clipped_relu"),
    ),
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
def given() -> Callable[[Phase, Batch], Batch]:
    """Give a batch what a phase asks for: labels or none, and views that differ by noise."""

    def give(phase: Phase, batch: Batch) -> Batch:
        noise = torch.Generator().manual_seed(4)
        shape = (phase.views, *batch.images.shape)
        jitter = 0.2 * torch.randn(shape, generator=noise, dtype=torch.float64)
        views = batch.images + jitter.to(batch.images.dtype) if phase.views else None
        return Batch(batch.images, batch.labels if phase.labels else None, views)

    return give


@pytest.fixture
def trained_on_toy(
    toy: Batch, given: Callable[[Phase, Batch], Batch]
) -> Callable[..., list[float]]:
    """Let an estimator take plain gradient steps on the toy, phase by phase.

    Returns the losses of the last phase, each before its step.
    """

    def train(estimator: Estimator, n_steps: int, lr: float = 0.1) -> list[float]:
        losses: list[float] = []
        dtype = next(p.dtype for p in estimator.network.parameters())
        images = Batch(toy.images.to(dtype), toy.labels)
        for phase in estimator.phases():
            losses = []
            estimator.begin(phase)
            batch = given(phase, images)
            groups = estimator.parameter_groups()

            def step(groups: list = groups) -> None:
                with torch.no_grad():
                    for group in groups:
                        for parameter in group.parameters:
                            if parameter.grad is not None:
                                parameter -= lr * group.lr_multiplier * parameter.grad
                                parameter.grad = None

            for _ in range(n_steps):
                losses.append(estimator(batch, step).loss)
                step()
                estimator.after_step(lr)
        return losses

    return train

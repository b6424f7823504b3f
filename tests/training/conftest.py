"""A tiny network, toy images, and a made-up rule that uses everything the loop offers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    Estimator,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
)
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.convnet import ConvNet


@dataclass(frozen=True, eq=False)
class ToyImages:
    """Noise that is brighter on the left or on the right half."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    name: str = "toy"


def toy_images(n_train: int = 120, n_test: int = 40, size: int = 8) -> ToyImages:
    rng = np.random.default_rng(0)
    labels = np.arange(n_train + n_test) % 2
    images = rng.integers(0, 150, (n_train + n_test, size, size, 3))
    images[labels == 0, :, : size // 2] += 60
    images[labels == 1, :, size // 2 :] += 60
    pixels = images.astype(np.uint8)
    return ToyImages(pixels[:n_train], labels[:n_train], pixels[n_train:], labels[n_train:])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only lose time to threads waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images() -> ToyImages:
    return toy_images()


@pytest.fixture
def tiny() -> ConvNet:
    """Settings of a network with a convolutional and a dense area."""
    return ConvNet(areas=(Area("V1", 4), Dense("IT", 8)), n_classes=2, image_size=8, name="tiny")


@dataclass(frozen=True)
class Busy:
    """First aligns a decoder without labels on two views, then learns with noise, in two steps."""

    noise: float = 0.01
    name: ClassVar[str] = "busy"
    family: ClassVar[str] = "none"
    citation: ClassVar[str] = "made up"
    exactness: ClassVar[str] = "approximate"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels", "views"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def supports(self, architecture: Any) -> Support:
        return Support(ok=True)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        return BusyEstimator(network, generator, self.noise)


class BusyEstimator(Estimator):
    def __init__(self, network: nn.Module, generator: torch.Generator, noise: float) -> None:
        super().__init__(network, generator)
        self.noise = noise
        self.decoder = nn.Parameter(torch.randn(2, 2, generator=generator))
        self.register_buffer("rates", torch.zeros(()))
        self.seen: list[Batch] = []

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase(name="decoder", epochs=2, labels=False, views=2, optimizer="sgd", lr=0.02),
            Phase(name="learning"),
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        if self.phase is not None and self.phase.name == "decoder":
            return [ParameterGroup((self.decoder,), lr_multiplier=0.5)]
        return [ParameterGroup(tuple(self.network.parameters()))]

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        self.seen.append(batch)
        if batch.labels is None:
            with torch.no_grad():
                one, other = (self.network(view) for view in batch.views)
            loss = functional.mse_loss(one @ self.decoder, other)
            loss.backward()
            return StepInfo(loss=loss.item())
        for last in (False, True):
            noise = self.noise * torch.randn(batch.images.shape, generator=self.generator)
            loss = functional.cross_entropy(self.network(batch.images + noise), batch.labels)
            loss.backward()
            if not last:
                step()
        return StepInfo(loss=loss.item())

    def after_step(self, lr: float) -> None:
        self.rates += lr


@pytest.fixture
def busy() -> Busy:
    return Busy()

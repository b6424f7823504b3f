"""Forward-forward without labels: what hybrids keep of images, and what learns in which phase."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import Batch
from brainscore_lite.learning_rules.linear_readout import READOUT_PHASE
from brainscore_lite.learning_rules.local import UnsupervisedForwardForward
from brainscore_lite.learning_rules.local.forward_forward_unsupervised import (
    FEATURES_PHASE,
    blobs,
    hybrids,
)
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.schema import ContractError

DENSE = ConvNet(
    areas=tuple(Dense(f"hidden{level}", 12) for level in (1, 2, 3)),
    n_classes=2,
    image_size=8,
    name="dense",
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_images(n: int, size: int) -> Tensor:
    """Noise with a correlation length of a few pixels, of mean 0 at every pixel."""
    noise = torch.randn(n, 1, size, size, generator=generator(1), dtype=torch.float64)
    line = torch.exp(-0.5 * (torch.arange(-6, 7, dtype=torch.float64) / 3).square())
    padded = functional.pad(noise, (6, 6, 6, 6), mode="circular")
    across = functional.conv2d(padded, line.view(1, 1, 1, -1))
    found = functional.conv2d(across, line.view(1, 1, -1, 1))
    return found / found.std()


def correlation(images: Tensor, lag: int) -> float:
    """Mean product of two pixels so far apart in a row, of images of mean 0 and variance 1."""
    return (images[..., lag:] * images[..., :-lag]).mean().item()


def test_blurring_is_the_repeated_filter_cut_at_one_half() -> None:
    dots = torch.randint(0, 2, (3, 1, 12, 9), generator=generator(2)).double()
    for _ in range(4):
        padded = functional.pad(dots, (1, 1, 1, 1), mode="circular")
        line = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
        across = functional.conv2d(padded, line.view(1, 1, 1, 3))
        dots = functional.conv2d(across, line.view(1, 1, 3, 1))
    mask = blobs(3, 12, 9, n_blurs=4, generator=generator(2))
    clear = (dots - 0.5).abs() > 1e-9
    assert torch.equal(mask[clear], (dots > 0.5)[clear])
    assert 0.3 < mask.double().mean() < 0.7


def test_hybrids_take_each_pixel_from_one_of_two_images() -> None:
    images = torch.arange(1.0, 9.0).view(8, 1, 1, 1).expand(8, 3, 28, 28)
    found = hybrids(images, 10, generator=generator(3))
    for own, hybrid in zip(images, found, strict=True):
        sources = hybrid.unique()
        assert len(sources) == 2
        assert own[0, 0, 0] in sources
        assert torch.equal(hybrid[0], hybrid[2])


def test_hybrids_share_the_short_range_statistics_of_images_and_not_the_long_range_ones() -> None:
    """Within a blob two pixels are of one image; C_hybrid(r) = P(same blob at r) C(r)."""
    images = smooth_images(1000, 28)
    found = hybrids(images, 10, generator=generator(4))
    mask = blobs(1000, 28, 28, n_blurs=10, generator=generator(5))
    assert found.mean().abs() < 0.02
    assert found.var().item() == pytest.approx(1.0, abs=0.02)
    for lag in (1, 2, 4, 8):
        same = (mask[..., lag:] == mask[..., :-lag]).double().mean().item()
        expected = same * correlation(images, lag)
        assert correlation(found, lag) == pytest.approx(expected, abs=0.02)
    assert correlation(found, 1) > 0.88 * correlation(images, 1)
    assert correlation(found, 2) > 0.78 * correlation(images, 2)
    assert correlation(found, 6) < 0.65 * correlation(images, 6)


def test_more_blurs_make_larger_blobs() -> None:
    def edges(n_blurs: int) -> float:
        mask = blobs(500, 28, 28, n_blurs=n_blurs, generator=generator(6))
        return (mask[..., 1:] != mask[..., :-1]).double().mean().item()

    assert edges(2) > edges(6) > edges(20)


def test_features_need_no_labels_and_the_readout_leaves_features(toy: Batch) -> None:
    network = DENSE.build(generator(7)).double()
    estimator = UnsupervisedForwardForward().bind(network, generator(8))
    assert estimator.phases() == (FEATURES_PHASE, READOUT_PHASE)
    estimator.begin(FEATURES_PHASE)
    estimator(Batch(toy.images), lambda: None)
    below = [p for stage in estimator.hidden for part in stage for p in part.parameters()]
    own = list(network.connections["hidden3->readout"].parameters())
    assert all(p.grad is not None for p in below)
    assert all(p.grad is None for p in own)
    estimator.zero_grad(set_to_none=True)
    estimator.begin(READOUT_PHASE)
    estimator(toy, lambda: None)
    assert all(p.grad is None for p in below)
    assert all(p.grad is not None for p in own)
    assert [op.weight.shape for op in estimator.readout.between] == [(2, 12)]  # hidden2
    with pytest.raises(
        ContractError, match="forward_forward_unsupervised: the batch has no labels"
    ):
        estimator(Batch(toy.images), lambda: None)

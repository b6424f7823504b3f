"""Lesions that last, and norms that see images anew."""

import pytest
import torch

from brainscore_lite.networks.areas import PER_STEP, Area
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.lesions import lesioned_copy
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator


def built(norm: str = PER_STEP) -> Network:
    areas = (Area("V1", 3, norm=norm), Area("IT", 4, norm=norm))
    settings = ConvNet(
        areas=areas, n_classes=3, image_size=8, lateral=True, feedback=True, n_steps=3
    )
    return settings.build(torch_generator(0)).double().eval()


def images(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=torch_generator(1))


def test_a_copy_is_lesioned_and_the_network_is_not() -> None:
    network = built()
    gains = dict.fromkeys(network.feedback, 0.0)
    copied = lesioned_copy(network, gains)
    with network.lesioned(gains):
        expected = network(images(5))
    torch.testing.assert_close(copied(images(5)), expected)
    assert not torch.equal(network(images(5)), expected)


def test_norms_that_saw_images_under_the_lesion_standardise_them() -> None:
    network, seen = built(), images(40)
    copied = lesioned_copy(network, {"V1->V1": 0.0, "IT->V1": 0.5}, images=seen, batch_size=40)
    found: list[torch.Tensor] = []
    banks = [each for each in copied.areas["V1"].norm.modules() if not list(each.children())]
    handles = [each.register_forward_hook(lambda *given: found.append(given[2])) for each in banks]
    copied(seen)
    assert len(found) == 3
    # Batches are standardised with n in the variance, running statistics have n - 1 = 2559: later
    # steps, which see earlier ones, differ by as little.
    for standardised in found:
        mean, spread = standardised.mean(dim=(0, 2, 3)), standardised.var(dim=(0, 2, 3))
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=2e-3, rtol=0)
        torch.testing.assert_close(spread, torch.ones_like(spread), atol=2e-3, rtol=0)
    assert not copied.training
    for handle in handles:
        handle.remove()
    assert not torch.equal(network(seen), copied(seen))


def test_norms_without_statistics_need_no_images() -> None:
    network = built("group")
    gains = {"V1->V1": 0.3}
    plain, seen = lesioned_copy(network, gains), lesioned_copy(network, gains, images=images(20))
    assert torch.equal(plain(images(4)), seen(images(4)))


def test_images_after_the_last_whole_batch_are_not_used() -> None:
    network, seen = built(), images(50)
    gains = {"V1->V1": 0.3}
    found = lesioned_copy(network, gains, images=seen, batch_size=20).state_dict()
    expected = lesioned_copy(network, gains, images=seen[:40], batch_size=20).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_unknown_connections_and_too_few_images_are_refused() -> None:
    with pytest.raises(ContractError, match="no connection 'V4->V1'"):
        lesioned_copy(built(), {"V4->V1": 0.0})
    with pytest.raises(ContractError, match="1 images have no variance"):
        lesioned_copy(built(), {"V1->V1": 0.0}, images=images(1))

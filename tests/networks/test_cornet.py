"""The CORnets: parameter counts, and the description written out step by step."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.networks.cornet import (
    CORNET_R,
    CORNET_RT,
    CORNET_S,
    CORNET_Z,
    CORnetR,
    CORnetS,
    CORnetZ,
)
from brainscore_lite.seeding import torch_generator
from brainscore_lite.stimuli import Preprocessing

NARROW = (6, 6, 12, 12)
AREAS = ("V1", "V2", "V4", "IT")


def eye(size: int) -> Preprocessing:
    return Preprocessing(size=size, mean=(0.5,) * 3, std=(0.25,) * 3)


def images(size: int) -> Tensor:
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, size, size, generator=drawn, dtype=torch.float64)


def built(settings: Any) -> tuple[Any, dict[str, Tensor]]:
    """Build with normalisations that are not the identity, and name the weights."""
    network = settings.build(torch_generator(0)).double().eval()
    drawn = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.GroupNorm | nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5, generator=drawn)
                part.bias.uniform_(-0.5, 0.5, generator=drawn)
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-0.5, 0.5, generator=drawn)
                part.running_var.uniform_(0.5, 1.5, generator=drawn)
    return network, network.state_dict()


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (CORNET_Z, 2_071_656),
        (CORNET_R, 5_208_936),
        (CORNET_RT, 5_208_936),
        (CORNET_S, 53_416_616),
    ],
)
def test_parameters_are_those_of_the_published_networks(settings: Any, count: int) -> None:
    with torch.device("meta"):
        network = settings.build(torch.Generator())
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_z_equals_its_description() -> None:
    network, w = built(CORnetZ(n_classes=3, channels=NARROW, preprocessing=eye(45)))
    (step,) = network.respond(images(45))
    maps = images(45)
    for area, kernel in zip(AREAS, (7, 3, 3, 3), strict=True):
        weight, bias = (w[f"areas.{area}.convolution.{part}"] for part in ("weight", "bias"))
        maps = functional.conv2d(maps, weight, bias, 2 if kernel == 7 else 1, kernel // 2)
        maps = functional.max_pool2d(maps.clamp(min=0), 3, 2, 1)
        torch.testing.assert_close(step.activations[area], maps)
    readout = maps.mean((2, 3)) @ w["readout.weight"].T + w["readout.bias"]
    torch.testing.assert_close(step.activations["readout"], readout)


def answer(w: dict[str, Tensor], area: str, arriving: Tensor, state: Tensor | None) -> Tensor:
    """State of an area of CORnet-R or -RT."""
    part = {key.split(".", 2)[2]: value for key, value in w.items() if f".{area}." in key}
    groups = {6: 2, 12: 4}[len(part["lateral.weight"])]
    stride, padding = (4, 3) if area == "V1" else (2, 1)
    drive = functional.conv2d(
        arriving, part["entering.weight"], part["entering.bias"], stride, padding
    )
    norm, bias = part["entering_norm.weight"], part["entering_norm.bias"]
    drive = functional.group_norm(drive, groups, norm, bias).relu()
    if state is None:
        state = torch.zeros_like(drive)
    lateral = functional.conv2d(drive + state, part["lateral.weight"], padding=1)
    norm, bias = part["lateral_norm.weight"], part["lateral_norm.bias"]
    return functional.group_norm(lateral, groups, norm, bias).relu()


@pytest.mark.parametrize("unroll", ["engineering", "biological"])
@pytest.mark.parametrize("size", [64, 79])
def test_r_and_rt_equal_their_description(unroll: Any, size: int) -> None:
    settings = CORnetR(unroll=unroll, n_classes=3, channels=NARROW, preprocessing=eye(size))
    network, w = built(settings)
    before: dict[str, Tensor] = {}
    for step in network.respond(images(size)):
        now: dict[str, Tensor] = {}
        below: Tensor | None = images(size)
        for area in AREAS:
            if below is not None:
                now[area] = answer(w, area, below, before.get(area))
            below = before.get(area) if unroll == "biological" else now[area]
        for area in AREAS:
            assert (area in now) == (area in step.activations)
            if area in now:
                torch.testing.assert_close(step.activations[area], now[area])
        if "IT" in now:
            readout = now["IT"].mean((2, 3)) @ w["readout.weight"].T + w["readout.bias"]
            torch.testing.assert_close(step.activations["readout"], readout)
        before = now
    assert step.index == 4


def test_rt_and_r_agree_where_every_area_answers_for_the_first_time() -> None:
    form: dict[str, Any] = {"n_classes": 3, "channels": NARROW, "preprocessing": eye(64)}
    sequential, _ = built(CORnetR(n_steps=1, **form))
    synchronous, _ = built(CORnetR(unroll="biological", **form))
    (first,) = sequential.respond(images(64))
    for index, step in enumerate(synchronous.respond(images(64))):
        if index < len(AREAS):
            area = AREAS[index]
            torch.testing.assert_close(step.activations[area], first.activations[area])


def batch_norm(w: dict[str, Tensor], maps: Tensor, name: str) -> Tensor:
    mean, variance, gain, bias = (
        w[f"{name}.{part}"].view(-1, 1, 1)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (maps - mean) / (variance + 1e-5).sqrt() * gain + bias


@pytest.mark.parametrize("size", [32, 41])
def test_s_equals_its_description(size: int) -> None:
    network, w = built(CORnetS(n_classes=3, channels=NARROW, preprocessing=eye(size)))
    steps = list(network.respond(images(size)))
    maps = functional.conv2d(images(size), w["areas.V1.0.weight"], None, 2, 3)
    maps = functional.max_pool2d(batch_norm(w, maps, "areas.V1.1").relu(), 3, 2, 1)
    maps = functional.conv2d(maps, w["areas.V1.4.weight"], padding=1)
    maps = batch_norm(w, maps, "areas.V1.5").relu()
    expected = {"V1": [maps]}
    for area, repetitions in (("V2", 2), ("V4", 4), ("IT", 2)):
        at = f"areas.{area}"
        maps = functional.conv2d(maps, w[f"{at}.entering.weight"])
        expected[area] = []
        for r in range(repetitions):
            skip, stride = maps, 1
            if r == 0:
                stride = 2
                skip = functional.conv2d(maps, w[f"{at}.skip.weight"], stride=2)
                skip = batch_norm(w, skip, f"{at}.skip_norm")
            maps = functional.conv2d(maps, w[f"{at}.widen.weight"])
            maps = batch_norm(w, maps, f"{at}.norms.{r}.0").relu()
            maps = functional.conv2d(maps, w[f"{at}.spread.weight"], None, stride, 1)
            maps = batch_norm(w, maps, f"{at}.norms.{r}.1").relu()
            maps = functional.conv2d(maps, w[f"{at}.narrow.weight"])
            maps = (batch_norm(w, maps, f"{at}.norms.{r}.2") + skip).relu()
            expected[area].append(maps)
    for area, first in network.settings.first_step.items():
        for step in steps[first:]:
            repetition = min(step.index - first, len(expected[area]) - 1)
            torch.testing.assert_close(step.activations[area], expected[area][repetition])
    readout = maps.mean((2, 3)) @ w["readout.weight"].T + w["readout.bias"]
    torch.testing.assert_close(steps[-1].activations["readout"], readout)


def test_s_computes_its_areas_one_after_another() -> None:
    assert CORNET_S.n_steps == 9
    assert CORNET_S.first_step == {"V1": 0, "V2": 1, "V4": 3, "IT": 7}


def test_channels_and_repetitions_are_settings() -> None:
    settings = CORnetS(repetitions=(1, 1, 3), n_classes=3, channels=NARROW, preprocessing=eye(32))
    network = settings.build(torch_generator(0)).eval()
    assert [len(network.areas[area].norms) for area in AREAS[1:]] == [1, 1, 3]
    assert len(list(network.respond(images(32).float()))) == 6

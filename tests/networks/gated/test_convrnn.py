"""Convolutional recurrent networks: unrolling, feedback, the end of the image, ready-made ones."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.networks.gated import (
    NAYEBI_INTERMEDIATE,
    NAYEBI_SHALLOW,
    CellArea,
    ConvGRU,
    ConvLSTM,
    ConvRNN,
    Feedforward,
    ReciprocalGated,
    SimpleRNN,
    TimeDecay,
)
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator
from brainscore_lite.stimuli import Preprocessing

EYE = Preprocessing(size=14, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
SETTINGS = ConvRNN(
    areas=(
        CellArea("V1", 4, kernel=5, stride=2, pool=2),
        CellArea("V4", 5, cell=SimpleRNN()),
        CellArea("IT", 6, cell=SimpleRNN(), pool=2),
    ),
    n_steps=8,
    n_classes=3,
    feedback=(("IT", "V4"), ("V4", "V1")),
    feedback_kernel=4,
    image_steps=3,
    preprocessing=EYE,
    name="loops",
)


def built(settings: ConvRNN = SETTINGS) -> Any:
    return settings.build(torch_generator(0)).double().eval()


def images() -> Tensor:
    source = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 14, 14, generator=source, dtype=torch.float64)


def test_equals_the_equations_step_by_step() -> None:
    network = built()
    w = network.state_dict()

    def entering(area: str, maps: Tensor, stride: int = 1) -> Tensor:
        weight = w[f"areas.{area}.entering.weight"]
        bias = w[f"areas.{area}.entering.bias"]
        return functional.conv2d(maps, weight, bias, stride, weight.shape[-1] // 2)

    def fed_back(edge: str, maps: Tensor, shape: Any) -> Tensor:
        maps = functional.pad(maps, (1, 2, 1, 2))
        maps = functional.conv2d(maps, w[f"feedback.{edge}.1.weight"], groups=maps.shape[1])
        maps = functional.elu(functional.conv2d(maps, w[f"feedback.{edge}.2.weight"]))
        rows = [i * maps.shape[2] // shape[2] for i in range(shape[2])]
        columns = [i * maps.shape[3] // shape[3] for i in range(shape[3])]
        return maps[:, :, rows][:, :, :, columns]

    def pooled(maps: Tensor) -> Tensor:
        return functional.max_pool2d(maps, 2, ceil_mode=True)

    gray = torch.tensor([0.1 / 0.2, 0.0, -0.1 / 0.5], dtype=torch.float64).view(1, 3, 1, 1)
    before: dict[str, Tensor] = {}
    for step in network.respond(images()):
        seen = images() if step.index < 3 else gray.expand(2, 3, 14, 14)
        now = {}
        drive = entering("V1", seen, 2)
        if "V4" in before:
            drive = drive + fed_back("V4->V1", before["V4"], drive.shape)
        now["V1"] = functional.elu(drive)
        for below, area in (("V1", "V4"), ("V4", "IT")):
            if below in before:
                maps = pooled(before["V1"]) if below == "V1" else before["V4"]
                drive = entering(area, maps)
                if area == "V4" and "IT" in before:
                    drive = drive + fed_back("IT->V4", before["IT"], drive.shape)
                if area in before:
                    recurrent = w[f"areas.{area}.cell.recurrent.1.weight"]
                    drive = drive + functional.conv2d(before[area], recurrent, padding=1)
                now[area] = functional.elu(drive)
        if "IT" in before:
            read = pooled(before["IT"]).mean((2, 3))
            now["readout"] = read @ w["readout.weight"].T + w["readout.bias"]
        assert set(now) == set(step.activations)
        for layer, expected in now.items():
            torch.testing.assert_close(step.activations[layer], expected, rtol=0, atol=1e-11)
        before = now


def test_after_the_image_comes_gray() -> None:
    network = built(replace(SETTINGS, feedback=()))
    gray = torch.full((2, 3, 14, 14), 0.5, dtype=torch.float64)
    mean, std = (torch.tensor(each, dtype=torch.float64) for each in (EYE.mean, EYE.std))
    gray = (gray - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    seen = [step.activations["V1"] for step in network.respond(images(), ["V1"])]
    blank = [step.activations["V1"] for step in network.respond(gray, ["V1"])]
    assert all(torch.equal(seen[0], each) for each in seen[:3])
    assert all(torch.equal(blank[0], each) for each in seen[3:])


def test_without_memory_or_feedback_an_image_that_stays_on_settles() -> None:
    areas = tuple(replace(area, cell=Feedforward()) for area in SETTINGS.areas)
    network = built(replace(SETTINGS, areas=areas, feedback=(), image_steps=None))
    read = [step.activations.get("readout") for step in network.respond(images())]
    assert [each is None for each in read] == [True] * 3 + [False] * 5
    assert all(torch.equal(read[3], each) for each in read[3:])


def test_feedback_first_acts_a_step_after_its_source() -> None:
    with_loop, without = built(), built(replace(SETTINGS, feedback=()))
    without.load_state_dict(with_loop.state_dict(), strict=False)
    pairs = zip(with_loop.respond(images()), without.respond(images()), strict=True)
    for one, other in pairs:
        same = torch.equal(one.activations["V1"], other.activations["V1"])
        assert same == (one.index < 2)  # V4 answers at step 1
        if "V4" in one.activations:
            same = torch.equal(one.activations["V4"], other.activations["V4"])
            assert same == (one.index < 3)  # IT at step 2, V1 has changed at step 2


@pytest.mark.parametrize(
    ("settings", "count", "cells"),
    [(NAYEBI_SHALLOW, 18_887_016, 3), (NAYEBI_INTERMEDIATE, 9_192_104, 7)],
)
def test_ready_made_networks(settings: ConvRNN, count: int, cells: int) -> None:
    with torch.device("meta"):
        network = settings.build(torch.Generator())
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert sum(not isinstance(area.cell, Feedforward) for area in settings.areas) == cells
    assert settings.image_steps == 12


def test_ready_made_networks_have_the_published_maps() -> None:
    """On 224 pixels, halved by conv1 and by each pooling."""
    sides = {}
    for settings in (NAYEBI_SHALLOW, NAYEBI_INTERMEDIATE):
        areas = tuple(replace(area, channels=2, cell=Feedforward()) for area in settings.areas)
        network = replace(settings, areas=areas, feedback=()).build(torch_generator(0))
        *_, last = network.respond(torch.zeros(1, 3, 224, 224))
        sides[settings.name] = [last.activations[name].shape[2] for name in network.areas]
    assert sides == {
        "nayebi_shallow": [112, 56, 28, 14, 7],
        "nayebi_intermediate": [112, 56, 56, 56, 28, 28, 14, 7, 7, 7],
    }


@pytest.mark.parametrize("feedback", [(), (("IT", "V4"), ("V4", "V1"))])
@pytest.mark.parametrize(
    "cell", [Feedforward(), TimeDecay(0.5), SimpleRNN(), ConvGRU(), ConvLSTM(), ReciprocalGated()]
)
def test_a_gradient_reaches_every_weight_in_the_fewest_steps_allowed(
    cell: Any, feedback: tuple[tuple[str, str], ...]
) -> None:
    areas = tuple(replace(area, cell=cell) for area in SETTINGS.areas)
    form = replace(SETTINGS, areas=areas, n_steps=20, feedback=feedback)
    with pytest.raises(ContractError) as refused:
        replace(form, n_steps=3)
    fewest = int(str(refused.value).split()[-1].removesuffix("."))
    network = replace(form, n_steps=fewest).build(torch_generator(0)).double()
    functional.cross_entropy(network(images()), torch.tensor([0, 1])).backward()
    assert not [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_every_step_of_the_intermediate_network_is_needed() -> None:
    """Feedback that leaves conv10 at its first step is read at the last."""
    with pytest.raises(ContractError, match="Set n_steps to at least 17"):
        replace(NAYEBI_INTERMEDIATE, n_steps=16)

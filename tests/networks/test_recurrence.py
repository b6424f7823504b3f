"""Lateral and feedback connections of ConvNet: unrolling, lesions, steps, gradients."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator

HALF = Pool("max", 2)
B = ConvNet(
    areas=(
        Area("V1", 3),
        Area("V2", 4, pool_in=HALF),
        Area("V4", 4, pool_in=HALF, depth=2),
        Area("IT", 5, pool_in=HALF),
    ),
    n_classes=3,
    image_size=16,
    readout_pool=Pool("average", None),
    name="tiny",
)
BLT = replace(B, lateral=True, feedback=True, n_steps=5)
SHARED_NORMS = ("none", "group", "layer", "batch")
Steps = list[dict[str, Tensor]]


def images(n: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 16, 16, generator=generator, dtype=torch.float64)


def built(settings: ConvNet, seed: int = 0) -> Network:
    return settings.build(torch_generator(seed)).double()


def normed(settings: ConvNet, norm: str) -> ConvNet:
    return replace(settings, areas=tuple(replace(area, norm=norm) for area in settings.areas))


def steps_of(network: Network, seen: Tensor) -> Steps:
    return [dict(step.activations) for step in network.respond(seen)]


def silenced(network: Network) -> dict[str, float]:
    return dict.fromkeys((*network.lateral, *network.feedback), 0.0)


# What is connected


def test_flags_add_connections_by_name() -> None:
    network = built(BLT)
    assert network.lateral == ("V1->V1", "V2->V2", "V4->V4", "IT->IT")
    assert network.feedback == ("V2->V1", "V4->V2", "IT->V4")
    assert built(B).lateral == built(B).feedback == ()


def test_named_edges_alone_feed_back_and_skip() -> None:
    network = built(replace(B, feedback=(("IT", "V1"),), skip=(("V1", "IT"),), n_steps=2))
    assert network.feedback == ("IT->V1",)
    assert "V1->IT" in network.connections
    assert network.connections["V1->IT"].op.stride == 8


def test_equal_generators_give_equal_bottom_up_weights() -> None:
    recurrent = built(BLT).state_dict()
    assert all(torch.equal(recurrent[name], value) for name, value in built(B).state_dict().items())


def test_dense_areas_take_lateral_and_feedback_connections() -> None:
    areas = (Area("V1", 3), Dense("PFC", 6), Dense("motor", 4))
    edges = (("PFC", "V1"), ("motor", "PFC"))
    network = built(replace(BLT, areas=areas, feedback=edges, readout_pool=None))
    shapes = {name: tuple(c.op.weight.shape) for name, c in network.connections.items()}
    assert shapes["PFC->PFC"] == (6, 6)
    assert shapes["PFC->V1"] == (3, 6)
    assert shapes["motor->PFC"] == (6, 4)
    fed = network.connections["PFC->V1"](torch.ones(1, 6, dtype=torch.float64))
    assert fed.shape == (1, 3, 16, 16)
    assert (fed == fed[:, :, :1, :1]).all()


def test_feedback_convolves_at_the_source_and_repeats_the_nearest_place() -> None:
    connection = built(BLT).connections["V2->V1"]
    above = torch.rand(1, 4, 8, 8, dtype=torch.float64)
    small = functional.conv2d(above, connection.op.weight, padding=1)
    expected = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(connection(above), expected)


# What happens over steps


@pytest.mark.parametrize("unroll", ["engineering", "biological"])
@pytest.mark.parametrize("combine", ["add", "gain"])
@pytest.mark.parametrize("norm", SHARED_NORMS)
def test_lesioned_network_with_the_weights_of_b_is_b_at_every_step(
    unroll: Any, combine: Any, norm: str
) -> None:
    settings = normed(replace(BLT, unroll=unroll, combine=combine), norm)
    feedforward = replace(settings, lateral=False, feedback=False, combine="add")
    network = built(settings)
    intact = steps_of(network, images())
    with network.lesioned(silenced(network)):
        lesioned = steps_of(network, images())
    for found, expected in zip(lesioned, steps_of(built(feedforward), images()), strict=True):
        assert list(found) == list(expected)
        assert all(torch.equal(found[area], expected[area]) for area in expected)
    assert not torch.equal(intact[-1]["IT"], lesioned[-1]["IT"])


def by_hand(network: Network, seen: Tensor, n_steps: int) -> Iterator[dict[str, Tensor]]:
    """The same network written out: engineering unrolling, sums, rectifiers."""
    w = {name: each.op.weight for name, each in network.connections.items()}
    bias = {name: each.bias.view(-1, 1, 1) for name, each in network.areas.items()}

    def conv(maps: Tensor, name: str) -> Tensor:
        return functional.conv2d(maps, w[name], padding=1)

    def up(maps: Tensor) -> Tensor:
        return functional.interpolate(maps, scale_factor=2.0, mode="nearest")

    before: dict[str, Tensor] = {}
    for _ in range(n_steps):
        now: dict[str, Tensor] = {}
        below, source = seen, "image"
        for area in ("V1", "V2", "V4_1", "V4", "IT"):
            pooled = functional.max_pool2d(below, 2) if area in ("V2", "V4_1", "IT") else below
            drive = conv(pooled, f"{source}->{area}") + bias[area]
            if before and f"{area}->{area}" in w:
                drive = drive + conv(before[area], f"{area}->{area}")
            for above in ("V2", "V4", "IT"):
                if before and f"{above}->{area}" in w and above != source and above != area:
                    drive = drive + up(conv(before[above], f"{above}->{area}"))
            now[area] = below = drive.relu()
            source = area
        mean = now["IT"].mean(dim=(2, 3))
        now["readout"] = mean @ w["IT->readout"].T + bias["readout"].flatten()
        yield now
        before = now


def test_steps_equal_the_network_written_out() -> None:
    network = built(BLT)
    for found, expected in zip(
        steps_of(network, images()), by_hand(network, images(), 5), strict=True
    ):
        for area, activations in expected.items():
            torch.testing.assert_close(found[area], activations, rtol=1e-12, atol=1e-12)


def test_backprop_through_time_equals_autograd_through_the_network_written_out() -> None:
    network, labels = built(BLT), torch.tensor([0, 2])
    functional.cross_entropy(network(images()), labels).backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    *_, last = by_hand(network, images(), 5)
    functional.cross_entropy(last["readout"], labels).backward()
    for name, p in network.named_parameters():
        error = (found[name] - p.grad).norm() / p.grad.norm()
        assert error < 1e-12, name


def test_biological_signals_take_a_step_from_area_to_area() -> None:
    network = built(replace(BLT, unroll="biological"))
    reached = [list(step) for step in steps_of(network, images())]
    assert reached[0] == ["V1"]
    assert reached[1] == ["V1", "V2"]
    assert reached[2] == ["V1", "V2", "V4_1", "V4"]
    assert reached[3] == reached[4] == ["V1", "V2", "V4_1", "V4", "IT", "readout"]


def test_leaky_areas_move_towards_what_they_are_driven_to() -> None:
    settings = replace(B, n_steps=3, tau=2.0)
    driven = steps_of(built(replace(settings, tau=1.0)), images())[0]["V1"]
    found = [step["V1"] for step in steps_of(built(settings), images())]
    for index, share in enumerate((1 / 2, 3 / 4, 7 / 8)):
        torch.testing.assert_close(found[index], share * driven, rtol=1e-12, atol=1e-12)


def test_leaky_areas_start_from_0_when_a_signal_first_reaches_them() -> None:
    areas = (Area("V1", 3), Area("IT", 4))
    leaky = replace(BLT, areas=areas, tau=4.0, unroll="biological", n_steps=3)
    network = built(leaky)
    arriving, areas_of = network.connections, network.areas
    first, second, third = steps_of(network, images())
    fresh = areas_of["IT"]([arriving["V1->IT"](first["V1"])])
    torch.testing.assert_close(second["IT"], fresh / 4)
    beside = [arriving["V1->IT"](second["V1"]), arriving["IT->IT"](second["IT"])]
    torch.testing.assert_close(third["IT"], 0.75 * second["IT"] + areas_of["IT"](beside) / 4)


def test_cumulative_readout_is_the_running_sum() -> None:
    settings = replace(BLT, unroll="biological")
    steps = steps_of(built(settings), images())
    each = torch.stack([step["readout"] for step in steps[3:]])
    summed = steps_of(built(replace(settings, readout="cumulative")), images())
    assert "readout" not in summed[2]
    found = torch.stack([step["readout"] for step in summed[3:]])
    torch.testing.assert_close(found, each.cumsum(dim=0), rtol=1e-12, atol=1e-12)


def test_gain_multiplies_what_comes_from_below() -> None:
    network = built(replace(BLT, combine="gain"))
    area = network.areas["V1"]
    below, beside, above = (torch.randn(1, 3, 4, 4, dtype=torch.float64) for _ in range(3))
    expected = (below + area.bias.view(-1, 1, 1)) * (1 + torch.tanh(beside + above))
    torch.testing.assert_close(area.drive([below, beside, above]), expected)
    torch.testing.assert_close(area.drive([below]), below)


def test_what_comes_from_the_image_is_computed_once() -> None:
    network, calls = built(BLT), []
    network.connections["image->V1"].op.register_forward_hook(lambda *_: calls.append(1))
    network(images())
    assert len(calls) == 1


# Norms of steps


def test_batch_norms_of_steps_keep_their_own_statistics() -> None:
    network = built(normed(replace(BLT, unroll="biological"), "batch_per_step")).train()
    network(images(8))
    assert {name: len(network.areas[name].norm) for name in ("V1", "V2", "IT")} == {
        "V1": 5, "V2": 4, "IT": 2,
    }  # fmt: skip
    first, second = (network.areas["IT"].norm[step].running_mean for step in (0, 1))
    assert not torch.equal(first, second)
    assert all(int(bank.num_batches_tracked) == 1 for bank in network.areas["V1"].norm)


def test_steps_beyond_those_trained_share_the_last_norm() -> None:
    network = built(normed(replace(BLT, n_steps=2), "batch_per_step")).train()
    network(images(8))
    assert network.areas["V1"].at(7).norm is network.areas["V1"].norm[1]
    network.n_steps = 4
    assert len(steps_of(network, images())) == 4


@pytest.mark.parametrize("norm", ["batch", "batch_per_step", "none"])
def test_recomputed_steps_give_the_same_gradients_and_statistics(norm: str) -> None:
    settings, labels = normed(BLT, norm), torch.tensor([0, 2, 1, 1])
    kept, again = built(settings).train(), built(settings).train()
    again.recomputes = True
    for network in (kept, again):
        functional.cross_entropy(network(images(4)), labels).backward()
    assert all(torch.equal(value, again.state_dict()[n]) for n, value in kept.state_dict().items())
    for found, expected in zip(again.parameters(), kept.parameters(), strict=True):
        assert torch.equal(found.grad, expected.grad)


def test_recomputed_steps_are_lesioned_and_evaluated_as_they_were_the_first_time() -> None:
    settings, labels = normed(BLT, "batch"), torch.tensor([0, 2, 1, 1])
    gradients = []
    for recomputes in (False, True):
        network = built(settings).train()
        network.recomputes = recomputes
        with network.lesioned({"IT->V4": 0.0, "V1->V1": 0.5}):
            *_, last = network.respond(images(4))
        with network.lesioned({"V2->V1": 0.0}):
            functional.cross_entropy(last.activations["readout"], labels).backward()
        gradients.append([p.grad for p in network.parameters()])
        assert network.training
        assert network.gain("IT->V4") == 1.0
    for found, expected in zip(*gradients, strict=True):
        assert torch.equal(found, expected)


# What learns


@pytest.mark.parametrize(
    "settings",
    [
        BLT,
        normed(BLT, "batch_per_step"),
        replace(BLT, unroll="biological"),
        normed(replace(BLT, unroll="biological", n_steps=4), "batch_per_step"),
        replace(BLT, combine="gain", tau=1.5, readout="cumulative"),
        replace(B, skip=(("V1", "IT"),), feedback=(("IT", "V1"),), n_steps=3),
    ],
)
def test_counted_parameters_are_those_that_receive_a_gradient(settings: ConvNet) -> None:
    network = built(settings).train()
    loss = torch.zeros((), dtype=torch.float64)
    for step in network.run(images(8)):
        if "readout" in step:
            loss = loss + functional.cross_entropy(step["readout"], torch.arange(8) % 3)
    loss.backward()
    reached = sum(p.numel() for p in network.parameters() if p.grad is not None)
    costs = settings.costs()
    assert costs.parameters + costs.norm_parameters == reached
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_late_feedback_that_no_readout_sees_is_not_counted() -> None:
    early = replace(BLT, lateral=False, unroll="biological", n_steps=4)
    without = replace(early, feedback=False).costs().parameters
    assert early.costs().parameters == without
    weights = built(early).connections["V2->V1"].op.weight.numel()
    later = replace(early, n_steps=6).costs().parameters
    assert later - without >= weights


def test_operations_are_counted_at_every_step_but_for_the_image() -> None:
    one, two = (replace(B, n_steps=n).costs().flops for n in (1, 2))
    from_image = 2 * 3 * 3 * 9 * 16 * 16
    assert two - one == one - from_image


def test_one_image_responds_alone_as_in_a_batch() -> None:
    for settings in (normed(BLT, "group"), replace(BLT, combine="gain", tau=2.0)):
        network = built(settings)
        alone = steps_of(network, images(6)[:1])
        together = steps_of(network, images(6))
        for found, expected in zip(alone, together, strict=True):
            for area in expected:
                torch.testing.assert_close(found[area], expected[area][:1], rtol=0, atol=1e-12)


# What is refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lateral": True}, "n_steps=1: their signals arrive from the second step on"),
        ({"feedback": (("V1", "IT"),), "n_steps": 2}, "feedback from 'V1' to 'IT'; it leads, once"),
        ({"feedback": (("TE", "V1"),), "n_steps": 2}, "The areas are, from below: V1, V2, V4, IT"),
        ({"feedback": ("IT", "V1"), "n_steps": 2}, r"feedback=\('IT', 'V1'\); its edges are pairs"),
        ({"feedback": "IT->V1", "n_steps": 2}, "feedback='IT->V1'; its edges are pairs of areas"),
        ({"skip": (("V1", "V2"),)}, "to one at least two above it"),
        ({"skip": (("V1", "IT"),) * 2}, "it leads, once, from"),
        ({"skip": (("V1", "IT"),), "combine": "gain"}, "skip connections and combine='gain'"),
        ({"unroll": "circular"}, "unroll='circular', which is unknown"),
        ({"lateral": True, "n_steps": 2, "areas": (Area("V1", 2, kernel=4),)}, "an even lateral"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        replace(B, **changes)


def test_too_few_steps_to_reach_the_readout_are_refused() -> None:
    with pytest.raises(ContractError, match="needs 4 until a signal reaches the readout"):
        built(replace(BLT, unroll="biological", n_steps=3))


def test_even_feedback_kernels_are_refused() -> None:
    areas = (Area("V1", 2, kernel=4), Area("IT", 2, kernel=2))
    feedforward = replace(B, areas=areas)
    with pytest.raises(ContractError, match="'V1' of network 'tiny' has kernel=4, and feedback to"):
        replace(feedforward, feedback=True, n_steps=2)


def test_too_few_steps_of_a_built_network_are_refused() -> None:
    network = built(replace(BLT, unroll="biological"))
    network.n_steps = 3
    with pytest.raises(ContractError, match="n_steps=3, within which no signal reaches"):
        network(images())


def test_too_short_a_time_constant_is_refused() -> None:
    with pytest.raises(ContractError, match=r"tau=0\.5; a time constant is at least 1 step"):
        built(replace(BLT, tau=0.5))


def test_skips_between_sizes_that_do_not_divide_are_refused() -> None:
    areas = (Area("V1", 2), Area("V2", 2, pool_in=Pool("max", 3)), Area("IT", 2))
    with pytest.raises(ContractError, match=r"skips from 'V1' \(16 x 16\) to 'IT' \(5 x 5"):
        built(replace(B, areas=areas, skip=(("V1", "IT"),)))

"""Feedforward controls, and the sizes of published recurrent networks."""

from dataclasses import replace
from typing import Any

import pytest

from brainscore_lite.networks import ARCHITECTURES
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.schema import ContractError

DENSE = ConvNet(
    areas=(Dense("PFC", 40), Dense("motor", 30)), n_classes=3, image_size=8, name="dense"
)


@pytest.mark.parametrize(
    ("name", "parameters", "norm_parameters"),
    [
        ("2017_b", 9_898, 0),
        ("2017_b_f", 38_218, 0),
        ("2017_b_k", 26_794, 0),
        ("2017_bt", 19_114, 0),
        ("2017_bl", 28_330, 0),
        ("2017_blt", 37_546, 0),
        ("2020_b", 10_137_941, 8_512),
        ("2020_b_k", 38_896_213, 8_512),
        ("2020_b_f", 38_207_605, 17_024),
        ("2020_b_d", 27_911_509, 17_024),
        ("2020_bl", 27_911_509, 68_096),
    ],
)
def test_published_networks_have_their_sizes(
    name: str, parameters: int, norm_parameters: int
) -> None:
    costs = ARCHITECTURES[f"spoerer_{name}"].costs()
    assert (costs.parameters, costs.norm_parameters) == (parameters, norm_parameters)


@pytest.mark.parametrize(
    ("name", "control", "parameters"),
    [
        ("2020_bl", "depth", 27_911_509),
        ("2020_bl", "width", 27_915_934),
        ("2020_bl", "kernel", 27_908_425),
        ("2017_blt", "depth", 37_642),
        ("2017_blt", "width", 37_054),
        ("2017_blt", "kernel", 37_516),
        ("2017_bt", "depth", 19_146),
        ("2017_bt", "width", 19_180),
        ("2017_bt", "kernel", 19_234),
    ],
)
def test_controls_come_within_3_percent(name: str, control: Any, parameters: int) -> None:
    recurrent = ARCHITECTURES[f"spoerer_{name}"]
    found = recurrent.matched(control)
    assert found.costs().parameters == parameters
    assert abs(parameters / recurrent.costs().parameters - 1) < 0.03
    assert not found.lateral
    assert not found.feedback
    assert found.n_steps == 1


def test_depth_control_of_lateral_weights_without_biases_is_exact() -> None:
    found = ARCHITECTURES["spoerer_2020_bl"].matched("depth")
    assert [area.depth for area in found.areas] == [2] * 7
    assert found.costs() == ARCHITECTURES["spoerer_2020_b_d"].costs()


def test_depth_control_of_lateral_and_feedback_weights_is_exact() -> None:
    areas = (
        Area("V1", 16, bias=False),
        Area("V2", 16, pool_in=Pool(), bias=False),
        Area("IT", 16, pool_in=Pool(), bias=False),
    )
    blt = ConvNet(
        areas=areas, n_classes=10, image_size=24, lateral=True, feedback=True, n_steps=4,
        readout_pool=Pool("average", None),
    )  # fmt: skip
    deeper = blt.matched("depth")
    assert [area.depth for area in deeper.areas] == [3, 3, 2]
    assert deeper.costs().parameters == blt.costs().parameters


def test_depth_control_of_dense_areas_adds_areas() -> None:
    found = replace(DENSE, lateral=True, n_steps=3).matched("depth")
    assert [area.name for area in found.areas] == ["PFC_1", "PFC", "motor_1", "motor"]


def test_the_first_of_added_dense_areas_alone_pools() -> None:
    areas = (Area("V1", 4), Dense("PFC", 10, pool_in=Pool()), Dense("motor", 40))
    recurrent = replace(DENSE, areas=areas, lateral=True, feedback=True, n_steps=3)
    found = recurrent.matched("depth").areas
    pooled = [area.name for area in found if area.pool_in is not None]
    assert pooled == ["PFC_1"]
    assert len([area for area in found if area.name.startswith("PFC")]) > 2


def test_dense_areas_have_no_kernels_to_enlarge() -> None:
    with pytest.raises(ContractError, match="no convolutional area whose kernel could grow"):
        replace(DENSE, lateral=True, n_steps=3).matched("kernel")


def test_controls_too_far_off_are_refused() -> None:
    settings = ConvNet(
        areas=(Area("V1", 2, lateral_kernel=1),), n_classes=2, image_size=4, lateral=True,
        n_steps=2, readout_pool=Pool("max", None), name="far",
    )  # fmt: skip
    with pytest.raises(ContractError, match=r"'far' by depth has 62 .* at most 3% is allowed"):
        settings.matched("depth")


def test_feedforward_networks_have_nothing_to_match() -> None:
    with pytest.raises(ContractError, match=r"'dense' is feedforward.*It is its own control"):
        DENSE.matched("depth")


def test_unknown_controls_are_named() -> None:
    control: Any = "luck"
    with pytest.raises(ContractError, match="no control 'luck'"):
        replace(DENSE, lateral=True, n_steps=3).matched(control)

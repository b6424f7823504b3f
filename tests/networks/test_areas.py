"""Areas: sum of inputs, then norm, activation, post_norm."""

import pytest
import torch

from brainscore_lite.networks.areas import (
    ACTIVATIONS,
    BOUNDED_ACTIVATIONS,
    CONVOLUTIONAL_NORMS,
    DENSE_NORMS,
    Area,
    AreaModule,
    Dense,
)
from brainscore_lite.schema import ContractError


def maps() -> torch.Tensor:
    return torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_keep_the_shape_and_their_bounds(activation: str) -> None:
    responses = AreaModule(Area("V1", 8, activation=activation))([maps()])
    assert responses.shape == maps().shape
    if activation in BOUNDED_ACTIVATIONS:
        assert float(responses.detach().abs().max()) <= 1


@pytest.mark.parametrize("norm", CONVOLUTIONAL_NORMS)
def test_convolutional_areas_take_every_norm_before_and_after(norm: str) -> None:
    module = AreaModule(Area("V1", 8, norm=norm, post_norm=norm))
    assert module([maps()]).isfinite().all()


@pytest.mark.parametrize("norm", DENSE_NORMS)
def test_dense_areas_take_every_norm_before_and_after(norm: str) -> None:
    module = AreaModule(Dense("IT", 8, norm=norm, post_norm=norm))
    assert module([maps()[:, :, 0, 0]]).isfinite().all()


def test_inputs_and_bias_are_summed() -> None:
    module = AreaModule(Area("V1", 8, activation="identity"))
    torch.nn.init.constant_(module.bias, 0.25)
    torch.testing.assert_close(module([maps(), 2 * maps()]), 3 * maps() + 0.25)


def test_spread_bias_adds_to_a_drive() -> None:
    for settings, shape in ((Area("V1", 2), (2, 1, 1)), (Dense("IT", 2), (2,))):
        area = AreaModule(settings)
        assert area.spread_bias.shape == shape
        assert area.spread_bias.data_ptr() == area.bias.data_ptr()
    assert AreaModule(Dense("IT", 2, bias=False)).spread_bias is None


def test_norm_comes_before_the_activation_and_post_norm_after() -> None:
    module = AreaModule(Area("V1", 8, norm="layer", post_norm="local_response"))
    normed = torch.nn.functional.group_norm(maps(), 1)
    expected = torch.nn.functional.local_response_norm(normed.relu(), 5)
    torch.testing.assert_close(module([maps()]), expected)


def test_an_area_can_go_without_bias() -> None:
    assert not list(AreaModule(Area("V1", 8, bias=False)).parameters())


@pytest.mark.parametrize("setting", ["activation", "norm", "post_norm"])
def test_unknown_settings_list_the_known_ones(setting: str) -> None:
    with pytest.raises(ContractError, match=f"Area 'V1' has {setting}='swirl'.*Choose one of: "):
        Area("V1", 8, **{setting: "swirl"})


def test_a_norm_of_maps_is_no_norm_of_units() -> None:
    with pytest.raises(ContractError, match="Area 'IT' has norm='group', which is unknown"):
        Dense("IT", 8, norm="group")


def test_sizes_are_at_least_one() -> None:
    with pytest.raises(ContractError, match="Area 'V1' has channels=0; it must be at least 1"):
        Area("V1", 0)

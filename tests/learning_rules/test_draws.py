"""Normal draws like a tensor."""

import pytest
import torch

from brainscore_lite.learning_rules.draws import normal_like


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_what_torch_draws_in_the_type_and_shape_asked_for(dtype: torch.dtype) -> None:
    like = torch.zeros(2, 3, dtype=dtype)

    def expected(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)

    found = normal_like(like, torch.Generator().manual_seed(0))
    assert found.dtype == dtype
    assert torch.equal(found, expected(2, 3))
    found = normal_like(like, torch.Generator().manual_seed(0), shape=[4, 5])
    assert torch.equal(found, expected(4, 5))


def test_deviation_scales_the_draw() -> None:
    like = torch.zeros(3, dtype=torch.float64)
    one = normal_like(like, torch.Generator().manual_seed(0))
    other = normal_like(like, torch.Generator().manual_seed(0), deviation=0.1)
    assert torch.allclose(other, 0.1 * one, rtol=1e-15, atol=0)

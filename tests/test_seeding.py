import numpy as np
import pytest

from brainscore_lite.seeding import generator, torch_generator


def test_the_same_name_gives_the_same_stream():
    first, again = generator(3, "training", "order"), generator(3, "training", "order")
    np.testing.assert_array_equal(first.random(5), again.random(5))


@pytest.mark.parametrize("other", [(3, "order"), (4, "training", "order"), (3, "trainingorder")])
def test_another_name_or_seed_gives_another_stream(other):
    first = generator(3, "training", "order").random(1000)
    second = generator(*other).random(1000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15


def test_streams_do_not_touch_the_global_state():
    before = np.random.mtrand._rand.get_state()[1].copy()
    generator(0, "a").random(10)
    np.testing.assert_array_equal(before, np.random.mtrand._rand.get_state()[1])


def test_torch_streams_are_named_too():
    import torch

    draws = [torch.rand(4, generator=torch_generator(0, name)) for name in ("a", "a", "b")]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="expected a whole number of at least 0"):
        generator(seed, "a")

import re

import pytest

from brainscore_lite.configuration import from_json, to_json
from brainscore_lite.schema import ContractError
from brainscore_lite.training import Augmentation, TrainingConfig


def test_round_trips_through_json() -> None:
    config = TrainingConfig(augmentation=Augmentation(flip=True, shift=2), checkpoint_epochs=(0, 3))
    assert from_json(to_json(config), types=(TrainingConfig, Augmentation)) == config


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"epochs": -1}, "epochs is -1, expected a whole number of at least 0"),
        ({"batch_size": 0}, "batch_size is 0, expected a whole number of at least 1"),
        ({"n_threads": 1.5}, "n_threads is 1.5, expected a whole number of at least 1"),
        ({"lr": float("nan")}, "lr is nan, expected a number from 0 to inf"),
        ({"lr": float("inf")}, "lr is inf, expected a number from 0 to inf"),
        ({"momentum": 1.2}, "momentum is 1.2, expected a number from 0 to 1"),
        ({"validation_fraction": 0.9}, "validation_fraction is 0.9, expected a number from 0"),
        ({"optimizer": "lion"}, "optimizer is 'lion', expected one of ['sgd', 'adam']"),
        ({"schedule": "step"}, "schedule is 'step', expected one of ['constant', 'cosine']"),
        ({"device": "gpu"}, "device is 'gpu', expected 'cpu', 'cuda' or a numbered GPU such as"),
        ({"device": "cuda:x"}, "device is 'cuda:x', expected 'cpu'"),
        ({"device": None}, "device is None, expected 'cpu'"),
        ({"checkpoint_epochs": (0, -2)}, "checkpoint_epochs are (0, -2), expected 0 or more"),
        ({"target_accuracy": 0.9}, "target_accuracy needs validation images to be judged on"),
    ],
)
def test_refuses_settings_out_of_range(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ContractError, match=re.escape(sentence)):
        TrainingConfig(**wrong)  # type: ignore[arg-type]


def test_refuses_a_negative_shift() -> None:
    with pytest.raises(ContractError, match="shift is -1, expected at least 0 pixels"):
        Augmentation(shift=-1)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_takes_devices_of_torch(device: str) -> None:
    assert TrainingConfig(device=device).device == device

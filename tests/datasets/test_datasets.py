"""Datasets by name."""

from pathlib import Path

import pytest

from brainscore_lite.datasets import DATASETS, OTHER_READERS, load_dataset, load_images
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.registry import at_hand


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(DatasetError, match=r"no dataset 'majaj'\. There are: cowley2023_v4_210325"):
        load_dataset("majaj")


@pytest.mark.parametrize("name", OTHER_READERS)
def test_behaviour_and_time_courses_name_their_reader(name: str) -> None:
    with pytest.raises(DatasetError, match=r"no responses by region; read it with .*\.load\(\)"):
        load_dataset(name)


# Read by a reader that is proven on synthetic files: a mirror need not hold them.
NOT_AT_HAND = {"majajhong2015", "freemanziemba2013", "freemanziemba2013_noaperture", "cadieu2014"}


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_of_the_mirror_loads(mirror: object, tmp_path: Path, name: str) -> None:
    registered = name.removesuffix("_noaperture")
    if name in NOT_AT_HAND and not at_hand(registered, cache=tmp_path):
        pytest.skip(f"the mirror holds no file of {registered}")
    dataset = load_dataset(name)
    assert dataset.name == name
    assert dataset.recordings
    assert dataset.reference
    assert dataset.licence
    assert dataset.simulated == name.startswith("simulated")


def test_images_to_train_on_are_loaded_by_name() -> None:
    assert load_images("digits").class_names[3] == "3"

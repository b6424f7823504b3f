"""Human FFA, OFA, EBA and PPA: category means, and the ratings of what the images show."""

from pathlib import Path

import numpy as np
import pytest

from brainscore_lite.datasets import load_dataset, ratan_murty2021
from brainscore_lite.datasets.dataset import Dataset


@pytest.fixture(scope="module")
def dataset(mirror: Path) -> Dataset:
    return load_dataset("ratan_murty2021_rois")


def _category_means(dataset: Dataset, region: str) -> dict[str, float]:
    recorded = dataset[region].isel(repetition=0, neuroid=0)
    return {str(key): float(group.mean()) for key, group in recorded.groupby("category")}


def test_shapes_images_and_caveats(dataset: Dataset) -> None:
    assert dataset.regions == ("FFA", "OFA", "EBA", "PPA")
    assert {array.shape for array in dataset.recordings.values()} == {(1, 185, 1)}
    assert dataset.stimuli is not None
    assert dataset.stimuli.image("main_face_26").ndim == 3
    assert {"no repeats: no ceiling", "source inferred"} <= set(dataset.caveats)
    assert dataset.licence == "none stated"


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("FFA", {"face": 1.00, "body": -0.31, "object": -0.76, "scene": -1.09}),
        ("EBA", {"body": 0.59}),
        ("PPA", {"scene": 1.04}),
    ],
)
def test_category_means(dataset: Dataset, region: str, expected: dict[str, float]) -> None:
    means = _category_means(dataset, region)
    assert {key: means[key] for key in expected} == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(
    ("region", "expected"), [("FFA", 0.935), ("OFA", 0.879), ("EBA", 0.847), ("PPA", 0.870)]
)
def test_category_means_alone_correlate_highly(
    dataset: Dataset, region: str, expected: float
) -> None:
    recorded = dataset[region].isel(repetition=0, neuroid=0)
    means = _category_means(dataset, region)
    predicted = [means[category] for category in recorded.category.values]
    r = np.corrcoef(predicted, recorded.values)[0, 1]
    assert r == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("category", "region", "expected"),
    [("face", "FFA", 0.93), ("body", "EBA", 0.81), ("scene", "PPA", 0.70)],
)
def test_ratings_agree_with_regions(
    dataset: Dataset, category: str, region: str, expected: float
) -> None:
    rated = ratan_murty2021.ratings().sel(category=category)
    r = np.corrcoef(rated.values, dataset[region].values[0, :, 0])[0, 1]
    assert r == pytest.approx(expected, abs=5e-3)

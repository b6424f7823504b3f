"""The 92 object images: monkey IT, human IT and EVC, behaviour, and how they agree."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import pearsonr, rankdata, spearmanr

from brainscore_lite.datasets import algonauts2019, kriegeskorte2008, load_dataset
from brainscore_lite.datasets.dataset import Dataset, DatasetError

Array = NDArray[np.float64]
PAIRS = np.triu_indices(92, 1)


def _pairs(rdms: xr.DataArray) -> Array:
    return np.stack([rdm[PAIRS] for rdm in rdms.values])


def _bounds_of_ranks(pairs: Array) -> tuple[float, float]:
    """Bound the rank correlation: each subject with the mean rank of the others, and of all."""
    ranks = rankdata(pairs, axis=1)
    lower = [pearsonr(r, np.delete(ranks, i, 0).mean(axis=0))[0] for i, r in enumerate(ranks)]
    upper = [pearsonr(r, ranks.mean(axis=0))[0] for r in ranks]
    return float(np.mean(lower)), float(np.mean(upper))


def _bounds_of_reranked_means(pairs: Array) -> tuple[float, float]:
    ranks = rankdata(pairs, axis=1)
    lower = [spearmanr(r, np.delete(ranks, i, 0).mean(axis=0))[0] for i, r in enumerate(ranks)]
    upper = [spearmanr(r, ranks.mean(axis=0))[0] for r in ranks]
    return float(np.mean(lower)), float(np.mean(upper))


@pytest.fixture(scope="module")
def kriegeskorte(mirror: Path) -> Dataset:
    return load_dataset("kriegeskorte2008_92")


@pytest.fixture(scope="module")
def algonauts(mirror: Path) -> Dataset:
    return load_dataset("algonauts2019_92")


def test_regions_subjects_and_caveats(kriegeskorte: Dataset) -> None:
    sizes = {region: rdm.sizes["subject"] for region, rdm in kriegeskorte.recordings.items()}
    assert sizes == {"monkeyIT": 1, "humanIT": 4, "behaviour": 16}
    assert list(kriegeskorte["humanIT"].subject.values) == ["BE", "KO", "SN", "TI"]
    assert kriegeskorte.caveats_of("monkeyIT") == ("one group RDM: no ceiling, no regression",)
    assert kriegeskorte.caveats_of("humanIT") == ()
    assert kriegeskorte["monkeyIT"].species == "macaque"


def test_images_and_categories(kriegeskorte: Dataset) -> None:
    stimuli = kriegeskorte.stimuli
    assert stimuli is not None
    assert stimuli.read(0).shape == (175, 175, 3)
    assert len(set(stimuli.coords["category"])) == 6
    groups = kriegeskorte2008.category_vectors()
    assert int(groups.sel(category="animate").sum()) == 48
    assert int(groups.sel(category="face").sum()) == 24
    animate = np.array(stimuli.coords["animacy"]) == "animate"
    np.testing.assert_array_equal(groups.sel(category="animate").values, animate)


def test_human_it_against_monkey_it(kriegeskorte: Dataset) -> None:
    monkey = _pairs(kriegeskorte["monkeyIT"])[0]
    human = _pairs(kriegeskorte2008.figure1_human())[0]
    assert pearsonr(human, monkey)[0] == pytest.approx(0.491, abs=5e-4)
    assert spearmanr(human, monkey)[0] == pytest.approx(0.439, abs=5e-4)
    mean = _pairs(kriegeskorte["humanIT"]).mean(axis=0)
    assert spearmanr(mean, human)[0] == pytest.approx(1.0, abs=5e-4)
    assert pearsonr(mean, monkey)[0] == pytest.approx(0.491, abs=5e-4)


def test_behaviour_against_it(kriegeskorte: Dataset) -> None:
    behaviour = _pairs(kriegeskorte["behaviour"]).mean(axis=0)
    human = _pairs(kriegeskorte["humanIT"]).mean(axis=0)
    monkey = _pairs(kriegeskorte["monkeyIT"])[0]
    assert spearmanr(behaviour, human)[0] == pytest.approx(0.392, abs=5e-4)
    assert spearmanr(behaviour, monkey)[0] == pytest.approx(0.394, abs=5e-4)


def test_human_it_noise_ceiling(kriegeskorte: Dataset) -> None:
    pairs = _pairs(kriegeskorte["humanIT"])
    assert _bounds_of_ranks(pairs) == pytest.approx((0.377, 0.672), abs=5e-4)
    assert _bounds_of_reranked_means(pairs) == pytest.approx((0.372, 0.666), abs=5e-4)


def test_reference_models_are_named(mirror: Path) -> None:
    models = kriegeskorte2008.reference_models()
    assert models.shape == (8, 92, 92)
    assert {"animacy", "monkeyIT", "HMAX", "V1"} <= set(models.subject.values)


@pytest.mark.parametrize(
    ("region", "ranks", "reranked"),
    [("EVC", (0.247, 0.399), (0.242, 0.392)), ("IT", (0.459, 0.549), (0.453, 0.542))],
)
def test_fmri_noise_ceilings(
    algonauts: Dataset, region: str, ranks: tuple[float, float], reranked: tuple[float, float]
) -> None:
    pairs = _pairs(algonauts[region])
    assert pairs.shape == (15, 4186)
    assert _bounds_of_ranks(pairs) == pytest.approx(ranks, abs=5.1e-4)
    assert _bounds_of_reranked_means(pairs) == pytest.approx(reranked, abs=5.1e-4)


def test_evc_follows_pixels_and_it_follows_animacy(algonauts: Dataset) -> None:
    assert algonauts.stimuli is not None
    images = [Image.fromarray(algonauts.stimuli.read(i)).convert("L") for i in range(92)]
    small = [np.asarray(each.resize((96, 96), Image.Resampling.BILINEAR)) for each in images]
    pixels = 1 - np.corrcoef([each.ravel().astype(float) for each in small])[PAIRS]
    animacy = _pairs(kriegeskorte2008.reference_models().sel(subject=["animacy"]))[0]
    monkey = _pairs(load_dataset("kriegeskorte2008_92")["monkeyIT"])[0]
    evc, it = (_pairs(algonauts[region]).mean(axis=0) for region in ("EVC", "IT"))
    assert spearmanr(evc, pixels)[0] == pytest.approx(0.426, abs=5e-4)
    assert spearmanr(evc, animacy)[0] == pytest.approx(0.056, abs=5e-4)
    assert spearmanr(it, animacy)[0] == pytest.approx(0.467, abs=5e-4)
    assert spearmanr(it, monkey)[0] == pytest.approx(0.486, abs=5e-4)


def test_both_studies_label_the_same_images_alike(
    algonauts: Dataset, kriegeskorte: Dataset
) -> None:
    assert algonauts.stimuli is not None
    assert kriegeskorte.stimuli is not None
    assert algonauts.stimuli.ids == kriegeskorte.stimuli.ids
    white = np.array([algonauts.stimuli.read(i).mean(axis=2).ravel() for i in range(92)])
    grey = np.array([kriegeskorte.stimuli.read(i).mean(axis=2).ravel() for i in range(92)])
    whitened = np.where(np.abs(grey - grey[:, :1]) < 4, 255, grey)
    between = np.corrcoef(white, whitened)[:92, 92:]
    np.testing.assert_array_equal(between.argmax(axis=1), np.arange(92))
    assert np.median(np.diag(between)) > 0.95


def test_grey_images_are_a_dataset_of_their_own(mirror: Path) -> None:
    dataset = load_dataset("algonauts2019_92_grey")
    assert dataset.name == "algonauts2019_92_grey"
    assert "images on grey, shown on white" in dataset.caveats
    with pytest.raises(DatasetError, match="background 'black' is not 'white' or 'grey'"):
        algonauts2019.load(background="black")


def test_an_unknown_region_lists_the_known(algonauts: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"no region 'V4'\. It holds: EVC, IT\."):
        algonauts["V4"]

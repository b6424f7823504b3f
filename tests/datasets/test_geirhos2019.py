"""Human recognition of edges and silhouettes: the published accuracies and error consistency."""

import io
import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainscore_lite.datasets import geirhos2019
from brainscore_lite.datasets.dataset import DatasetError

HEADER = "subj,session,trial,rt,object_response,category,condition,imagename\n"


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 200).save(buffer, "PNG")
    return buffer.getvalue()


def members() -> dict[str, dict[str, bytes]]:
    def table(code: str) -> bytes:
        rows = (
            f"subject-01,1,1,0.8,cat,cat,0,0001_{code}_s01_0_cat_00_cat2.png\n"
            f"subject-01,1,2,NaN,na,dog,0,0002_{code}_s01_0_dog_00_dog10.png\n"
        )
        return (HEADER + rows).encode()

    folders = ("edges", "filled-silhouettes")
    return {
        "raw-data.zip": {
            "raw-data/edge-experiment/edge_subject-01.csv": table("edg"),
            "raw-data/silhouette-filled-experiment/sil_subject-01.csv": table("sif"),
        },
        "stimuli_edges_silhouettes.zip": {
            f"stimuli/{folder}/{name}/{name}{number}.png": png()
            for folder in folders
            for name, number in (("cat", 2), ("dog", 10))
        },
    }


def offer(
    archives: dict[str, dict[str, bytes]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, contents in archives.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member, content in contents.items():
                archive.writestr(member, content)

    def fetch(dataset: str, file: str, **_: Any) -> Path:
        return folder / file

    monkeypatch.setattr(geirhos2019, "fetch", fetch)


def error_consistency(correct: pd.DataFrame) -> float:
    """Mean over pairs of subjects of Cohen's kappa of their being right; columns are subjects."""
    kappas = []
    for first, second in itertools.combinations(correct.columns, 2):
        a, b = correct[first].to_numpy(dtype=float), correct[second].to_numpy(dtype=float)
        by_chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
        kappas.append(((a == b).mean() - by_chance) / (1 - by_chance))
    return float(np.mean(kappas))


def test_small_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(members(), tmp_path, monkeypatch)
    dataset = geirhos2019.load()
    trials = dataset.trials
    assert trials["condition"].tolist() == ["edges", "edges", "silhouettes", "silhouettes"]
    assert trials["stimulus"].tolist()[1:3] == ["edges_dog10", "silhouettes_cat2"]
    assert trials["object_response"].tolist()[1] == "na"
    assert np.isnan(trials["rt"][1])
    assert dataset.stimuli.image("silhouettes_cat2").shape == (8, 8, 3)
    assert dataset.stimuli.coords["category"] == ("cat", "dog", "cat", "dog")


def test_missing_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives = members()
    archives["raw-data.zip"].pop("raw-data/edge-experiment/edge_subject-01.csv")
    offer(archives, tmp_path, monkeypatch)
    with pytest.raises(DatasetError, match=r"has no table in 'edge-experiment'"):
        geirhos2019.load()


def test_missing_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives = members()
    name = "raw-data/edge-experiment/edge_subject-01.csv"
    archives["raw-data.zip"][name] = b"subj,session,trial\ns,1,1\n"
    offer(archives, tmp_path, monkeypatch)
    with pytest.raises(DatasetError, match=r"lacks the columns \['rt', 'object_response'"):
        geirhos2019.load()


def test_missing_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives = members()
    images = archives["stimuli_edges_silhouettes.zip"]
    images.pop("stimuli/edges/dog/dog10.png")
    offer(archives, tmp_path, monkeypatch)
    with pytest.raises(DatasetError, match=r"1 images of the trials .* first: 'edges_dog10'"):
        geirhos2019.load()
    images.pop("stimuli/edges/cat/cat2.png")
    offer(archives, tmp_path, monkeypatch)
    with pytest.raises(DatasetError, match=r"lacks the folder 'edges' or 'filled-silhouettes'"):
        geirhos2019.load()


@pytest.mark.parametrize(
    ("condition", "accuracy", "kappa"), [("edges", 0.871, 0.318), ("silhouettes", 0.753, 0.476)]
)
def test_accuracy_and_error_consistency(
    mirror: Path, condition: str, accuracy: float, kappa: float
) -> None:
    trials = geirhos2019.load().trials
    trials = trials[trials["condition"] == condition]
    assert len(trials) == 1600
    trials = trials.assign(correct=trials["object_response"] == trials["category"])
    assert round(trials["correct"].mean(), 3) == accuracy
    correct = trials.pivot(index="stimulus", columns="subject", values="correct")
    assert correct.shape == (160, 10)
    assert round(error_consistency(correct), 3) == kappa


def test_images(mirror: Path) -> None:
    stimuli = geirhos2019.load_stimuli()
    assert len(stimuli) == 320
    assert len(set(stimuli.coords["category"])) == 16
    assert stimuli.image("silhouettes_truck9").shape == (224, 224, 3)
    assert stimuli.degrees is None

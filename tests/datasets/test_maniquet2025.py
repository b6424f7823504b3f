"""Human recognition of occluded objects: accuracy, masking and its reliability over people."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainscore_lite.datasets import maniquet2025
from brainscore_lite.datasets.dataset import DatasetError

HARDEST = "occlusion_many_small_partial_viewing_high"
COLUMNS = maniquet2025._CONDITION_COLUMNS


def offer(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    columns: tuple[str, ...] = COLUMNS,
    conditions: tuple[str, ...] = ("control", "occlusion_few_large_partial_viewing_low"),
    images: tuple[str, ...] = (
        "stimuli/control/control_cat1.png",
        "stimuli/occlusion/few_large/occluder/low/fewlargepartialViewinglowmatched_cat10.png",
    ),
) -> None:
    rows = [",".join([each, *["0.5"] * (len(columns) - 1)]) for each in conditions]
    (folder / "human_conditions.csv").write_text("\n".join([",".join(columns), *rows]))
    (folder / "human_persons.csv").write_text(
        "participant,condition,accuracy,rt_ms\n1,control,0.9,900.5\n"
    )
    with zipfile.ZipFile(folder / "stimuli_control_occlusion.zip", "w") as archive:
        for each in images:
            archive.writestr(each, b"")

    def fetch(dataset: str, file: str, **_: Any) -> Path:
        return folder / file

    monkeypatch.setattr(maniquet2025, "fetch", fetch)


def test_small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch)
    dataset = maniquet2025.load()
    assert dataset.stimuli.ids == (
        "control_cat1",
        "occlusion_few_large_partial_viewing_low_cat10",
    )
    assert dataset.stimuli.coords["category"] == ("cat", "cat")
    assert dataset.stimuli.coords["object_name"] == ("cat1", "cat10")
    assert dataset.conditions.loc["control", "masking_effect"] == 0.5
    assert dataset.persons["rt_ms"].tolist() == [900.5]


def test_missing_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch, columns=COLUMNS[:-1])
    with pytest.raises(DatasetError, match=r"'human_conditions.csv' lacks .*'masking_effect'"):
        maniquet2025.load()


def test_empty_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch)
    (tmp_path / "human_persons.csv").write_text("")
    with pytest.raises(DatasetError, match=r"human_persons.csv' cannot be read"):
        maniquet2025.load()


def test_condition_without_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch, conditions=("control",))
    with pytest.raises(DatasetError, match=r"'occlusion_few_large_partial_viewing_low'\] are not"):
        maniquet2025.load()


def test_image_of_no_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch, images=("stimuli/control/control_zebra1.png",))
    with pytest.raises(DatasetError, match=r"control_zebra1.png' does not end in a known class"):
        maniquet2025.load()


def test_accuracies_and_masking(mirror: Path) -> None:
    dataset = maniquet2025.load()
    conditions = dataset.conditions
    assert len(conditions) == 17
    assert dataset.persons["participant"].nunique() == 218
    assert round(conditions.loc["control", "average_accuracy"], 3) == 0.969
    assert conditions["average_accuracy"].idxmin() == HARDEST
    assert round(conditions.loc[HARDEST, "average_accuracy"], 3) == 0.588
    assert round(conditions.loc[HARDEST, "masking_effect"], 2) == 0.21
    easy = conditions[conditions["group"] == "easy"]
    assert easy["masking_effect"].abs().max() < 0.02
    difference = conditions["no_mask_accuracy"] - conditions["mask_accuracy"]
    np.testing.assert_allclose(conditions["masking_effect"], difference, atol=1e-12)
    means = dataset.persons.groupby("condition")["accuracy"].mean()
    np.testing.assert_allclose(conditions["average_accuracy"], means[conditions.index], atol=1e-3)


def test_split_half_over_people(mirror: Path) -> None:
    persons = maniquet2025.load().persons
    table = persons.pivot(index="participant", columns="condition", values="accuracy").to_numpy()
    rng = np.random.default_rng(0)
    correlations = []
    for _ in range(200):
        order = rng.permutation(len(table))
        halves = [np.nanmean(table[order[start::2]], axis=0) for start in (0, 1)]
        correlations.append(np.corrcoef(*halves)[0, 1])
    assert np.mean(correlations) == pytest.approx(0.992, abs=0.003)


def test_images(mirror: Path) -> None:
    dataset = maniquet2025.load()
    stimuli = dataset.stimuli
    assert len(stimuli) == 1040
    assert len(set(stimuli.coords["category"])) == 8
    per_condition = {
        name: stimuli.coords["condition"].count(name) for name in dataset.conditions.index
    }
    assert sorted(per_condition.values()) == [0] * 4 + [80] * 13
    assert stimuli.image("control_tree9").shape == (700, 700, 3)

from pathlib import Path

import pandas as pd
import pytest

from brainscore_lite.training import History

ROWS = [
    {"epoch": 0, "phase": "training", "split": "train", "loss": 0.7, "accuracy": 0.5,
     "seconds": 0.1, "alignment.V1": 1 / 3},
    {"epoch": 1, "phase": "training", "split": "batches", "loss": 0.1 + 0.2, "accuracy": None,
     "seconds": 2.0},
    {"epoch": 1, "phase": "training", "split": "train", "loss": 0.4, "accuracy": 0.9,
     "seconds": 0.1, "alignment.V1": 0.5},
    {"epoch": 1, "phase": "training", "split": "test", "loss": 0.5, "accuracy": 0.8,
     "seconds": 0.1},
]  # fmt: skip


def test_survives_the_disk_to_the_last_digit(tmp_path: Path) -> None:
    history = History.from_rows(ROWS)
    history.save(tmp_path / "history.csv")
    pd.testing.assert_frame_equal(History.load(tmp_path / "history.csv").table, history.table)


def test_accuracies_of_an_epoch() -> None:
    history = History.from_rows(ROWS)
    assert history.accuracies(0) == {"train": 0.5}
    assert history.accuracies(1) == {"train": 0.9, "test": 0.8}


def test_alignment_by_epoch_and_layer() -> None:
    table = History.from_rows(ROWS).alignment()
    assert list(table.columns) == ["V1"]
    assert table["V1"].to_dict() == pytest.approx({0: 1 / 3, 1: 0.5})

"""Runs of rules: what is reported of failures and stops, and how their rows are read."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ANALYSES = Path(__file__).resolve().parents[2] / "analyses"
TRAINING = '"training": {"batch_size": 64, "lr": 0.001}'


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch):
    """Import a module or a script of the analyses by its name."""
    monkeypatch.syspath_prepend(str(ANALYSES))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def rows(*runs: tuple[str, str, float], settings: str = '{"rule": {}, "training": {}}'):
    found = pd.DataFrame(runs, columns=["rule", "network", "test_error"])
    families = {"backprop": "transport", "softhebb": "hebbian", "generec": "energy"}
    return found.assign(
        experiment="mnist", family=found["rule"].map(families), exactness="none", seed=0,
        epochs=2, cpu_seconds=10.0, settings=settings, digest="", warnings=None,
        published_error=None, source=None,
    )  # fmt: skip


def test_rule_on_several_networks_is_labelled_by_its_network(analysis, tmp_path: Path) -> None:
    runs = rows(("softhebb", "a", 3.0), ("backprop", "a", 2.0), ("softhebb", "b", 1.0))
    runs.to_csv(tmp_path / "x.csv", index=False)
    read = analysis("rule_tables").read_rows(tmp_path / "x.csv")
    assert list(read["label"]) == ["softhebb@a", "backprop", "softhebb@b"]


def test_later_row_of_a_run_replaces_the_earlier(analysis, tmp_path: Path) -> None:
    rows(("backprop", "a", 2.0), ("backprop", "a", 1.0)).to_csv(tmp_path / "x.csv", index=False)
    read = analysis("rule_tables").read_rows(tmp_path / "x.csv")
    assert list(read["test_error"]) == [1.0]


def test_angles_find_the_network_of_their_run(analysis, tmp_path: Path) -> None:
    runs = rows(("softhebb", "a", 3.0), ("softhebb", "b", 1.0), ("backprop", "a", 2.0))
    runs.to_csv(tmp_path / "x.csv", index=False)
    cosines = {("softhebb", "a"): 0.1, ("softhebb", "b"): 0.2, ("backprop", "a"): 1.0}
    angles = [
        {"epoch": epoch, "layer": layer, "cosine": cosine, "rule": rule, "network": network}
        for (rule, network), cosine in cosines.items()
        for layer in ("hidden1", "readout")
        for epoch in (0, 1)
    ]
    pd.DataFrame(angles).assign(seed=0).to_csv(tmp_path / "angles.csv", index=False)
    read = analysis("rule_tables").read_angles(tmp_path / "x.csv", tmp_path / "angles.csv")
    found = read.groupby("label")["cosine"].agg(["min", "max", "size"])
    assert found.loc["softhebb@a"].tolist() == [0.1, 0.1, 4]
    assert found.loc["softhebb@b"].tolist() == [0.2, 0.2, 4]
    assert found.loc["backprop"].tolist() == [1.0, 1.0, 4]


def test_tables_sort_by_family_then_error(analysis) -> None:
    runs = rows(("generec", "a", 1.0), ("backprop", "a", 3.0), ("backprop", "b", 2.0))
    shown = analysis("rule_tables").ordered(runs)
    assert list(shown["test_error"]) == [2.0, 3.0, 1.0]


def test_only_settings_of_its_own_are_shown(analysis) -> None:
    used = (
        '{"rule": {"radius": 0.1, "lrs": [0.01]}, "training": {"batch_size": 64, "lr": 0.001, '
        '"epochs": 3, "augmentation": {"shift": 2}}}'
    )
    [row] = [row for _, row in rows(("softhebb", "a", 1.0), settings=used).iterrows()]
    assert analysis("rule_tables").own_settings(row) == "radius=0.1, lrs=0.01, epochs=3, shift=2"
    default = analysis("rule_tables").LEARNING_RULES["softhebb"].radius
    row["settings"] = f'{{"rule": {{"radius": {default}}}, "training": {{}}}}'
    assert analysis("rule_tables").own_settings(row) == ""


def test_failed_run_is_named_and_the_others_go_on(
    analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, kept = analysis("rule_grid"), analysis("rule_recipes").recipes("mnist")

    def measured(recipe, seed, *_):
        if recipe.rule == "bcm":
            raise ValueError("[weights] are no longer finite")
        return {"test_error": 2.0, "epochs": 1, "cpu_seconds": 1.0}, pd.DataFrame({"epoch": [0]})

    monkeypatch.setattr(grid, "_measured", measured)
    monkeypatch.setattr(grid, "ProcessPoolExecutor", _Threads)
    cells = [(kept["bcm"], 3), (kept["backprop"], 0)]
    outcome = grid.run_grid(cells, images="mnist", output=tmp_path, name="x")
    assert outcome.failed == ("bcm seed 3",)
    assert outcome.finished == 1
    assert not outcome.complete
    said = " ".join(capsys.readouterr().err.split())
    assert "bcm seed 3 failed: ValueError('[weights] are no longer finite')" in said
    assert "1 of 2 done" in said
    assert "failed: 1 (bcm seed 3)" in str(outcome)
    assert len(pd.read_csv(tmp_path / "x.csv")) == 1


def _Threads(max_workers: int, initializer: object):  # noqa: N802
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max_workers)


INTERRUPTED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.path.insert(0, sys.argv[1])
import pandas as pd
import rule_grid, rule_recipes
from pathlib import Path

def measured(recipe, seed, *_):
    if seed:
        print("begun", flush=True)
        time.sleep(120)
    return {"test_error": 2.0, "epochs": 1, "cpu_seconds": 1.0}, pd.DataFrame({"epoch": [0]})

rule_grid._measured = measured
kept = rule_recipes.recipes("mnist")
cells = [(kept["backprop"], 0), (kept["bcm"], 1), (kept["oja"], 2)]
print(rule_grid.run_grid(cells, images="mnist", output=Path(sys.argv[2]), name="x"))
"""


def test_ctrl_c_stops_the_workers_and_says_what_is_left(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(ANALYSES), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    kept = tmp_path / "x_alignment.csv"
    while not kept.is_file() and run.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    asked = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    said, complained = run.communicate(timeout=60)
    assert time.monotonic() - asked < 30
    assert run.returncode == 0, complained
    assert "Traceback" not in complained
    assert "Runs finished in this call: 1; left: 2 (bcm seed 1, oja seed 2)" in said
    assert "the same command goes on" in said
    assert len(pd.read_csv(tmp_path / "x.csv")) == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


def test_unknown_recipe_is_refused_with_those_there_are() -> None:
    done = subprocess.run(
        [sys.executable, str(ANALYSES / "01_rules_on_mnist.py"), "--rules", "backpropp"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no recipes for backpropp; there are backprop" in done.stderr

import json
from dataclasses import replace

import pandas as pd
import pytest

from brainscore_lite import demo
from brainscore_lite.demo import Demo, run_demo
from brainscore_lite.networks import Pixels
from brainscore_lite.schema import ContractError
from brainscore_lite.studies import MODELS
from brainscore_lite.tables import results_table


@pytest.fixture
def short(monkeypatch):
    """The demo with two small models and two metrics on the simulated recording."""
    monkeypatch.setattr(demo, "NETWORKS", ("pixels", "small_cnn_untrained"))
    monkeypatch.setattr(demo, "SIMULATED", ("simulated_v4_it.V4.ridge", "simulated_v4_it.IT.rsa"))
    monkeypatch.delenv("BRAINSCORE_LITE_MIRROR", raising=False)
    return Demo(simulated=True, n_draws=20)


@pytest.fixture
def shortest(short, monkeypatch):
    """The same with the cheaper metric alone, for what does not depend on the metric."""
    monkeypatch.setattr(demo, "SIMULATED", ("simulated_v4_it.IT.rsa",))
    return short


def test_the_demo_writes_tables_and_figures(short, tmp_path, capsys):
    rows = run_demo(short, output=tmp_path)
    assert {row["model"] for row in rows} == {"pixels", "small_cnn_untrained"}
    for name in ("scores.csv", "comparison.md", "comparison.tex", "scores.pdf", "layers.svg",
                 "provenance.json"):  # fmt: skip
        assert (tmp_path / name).stat().st_size > 100, name
    assert "simulated" in (tmp_path / "comparison.md").read_text()
    assert "simulated" in (tmp_path / "scores.svg").read_text()
    printed = capsys.readouterr()
    assert "say nothing about the brain" in " ".join(printed.err.split())
    assert "simulated" in printed.out
    table = pd.read_csv(tmp_path / "scores.csv")
    pd.testing.assert_series_equal(table["raw"], results_table(rows)["raw"])


def test_finished_models_are_kept_and_settings_decide(shortest, tmp_path, monkeypatch, capsys):
    first = run_demo(shortest, output=tmp_path, progress=False)
    capsys.readouterr()
    again = run_demo(shortest, output=tmp_path)
    assert "pixels: scored before, kept" in capsys.readouterr().err
    assert json.dumps(first, sort_keys=True) == json.dumps(again, sort_keys=True)
    run_demo(replace(shortest, n_draws=21), output=tmp_path)
    assert "scored before" not in capsys.readouterr().err


def test_other_weights_are_scored_again(shortest, tmp_path, monkeypatch, capsys):
    run_demo(shortest, output=tmp_path, progress=False)
    run_demo(replace(shortest, seed=1), output=tmp_path)
    assert "scored before" not in capsys.readouterr().err
    monkeypatch.setitem(
        MODELS, "pixels", replace(MODELS["pixels"], make=lambda seed: Pixels(image_size=8))
    )
    run_demo(replace(shortest, seed=1), output=tmp_path)
    log = capsys.readouterr().err
    assert "scoring pixels" in log
    assert "small_cnn_untrained: scored before, kept" in log


def test_a_broken_file_ends_the_demo(short, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINSCORE_LITE_MIRROR", str(tmp_path))
    broken = tmp_path / "cowley2023_v4" / "responses_raw" / "responses_210325.npy"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half of it")
    with pytest.raises(ContractError, match=r"responses_210325\.npy"):
        run_demo(Demo(n_draws=20), output=tmp_path / "out", progress=False)


def test_without_recordings_the_demo_falls_back_and_says_so(short, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "cache")
    rows = run_demo(Demo(n_draws=20), output=tmp_path / "out")
    assert all(row["simulated"] for row in rows)
    log = " ".join(capsys.readouterr().err.split())
    assert "left out cowley2023_v4_210325.V4.ridge" in log
    assert "simulated: no recordings are used" in log


def test_a_model_that_cannot_be_had_is_left_out_with_the_reason(
    short, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(demo, "NETWORKS", ("pixels", "squeezenet1_1"))
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "cache")
    rows = run_demo(short, output=tmp_path)
    assert {row["model"] for row in rows} == {"pixels"}
    assert "left out squeezenet1_1:" in capsys.readouterr().err

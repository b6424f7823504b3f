import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from brainscore_lite.__main__ import main
from brainscore_lite.schema import responses

COMMANDS = ("datasets", "benchmarks", "models", "rules", "score", "train", "demo")


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["brainscore-lite", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def own(tmp_path):
    """A recording of the brightness of 40 pictures, and the pictures."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (40, 1, 1, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = [f"p{i:02d}" for i in range(40)]
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
    signal = pictures.mean(axis=(1, 2)) / 50
    array = responses(
        signal + 0.3 * rng.normal(size=(5, 40, 3)),
        stimulus=names,
        neuroid=["u1", "u2", "u3"],
        region="V1",
        animal="m",
    )
    array.to_netcdf(tmp_path / "mine.nc", engine="h5netcdf")
    return tmp_path / "mine.nc", folder


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"brainscore-lite {command}" in " ".join(out.split())


def test_help_of_the_whole_lists_the_commands(run):
    _, out, _ = run("--help")
    assert all(command in out for command in COMMANDS)
    assert "Example:" in out


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("datasets", "kriegeskorte2008_92"),
        ("benchmarks", "cowley2023_v4_210325.V4.ridge"),
        ("models", "efficientnet_lite0"),
    ],
)
def test_lists_are_tables_or_json(run, command, name):
    code, out, _ = run(command)
    assert code == 0
    assert name in out
    _, out, _ = run(command, "--json")
    assert name in [row["name"] for row in json.loads(out)]


def test_own_recordings_are_scored(run, own, tmp_path):
    recording, folder = own
    code, out, err = run(
        "score", "--model", "pixels", "--responses", recording, "--images", folder,
        "--region", "V1", "--draws", 50, "--json", "--quiet", "--output", tmp_path / "out.csv",
    )  # fmt: skip
    assert (code, err) == (0, "")
    [row] = json.loads(out)
    assert row["benchmark"] == "mine.V1.ridge"
    assert row["raw"] > 0.9
    assert row["low"] < row["raw"] < row["high"]
    assert (tmp_path / "out.csv").read_text().count("\n") == 2


def test_a_layer_can_be_named(run, own):
    recording, folder = own
    code, out, _ = run(
        "score", "--model", "gabor", "--responses", recording, "--images", folder, "--metric",
        "rsa", "--layer", "complex", "--draws", 20, "--json", "--quiet",
    )  # fmt: skip
    assert code == 0
    [row] = json.loads(out)
    assert (row["layer"], row["layer_choice"]) == ("complex", "given")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--model", "alexnett", "--benchmark", "simulated_v4_it.V4.rsa"),
         "unknown model 'alexnett', and no folder of a trained one. Closest: alexnet"),
        (("--model", "pixels", "--benchmark", "cowley.V4.ridge"),
         "unknown benchmark 'cowley.V4.ridge'. Closest: cowley2023"),
        (("--model", "pixels", "--benchmark", "simulated_v4_it.V4.rsa", "--layer", "V1"),
         "has no layer 'V1'"),
        (("--model", "pixels"), "give either --benchmark NAME, or --responses FILE together"),
        (("--model", "pixels", "--responses", "absent.nc", "--images", "."),
         "no file absent.nc. Check the path."),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_sentence_and_code_1(run, arguments, sentence):
    code, out, err = run("score", *arguments, "--quiet")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert sentence in err
    assert "Traceback" not in err


def test_mistakes_with_own_files_are_named(run, own, tmp_path):
    recording, folder = own
    (tmp_path / "empty").mkdir()
    code, _, err = run("score", "--model", "pixels", "--responses", recording, "--images",
                       tmp_path / "empty", "-q")  # fmt: skip
    assert code == 1
    assert "no images in" in err
    (folder / "p07.png").unlink()
    _, _, err = run(
        "score", "--model", "pixels", "--responses", recording, "--images", folder, "-q"
    )
    assert "1 stimuli of the recording have no image in 'pictures'; first: 'p07'" in err
    (folder / "p07.png").write_bytes(b"broken")
    _, _, err = run(
        "score", "--model", "pixels", "--responses", recording, "--images", folder, "-q"
    )
    assert "cannot read the image" in err
    assert "p07.png" in err


def test_unknown_options_have_code_2(run):
    code, _, err = run("score", "--modle", "pixels")
    assert code == 2
    assert "--modle" in err


def test_train_writes_a_model_that_score_reads(run, tmp_path):
    folder = tmp_path / "run"
    code, out, _ = run(
        "train", "--images", "digits", "--epochs", 1, "--output", folder, "-q", "--json"
    )
    assert code == 0
    [row] = json.loads(out)
    assert 0 < row["test accuracy"] <= 1
    code, out, _ = run("score", "--model", folder, "--benchmark", "simulated_v4_it.V4.rsa",
                       "--layer", "V1", "--draws", 0, "-q", "--json")  # fmt: skip
    assert code == 0
    assert json.loads(out)[0]["accuracy"] == pytest.approx(row["test accuracy"])


def test_train_takes_settings_of_the_rule_and_of_the_optimiser(run, tmp_path):
    common = ("train", "--images", "digits", "--epochs", 1, "--output", tmp_path / "run", "-q")
    code, out, _ = run(
        *common, "--rule", "feedback_alignment", "--set", "scale=0.5", "--optimizer", "adam",
        "--lr", 1e-3, "--batch-size", 64,
    )  # fmt: skip
    assert code == 0
    assert "adam, lr 0.001" in out
    assert "feedback_alignment" in out
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["rule"]["scale"] == 0.5
    code, _, err = run(*common, "--rule", "feedback_alignment", "--set", "beta=1")
    assert code == 1
    assert "--set beta=1: 'feedback_alignment' has no setting 'beta'. It has: scale" in err
    code, _, err = run(*common, "--rule", "feedback_alignment", "--set", "scale")
    assert code == 1
    assert "--set scale: expected name=value, as in beta=0.5" in err


def test_train_checks_rule_and_architecture_before_images(run, tmp_path, monkeypatch):
    def fetched(name):
        raise AssertionError(f"{name} was fetched")

    monkeypatch.setattr("brainscore_lite.studies.models.load_images", fetched)
    common = ("train", "--output", tmp_path / "run", "-q")
    for options, said in (
        (("--rule", "nope"), "no learning rule is called 'nope'"),
        (("--architecture", "nope"), "no architecture is called 'nope'"),
        (("--rule", "rtrl"), "rtrl cannot train this network"),
    ):
        code, _, err = run(*common, *options)
        assert code == 1
        assert said in err


def test_train_warns_once(run, tmp_path, recwarn):
    code, out, err = run("train", "--images", "digits", "--architecture", "matched_mlp", "-q",
                         "--epochs", 1, "--lr", 1e-9, "--output", tmp_path / "run")  # fmt: skip
    assert code == 0
    told = [str(each.message) for each in recwarn]
    assert (out + err + "".join(told)).count("effectively untrained") == 1


def test_train_says_what_a_setting_cannot_be(run, tmp_path):
    code, _, err = run("train", "--images", "digits", "--output", tmp_path, "--rule",
                       "dual_propagation", "--set", "alpha=x")  # fmt: skip
    assert code == 1
    assert err.startswith("error: ")
    assert "alpha" in err


def test_ctrl_c_says_how_to_go_on(run, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("brainscore_lite.demo.run_demo", interrupt)
    code, _, err = run("demo")
    assert code == 130
    assert "Run the same command again" in err


def test_version(run):
    assert run("--version")[1].strip() == "0.1.0"


def test_the_module_runs_as_a_program():
    ran = subprocess.run(
        [sys.executable, "-m", "brainscore_lite", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "0.1.0"


def test_rules_say_what_they_are_and_what_they_can_train(run):
    code, out, _ = run("rules", "--json")
    assert code == 0
    listed = {row["name"]: row for row in json.loads(out)}
    assert listed["backprop"]["exactness"] == "bp"
    assert "citation" in listed["feedback_alignment"]
    code, out, _ = run("rules", "--architecture", "small_cnn", "--json")
    supported = {row["name"]: row["supported"] for row in json.loads(out)}
    assert supported["backprop"] == "yes"
    assert supported["rtrl"].startswith("no: derivatives are carried forward in time")
    code, _, err = run("rules", "--architecture", "large_cnn")
    assert code == 1
    assert "no architecture is called 'large_cnn'; there are: small_cnn" in err

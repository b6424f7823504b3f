"""The README's code blocks run as written."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from brainscore_lite.__main__ import main

TEXT = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    assert len(PYTHON) >= 4
    assert (tmp_path / "my.nc").is_file()

    own = next(line for line in TEXT.splitlines() if "--responses my.nc" in line)
    folder = tmp_path / "DIR"
    folder.mkdir()
    for label, picture in zip(names["names"], names["pictures"], strict=True):
        Image.fromarray(picture).save(folder / f"{label}.png")
    monkeypatch.setattr(sys, "argv", [*shlex.split(own), "--draws", "20", "--quiet"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "my.IT.ridge" in capsys.readouterr().out

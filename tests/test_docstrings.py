"""The examples in the docstrings run and give what they say."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import brainscore_lite

PACKAGE = Path(brainscore_lite.__file__).parent
EXAMPLE = re.compile(r">>> (?!.*doctest: \+SKIP)")  # examples on recordings are not run here
FILES = sorted(path for path in PACKAGE.rglob("*.py") if EXAMPLE.search(path.read_text("utf-8")))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("name", [name_of(path) for path in FILES])
@pytest.mark.filterwarnings("ignore")
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.ELLIPSIS)
    assert not result.failed

import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from brainscore_lite.configuration import digest, digest_bytes, from_json, to_json
from brainscore_lite.schema import ContractError


@dataclass(frozen=True)
class Inner:
    width: int = 3
    rate: float = 0.1


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    inners: tuple[Inner, ...] = (Inner(), Inner(4))
    note: str | None = None


def test_settings_survive_the_round_trip():
    assert from_json(to_json(Outer()), types=(Outer, Inner)) == Outer()


def test_the_text_is_canonical():
    assert to_json(Inner()) == '{"class":"Inner","rate":0.1,"width":3}'


@pytest.mark.parametrize("change", [{"name": "y"}, {"inners": (Inner(),)}, {"note": ""}])
def test_every_setting_is_in_the_digest(change):
    assert digest(replace(Outer(), **change)) != digest(Outer())


def test_the_digest_is_the_same_in_another_process():
    code = (
        "from brainscore_lite.configuration import digest\n"
        "print(digest({'b': (1, 2.5), 'a': None}))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == digest({"a": None, "b": [1, 2.5]})


def test_digest_of_bytes_keeps_chunks_apart():
    assert digest_bytes(b"ab", b"c") != digest_bytes(b"a", b"bc")


def test_what_has_no_exact_text_is_refused():
    with pytest.raises(
        ContractError, match=r"settings\['a'\] is a ndarray, which cannot be written"
    ):
        to_json({"a": np.ones(2)})
    with pytest.raises(ContractError, match=r"settings\.rate is nan, which has no exact text"):
        to_json(Inner(rate=float("nan")))


def test_unknown_classes_and_fields_are_named():
    with pytest.raises(ContractError, match=r"settings name the class 'Inner'; known here: \[\]"):
        from_json(to_json(Inner()), types=())
    with pytest.raises(ContractError, match=r"'Inner' have unknown fields \['depth'\]"):
        from_json('{"class":"Inner","depth":1}', types=(Inner,))

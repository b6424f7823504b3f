import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import xarray as xr

from brainscore_lite.schema import ContractError, responses
from brainscore_lite.storage import (
    StorageError,
    atomic_write,
    load_json,
    load_netcdf,
    load_responses,
    load_safetensors,
    save_json,
    save_netcdf,
    save_safetensors,
)


def test_netcdf_keeps_values_labels_and_attributes(tmp_path):
    array = xr.DataArray(
        np.random.default_rng(0).random((2, 3)),
        dims=("stimulus", "neuroid"),
        coords={"stimulus": ["a", "b"], "layer": ("neuroid", ["x", "x", "y"])},
        name="activations",
        attrs={"model": "pixels"},
    )
    save_netcdf(array, tmp_path / "new" / "a.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "new" / "a.nc")["activations"], array)


def test_json_round_trip(tmp_path):
    save_json({"b": [1, 2], "a": None}, tmp_path / "a.json")
    assert load_json(tmp_path / "a.json") == {"a": None, "b": [1, 2]}


def test_safetensors_round_trip(tmp_path):
    import torch

    save_safetensors(
        {"w": torch.arange(6.0).reshape(2, 3).T},
        tmp_path / "w.safetensors",
        metadata={"epoch": "3"},
    )
    tensors, metadata = load_safetensors(tmp_path / "w.safetensors")
    assert torch.equal(tensors["w"], torch.arange(6.0).reshape(2, 3).T)
    assert metadata == {"epoch": "3"}


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")
    with suppress(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "before"


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    with (
        pytest.raises(
            StorageError, match=r"cannot write .*a\.nc: No space left on device\. Nothing"
        ),
        atomic_write(tmp_path / "a.nc"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.json"
    save_json("before", target)
    code = (
        "import os, signal\nfrom brainscore_lite.storage import atomic_write\n"
        f"with atomic_write({str(target)!r}) as t:\n"
        "    t.write_text('ha')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert load_json(target) == "before"


@pytest.mark.parametrize(
    ("load", "kind"),
    [(load_netcdf, "netCDF-4"), (load_json, "JSON"), (load_safetensors, "safetensors")],
)
def test_broken_and_missing_files_are_named(tmp_path, load, kind):
    with pytest.raises(StorageError, match=r"no file .*absent\. Check the path\."):
        load(tmp_path / "absent")
    (tmp_path / "broken").write_bytes(b"\x89not what it says")
    with pytest.raises(StorageError, match=rf"cannot read .*broken as {kind}"):
        load(tmp_path / "broken")


RECORDING = {
    "values": np.random.default_rng(0).random((3, 4, 2)),
    "stimulus": ["a", "b", "c", "d"],
    "neuroid": ["u", "v"],
    "region": "IT",
    "animal": ["m1", "m2"],
}


def test_responses_come_back_from_netcdf_and_npz(tmp_path):
    array = responses(RECORDING["values"], **{k: RECORDING[k] for k in RECORDING if k != "values"})
    array.to_netcdf(tmp_path / "mine.nc", engine="h5netcdf")
    np.savez(tmp_path / "mine.npz", **RECORDING)
    for name in ("mine.nc", "mine.npz"):
        read = load_responses(tmp_path / name)
        np.testing.assert_array_equal(read.values, array.values)
        assert read["animal"].values.tolist() == ["m1", "m2"]
        assert read["stimulus"].values.tolist() == ["a", "b", "c", "d"]


def test_files_that_hold_no_responses_say_what_they_lack(tmp_path):
    np.savez(tmp_path / "few.npz", values=RECORDING["values"])
    with pytest.raises(StorageError, match=r"lacks the arrays \['stimulus', 'neuroid', 'region'"):
        load_responses(tmp_path / "few.npz")
    np.savez(tmp_path / "twice.npz", **(RECORDING | {"neuroid": ["u", "u"]}))
    with pytest.raises(ContractError, match=r"'neuroid' labels are not unique"):
        load_responses(tmp_path / "twice.npz")
    np.savez(tmp_path / "objects.npz", **(RECORDING | {"stimulus": np.array([1, "b"], object)}))
    with pytest.raises(StorageError, match=r"labels as arrays of strings, not of objects"):
        load_responses(tmp_path / "objects.npz")
    (tmp_path / "mine.mat").write_bytes(b"")
    with pytest.raises(StorageError, match=r"ends in '\.mat'; expected \.nc"):
        load_responses(tmp_path / "mine.mat")
    xr.Dataset({"a": ("x", [1]), "b": ("x", [2])}).to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    with pytest.raises(StorageError, match=r"holds the variables \['a', 'b'\]; expected one"):
        load_responses(tmp_path / "two.nc")

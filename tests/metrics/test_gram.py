"""The Gram matrix: batches, types, centring, files and streams."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from brainscore_lite.metrics import Gram, gram
from brainscore_lite.metrics.gram import combined
from brainscore_lite.schema import ContractError


@pytest.fixture
def patterns() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 500)) + 3


def test_batches_do_not_change_it(patterns: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gram(patterns)
    monkeypatch.setitem(gram.__globals__, "BATCH_BYTES", 8 * 12 * 37)
    in_parts = gram(patterns)
    np.testing.assert_allclose(whole.centred, in_parts.centred, rtol=1e-12)
    np.testing.assert_allclose(in_parts.products(), patterns @ patterns.T, rtol=1e-12)
    np.testing.assert_allclose(in_parts.row_sums, patterns.sum(axis=1), rtol=1e-12)


def test_features_are_kept_only_where_they_are_smaller(patterns: np.ndarray) -> None:
    assert gram(patterns).features is None
    assert gram(patterns[:, :5]).features.shape == (12, 5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.int16, np.uint8, bool])
def test_sums_are_in_double_precision(patterns: np.ndarray, dtype: type) -> None:
    given = np.abs(30 * patterns).astype(dtype)
    expected = given.astype(np.float64) @ given.astype(np.float64).T
    np.testing.assert_allclose(gram(given).products(), expected, rtol=1e-12)


def test_reads_from_disk(patterns: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "patterns.npy", patterns.astype(np.float32))
    mapped = np.load(tmp_path / "patterns.npy", mmap_mode="r")
    np.testing.assert_allclose(gram(mapped).products(), patterns @ patterns.T, rtol=1e-5)


def test_torch_tensors_stay_tensors(patterns: np.ndarray) -> None:
    result = gram(torch.tensor(patterns))
    assert isinstance(result.centred, torch.Tensor)
    np.testing.assert_allclose(result.centred.numpy(), gram(patterns).centred, rtol=1e-12)


def test_a_large_mean_costs_no_precision(patterns: np.ndarray) -> None:
    shifted = gram(patterns + 1e7)
    np.testing.assert_allclose(shifted.centred, gram(patterns).centred, atol=1e-4)


def test_subset_keeps_what_dissimilarities_need(patterns: np.ndarray) -> None:
    some = np.array([3, 1, 7])
    np.testing.assert_allclose(
        gram(patterns).subset(some).products(), gram(patterns[some]).products(), rtol=1e-12
    )


def test_nan_and_shapes_are_refused(patterns: np.ndarray) -> None:
    broken = patterns.copy()
    broken[3, 77] = np.nan
    with pytest.raises(ContractError, match="X: feature 77 holds NaN or inf"):
        gram(broken)
    with pytest.raises(ContractError, match="expected \\(n_stimuli, n_units\\)"):
        gram(patterns[0])
    with pytest.raises(ContractError, match="expected real numbers"):
        gram(patterns + 1j)


class Columns:
    """A matrix that gives columns, as datasets of h5py and h5netcdf do, and counts them."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.widest = values, values.shape, 0

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        columns = self.values[index]
        self.widest = max(self.widest, columns.shape[1])
        return columns


def assert_same(one: Gram, other: Gram) -> None:
    np.testing.assert_allclose(one.centred, other.centred, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(one.products(), other.products(), rtol=1e-11)
    np.testing.assert_allclose(one.row_sums, other.row_sums, rtol=1e-11)
    assert one.n_features == other.n_features


def test_reads_files_and_streams(
    patterns: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gram(patterns)
    with h5py.File(tmp_path / "patterns.h5", "w") as file:
        file["patterns"] = patterns
        assert_same(gram(file["patterns"]), whole)
    assert_same(gram(patterns[:, s : s + 77] for s in range(0, 500, 77)), whole)
    assert_same(gram(iter([patterns])), whole)
    monkeypatch.setitem(gram.__globals__, "BATCH_BYTES", 8 * 12 * 37)
    source = Columns(patterns)
    assert_same(gram(source), whole)
    assert source.widest == 37
    assert_same(gram(iter([patterns[:, :450], patterns[:, 450:]])), whole)


def test_a_stream_of_few_features_keeps_them(patterns: np.ndarray) -> None:
    few = gram(iter([patterns[:, :3], patterns[:, 3:7]]))
    np.testing.assert_allclose(few.features, gram(patterns[:, :7]).features)
    assert gram(iter([patterns[:, :7], patterns[:, 7:20]])).features is None


def test_streams_of_tensors_stay_tensors(patterns: np.ndarray) -> None:
    result = gram(iter(torch.tensor(patterns).split(100, dim=1)))
    assert isinstance(result.centred, torch.Tensor)
    np.testing.assert_allclose(result.centred.numpy(), gram(patterns).centred, rtol=1e-11)


def test_gaps_of_a_masked_file_are_not_read_as_numbers(patterns: np.ndarray) -> None:
    masked = np.ma.masked_equal(np.round(patterns).astype(np.int16), int(np.round(patterns[4, 9])))
    with pytest.raises(ContractError, match="holds NaN or inf"):
        gram(Columns(masked))


def test_bad_streams_are_refused(patterns: np.ndarray) -> None:
    with pytest.raises(ContractError, match="from feature 5 on has 11 stimuli, those before it ha"):
        gram(iter([patterns[:, :5], patterns[1:, 5:9]]))
    with pytest.raises(ContractError, match="ended before its first block"):
        gram(iter([]))
    with pytest.raises(ContractError, match="expected \\(n_stimuli, n_units\\)"):
        gram(iter([patterns[:, 0]]))
    for empty in (patterns[:, :0], patterns[:0]):
        with pytest.raises(ContractError, match="at least one of each"):
            gram(empty)
    broken = patterns.copy()
    broken[[3, 8], 470] = np.inf
    with pytest.raises(
        ContractError, match="feature 470 holds NaN or inf, first at stimulus 3; so"
    ):
        gram(iter([patterns, broken][1:]))
    with pytest.raises(ContractError, match="labelled DataArray where a plain array is expected"):
        gram(xr.DataArray(patterns))


def test_combined_is_the_gram_matrix_of_scaled_features_side_by_side(patterns: np.ndarray) -> None:
    A, B = patterns[:, :4], patterns[:, 4:9]
    weights = [0.25, 9.0]
    both = combined([gram(A), gram(B)], weights)
    beside = gram(np.hstack([0.5 * A, 3 * B]))
    assert_same(both, beside)
    np.testing.assert_allclose(both.features, beside.features)
    alone = combined([gram(A), gram(patterns)], [1, 0])
    assert_same(alone, gram(A))
    assert combined([gram(A), gram(patterns)], [1, 1]).features is None


class Generated:
    """Features made as they are read."""

    shape = (100, 100_000)

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        columns = np.arange(self.shape[1])[index[1]]
        return np.sin(np.arange(self.shape[0])[:, None] * columns).astype(np.float32)


def test_memory_does_not_grow_with_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gram.__globals__, "BATCH_BYTES", 2**20)
    tracemalloc.start()
    result = gram(Generated())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.n_features == 100_000
    assert peak < 8 * 2**20  # all features in double precision are 76 MiB


FROM_DISK = """
import sys, threading, time
import numpy as np
from brainscore_lite.metrics import Splits, cross_validate, gram

def resident():
    lines = (line.split() for line in open("/proc/self/status"))
    return next(int(line[1]) for line in lines if line[0] == "RssAnon:") / 1024

def watch():
    while not done.wait(0.005):
        highest.append(resident())

X = np.load(sys.argv[1], mmap_mode="r")
Y = np.random.default_rng(0).normal(size=(len(X), 168))
cross_validate(np.array(X[:200, :300]), Y[:200], Splits(2).folds(200))
highest, done, thread = [resident()], threading.Event(), threading.Thread(target=watch)
thread.start()
K, folds = gram(X), Splits(10).folds(len(X))
for regression in ("ridge", "pls"):
    cross_validate(K, Y, folds[:2], regression=regression)
done.set()
thread.join()
print(max(highest) - highest[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_many_features_on_disk_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    features = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=(3200, 50_000))
    rng = np.random.default_rng(0)
    for start in range(0, 50_000, 5000):
        features[:, start : start + 5000] = rng.standard_normal((3200, 5000), dtype=np.float32)
    features.flush()
    command = [sys.executable, "-c", FROM_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1000

"""The Gram matrix: batches, types, centring."""

from pathlib import Path

import numpy as np
import pytest
import torch

from brainscore_lite.metrics import gram
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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, bool])
def test_sums_are_in_double_precision(patterns: np.ndarray, dtype: type) -> None:
    given = (100 * patterns).astype(dtype)
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

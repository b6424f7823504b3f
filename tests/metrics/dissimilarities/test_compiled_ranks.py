"""The compiled path of rank statistics against the NumPy path that stands in without numba."""

import numpy as np
import pytest

from brainscore_lite.metrics.dissimilarities import rank_comparison, rdm_ceiling
from brainscore_lite.metrics.dissimilarities.comparison import compare_resampled
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import leave_one_subject_out_resampled

pytest.importorskip("numba", reason="needs the extra 'fast' (numba)")
RANKED = ("spearman", "rho_a", "kendall_tau_a", "kendall_tau_b")


def without_numba(monkeypatch):
    for module in (rank_comparison, rdm_ceiling):
        monkeypatch.setattr(module, "find_spec", lambda _: None)


@pytest.mark.parametrize("method", RANKED)
@pytest.mark.parametrize("n_stimuli", [12, 40])
def test_both_paths_give_the_same_numbers(n_stimuli, method, monkeypatch):
    rng = np.random.default_rng(n_stimuli)
    n_pairs = n_stimuli * (n_stimuli - 1) // 2
    a = np.vstack([rng.random((2, n_pairs)), np.round(4 * rng.random(n_pairs))])
    b = np.vstack([a[0] + rng.random((3, n_pairs)), np.round(4 * rng.random(n_pairs))])
    weights = rng.multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), size=20)
    compiled = compare_resampled(a, b, weights, method=method)
    without_numba(monkeypatch)
    plain = compare_resampled(a, b, weights, method=method)
    np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", RANKED)
def test_both_paths_pool_subjects_the_same(method, monkeypatch):
    rng = np.random.default_rng(0)
    vectors = np.vstack([rng.random((3, 66)), np.round(4 * rng.random(66))])
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=10)
    members = np.vstack([rng.multinomial(4, np.full(4, 0.25), size=9), [[0, 4, 0, 0]]])
    settings = {"comparison": method, "rank_pooling": "reranked"}
    compiled = leave_one_subject_out_resampled(vectors, weights, members, **settings)
    without_numba(monkeypatch)
    plain = leave_one_subject_out_resampled(vectors, weights, members, **settings)
    np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-13)


def test_both_paths_leave_draws_without_variance_undefined(monkeypatch):
    a, b = np.arange(6.0), np.array([[3.0, 1.0, 2.0, 6.0, 5.0, 4.0]])
    weights = np.array([[1, 1, 1, 1], [2, 2, 0, 0], [4, 0, 0, 0]])
    for _ in range(2):
        values = compare_resampled(a, b, weights, method="spearman")
        np.testing.assert_allclose(values[:, 0], [0.6, np.nan, np.nan], atol=1e-13)
        without_numba(monkeypatch)

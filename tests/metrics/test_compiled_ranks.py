"""The compiled path of rank statistics against the NumPy path that stands in without numba."""

import numpy as np
import pytest

from brainscore_lite.metrics import comparison
from brainscore_lite.metrics.comparison import compare_resampled
from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning

pytest.importorskip("numba", reason="needs the extra 'fast' (numba)")


@pytest.mark.parametrize("n_stimuli", [12, 23, 60])
def test_both_paths_give_the_same_numbers(n_stimuli, monkeypatch):
    rng = np.random.default_rng(n_stimuli)
    n_pairs = n_stimuli * (n_stimuli - 1) // 2
    a = rng.random(n_pairs)
    b = np.vstack([a + rng.random((3, n_pairs)), np.round(4 * rng.random(n_pairs))])
    weights = rng.multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), size=50)
    compiled = compare_resampled(a, b, weights, method="spearman")
    monkeypatch.setattr(comparison, "find_spec", lambda _: None)
    plain = compare_resampled(a, b, weights, method="spearman")
    np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-13)


def test_both_paths_count_undefined_draws_as_zero(monkeypatch):
    a, b = np.arange(6.0), np.array([[3.0, 1.0, 2.0, 6.0, 5.0, 4.0]])
    weights = np.array([[1, 1, 1, 1], [2, 2, 0, 0], [4, 0, 0, 0]])
    for _ in range(2):
        with pytest.warns(UndefinedCorrelationWarning, match="2 of 3 correlations"):
            values = compare_resampled(a, b, weights, method="spearman")
        np.testing.assert_allclose(values[:, 0], [0.6, 0, 0], atol=1e-13)
        monkeypatch.setattr(comparison, "find_spec", lambda _: None)

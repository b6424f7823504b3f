"""The compiled path of rank statistics against the NumPy path that stands in without numba."""

import numpy as np
import pytest

from brainscore_lite.metrics import comparison
from brainscore_lite.metrics.comparison import compare_resampled

pytest.importorskip("numba", reason="needs the extra 'fast' (numba)")


@pytest.mark.parametrize("n_stimuli", [5, 23, 60])
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

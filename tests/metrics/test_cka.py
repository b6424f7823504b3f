"""Linear CKA by its definition, its invariances, and resampling by brute force."""

import itertools

import numpy as np
import pytest
import torch

from brainscore_lite.metrics import CKA, linear_cka
from brainscore_lite.metrics.cka import _hsic_debiased
from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.schema import ContractError, activations, responses

RNG = np.random.default_rng(2)
X = RNG.normal(size=(60, 200))
Y = X[:, :15] + RNG.normal(size=(60, 15)) + 3


def debiased_hsic(K: np.ndarray, L: np.ndarray) -> float:
    n = len(K)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    cross = K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * K.sum(0) @ L.sum(0)
    return float(((K * L).sum() + cross) / (n * (n - 3)))


def test_equals_its_definition() -> None:
    K, L = X @ X.T, Y @ Y.T
    debiased = debiased_hsic(K, L) / np.sqrt(debiased_hsic(K, K) * debiased_hsic(L, L))
    assert linear_cka(X, Y) == pytest.approx(debiased, abs=1e-12)
    H = np.eye(60) - 1 / 60
    K, L = H @ K @ H, H @ L @ H
    biased = (K * L).sum() / np.sqrt((K * K).sum() * (L * L).sum())
    assert linear_cka(X, Y, debiased=False) == pytest.approx(biased, abs=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
def test_invariances(debiased: bool) -> None:
    rotation = np.linalg.qr(RNG.normal(size=(200, 200)))[0]
    value = linear_cka(X, Y, debiased=debiased)
    assert linear_cka(3 * X @ rotation + 7, Y, debiased=debiased) == pytest.approx(value, abs=1e-10)
    assert linear_cka(Y, X, debiased=debiased) == pytest.approx(value, abs=1e-12)
    assert linear_cka(X, X, debiased=debiased) == pytest.approx(1.0)
    tensors = linear_cka(torch.tensor(X), torch.tensor(Y), debiased=debiased)
    assert tensors == pytest.approx(value, abs=1e-12)


def test_debiasing_removes_the_similarity_of_unrelated_features() -> None:
    unrelated = RNG.normal(size=(60, 400))
    assert linear_cka(X, unrelated, debiased=False) > 0.7
    assert abs(linear_cka(X, unrelated)) < 0.1


def test_biased_resampling_is_cka_of_the_drawn_stimuli() -> None:
    draw = RNG.integers(0, 60, size=60)
    names = [f"s{i}" for i in range(60)]
    source = activations(X, stimulus=names, layer="conv")
    target = responses(
        Y, stimulus=names, neuroid=[f"n{i}" for i in range(15)], region="IT", animal="one"
    )
    weights = np.bincount(draw, minlength=60)[None]
    ours = CKA(debiased=False).compare(source, target).resampled(weights)
    assert float(ours[0]) == pytest.approx(linear_cka(X[draw], Y[draw], debiased=False), abs=1e-12)


def test_debiased_resampling_leaves_out_tuples_that_repeat_a_stimulus() -> None:
    n = 7
    K, L = X[:n] @ X[:n].T, Y[:n] @ Y[:n].T
    w = np.array([2.0, 0, 1, 3, 1, 1, 2])
    total, norm = 0.0, 0.0
    for i, j, k, m in itertools.permutations(range(n), 4):
        weight = w[i] * w[j] * w[k] * w[m]
        total += weight * K[i, j] * L[k, m]
        norm += weight
    quadruples = total / norm
    total, norm = 0.0, 0.0
    for i, j, k in itertools.permutations(range(n), 3):
        weight = w[i] * w[j] * w[k]
        total += weight * K[i, j] * L[i, k]
        norm += weight
    triples = total / norm
    pairs = sum(w[i] * w[j] * K[i, j] * L[i, j] for i, j in itertools.permutations(range(n), 2))
    pairs /= sum(w[i] * w[j] for i, j in itertools.permutations(range(n), 2))
    ours = _hsic_debiased(K, L, w[None])
    assert ours[0] == pytest.approx(pairs - 2 * triples + quadruples, rel=1e-10)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ContractError, match="60 and 59 stimuli, expected the same number"):
        linear_cka(X, Y[1:])
    with pytest.raises(ContractError, match="3 and 3 stimuli, expected the same number, at least"):
        linear_cka(X[:3], Y[:3])
    with pytest.warns(UndefinedCorrelationWarning, match="1 of 1 correlations are not defined"):
        assert linear_cka(np.ones((10, 4)), Y[:10]) == 0

"""CKA by its definition, its invariances, and resampling by brute force."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.metrics.similarity.cka import CKA, Kernel, _hsic_debiased, linear_cka, rbf_cka
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


def test_rbf_equals_its_definition() -> None:
    for bandwidth in (0.4, 1.0, 3.0):
        kernels = []
        for features in (X, Y):
            squared = squareform(pdist(features, "sqeuclidean"))
            scale = bandwidth**2 * np.median(pdist(features, "sqeuclidean"))
            kernels.append(np.exp(-squared / (2 * scale)))
        K, L = kernels
        debiased = debiased_hsic(K, L) / np.sqrt(debiased_hsic(K, K) * debiased_hsic(L, L))
        assert rbf_cka(X, Y, bandwidth=bandwidth) == pytest.approx(debiased, abs=1e-10)
        H = np.eye(60) - 1 / 60
        K, L = H @ K @ H, H @ L @ H
        biased = (K * L).sum() / np.sqrt((K * K).sum() * (L * L).sum())
        ours = rbf_cka(X, Y, bandwidth=bandwidth, debiased=False)
        assert ours == pytest.approx(biased, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
    debiased=st.booleans(),
)
def test_no_kernel_sees_rotation_scale_or_shift(
    seed: int, scale: float, shift: float, debiased: bool
) -> None:
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(12, 5)), rng.normal(size=(12, 7))
    moved = scale * A @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + shift
    for measure in (linear_cka, rbf_cka):
        value = measure(A, B, debiased=debiased)
        assert measure(moved, B, debiased=debiased) == pytest.approx(value, abs=1e-7)
        assert measure(B, A, debiased=debiased) == pytest.approx(value, abs=1e-12)
        assert measure(A, moved, debiased=debiased) == pytest.approx(1.0)


def test_a_wide_gaussian_kernel_is_the_linear_one() -> None:
    for debiased in (True, False):
        wide = rbf_cka(X, Y, bandwidth=300.0, debiased=debiased)
        assert wide == pytest.approx(linear_cka(X, Y, debiased=debiased), abs=1e-4)


def test_tensors_give_the_same_gaussian_kernel() -> None:
    ours = rbf_cka(torch.tensor(X), torch.tensor(Y))
    assert ours == pytest.approx(rbf_cka(X, Y), abs=1e-12)


def labelled(values: np.ndarray) -> tuple[xr.DataArray, xr.DataArray]:
    names = [f"s{i}" for i in range(60)]
    bins = [(50.0 * b, 50.0 * b + 50) for b in range(values.shape[2])]
    source = activations(X, stimulus=names, layer="conv")
    units = [f"n{i}" for i in range(values.shape[1])]
    target = responses(
        values, stimulus=names, neuroid=units, region="IT", animal="one", time_bins=bins
    )
    return source, target


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_every_time_bin_is_scored_by_itself(kernel: Kernel) -> None:
    source, target = labelled(np.stack([Y, Y[::-1], np.exp(Y)], axis=-1))
    metric = CKA(kernel=kernel)
    values = metric(source, target)
    assert values.dims == ("time_bin",)
    assert values["start_ms"].values.tolist() == [0, 50, 100]
    for time_bin in range(3):
        alone = target.isel(time_bin=time_bin, drop=True)
        assert float(values[time_bin]) == pytest.approx(float(metric(source, alone)), abs=1e-12)
    drawn = metric.compare(source, target).resampled(np.ones((2, 60), dtype=int))
    np.testing.assert_allclose(drawn.values, np.stack([values, values]), atol=1e-12)


def test_gaussian_draws_keep_the_bandwidth_of_all_stimuli() -> None:
    source, target = labelled(Y[..., None])
    draw = RNG.integers(0, 60, size=60)
    weights = np.bincount(draw, minlength=60)[None]
    ours = CKA(kernel="rbf", debiased=False).compare(source, target).resampled(weights)
    kernels = []
    for features in (X, Y):
        scale = np.median(pdist(features, "sqeuclidean"))
        K = np.exp(-squareform(pdist(features, "sqeuclidean")) / (2 * scale))[np.ix_(draw, draw)]
        H = np.eye(60) - 1 / 60
        kernels.append(H @ K @ H)
    K, L = kernels
    expected = (K * L).sum() / np.sqrt((K * K).sum() * (L * L).sum())
    assert float(ours[0, 0]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
def test_draws_without_enough_distinct_stimuli_are_undefined(debiased: bool) -> None:
    source, target = labelled(np.stack([Y, np.where(np.arange(60)[:, None] < 5, 7.0, Y)], axis=-1))
    weights = np.zeros((3, 60), dtype=int)
    weights[0, 0] = 60
    weights[1, :5] = 12
    weights[2] = 1
    drawn = CKA(debiased=debiased).compare(source, target).resampled(weights)
    assert np.isnan(drawn[0]).all()
    assert np.isfinite(drawn[1, 0])
    assert np.isnan(drawn[1, 1])  # the five are alike in the second bin
    assert np.isfinite(drawn[2]).all()
    still = target.copy(data=np.ones_like(target.values))
    with pytest.warns(UndefinedCorrelationWarning, match="1 of 1 correlations are not defined"):
        assert (CKA(debiased=debiased)(source, still) == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, bool])
def test_small_number_types_do_not_overflow(dtype: type) -> None:
    few = (RNG.integers(0, 250, size=(20, 6)) > 125).astype(dtype) * np.array(200).astype(dtype)
    wide = few.astype(np.float64)
    assert linear_cka(few, Y[:20]) == pytest.approx(linear_cka(wide, Y[:20]), abs=1e-12)
    assert rbf_cka(few, Y[:20]) == pytest.approx(rbf_cka(wide, Y[:20]), abs=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ContractError, match="60 and 59 stimuli, expected the same number"):
        linear_cka(X, Y[1:])
    with pytest.raises(ContractError, match="3 and 3 stimuli, expected the same number, at least"):
        linear_cka(X[:3], Y[:3])
    with pytest.raises(ContractError, match="1 and 1 stimuli, expected the same number, at least"):
        rbf_cka(X[:1], Y[:1])
    for constant in (np.ones((10, 4)), np.full((10, 4), 0.1)):
        with pytest.warns(UndefinedCorrelationWarning, match="1 of 1 correlations are not"):
            assert linear_cka(constant, Y[:10]) == 0
        with pytest.raises(ContractError, match="half of the pairs of 10 stimuli have the same"):
            rbf_cka(constant, Y[:10])
    with pytest.raises(ContractError, match="expected above 0 and finite"):
        rbf_cka(X, Y, bandwidth=0.0)
    with pytest.raises(ContractError, match="bandwidth is -1, expected above 0"):
        CKA(kernel="rbf", bandwidth=-1)
    with pytest.raises(ContractError, match="kernel is 'cubic', expected one of"):
        CKA(kernel="cubic")
    broken = X.copy()
    broken[3, 5] = np.nan
    with pytest.raises(ContractError, match="feature 5 holds NaN or inf"):
        rbf_cka(broken, Y)
    with pytest.raises(ContractError, match="got a labelled DataArray"):
        linear_cka(labelled(Y[..., None])[0], Y)
    with pytest.raises(ContractError, match="expected"):
        linear_cka(X[:, :0], Y)

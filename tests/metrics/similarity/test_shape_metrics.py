"""Shape metrics by their definition through an explicit alignment, and as metrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes

from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.metrics.gram import gram
from brainscore_lite.metrics.similarity.cca import CCA, canonical_correlations
from brainscore_lite.metrics.similarity.cka import linear_cka
from brainscore_lite.metrics.similarity.representations import TooFewStimuliError
from brainscore_lite.metrics.similarity.shape_metrics import (
    ShapeSimilarity,
    angular_distance,
    procrustes_distance,
    shape_distance,
    shape_similarity,
)
from brainscore_lite.schema import ContractError, activations, responses

RNG = np.random.default_rng(6)
X = RNG.normal(size=(50, 7)) @ RNG.normal(size=(7, 7)) + 3
Y = X[:, :5] @ RNG.normal(size=(5, 5)) + RNG.normal(size=(50, 5))
WIDE = RNG.normal(size=(50, 120))


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0)


def padded(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = max(first.shape[1], second.shape[1])
    a, b = (np.pad(centred(v), ((0, 0), (0, width - v.shape[1]))) for v in (first, second))
    return a, b


def partly_whitened(values: np.ndarray, alpha: float) -> np.ndarray:
    """X (a I + (1 - a) (X'X)^(-1/2)), rescaled to keep its variance."""
    Z = centred(values)
    eigenvalues, V = np.linalg.eigh(Z.T @ Z)
    whitened = Z @ (V * (alpha + (1 - alpha) / np.sqrt(eigenvalues))) @ V.T
    return whitened * np.linalg.norm(Z) / np.linalg.norm(whitened)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_equals_the_angle_after_explicit_alignment(alpha: float) -> None:
    A, B = padded(partly_whitened(X, alpha), partly_whitened(Y, alpha))
    Q = orthogonal_procrustes(A, B)[0]
    cosine = ((A @ Q) * B).sum() / np.linalg.norm(A) / np.linalg.norm(B)
    assert shape_similarity(X, Y, alpha=alpha) == pytest.approx(cosine, abs=1e-12)
    assert shape_distance(X, Y, alpha=alpha) == pytest.approx(np.arccos(cosine), abs=1e-12)


def test_without_whitening_it_is_scipys_procrustes() -> None:
    disparity = procrustes(*padded(X, Y))[2]  # 1 - cos^2
    assert shape_similarity(X, Y) == pytest.approx(np.sqrt(1 - disparity), abs=1e-12)


def test_fully_whitened_it_is_cca() -> None:
    r = canonical_correlations(X, Y)
    expected = r.sum() / np.sqrt(X.shape[1] * Y.shape[1])
    assert shape_similarity(X, Y, alpha=0.0) == pytest.approx(expected, abs=1e-12)


def test_size_and_shape_distance_equals_the_residual_of_the_alignment() -> None:
    A, B = padded(X, Y)
    Q = orthogonal_procrustes(A, B)[0]
    assert procrustes_distance(X, Y) == pytest.approx(np.linalg.norm(A @ Q - B), rel=1e-12)
    assert procrustes_distance(X, 2 * X) == pytest.approx(np.linalg.norm(centred(X)), rel=1e-12)


def test_more_features_than_stimuli_go_through_the_gram_matrix() -> None:
    A, B = padded(WIDE, X)
    nuclear = np.linalg.svd(A.T @ B, compute_uv=False).sum()
    expected = nuclear / np.linalg.norm(A) / np.linalg.norm(B)
    assert shape_similarity(WIDE, X) == pytest.approx(expected, abs=1e-12)
    assert shape_similarity(gram(WIDE), gram(X)) == shape_similarity(WIDE, X)
    tensors = shape_similarity(torch.tensor(WIDE), torch.tensor(X), alpha=0.5)
    assert tensors == pytest.approx(shape_similarity(WIDE, X, alpha=0.5), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), alpha=st.sampled_from([0.0, 0.5, 1.0]))
def test_they_are_metrics(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(15, 3))
    three = [latent @ rng.normal(size=(3, p)) + rng.normal(size=(15, p)) for p in (3, 4, 6)]

    def biased_cka_angle(a: np.ndarray, b: np.ndarray) -> float:
        return float(angular_distance(linear_cka(a, b, debiased=False)))

    def angle(a: np.ndarray, b: np.ndarray) -> float:
        return shape_distance(a, b, alpha=alpha)

    for distance in (angle, procrustes_distance, biased_cka_angle):
        ab, bc, ac = (distance(three[i], three[j]) for i, j in ((0, 1), (1, 2), (0, 2)))
        assert ac <= ab + bc + 1e-7
        assert ab <= ac + bc + 1e-7
        assert bc <= ab + ac + 1e-7
        assert distance(three[1], three[0]) == pytest.approx(ab, abs=1e-10)
        assert distance(three[0], three[0]) == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_rotation_scale_and_shift_change_no_shape(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(20, 4)), rng.normal(size=(20, 6))
    turned = A @ np.linalg.qr(rng.normal(size=(4, 4)))[0] + 7
    for alpha in (0.0, 0.5, 1.0):
        value = shape_similarity(A, B, alpha=alpha)
        assert shape_similarity(turned, B, alpha=alpha) == pytest.approx(value, abs=1e-9)
        if alpha != 0.5:
            assert shape_similarity(scale * A, B, alpha=alpha) == pytest.approx(value, abs=1e-9)
    assert procrustes_distance(turned, B) == pytest.approx(procrustes_distance(A, B), rel=1e-9)
    mapped = A @ (np.eye(4) + np.triu(rng.normal(size=(4, 4)), 1))
    assert shape_similarity(mapped, B, alpha=0.0) == pytest.approx(
        shape_similarity(A, B, alpha=0.0), abs=1e-6
    )


def test_labelled_scores_and_their_draws() -> None:
    names = [f"s{i}" for i in range(50)]
    source = activations(WIDE, stimulus=names, layer="conv")
    target = responses(
        np.stack([Y, Y**2], axis=-1),
        stimulus=names,
        neuroid=list("abcde"),
        region="IT",
        animal="one",
        time_bins=[(0, 50), (50, 100)],
    )
    draw = RNG.integers(0, 50, size=50)
    weights = np.bincount(draw, minlength=50)[None]
    for metric in (ShapeSimilarity(), ShapeSimilarity(alpha=0.4)):
        values = metric(source, target)
        assert values.dims == ("time_bin",)
        expected = shape_similarity(WIDE, Y, alpha=metric.alpha)
        assert float(values[0]) == pytest.approx(expected, abs=1e-12)
        drawn = metric.compare(source, target).resampled(weights)
        expected = shape_similarity(WIDE[draw], Y[draw], alpha=metric.alpha)
        assert float(drawn[0, 0]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [ShapeSimilarity(), CCA()])
def test_labels_decide_not_order(metric: ShapeSimilarity | CCA) -> None:
    names = np.array([f"s{i}" for i in range(50)])
    target = responses(Y, stimulus=names, neuroid=list("abcde"), region="IT", animal="one")
    order = np.random.default_rng(0).permutation(50)
    straight = activations(X, stimulus=names, layer="conv")
    shuffled = straight.isel(stimulus=order)
    assert float(metric(shuffled, target)) == pytest.approx(float(metric(straight, target)))
    with pytest.raises(ContractError, match="source lacks 1 of the target's 50 stimuli"):
        metric(straight.isel(stimulus=slice(1, None)), target)
    with pytest.raises(ContractError, match=r"weights have shape \(3, 4\)"):
        metric.compare(straight, target).resampled(np.ones((3, 4), dtype=int))
    assert metric.compare(straight, target).values().dims == ()
    assert not metric.fits


def test_bad_input_is_refused() -> None:
    with pytest.raises(ContractError, match="50 and 49 stimuli, expected the same number"):
        shape_similarity(X, Y[1:])
    with pytest.raises(ContractError, match=r"alpha is 1\.5, expected between 0 and 1"):
        shape_similarity(X, Y, alpha=1.5)
    with pytest.raises(TooFewStimuliError, match="50 stimuli has 49 dimensions"):
        shape_similarity(WIDE, Y, alpha=0.0)
    with pytest.raises(ContractError, match="feature 0 holds NaN"):
        procrustes_distance(np.full((50, 2), np.nan), Y)
    for constant in (np.ones((50, 3)), np.full((50, 3), 0.1)):
        with pytest.warns(UndefinedCorrelationWarning, match="does not differ between stimuli"):
            assert shape_similarity(constant, Y) == 0
        sized = procrustes_distance(constant, Y)
        assert sized == pytest.approx(np.linalg.norm(centred(Y)), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
def test_small_number_types_do_not_overflow(dtype: type) -> None:
    few = RNG.integers(0, 250, size=(50, 4)).astype(dtype)
    expected = shape_similarity(few.astype(np.float64), Y)
    assert shape_similarity(few, Y) == pytest.approx(expected, abs=1e-12)

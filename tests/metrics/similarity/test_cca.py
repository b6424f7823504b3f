"""Canonical correlations against scikit-learn's, QR and the definitions, and what they refuse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from sklearn import cross_decomposition

from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.metrics.gram import gram
from brainscore_lite.metrics.similarity.cca import CCA, canonical_correlations, cca
from brainscore_lite.metrics.similarity.representations import (
    TooFewStimuliError,
    TooFewStimuliWarning,
)
from brainscore_lite.schema import ContractError, activations, responses

RNG = np.random.default_rng(5)
X = RNG.normal(size=(80, 9)) @ RNG.normal(size=(9, 9)) + 4
Y = X[:, :4] @ RNG.normal(size=(4, 6)) + 2 * RNG.normal(size=(80, 6))
NAMES = [f"s{i}" for i in range(80)]
SOURCE = activations(X, stimulus=NAMES, layer="conv")
TARGET = responses(
    np.stack([Y, Y[:, ::-1] ** 2], axis=-1),
    stimulus=NAMES,
    neuroid=list("abcdef"),
    region="IT",
    animal="one",
    time_bins=[(0, 50), (50, 100)],
)


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0)


def principal(values: np.ndarray, fraction: float) -> np.ndarray:
    U, s, _ = np.linalg.svd(centred(values), full_matrices=False)
    kept = int((np.cumsum(s**2) / (s**2).sum() < fraction).sum()) + 1
    return U[:, :kept] * s[:kept]


def test_equals_the_angles_between_the_column_spaces() -> None:
    angles = subspace_angles(centred(X), centred(Y))[::-1]
    np.testing.assert_allclose(canonical_correlations(X, Y), np.cos(angles), atol=1e-12)


def test_equals_the_correlations_of_scikit_learns_variates() -> None:
    model = cross_decomposition.CCA(n_components=6, tol=1e-12, max_iter=20000)
    first, second = model.fit_transform(X, Y)
    pairs = zip(first.T, second.T, strict=True)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    np.testing.assert_allclose(canonical_correlations(X, Y), expected, atol=1e-6)


def test_summaries_follow_their_equations() -> None:
    Qx, Qy = np.linalg.qr(centred(X))[0], np.linalg.qr(centred(Y))[0]
    left, r, _ = np.linalg.svd(Qx.T @ Qy, full_matrices=False)
    assert cca(X, Y) == pytest.approx(r.mean(), abs=1e-12)
    assert cca(X, Y, summary="mean_squared") == pytest.approx((r**2).mean(), abs=1e-12)
    weights = np.abs((Qx @ left).T @ centred(X)).sum(axis=1)
    expected = (weights * r).sum() / weights.sum()
    assert cca(X, Y, summary="projection_weighted") == pytest.approx(expected, abs=1e-12)


def test_svcca_is_cca_of_the_leading_components() -> None:
    wide = RNG.normal(size=(80, 3)) @ RNG.normal(size=(3, 300)) + 0.02 * RNG.normal(size=(80, 300))
    ours = cca(wide, Y, variance=0.99)
    assert ours == pytest.approx(cca(principal(wide, 0.99), principal(Y, 0.99)), abs=1e-10)
    with pytest.raises(TooFewStimuliError, match="80 stimuli has 79 dimensions, all there are"):
        cca(wide, Y)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stretch=st.floats(1, 1000))
def test_invertible_linear_maps_change_nothing(seed: int, stretch: float) -> None:
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(30, 4)), rng.normal(size=(30, 5))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    mapped = A @ turn @ np.diag([1, stretch, 2, 0.5]) @ turn[::-1] + 10
    for summary in ("mean", "mean_squared"):
        value = cca(A, B, summary=summary)
        assert cca(mapped, B, summary=summary) == pytest.approx(value, abs=1e-8)
        assert cca(B, A, summary=summary) == pytest.approx(value, abs=1e-10)
        assert cca(A, mapped, summary=summary) == pytest.approx(1.0)
    weighted = cca(B, A, summary="projection_weighted")
    assert cca(B, mapped, summary="projection_weighted") == pytest.approx(weighted, abs=1e-8)


def test_tensors_and_gram_matrices_give_the_same() -> None:
    for summary in ("mean", "mean_squared", "projection_weighted"):
        value = cca(X, Y, summary=summary)
        tensors = cca(torch.tensor(X), torch.tensor(Y), summary=summary)
        assert tensors == pytest.approx(value, abs=1e-12)
        assert cca(gram(X), gram(Y), summary=summary) == value


def test_a_copied_feature_is_no_dimension() -> None:
    copied = np.concatenate([X, X[:, :3], np.full((80, 2), 0.1)], axis=1).astype(np.float32)
    assert canonical_correlations(copied, Y).shape == (6,)
    assert cca(copied, Y) == pytest.approx(cca(X, Y), abs=1e-4)


def test_few_stimuli_are_refused_or_warned_of() -> None:
    with pytest.raises(TooFewStimuliError, match="10 stimuli has 9 dimensions, all there are"):
        cca(X[:10], Y[:10])
    with pytest.warns(TooFewStimuliWarning, match=r"9 and 6 dimensions of 14 stimuli: 2 canonical"):
        r = canonical_correlations(X[:14], Y[:14])
    np.testing.assert_allclose(r[:2], 1)


def test_labelled_scores_are_those_of_each_time_bin() -> None:
    for metric in (CCA(), CCA(summary="projection_weighted"), CCA(variance=0.9)):
        values = metric(SOURCE, TARGET)
        assert values.dims == ("time_bin",)
        assert values["end_ms"].values.tolist() == [50, 100]
        for time_bin in range(2):
            alone = cca(
                X,
                TARGET.values[0, ..., time_bin],
                summary=metric.summary,
                variance=metric.variance,
            )
            assert float(values[time_bin]) == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("metric", [CCA(), CCA(summary="projection_weighted"), CCA(variance=0.95)])
def test_resampling_is_the_value_of_the_drawn_stimuli(metric: CCA) -> None:
    draws = RNG.integers(0, 80, size=(3, 80))
    weights = np.stack([np.bincount(draw, minlength=80) for draw in draws])
    ours = metric.compare(SOURCE, TARGET).resampled(weights)
    assert ours.dims == ("draw", "time_bin")
    for k, draw in enumerate(draws):
        expected = cca(X[draw], Y[draw], summary=metric.summary, variance=metric.variance)
        assert float(ours[k, 0]) == pytest.approx(expected, abs=1e-10)
    ones = metric.compare(SOURCE, TARGET).resampled(np.ones((1, 80), dtype=int))
    np.testing.assert_allclose(ones[0], metric(SOURCE, TARGET), atol=1e-12)


def test_draws_of_too_few_distinct_stimuli_are_undefined() -> None:
    weights = np.zeros((2, 80), dtype=int)
    weights[0, :8] = 10
    weights[1, 0] = 80
    drawn = CCA().compare(SOURCE, TARGET).resampled(weights)
    assert np.isnan(drawn).all()


def test_a_constant_representation_scores_zero_with_a_warning() -> None:
    for constant in (np.ones((80, 3)), np.full((80, 3), 0.1)):
        with pytest.warns(UndefinedCorrelationWarning, match="does not differ between stimuli"):
            assert cca(constant, Y) == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ContractError, match="80 and 79 stimuli, expected the same number"):
        cca(X, Y[1:])
    with pytest.raises(ContractError, match="feature 2 holds NaN"):
        cca(np.where(np.arange(9) == 2, np.nan, X), Y)
    with pytest.raises(ContractError, match="summary is 'median', expected one of"):
        CCA(summary="median")
    with pytest.raises(ContractError, match="variance is 0, expected above 0"):
        cca(X, Y, variance=0)
    with pytest.raises(ContractError, match="1 stimulus, expected at least 2"):
        cca(X[:1], Y[:1])
    low_rank = RNG.normal(size=(80, 3)) @ RNG.normal(size=(3, 90))
    with pytest.raises(ContractError, match="weighs every feature of the first representation"):
        cca(low_rank, Y, summary="projection_weighted")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
def test_small_number_types_do_not_overflow(dtype: type) -> None:
    few = RNG.integers(0, 250, size=(40, 4)).astype(dtype)
    assert cca(few, Y[:40]) == pytest.approx(cca(few.astype(np.float64), Y[:40]), abs=1e-12)

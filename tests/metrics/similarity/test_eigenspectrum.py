"""Spectra of representations whose eigenvalues are known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.metrics.gram import gram
from brainscore_lite.metrics.similarity.eigenspectrum import (
    cross_validated_spectrum,
    eigenspectrum,
    power_law,
)
from brainscore_lite.schema import ContractError


def with_variances(variances: np.ndarray, *, n_stimuli: int, seed: int = 0) -> np.ndarray:
    """Patterns whose sample covariance has exactly these eigenvalues, rotated and shifted."""
    rng = np.random.default_rng(seed)
    n = len(variances)
    scores = rng.normal(size=(n_stimuli, n))
    scores = np.linalg.qr(scores - scores.mean(axis=0))[0] * np.sqrt((n_stimuli - 1) * variances)
    return scores @ np.linalg.qr(rng.normal(size=(n, n)))[0] + rng.normal(size=n)


@pytest.mark.parametrize("n_stimuli", [300, 61])
def test_known_spectrum_is_found(n_stimuli: int) -> None:
    variances = 5.0 / np.arange(1, 61) ** 1.3
    spectrum = eigenspectrum(with_variances(variances, n_stimuli=n_stimuli))
    np.testing.assert_allclose(spectrum.variances(), variances, rtol=1e-10)
    fit = spectrum.power_law(ranks=(3, 50))
    assert fit.exponent == pytest.approx(1.3, abs=1e-9)
    assert fit.scale == pytest.approx(5.0, rel=1e-9)
    assert fit.r_squared == pytest.approx(1.0)
    expected = variances.sum() ** 2 / (variances**2).sum()
    assert spectrum.effective_dimensionality() == pytest.approx(expected, rel=1e-10)


def test_wide_features_are_decomposed_through_the_gram_matrix() -> None:
    X = np.random.default_rng(1).normal(size=(40, 500)) + 9
    covariance = np.linalg.eigvalsh(np.cov(X.T))[::-1][:39]
    spectrum = eigenspectrum(X)
    assert spectrum.rank == 39
    np.testing.assert_allclose(spectrum.variances(), covariance, rtol=1e-10)
    assert spectrum.projections is None
    rebuilt = (spectrum.vectors * spectrum.eigenvalues) @ spectrum.vectors.T
    np.testing.assert_allclose(rebuilt, gram(X).centred, atol=1e-9)
    tensors = eigenspectrum(torch.tensor(X))
    np.testing.assert_allclose(tensors.eigenvalues.numpy(), spectrum.eigenvalues, rtol=1e-10)


def test_part_of_a_gram_matrix_is_centred_on_its_stimuli() -> None:
    for width in (10, 90):
        X = np.random.default_rng(2).normal(size=(50, width))
        part = gram(X).subset(np.arange(20))
        expected = eigenspectrum(X[:20]).eigenvalues
        np.testing.assert_allclose(eigenspectrum(part).eigenvalues, expected, rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_dims=st.integers(1, 8), scale=st.floats(1e-3, 1e3))
def test_equal_variances_have_full_dimensionality(seed: int, n_dims: int, scale: float) -> None:
    X = with_variances(np.full(n_dims, scale), n_stimuli=30, seed=seed)
    assert eigenspectrum(X).effective_dimensionality() == pytest.approx(n_dims)
    lopsided = eigenspectrum(X * np.linspace(1, 9, n_dims)).effective_dimensionality()
    assert 1 - 1e-9 <= lopsided <= n_dims + 1e-9


def test_leading_components_hold_the_fraction_asked_for() -> None:
    spectrum = eigenspectrum(with_variances(np.array([5.0, 3, 1, 1]), n_stimuli=30))
    assert [spectrum.leading(f).rank for f in (0.5, 0.51, 0.8, 0.9, 0.95, 1.0)] == [
        1,
        2,
        2,
        3,
        4,
        4,
    ]
    with pytest.raises(ContractError, match="expected above 0 and at most 1"):
        spectrum.leading(1.1)


def test_power_law_is_weighted_least_squares() -> None:
    rng = np.random.default_rng(3)
    variances = np.arange(1, 201) ** -1.1 * np.exp(0.2 * rng.normal(size=200))
    ranks = np.arange(11, 151)
    x, y = np.log(ranks), np.log(variances[10:150])
    for even, w in ((True, 1 / ranks), (False, np.ones(140))):
        slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(w))
        fit = power_law(variances, ranks=(11, 150), even_in_log=even)
        assert fit.exponent == pytest.approx(-slope, abs=1e-10)
        assert fit.scale == pytest.approx(np.exp(intercept), rel=1e-9)
        assert 0.8 < fit.r_squared < 1
        assert fit.ranks == (11, 150)


def test_cross_validated_spectrum_sees_through_noise() -> None:
    rng = np.random.default_rng(4)
    variances = 20.0 / np.arange(1, 31)
    signal = np.pad(with_variances(variances, n_stimuli=2000), ((0, 0), (0, 10)))
    first, second = signal + 2 * rng.normal(size=(2, 2000, 40))
    ours = cross_validated_spectrum(first, second)
    np.testing.assert_allclose(ours[:10], variances[:10], rtol=0.2)
    # The components take up noise, and spread a little signal over the last ones; none is lost.
    assert eigenspectrum(first).variances()[30:].min() > 3 > 6 * ours[30:].max()
    shared = ((first - first.mean(axis=0)) * (second - second.mean(axis=0))).sum() / 1999
    assert ours.sum() == pytest.approx(shared, rel=1e-10)
    same = cross_validated_spectrum(first, first)
    np.testing.assert_allclose(same, eigenspectrum(first).variances(), rtol=1e-10)
    tensors = cross_validated_spectrum(torch.tensor(first), torch.tensor(second))
    np.testing.assert_allclose(tensors.numpy(), ours, atol=1e-9)


def test_small_number_types_do_not_overflow() -> None:
    few = np.random.default_rng(5).integers(0, 250, size=(40, 6)).astype(np.uint8)
    expected = eigenspectrum(few.astype(np.float64)).eigenvalues
    np.testing.assert_allclose(eigenspectrum(few).eigenvalues, expected, rtol=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ContractError, match="1 stimulus, expected at least 2"):
        eigenspectrum(np.ones((1, 5)))
    constant = eigenspectrum(np.full((20, 7), 0.1))
    assert constant.rank == 0
    with pytest.raises(ContractError, match="all 20 stimuli have the same pattern"):
        constant.effective_dimensionality()
    with pytest.raises(ContractError, match="all 20 stimuli have the same pattern"):
        eigenspectrum(np.full((20, 30), 0.1)).power_law(ranks=(1, 5))
    for ranks in ((0, 5), (4, 5), (3, 11)):
        with pytest.raises(ContractError, match=r"ranks are .* of a spectrum of shape \(10,\)"):
            power_law(np.ones(10), ranks=ranks)
    with pytest.raises(ContractError, match="2 of the variances at ranks 2 to 6 are not positive"):
        power_law([3, 2, 1, -1, 0, 1], ranks=(2, 6))
    with pytest.raises(ContractError, match=r"first has shape \(5, 3\), second \(5, 2\)"):
        cross_validated_spectrum(np.ones((5, 3)), np.ones((5, 2)))
    with pytest.raises(ContractError, match="second: 1 of 3 neuroids hold NaN"):
        cross_validated_spectrum(
            np.ones((5, 3)), np.where(np.arange(3) == 1, np.nan, 1.0) + 0 * np.ones((5, 3))
        )

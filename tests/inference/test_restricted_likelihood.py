"""Restricted likelihood: analysis of variance where that is exact, statsmodels elsewhere."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from brainscore_lite.inference.restricted_likelihood import NotConvergedError, restricted_fit

Floats = NDArray[np.float64]


def crossed(*, seed: int, kept: int = 48) -> tuple[Floats, Floats, list[Floats]]:
    """Simulated scores of 2 models, 6 seeds and 4 subjects; the last rows are left out."""
    rng = np.random.default_rng(seed)
    model, start, subject = (each.ravel()[:kept] for each in np.indices((2, 6, 4)))
    X = np.stack([np.ones(kept), model == 1, rng.normal(size=kept)], axis=1)
    Z = [np.eye(6)[start], np.eye(4)[subject]]
    y = X @ [0.3, 0.1, 0.2] + Z[0] @ rng.normal(size=6) + Z[1] @ rng.normal(size=4)
    return y + 0.5 * rng.normal(size=kept), X, Z


def test_one_balanced_factor_is_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(10, 1)) + rng.normal(size=(10, 5))
    found = restricted_fit(values.ravel(), np.ones((50, 1)), Z=[np.repeat(np.eye(10), 5, axis=0)])
    within = values.var(axis=1, ddof=1).mean()
    between = values.mean(axis=1).var(ddof=1)
    assert found.residual == pytest.approx(within, rel=1e-6)
    assert found.variances[0] == pytest.approx(between - within / 5, rel=1e-6)
    assert found.coefficients[0] == pytest.approx(values.mean())
    assert found.covariance[0, 0] == pytest.approx(between / 10, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equals_statsmodels_where_that_converges(seed: int) -> None:
    y, X, Z = crossed(seed=seed, kept=45)
    spec = VCSpec(
        ["seed", "subject"], [[[str(k) for k in range(z.shape[1])]] for z in Z], [[z] for z in Z]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLM(y, X, groups=np.ones(len(y)), exog_re=None, exog_vc=spec)
        expected = model.fit(reml=True, method="powell")
    found = restricted_fit(y, X, Z=Z)
    assert expected.llf - 1e-6 < found.log_likelihood < expected.llf + 1e-3
    np.testing.assert_allclose(found.variances, expected.vcomp, rtol=0.03)
    np.testing.assert_allclose(found.coefficients, expected.fe_params, atol=1e-3)


def test_equals_the_dense_formula() -> None:
    y, X, Z = crossed(seed=3, kept=45)
    found = restricted_fit(y, X, Z=Z)
    V = found.residual * np.eye(45)
    V += sum(variance * z @ z.T for variance, z in zip(found.variances, Z, strict=True))
    information = X.T @ np.linalg.solve(V, X)
    beta = np.linalg.solve(information, X.T @ np.linalg.solve(V, y))
    rest = y - X @ beta
    logs = np.linalg.slogdet(V)[1] + np.linalg.slogdet(information)[1]
    likelihood = -0.5 * (logs + rest @ np.linalg.solve(V, rest) + 42 * np.log(2 * np.pi))
    np.testing.assert_allclose(found.coefficients, beta, rtol=1e-8)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(information), rtol=1e-8)
    assert found.log_likelihood == pytest.approx(likelihood, rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), unit=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_unit_and_fixed_shifts(seed: int, unit: float, shift: float) -> None:
    y, X, Z = crossed(seed=seed)
    plain = restricted_fit(y, X, Z=Z)
    other = restricted_fit(unit * (y + shift * X[:, 1]), X, Z=Z)
    size = plain.residual + plain.variances.sum()
    np.testing.assert_allclose(other.variances / unit**2, plain.variances, atol=1e-4 * size)
    expected = plain.coefficients + shift * np.array([0, 1, 0])
    np.testing.assert_allclose(other.coefficients / unit, expected, atol=1e-4)


def test_the_maximum_is_found_where_variances_are_zero() -> None:
    """Without any variance between subjects no other value is more likely than 0."""
    y, X, Z = crossed(seed=1)
    means = Z[1].T @ y / Z[1].sum(axis=0)
    X = X[:, :2]
    found = restricted_fit(y - Z[1] @ means, X, Z=Z)
    assert found.variances[1] == 0
    alone = restricted_fit(y - Z[1] @ means, X, Z=Z[:1])
    assert found.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-8)


def test_scores_without_a_residual_are_refused() -> None:
    _, X, Z = crossed(seed=0)
    with pytest.raises(NotConvergedError, match="the residual is about 0"):
        restricted_fit(Z[0] @ np.arange(6.0), X, Z=Z)

"""Least squares and principal-component regression against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from brainscore_lite.metrics import PLS, Fold, Splits, cross_validate
from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.metrics.regression.least_squares import LeastSquares, PrincipalComponents
from brainscore_lite.metrics.regression.one_to_one import OneToOne
from brainscore_lite.schema import ContractError

N_STIMULI, N_UNITS = 120, 6


def features_and_responses(n_features: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    latent = rng.normal(size=(N_STIMULI, 10))
    X = latent @ rng.normal(size=(10, n_features)) + rng.normal(size=(N_STIMULI, n_features)) + 4
    return X, latent @ rng.normal(size=(10, N_UNITS)) + rng.normal(size=(N_STIMULI, N_UNITS)) - 2


def assert_equal_to(peer: object, X: np.ndarray, Y: np.ndarray, regression: object) -> None:
    folds = Splits(4).folds(N_STIMULI)
    ours = cross_validate(X, Y, folds, regression=regression)
    for fold, predicted in zip(folds, ours.predictions, strict=True):
        expected = peer.fit(X[fold.train], Y[fold.train]).predict(X[fold.test])
        np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-10)
    assert ours.penalties is None


@pytest.mark.parametrize("n_features", [1, 5, 60, 400])
def test_least_squares_equals_scikit_learn(n_features: int) -> None:
    X, Y = features_and_responses(n_features)
    assert_equal_to(LinearRegression(), X, Y, "ols")


@pytest.mark.parametrize("n_features", [40, 400])
def test_least_squares_of_dependent_features_has_minimum_norm(n_features: int) -> None:
    X, Y = features_and_responses(8)
    dependent = X @ np.random.default_rng(0).normal(size=(8, n_features))
    assert_equal_to(LinearRegression(), dependent, Y, "ols")


@pytest.mark.parametrize("n_features", [30, 400])
@pytest.mark.parametrize("n_components", [1, 7, 25])
def test_principal_components_equal_scikit_learn(n_features: int, n_components: int) -> None:
    X, Y = features_and_responses(n_features)
    peer = make_pipeline(PCA(n_components, svd_solver="full"), LinearRegression())
    assert_equal_to(peer, X, Y, PrincipalComponents(n_components))


def test_all_principal_components_are_least_squares() -> None:
    X, Y = features_and_responses(20)
    folds = Splits(4).folds(N_STIMULI)
    pcr = cross_validate(X, Y, folds, regression=PrincipalComponents(60)).r
    np.testing.assert_allclose(pcr, cross_validate(X, Y, folds, regression="ols").r, atol=1e-10)


@pytest.mark.parametrize("regression", ["ols", "pcr"])
@pytest.mark.parametrize("n_features", [20, 300])
def test_tensors_give_the_same(regression: str, n_features: int) -> None:
    X, Y = features_and_responses(n_features)
    folds = Splits(4).folds(N_STIMULI)
    ours = cross_validate(X, Y, folds, regression=regression, inner=True)
    tensors = cross_validate(
        torch.tensor(X), torch.tensor(Y), folds, regression=regression, inner=True
    )
    assert isinstance(tensors.r, torch.Tensor)
    np.testing.assert_allclose(ours.r, tensors.r.numpy(), atol=1e-9)
    np.testing.assert_allclose(ours.inner_r, tensors.inner_r.numpy(), atol=1e-9)


@pytest.mark.parametrize("regression", ["ols", "pcr"])
def test_inner_scores_use_training_stimuli_only(regression: str) -> None:
    X, Y = features_and_responses(40)
    fold = Splits(4).folds(N_STIMULI)[0]
    changed = Y.copy()
    changed[fold.test] = 0
    first = cross_validate(X, Y, [fold], regression=regression, inner=True)
    with pytest.warns(UndefinedCorrelationWarning):
        second = cross_validate(X, changed, [fold], regression=regression, inner=True)
    np.testing.assert_array_equal(first.inner_r, second.inner_r)
    inner = Splits(5).folds(len(fold.train))
    nested = [Fold(fold.train[i.train], fold.train[i.test]) for i in inner]
    expected = cross_validate(X, Y, nested, regression=regression).r.mean(axis=0)
    np.testing.assert_allclose(first.inner_r[0], expected, atol=1e-12)


@pytest.mark.parametrize("regression", [LeastSquares(), PrincipalComponents(3)])
@pytest.mark.parametrize("n_features", [5, 200])
def test_constant_features_predict_the_training_mean(regression: object, n_features: int) -> None:
    _, Y = features_and_responses(3)
    fold = Splits(4).folds(N_STIMULI)[0]
    with pytest.warns(UndefinedCorrelationWarning, match="6 of 6 correlations"):
        result = cross_validate(np.ones((N_STIMULI, n_features)), Y, [fold], regression=regression)
    expected = np.broadcast_to(Y[fold.train].mean(axis=0), result.predictions[0].shape)
    np.testing.assert_allclose(result.predictions[0], expected)


def test_too_many_components_are_refused() -> None:
    X, Y = features_and_responses(40)
    with pytest.raises(ContractError, match="90 training stimuli cannot support 90 principal"):
        cross_validate(X, Y, Splits(4).folds(N_STIMULI), regression=PrincipalComponents(90))
    with pytest.raises(ContractError, match="n_components is 0, expected at least 1"):
        PrincipalComponents(0)


@pytest.mark.parametrize("kind", [LeastSquares, PrincipalComponents, PLS, OneToOne])
def test_inner_splits_are_checked_when_they_are_set(kind: type) -> None:
    with pytest.raises(ContractError, match="inner_splits is 1, expected at least 2"):
        kind(inner_splits=1)

"""Partial least squares against scikit-learn's."""

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression

from brainscore_lite.metrics import PLS, Fold, Splits, cross_validate
from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.schema import ContractError


def features_and_responses(
    n_stimuli: int, n_features: int, n_units: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make features with a spectrum that falls as 1/i, as networks and cortex have."""
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(n_stimuli, 60)) / np.arange(1, 61)
    X = latent @ rng.normal(size=(60, n_features)) + 0.01 * rng.normal(size=(n_stimuli, n_features))
    Y = latent @ rng.normal(size=(60, n_units)) + 0.5 * rng.normal(size=(n_stimuli, n_units))
    return X + 2, Y + 1


def peer_r(X: np.ndarray, Y: np.ndarray, folds: tuple, **settings: object) -> np.ndarray:
    scores = []
    for fold in folds:
        fitted = PLSRegression(scale=False, **settings).fit(X[fold.train], Y[fold.train])
        pairs = zip(fitted.predict(X[fold.test]).T, Y[fold.test].T, strict=True)
        scores.append([np.corrcoef(p, y)[0, 1] for p, y in pairs])
    return np.array(scores)


def test_score_equals_scikit_learn() -> None:
    X, Y = features_and_responses(600, 900, 30)
    folds = Splits(5).folds(len(X))
    ours = cross_validate(X, Y, folds, regression="pls").r
    theirs = peer_r(X, Y, folds, n_components=25)
    assert abs(np.median(ours, axis=1).mean() - np.median(theirs, axis=1).mean()) < 5e-5


def test_each_neuroid_equals_scikit_learn_run_to_convergence() -> None:
    X, Y = features_and_responses(300, 400, 8)
    folds = Splits(5).folds(len(X))
    ours = cross_validate(X, Y, folds, regression=PLS(n_components=10)).r
    theirs = peer_r(X, Y, folds, n_components=10, max_iter=100_000, tol=1e-15)
    assert np.abs(ours - theirs).max() < 1e-6


def test_exhausted_covariance_gives_least_squares() -> None:
    X, Y = features_and_responses(100, 6, 3)
    fold = Splits(5).folds(len(X))[0]
    ours = cross_validate(X, Y, [fold], regression="pls").predictions[0]
    design = np.column_stack([np.ones(len(fold.train)), X[fold.train]])
    weights = np.linalg.lstsq(design, Y[fold.train], rcond=None)[0]
    expected = np.column_stack([np.ones(len(fold.test)), X[fold.test]]) @ weights
    np.testing.assert_allclose(ours, expected, atol=1e-7)


def test_inner_scores_use_training_stimuli_only() -> None:
    X, Y = features_and_responses(200, 100, 5)
    folds = Splits(5).folds(len(X))
    changed = Y.copy()
    changed[folds[0].test] = np.random.default_rng(0).normal(size=changed[folds[0].test].shape)
    first = cross_validate(X, Y, folds[:1], regression="pls", inner=True)
    second = cross_validate(X, changed, folds[:1], regression="pls", inner=True)
    np.testing.assert_array_equal(first.inner_r, second.inner_r)
    assert first.selection_scores()[0] > 0.3


def test_inner_folds_leave_whole_groups_out() -> None:
    X, Y = features_and_responses(120, 60, 4)
    groups = np.repeat(list("abcdef"), 20)
    regression = PLS(n_components=5)
    fold = Splits(6).folds(len(X), groups=groups)[0]
    inner = [
        Fold(fold.train[fold.groups != name], fold.train[fold.groups == name])
        for name in np.unique(fold.groups)
    ]
    expected = cross_validate(X, Y, inner, regression=regression).r.mean(axis=0)
    ours = cross_validate(X, Y, [fold], regression=regression, inner=True)
    np.testing.assert_allclose(ours.inner_r[0], expected, atol=1e-12)


def test_more_units_than_stimuli_equal_scikit_learn() -> None:
    X, Y = features_and_responses(60, 80, 150)
    folds = Splits(4).folds(len(X))
    ours = cross_validate(X, Y, folds, regression=PLS(n_components=4)).r
    theirs = peer_r(X, Y, folds, n_components=4, max_iter=100_000, tol=1e-15)
    assert np.abs(ours - theirs).max() < 1e-6


def test_folds_fitted_together_equal_folds_fitted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = features_and_responses(90, 150, 7)
    folds = Splits(6, kind="shuffle").folds(len(X))
    together = cross_validate(X, Y, folds, regression=PLS(8)).r
    alone = [cross_validate(X, Y, [fold], regression=PLS(8)).r[0] for fold in folds]
    np.testing.assert_allclose(together, alone, atol=1e-11)
    monkeypatch.setattr("brainscore_lite.metrics.regression.pls._CHUNK_BYTES", 8 * 7 * 97 * 4)
    in_parts = cross_validate(X, Y, folds, regression=PLS(8)).r
    np.testing.assert_allclose(together, in_parts, atol=1e-11)


def test_precise_components_of_noise_free_responses() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(120, 12)) / np.arange(1, 13) ** 2
    Y = X @ rng.normal(size=(12, 3))
    folds = Splits(4).folds(len(X))
    for n_components in (6, 11, 12, 25):
        ours = cross_validate(X, Y, folds, regression=PLS(n_components)).predictions
        n_found = min(n_components, 12)
        for fold, predicted in zip(folds, ours, strict=True):
            peer = PLSRegression(n_found, scale=False, max_iter=100_000, tol=1e-15)
            expected = peer.fit(X[fold.train], Y[fold.train]).predict(X[fold.test])
            np.testing.assert_allclose(predicted, expected, atol=1e-8)


def test_too_few_stimuli_are_refused() -> None:
    X, Y = features_and_responses(25, 40, 5)
    with pytest.raises(ContractError, match="20 training stimuli cannot support 25 PLS components"):
        cross_validate(X, Y, Splits(5).folds(25), regression="pls")
    with pytest.raises(ContractError, match="n_components is 0, expected at least 1"):
        PLS(n_components=0)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3])
def test_constant_responses_are_predicted_by_their_mean(value: float) -> None:
    X = np.random.default_rng(0).normal(size=(60, 8))
    Y = np.full((60, 3), value)
    with pytest.warns(UndefinedCorrelationWarning, match="15 of 15"):
        found = cross_validate(X, Y, Splits(5).folds(60), regression=PLS(3))
    np.testing.assert_allclose(np.concatenate(found.predictions), Y, rtol=1e-13)
    assert (found.r == 0).all()

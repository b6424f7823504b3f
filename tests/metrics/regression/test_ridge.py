"""Ridge against an explicit scikit-learn pipeline on the same folds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as PeerRidge
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainscore_lite.metrics import PLS, Fold, Ridge, Splits, cross_validate, gram
from brainscore_lite.metrics.regression.leave_out import LeaveGroupOut, LeaveOneOut
from brainscore_lite.metrics.regression.training_spectrum import training_spectrum
from brainscore_lite.schema import ContractError


def features_and_responses(n_features: int, n_units: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    latent = rng.normal(size=(150, 12))
    X = latent @ rng.normal(size=(12, n_features)) + rng.normal(size=(150, n_features)) + 5
    Y = latent @ rng.normal(size=(12, n_units)) + 3 * rng.normal(size=(150, n_units)) + 2
    return X, Y


def peer_r(X: np.ndarray, Y: np.ndarray, folds: tuple[Fold, ...], regression: object) -> np.ndarray:
    centre = StandardScaler(with_std=False)
    scores = []
    for fold in folds:
        fitted = make_pipeline(centre, regression).fit(X[fold.train], Y[fold.train])
        predicted = fitted.predict(X[fold.test])
        scores.append(
            [np.corrcoef(p, y)[0, 1] for p, y in zip(predicted.T, Y[fold.test].T, strict=True)]
        )
    return np.array(scores)


@pytest.mark.parametrize("n_features", [3, 60, 800])
def test_equals_scikit_learn_with_a_penalty_per_neuroid(n_features: int) -> None:
    X, Y = features_and_responses(n_features)
    folds = Splits(5).folds(len(X))
    penalties = tuple(np.logspace(-3, 6, 99))
    ours = cross_validate(X, Y, folds, regression=Ridge(penalties, unit="absolute"))
    theirs = peer_r(X, Y, folds, RidgeCV(alphas=penalties, alpha_per_target=True))
    assert np.abs(ours.r - theirs).max() < 1e-8
    fitted = RidgeCV(alphas=penalties, alpha_per_target=True)
    fitted.fit(X[folds[0].train], Y[folds[0].train])
    np.testing.assert_allclose(ours.penalties[0], fitted.alpha_)


@pytest.mark.parametrize("n_features", [3, 60, 800])
def test_equals_scikit_learn_with_one_penalty_for_all(n_features: int) -> None:
    X, Y = features_and_responses(n_features)
    folds = Splits(5).folds(len(X))
    penalties = tuple(np.logspace(-1, 6, 99))
    shared = Ridge(penalties, unit="absolute", per_neuroid=False)
    ours = cross_validate(X, Y, folds, regression=shared)
    assert np.abs(ours.r - peer_r(X, Y, folds, RidgeCV(alphas=penalties))).max() < 1e-12
    fitted = RidgeCV(alphas=penalties).fit(X[folds[0].train], Y[folds[0].train])
    assert (ours.penalties[0] == fitted.alpha_).all()
    assert shared.pools_neuroids
    assert not Ridge().pools_neuroids


@pytest.mark.parametrize("per_neuroid", [True, False])
@pytest.mark.parametrize("n_features", [3, 800])
def test_inner_folds_choose_as_scikit_learn_refitted_in_them(
    n_features: int, per_neuroid: bool
) -> None:
    X, Y = features_and_responses(n_features, n_units=4)
    fold = Splits(5).folds(len(X))[0]
    penalties = tuple(np.logspace(0, 6, 7))
    ridge = Ridge(penalties, unit="absolute", per_neuroid=per_neuroid, inner_splits=4, seed=3)
    ours = cross_validate(X, Y, [fold], regression=ridge, inner=True)
    x, y = X[fold.train], Y[fold.train]
    inner = Splits(4, seed=3).folds(len(x))
    errors, correlations = [], []
    for alpha in penalties:
        predicted = [PeerRidge(alpha).fit(x[i.train], y[i.train]).predict(x[i.test]) for i in inner]
        pairs = list(zip(predicted, inner, strict=True))
        errors.append(np.mean([((p - y[i.test]) ** 2).mean(axis=0) for p, i in pairs], axis=0))
        correlations.append(
            [[np.corrcoef(p[:, u], y[i.test, u])[0, 1] for u in range(4)] for p, i in pairs]
        )
    errors = np.array(errors)
    best = errors.argmin(axis=0) if per_neuroid else np.repeat(errors.sum(axis=1).argmin(), 4)
    np.testing.assert_array_equal(ours.penalties[0], np.array(penalties)[best])
    expected = np.mean(correlations, axis=1)[best, np.arange(4)]
    np.testing.assert_allclose(ours.inner_r[0], expected, atol=1e-10)


def test_inner_folds_leave_whole_groups_out() -> None:
    X, Y = features_and_responses(60, n_units=2)
    fold = Splits(4).folds(len(X), groups=GROUPS)[0]
    inner_groups = len(np.unique(fold.groups))
    by_group = cross_validate(X, Y, [fold], regression=Ridge(inner_splits=50))
    assert by_group.penalties.shape == (1, 2)
    exact = cross_validate(X, Y, [fold], regression=Ridge(inner_splits=inner_groups))
    np.testing.assert_array_equal(by_group.r, exact.r)


def test_fixed_penalty_equals_scikit_learn() -> None:
    X, Y = features_and_responses(300)
    folds = Splits(5).folds(len(X))
    ours = cross_validate(X, Y, folds, regression=Ridge((1.0,), unit="absolute"))
    assert np.abs(ours.r - peer_r(X, Y, folds, PeerRidge(alpha=1.0))).max() < 1e-8
    assert (ours.penalties == 1.0).all()


def test_relative_penalties_do_not_depend_on_the_scale_of_the_features() -> None:
    X, Y = features_and_responses(100)
    folds = Splits(5).folds(len(X))
    one = cross_validate(X, Y, folds)
    other = cross_validate(1e4 * X, Y, folds)
    np.testing.assert_allclose(one.r, other.r, atol=1e-9)
    np.testing.assert_allclose(one.penalties * 1e8, other.penalties)


def test_inner_predictions_are_those_of_refitting_without_each_stimulus() -> None:
    X, Y = features_and_responses(80, n_units=3)
    fold = Splits(5).folds(len(X))[0]
    ours = cross_validate(X, Y, [fold], regression=Ridge((50.0,), unit="absolute"), inner=True)
    x, y = X[fold.train], Y[fold.train]
    predicted = np.empty_like(y)
    for left_out in range(len(x)):
        rest = np.arange(len(x)) != left_out
        fitted = PeerRidge(alpha=50.0).fit(x[rest], y[rest])
        predicted[left_out] = fitted.predict(x[~rest])[0] - y[rest].mean(axis=0)
    expected = [np.corrcoef(predicted[:, unit], y[:, unit])[0, 1] for unit in range(3)]
    np.testing.assert_allclose(ours.inner_r[0], expected, atol=1e-10)


@pytest.mark.parametrize(
    ("penalties", "unit", "sentence"),
    [
        ((), "relative", "at least one, all positive"),
        ((0.0, 1.0), "relative", "at least one, all positive"),
        ((1.0,), "percent", "unit is 'percent', expected one of"),
    ],
)
def test_bad_settings_are_refused(penalties: tuple, unit: str, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        Ridge(penalties, unit=unit)
    with pytest.raises(ContractError, match="inner_splits is 1, expected at least 2"):
        Ridge(inner_splits=1)


GROUPS = np.random.default_rng(8).choice(list("abcdefgh"), 150)


def left_out_by_refitting(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions of each group by a fit without it, and the means of those fits."""
    predicted, means = np.empty_like(y), np.empty_like(y)
    for group in np.unique(groups):
        rest = groups != group
        fitted = PeerRidge(alpha=alpha, solver="svd").fit(x[rest], y[rest])
        predicted[~rest], means[~rest] = fitted.predict(x[~rest]), y[rest].mean(axis=0)
    return predicted, means


@pytest.mark.parametrize("n_features", [3, 60, 800])
def test_groups_are_left_out_exactly_as_by_refitting(n_features: int) -> None:
    X, Y = features_and_responses(n_features)
    shared = np.random.default_rng(1).normal(size=(8, n_features))
    X += 3 * shared[np.unique(GROUPS, return_inverse=True)[1]]
    fold = Splits(4).folds(len(X), groups=GROUPS)[0]
    x, y = X[fold.train], Y[fold.train]
    penalties = np.logspace(0, 6, 13)
    refits = [left_out_by_refitting(x, y, GROUPS[fold.train], a) for a in penalties]
    best = np.argmin([((y - predicted) ** 2).mean(axis=0) for predicted, _ in refits], axis=0)
    ridge = Ridge(tuple(penalties), unit="absolute")
    ours = cross_validate(X, Y, [fold], regression=ridge, inner=True)
    np.testing.assert_allclose(ours.penalties[0], penalties[best])
    for unit, choice in enumerate(best):
        predicted, means = (values[:, unit] for values in refits[choice])
        expected = np.corrcoef(predicted - means, y[:, unit])[0, 1]
        assert ours.inner_r[0, unit] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("n_features", [3, 60, 800])
def test_residuals_of_groups_equal_those_of_refitting(n_features: int) -> None:
    X, Y = features_and_responses(n_features)
    fold = Splits(4).folds(len(X), groups=GROUPS)[1]
    x, y = X[fold.train], Y[fold.train]
    alphas = np.array([0.1, 10.0, 1e4])
    left_out = LeaveGroupOut(training_spectrum(gram(X), fold), y - y.mean(axis=0), alphas, fold)
    for choice, alpha in enumerate(alphas):
        predicted, _ = left_out_by_refitting(x, y, GROUPS[fold.train], alpha)
        ours = left_out.residuals(np.full(y.shape[1], choice))
        np.testing.assert_allclose(ours, y - predicted, rtol=0, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_features=st.sampled_from([2, 15, 39, 200]),
    n_penalties=st.integers(2, 60),
    decay=st.floats(0, 3),
    per_neuroid=st.booleans(),
)
def test_the_coarse_to_fine_search_finds_the_best_of_the_full_list(
    seed: int, n_features: int, n_penalties: int, decay: float, per_neuroid: bool
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(45, n_features)) / np.arange(1, n_features + 1) ** decay
    Y = X[:, :2] @ rng.normal(size=(2, 5)) + rng.exponential(size=5) * rng.normal(size=(45, 5))
    fold = Fold(np.arange(40), np.arange(40, 45))
    y = Y[:40] - Y[:40].mean(axis=0)
    alphas = np.sort(10 ** rng.uniform(-6, 4, n_penalties))
    left_out = LeaveOneOut(training_spectrum(gram(X), fold), y, alphas)
    units = np.arange(5)
    losses = np.stack(
        [(left_out.residuals(np.full(5, k)) ** 2).sum(axis=0) for k in range(n_penalties)]
    )
    if not per_neuroid:
        losses = np.repeat(losses.sum(axis=1, keepdims=True), 5, axis=1)
    best, loss = left_out.best(per_neuroid=per_neuroid)
    np.testing.assert_allclose(loss, losses.min(axis=0), rtol=1e-9)
    np.testing.assert_allclose(losses[best, units], losses.min(axis=0), rtol=1e-9)


def test_groups_of_one_stimulus_are_leave_one_out() -> None:
    X, Y = features_and_responses(60)
    plain = Splits(5).folds(len(X))[0]
    single = Fold(plain.train, plain.test, groups=np.arange(len(plain.train)).astype(str))
    one, other = (cross_validate(X, Y, [fold], inner=True) for fold in (plain, single))
    np.testing.assert_array_equal(one.penalties, other.penalties)
    np.testing.assert_allclose(one.inner_r, other.inner_r, atol=1e-9)


def test_tensors_leave_groups_out_as_arrays_do() -> None:
    X, Y = features_and_responses(60)
    folds = Splits(4).folds(len(X), groups=GROUPS)
    ours = cross_validate(X, Y, folds, inner=True)
    tensors = cross_validate(torch.tensor(X), torch.tensor(Y), folds, inner=True)
    np.testing.assert_allclose(ours.inner_r, tensors.inner_r.numpy(), atol=1e-9)


def test_one_group_cannot_be_left_out_of_itself() -> None:
    X, Y = features_and_responses(60)
    fold = Fold(np.arange(100), np.arange(100, 150), groups=np.repeat("a", 100))
    fixed = cross_validate(X, Y, [fold], regression=Ridge((1.0,)))
    assert fixed.r.shape == (1, 9)
    for regression, inner in ((Ridge(), False), (Ridge((1.0,)), True), (PLS(5), True)):
        with pytest.raises(ContractError, match="have 1 groups, expected at least two"):
            cross_validate(X, Y, [fold], regression=regression, inner=inner)


def test_a_plain_number_is_a_fixed_penalty() -> None:
    assert Ridge(penalties=2).penalties == (2.0,)
    assert Ridge(penalties=np.array([1, 3])).penalties == (1.0, 3.0)

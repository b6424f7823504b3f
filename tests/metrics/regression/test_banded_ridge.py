"""Banded ridge against a direct fit of scaled features, and the product measure."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as PeerRidge
from sklearn.metrics import r2_score

from brainscore_lite.metrics import Fold, Ridge, Splits, cross_validate, gram
from brainscore_lite.metrics.regression.banded_ridge import banded_ridge
from brainscore_lite.schema import ContractError

N_STIMULI, N_UNITS = 90, 4
RNG = np.random.default_rng(4)
LATENT = RNG.normal(size=(N_STIMULI, 6))
BANDS = {
    "early": LATENT[:, :3] @ RNG.normal(size=(3, 7)) + 0.3 * RNG.normal(size=(N_STIMULI, 7)),
    "late": 10 * LATENT[:, 3:] @ RNG.normal(size=(3, 150)) + RNG.normal(size=(N_STIMULI, 150)) + 5,
    "noise": RNG.normal(size=(N_STIMULI, 20)),
}
Y = LATENT @ RNG.normal(size=(6, N_UNITS)) + RNG.normal(size=(N_STIMULI, N_UNITS)) + 1
FOLDS = Splits(3).folds(N_STIMULI)
WEIGHTS = np.array([[1.0, 1, 1], [0.9, 0.1, 0], [0.1, 0.9, 0.01], [0, 0, 1], [0, 1, 0]])
ALPHAS = (0.1, 10.0, 300.0, 1e4)


def by_refitting(fold: Fold, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit the concatenated features scaled by root weights; leave-one-out errors, predictions."""
    X = np.hstack([np.sqrt(w) * x for w, x in zip(weights, BANDS.values(), strict=True)])
    errors, predictions = [], []
    for alpha in ALPHAS:
        x, y = X[fold.train], Y[fold.train]
        squares = []
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            squares.append((PeerRidge(alpha).fit(x[rest], y[rest]).predict(x[[i]]) - y[i]) ** 2)
        errors.append(np.sum(squares, axis=(0, 1)))
        predictions.append(PeerRidge(alpha).fit(x, y).predict(X[fold.test]))
    return np.array(errors), np.array(predictions)


def test_equals_scikit_learn_on_scaled_features() -> None:
    fold = FOLDS[0]
    ridge = Ridge(ALPHAS, unit="absolute")
    ours = banded_ridge(BANDS, Y, splits=[fold], ridge=ridge, weights=WEIGHTS[:3])
    refits = [by_refitting(fold, weights) for weights in WEIGHTS[:3]]
    errors = np.stack([e for e, _ in refits])  # (candidate, alpha, unit)
    predicted = ours.by_band[0].sum(axis=0) + ours.means[0]
    for unit in range(N_UNITS):
        w, a = np.unravel_index(errors[:, :, unit].argmin(), errors.shape[:2])
        assert ours.penalties[0, unit] == ALPHAS[a]
        np.testing.assert_array_equal(ours.weights[0, :, unit], WEIGHTS[w])
        np.testing.assert_allclose(predicted[:, unit], refits[w][1][a, :, unit], atol=1e-8)


def test_equal_weights_are_a_ridge_on_all_features() -> None:
    ridge = Ridge(ALPHAS, unit="absolute")
    ours = banded_ridge(BANDS, Y, splits=FOLDS, ridge=ridge, weights=np.ones((1, 3)))
    joined = cross_validate(np.hstack(list(BANDS.values())), Y, FOLDS, regression=ridge)
    np.testing.assert_allclose(ours.r(), joined.r, atol=1e-10)
    np.testing.assert_array_equal(ours.penalties, joined.penalties)


@pytest.mark.parametrize("per_neuroid", [True, False])
@pytest.mark.parametrize("inner_splits", [None, 3])
def test_one_band_is_a_ridge(per_neuroid: bool, inner_splits: int | None) -> None:
    ridge = Ridge(per_neuroid=per_neuroid, inner_splits=inner_splits)
    ours = banded_ridge({"late": BANDS["late"]}, Y, splits=FOLDS, ridge=ridge)
    plain = cross_validate(BANDS["late"], Y, FOLDS, regression=ridge)
    np.testing.assert_allclose(ours.r(), plain.r, atol=1e-8)


def test_product_measure_sums_to_the_explained_variance() -> None:
    ours = banded_ridge(BANDS, Y, splits=FOLDS, weights=10)
    np.testing.assert_allclose(ours.r2_by_band().sum(axis=1), ours.r2(), atol=1e-12)
    assert ours.r2_by_band().shape == (3, 3, N_UNITS)
    for k, fold in enumerate(FOLDS):
        predicted = ours.by_band[k].sum(axis=0) + ours.means[k]
        recorded = Y[fold.test]
        expected = 1 - ((recorded - predicted) ** 2).sum(axis=0) / (
            (recorded - Y[fold.train].mean(axis=0)) ** 2
        ).sum(axis=0)
        np.testing.assert_allclose(ours.r2()[k], expected, atol=1e-12)
        peer = r2_score(recorded, predicted, multioutput="raw_values")
        assert (ours.r2()[k] >= peer - 1e-12).all()  # the test mean is a harder rival
    assert abs(ours.r2_by_band()[:, 2].mean()) < 0.05
    assert (ours.r2_by_band()[:, :2].mean(axis=(0, 2)) > 0.1).all()


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_scale_and_shift_of_a_band_change_nothing(scale: float, shift: float) -> None:
    moved = {**BANDS, "late": scale * BANDS["late"] + shift}
    one = banded_ridge(BANDS, Y, splits=FOLDS[:1], weights=4)
    other = banded_ridge(moved, Y, splits=FOLDS[:1], weights=4)
    np.testing.assert_allclose(one.r2_by_band(), other.r2_by_band(), atol=1e-6)


def test_same_numbers_twice_and_from_gram_matrices_and_tensors() -> None:
    first = banded_ridge(BANDS, Y, splits=3, weights=8, seed=5)
    again = banded_ridge({n: gram(x) for n, x in BANDS.items()}, Y, splits=3, weights=8, seed=5)
    np.testing.assert_array_equal(first.r2_by_band(), again.r2_by_band())
    other = banded_ridge(BANDS, Y, splits=3, weights=8, seed=6)
    assert not np.array_equal(first.r2_by_band(), other.r2_by_band())
    tensors = banded_ridge(
        {n: torch.tensor(x) for n, x in BANDS.items()}, torch.tensor(Y), splits=3, weights=8, seed=5
    )
    assert isinstance(tensors.weights, torch.Tensor)
    np.testing.assert_allclose(first.r2_by_band(), tensors.r2_by_band().numpy(), atol=1e-8)


def test_groups_are_left_out_together() -> None:
    groups = np.repeat([f"g{i}" for i in range(9)], 10)
    fit = banded_ridge(BANDS, Y, splits=3, weights=3, groups=groups)
    assert all(fold.groups is not None for fold in fit.folds)
    assert fit.r().shape == (3, N_UNITS)


def test_a_constant_band_adds_nothing_and_a_constant_neuroid_scores_zero() -> None:
    with_constant = {**BANDS, "noise": np.ones((N_STIMULI, 4))}
    flat = Y.copy()
    flat[:, 1] = 3
    fit = banded_ridge(with_constant, flat, splits=FOLDS, weights=5)
    np.testing.assert_array_equal(fit.r2_by_band()[:, 2], 0)
    np.testing.assert_array_equal(fit.r2()[:, 1], 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"Xs": {}}, "no feature spaces were given"),
        ({"Xs": {**BANDS, "noise": BANDS["noise"][1:]}}, r"'noise'\] has 89 stimuli, Y has 90"),
        ({"weights": 0}, "weights is 0, expected at least 1 candidate"),
        ({"weights": np.ones((2, 2))}, r"shape \(2, 2\), expected \(n_candidates, 3\)"),
        ({"weights": [[1, -1, 1]]}, "finite, at least 0, and not all 0"),
        ({"weights": [[0, 0, 0]]}, "finite, at least 0, and not all 0"),
        ({"Y": np.full((N_STIMULI, 2), np.nan)}, "Y: 2 of 2 neuroids hold NaN or inf"),
        ({"splits": 40}, "leave 2 to test"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, sentence: str) -> None:
    given = {"Xs": BANDS, "Y": Y, "splits": 3, **arguments}
    with pytest.raises(ContractError, match=sentence):
        banded_ridge(given.pop("Xs"), given.pop("Y"), **given)


def test_feature_spaces_of_two_libraries_are_refused() -> None:
    X, Y = np.eye(30), np.eye(30)[:, :2]
    with pytest.raises(ContractError, match=r"X\['b'\] holds Tensor, the first feature space nda"):
        banded_ridge({"a": X, "b": torch.tensor(X)}, Y, splits=3, weights=2)

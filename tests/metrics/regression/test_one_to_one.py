"""One-to-one mapping: the best single feature, found batch by batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.metrics import Fold, Splits, cross_validate, gram, linear_predictivity
from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.schema import ContractError

N_STIMULI, N_UNITS, N_FEATURES = 90, 5, 240
RNG = np.random.default_rng(6)
X = RNG.normal(size=(N_STIMULI, N_FEATURES)) + 3
Y = X[:, [7, 40, 41, 100, 239]] + 0.5 * RNG.normal(size=(N_STIMULI, N_UNITS))
FOLDS = Splits(4).folds(N_STIMULI)


def by_definition(X: np.ndarray, Y: np.ndarray, fold: Fold) -> np.ndarray:
    """Correlate every feature with every neuroid, one pair at a time."""
    r = np.array([[np.corrcoef(x, y)[0, 1] for y in Y[fold.train].T] for x in X[fold.train].T])
    return X[fold.test][:, np.nanargmax(r, axis=0)]


def test_equals_its_definition() -> None:
    result = cross_validate(X, Y, FOLDS, regression="one_to_one")
    for fold, predicted in zip(FOLDS, result.predictions, strict=True):
        np.testing.assert_array_equal(predicted, by_definition(X, Y, fold))
    assert (result.r > 0.7).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_scale_and_shift_of_features_change_no_score(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    few = rng.normal(size=(30, 12))
    recorded = few[:, :3] + rng.normal(size=(30, 3))
    one = linear_predictivity(few, recorded, regression="one_to_one", splits=3)
    other = linear_predictivity(scale * few + shift, recorded, regression="one_to_one", splits=3)
    np.testing.assert_allclose(one, other, atol=1e-8)


def test_an_inverted_feature_does_not_match() -> None:
    inverted = X.copy()
    inverted[:, 7] *= -1
    r = linear_predictivity(inverted, Y[:, :1], regression="one_to_one", splits=FOLDS)
    assert np.median(r) < 0.5


def test_batches_streams_and_tensors_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cross_validate(X, Y, FOLDS, regression="one_to_one", inner=True)
    blocks = (X[:, start : start + 50] for start in range(0, N_FEATURES, 50))
    streamed = cross_validate(blocks, Y, FOLDS, regression="one_to_one", inner=True)
    np.testing.assert_array_equal(whole.r, streamed.r)
    np.testing.assert_array_equal(whole.inner_r, streamed.inner_r)
    monkeypatch.setitem(gram.__globals__, "BATCH_BYTES", 8 * N_STIMULI * 17)
    in_parts = cross_validate(X, Y, FOLDS, regression="one_to_one")
    np.testing.assert_array_equal(whole.r, in_parts.r)
    tensors = cross_validate(torch.tensor(X), torch.tensor(Y), FOLDS, regression="one_to_one")
    assert isinstance(tensors.r, torch.Tensor)
    np.testing.assert_allclose(whole.r, tensors.r.numpy(), atol=1e-12)


def test_inner_scores_use_training_stimuli_only() -> None:
    fold = FOLDS[0]
    ours = cross_validate(X, Y, [fold], regression="one_to_one", inner=True)
    inner = Splits(5).folds(len(fold.train))
    nested = [Fold(fold.train[i.train], fold.train[i.test]) for i in inner]
    expected = cross_validate(X, Y, nested, regression="one_to_one").r.mean(axis=0)
    np.testing.assert_allclose(ours.inner_r[0], expected, atol=1e-12)


def test_constant_features_are_never_chosen() -> None:
    constant = X.copy()
    constant[:, ::2] = 7
    result = cross_validate(constant, Y, FOLDS, regression="one_to_one")
    assert all((np.ptp(predicted, axis=0) > 0).all() for predicted in result.predictions)
    with pytest.warns(UndefinedCorrelationWarning, match="20 of 20 correlations"):
        r = linear_predictivity(np.ones((N_STIMULI, 9)), Y, regression="one_to_one", splits=FOLDS)
    assert (r == 0).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float16, bool])
def test_small_number_types_do_not_overflow(kind: type) -> None:
    given = np.abs(60 * (X - 3)).astype(kind) if kind is not bool else X > 3
    r = linear_predictivity(given, Y, regression="one_to_one", splits=FOLDS)
    wide = linear_predictivity(given.astype(np.float64), Y, regression="one_to_one", splits=FOLDS)
    np.testing.assert_array_equal(r, wide)


def test_bad_features_are_refused() -> None:
    with pytest.raises(ContractError, match="X is a Gram matrix, from which no single feature"):
        cross_validate(gram(X), Y, FOLDS, regression="one_to_one")
    with pytest.raises(ContractError, match="X has 80 stimuli, Y has 90"):
        cross_validate(X[:80], Y, FOLDS, regression="one_to_one")
    broken = X.copy()
    broken[12, 200] = np.nan
    with pytest.raises(ContractError, match="feature 200 holds NaN or inf, first at stimulus 12"):
        cross_validate(broken, Y, FOLDS, regression="one_to_one")

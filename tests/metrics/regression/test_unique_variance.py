"""Unique and shared variance: against known parts, scikit-learn and variance partitioning."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.linear_model import LinearRegression

from brainscore_lite.metrics.regression.unique_variance import (
    rdm_unique_variance,
    unique_variance,
)
from brainscore_lite.metrics.regression.variance_partitioning import variance_partitioning
from brainscore_lite.metrics.splits import Splits
from brainscore_lite.schema import ContractError

RNG = np.random.default_rng(0)
N = 40
RDMS = {name: pdist(RNG.normal(size=(N, 5)), "sqeuclidean") for name in "abc"}


def standard(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / x.std()


def orthogonal() -> dict[str, np.ndarray]:
    """Three predictors without any correlation."""
    Q = np.linalg.qr(np.stack([np.ones(780), *RDMS.values()], axis=1))[0]
    return {name: standard(Q[:, k + 1]) for k, name in enumerate("abc")}


def test_parts_of_predictors_that_share_nothing_are_their_squared_weights() -> None:
    X = orthogonal()
    target = 3 * X["a"] + 2 * X["b"] + 10
    found = rdm_unique_variance(X, target)
    assert found.names == ("a", "b", "c")
    assert float(found.r2[0, 0]) == pytest.approx(1)
    np.testing.assert_allclose(found.unique[:, 0, 0], [9 / 13, 4 / 13, 0], atol=1e-9)
    assert float(found.shared[0, 0]) == pytest.approx(0, abs=1e-9)


def test_two_copies_share_everything() -> None:
    X = orthogonal()
    twice = {"a": X["a"], "b": X["a"] + 1e-3 * X["c"]}
    found = rdm_unique_variance(twice, X["a"] + 0.5 * X["b"])
    np.testing.assert_allclose(found.unique, 0, atol=1e-6)
    assert float(found.shared[0, 0]) == pytest.approx(0.8, abs=1e-5)


def test_r2_equals_scikit_learn() -> None:
    target = RDMS["a"] + 0.3 * RDMS["b"] + 3 * RNG.normal(size=780)
    found = rdm_unique_variance(RDMS, np.stack([target, RDMS["c"] + target]))
    X = np.stack(list(RDMS.values()), axis=1)
    assert float(found.r2[0, 0]) == pytest.approx(
        LinearRegression().fit(X, target).score(X, target)
    )
    without_b = LinearRegression().fit(X[:, [0, 2]], target).score(X[:, [0, 2]], target)
    assert float(found.unique[1, 0, 0]) == pytest.approx(found.r2[0, 0] - without_b)
    assert found.unique.shape == (3, 1, 2)
    assert (found.unique >= -1e-12).all()  # within the fit


def test_held_out_parts_may_be_negative_and_tell_noise_from_signal() -> None:
    target = RDMS["a"] + 0.5 * RDMS["b"]
    noisy = target + 6 * RNG.normal(size=(30, 780))
    fitted = rdm_unique_variance(RDMS, noisy)
    held_out = rdm_unique_variance(RDMS, noisy, splits=4, seed=0)
    assert held_out.r2.shape == (4, 30)
    assert fitted.unique[2].mean() > 0
    assert (held_out.unique[2] < 0).mean() > 0.4
    assert held_out.unique[2].mean() < fitted.unique[2].mean()
    assert held_out.unique[0].mean() > held_out.unique[1].mean() > 0.01
    total = held_out.unique.sum(axis=0) + held_out.shared
    np.testing.assert_allclose(total, held_out.r2)


def test_held_out_pairs_are_those_of_two_test_stimuli() -> None:
    """A stimulus that only trains changes no error of the test, and the reverse."""
    fold = Splits(4, seed=0).folds(N)[0]
    target = RDMS["a"] + RNG.normal(size=780)
    rows, columns = np.triu_indices(N, k=1)
    between = np.isin(rows, fold.train) ^ np.isin(columns, fold.train)
    changed = np.where(between, 1e3, target)
    first, second = (rdm_unique_variance(RDMS, d, splits=[fold]).r2 for d in (target, changed))
    np.testing.assert_allclose(first, second)


def test_responses_agree_with_variance_partitioning() -> None:
    A, B, C = RNG.normal(size=(3, 90, 5))
    Y = A @ RNG.normal(size=(5, 4)) + B @ RNG.normal(size=(5, 4)) + 2 * RNG.normal(size=(90, 4))
    spaces = {"a": A, "b": B, "c": C}
    found = unique_variance(spaces, Y, splits=3, weights=5)
    reference = variance_partitioning(spaces, Y, splits=3, weights=5)
    singles = [reference.subsets.index((name,)) for name in spaces]
    np.testing.assert_allclose(found.unique, reference.parts[:, singles].transpose(1, 0, 2))
    np.testing.assert_allclose(found.r2, reference.r2[:, -1])
    assert found.unique[0].mean() > 0.1
    assert abs(found.unique[2].mean()) < 0.05


def test_bad_input() -> None:
    with pytest.raises(ContractError, match="1 predictors were given, expected at least two"):
        rdm_unique_variance({"a": RDMS["a"]}, RDMS["b"])
    with pytest.raises(ContractError, match="0 predictors"):
        unique_variance({}, np.zeros((9, 2)))
    with pytest.raises(ContractError, match="a has 780 pairs, b has 3"):
        rdm_unique_variance(RDMS, [1.0, 2.0, 3.0])
    with pytest.raises(ContractError, match="6 pairs train 5 weights"):
        rdm_unique_variance({f"{k}": RNG.normal(size=6) for k in range(5)}, RNG.normal(size=6))
    with pytest.raises(ContractError, match="are all the same"):
        rdm_unique_variance(RDMS, np.ones(780))

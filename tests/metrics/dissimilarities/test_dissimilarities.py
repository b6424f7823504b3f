"""Dissimilarities from patterns and trials: against rsatoolbox, by their laws, on bad input."""

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm
from rsatoolbox.rdm.calc_unbalanced import calc_rdm_unbalanced

from brainscore_lite.metrics import gram
from brainscore_lite.metrics.dissimilarities.noise_precision import noise_precision
from brainscore_lite.metrics.dissimilarities.rdm import (
    UndefinedDissimilarityError,
    condensed,
    rdm,
    square,
)
from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
N_FOLDS, N_STIMULI, N_UNITS = 4, 12, 7
RNG = np.random.default_rng(0)
RATES = RNG.gamma(3.0, 1.5, size=(N_STIMULI, N_UNITS))
COUNTS = RNG.poisson(RATES, size=(N_FOLDS, N_STIMULI, N_UNITS)).astype(float)
PRECISION = noise_precision(COUNTS, method="full")
SOME_LAWS = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def with_missing_trials() -> Floats:
    trials = COUNTS.copy()
    trials[0, 3] = trials[3, 5] = trials[2, 6] = trials[1, 6] = np.nan
    return trials


def dataset(trials: Floats, folds: Any = None) -> Dataset:
    """Trials as rows, stimulus by stimulus; rows that are NaN are left out."""
    rows = trials.swapaxes(0, 1).reshape(-1, trials.shape[2])
    labels = np.arange(len(trials)) if folds is None else np.asarray(folds)
    there = np.isfinite(rows).any(axis=1)
    descriptors = {
        "stimulus": np.repeat([f"s{i:02d}" for i in range(trials.shape[1])], len(trials)),
        "fold": np.tile(labels, trials.shape[1]),
    }
    return Dataset(
        rows[there], obs_descriptors={name: each[there] for name, each in descriptors.items()}
    )


def peer(trials: Floats, method: str, *, folds: Any = None, **arguments: Any) -> Floats:
    fold = {"cv_descriptor": "fold"} if method in ("crossnobis", "poisson_cv") else {}
    made = calc_rdm(dataset(trials, folds), method, "stimulus", **fold, **arguments)
    return np.asarray(made.dissimilarities[0])


def unbalanced_peer(trials: Floats, method: str, *, folds: Any = None, **arguments: Any) -> Floats:
    rows = dataset(trials, folds)
    made = calc_rdm_unbalanced(rows, method, "stimulus", cv_descriptor="fold", **arguments)
    return np.asarray(made.dissimilarities[0])


def fold_by_fold_poisson(trials: Floats, left_out: Any, weight: float = 0.1) -> Floats:
    """The mean over left-out folds of the divergence, from its definition."""
    values = []
    for fold in left_out:
        y = (np.delete(trials, fold, axis=0).mean(axis=0) + weight) / (1 + weight)
        logs = np.log((trials[fold] + weight) / (1 + weight))
        difference = (y[:, None] - y[None]) * (logs[:, None] - logs[None])
        values.append(condensed(difference.mean(axis=2)))
    return np.mean(values, axis=0)


def test_mahalanobis_and_poisson_equal_rsatoolbox() -> None:
    average = COUNTS.mean(axis=0)
    distance = rdm(average, method="mahalanobis", precision=PRECISION)
    np.testing.assert_allclose(
        distance, peer(COUNTS, "mahalanobis", noise=PRECISION), rtol=1e-12, atol=1e-12
    )
    prior = {"prior_weight": 0.3}
    np.testing.assert_allclose(rdm(average, method="poisson"), peer(COUNTS, "poisson"), atol=1e-12)
    np.testing.assert_allclose(
        rdm(average, method="poisson", prior_rate=2.0, **prior),
        peer(COUNTS, "poisson", prior_lambda=2.0, **prior),
        atol=1e-12,
    )


@pytest.mark.parametrize("n_folds", [2, 3, 4])
@pytest.mark.parametrize("noise", [None, PRECISION])
def test_crossnobis_equals_rsatoolbox_over_all_folds(n_folds: int, noise: Floats | None) -> None:
    trials = COUNTS[:n_folds]
    ours = rdm(trials, method="crossnobis", precision=noise)
    np.testing.assert_allclose(ours, peer(trials, "crossnobis", noise=noise), atol=1e-12)


def test_folds_of_several_trials_equal_rsatoolbox() -> None:
    trials = RNG.poisson(RATES, size=(6, N_STIMULI, N_UNITS)).astype(float)
    folds = ["a", "b", "c", "c", "a", "b"]
    ours = rdm(trials, method="crossnobis", folds=folds)
    np.testing.assert_allclose(ours, peer(trials, "crossnobis", folds=folds), atol=1e-12)
    halves = np.stack([trials[::2].mean(axis=0), trials[1::2].mean(axis=0)])
    np.testing.assert_allclose(
        rdm(trials, method="crossnobis", folds=[0, 1] * 3), rdm(halves, method="crossnobis")
    )


def test_precision_of_each_fold_equals_rsatoolbox() -> None:
    precisions = np.stack([PRECISION * (1 + fold) + np.eye(N_UNITS) for fold in range(N_FOLDS)])
    ours = rdm(COUNTS, method="crossnobis", precision=precisions)
    theirs = peer(COUNTS, "crossnobis", noise=list(precisions))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    same = np.stack([PRECISION] * N_FOLDS)
    one = rdm(COUNTS, method="crossnobis", precision=PRECISION)
    np.testing.assert_allclose(rdm(COUNTS, method="crossnobis", precision=same), one, atol=1e-12)
    missing = with_missing_trials()
    one = rdm(missing, method="crossnobis", precision=PRECISION)
    np.testing.assert_allclose(rdm(missing, method="crossnobis", precision=same), one, atol=1e-12)


def test_rsatoolbox_keeps_the_last_fold_of_poisson_cv_and_we_keep_all() -> None:
    theirs = peer(COUNTS, "poisson_cv")
    np.testing.assert_allclose(
        theirs, fold_by_fold_poisson(COUNTS, left_out=[N_FOLDS - 1]), atol=1e-12
    )
    ours = rdm(COUNTS, method="poisson_cv")
    np.testing.assert_allclose(
        ours, fold_by_fold_poisson(COUNTS, left_out=range(N_FOLDS)), atol=1e-12
    )
    assert np.abs(ours - theirs).max() > 0.5
    # With two folds, leaving one or the other out differs in the logarithm's side only.
    both = [fold_by_fold_poisson(COUNTS[:2], left_out=[fold]) for fold in range(2)]
    np.testing.assert_allclose(rdm(COUNTS[:2], method="poisson_cv"), np.mean(both, axis=0))


def test_poisson_cv_of_single_trials_equals_rsatoolbox_over_pairs_of_trials() -> None:
    theirs = unbalanced_peer(COUNTS, "poisson_cv")
    np.testing.assert_allclose(rdm(COUNTS, method="poisson_cv"), theirs, atol=1e-12)


@pytest.mark.parametrize("noise", [None, PRECISION])
@pytest.mark.parametrize("folds", [None, [0, 0, 1, 1]])
def test_missing_trials_equal_rsatoolbox_of_centred_trials(folds: Any, noise: Any) -> None:
    trials = with_missing_trials()
    centred = trials - np.nanmean(np.nanmean(trials, axis=0), axis=0)
    ours = rdm(trials, method="crossnobis", folds=folds, precision=noise)
    theirs = unbalanced_peer(centred, "crossnobis", folds=folds, noise=noise)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_units_that_lack_trials_are_averaged_one_by_one() -> None:
    trials = with_missing_trials()
    trials[0, 1, 2] = trials[2, 4, 2] = trials[1, 0, 5] = np.nan
    for method in ("crossnobis", "poisson_cv"):
        alone = [rdm(trials[:, :, [unit]], method=method) for unit in range(N_UNITS)]
        np.testing.assert_allclose(rdm(trials, method=method), np.mean(alone, axis=0), atol=1e-12)
    deviations = np.arange(1.0, 1 + N_UNITS)
    np.testing.assert_allclose(
        rdm(trials, method="crossnobis", precision=np.diag(deviations**2)),
        rdm(trials * deviations, method="crossnobis"),
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("method", "precision"),
    [
        ("mahalanobis", PRECISION),
        ("crossnobis", PRECISION),
        ("crossnobis", np.stack([PRECISION] * N_FOLDS)),
        ("crossnobis", None),
        ("poisson", None),
        ("poisson_cv", None),
    ],
)
def test_tensors_give_what_arrays_give(method: str, precision: Floats | None) -> None:
    X = with_missing_trials() if method in ("crossnobis", "poisson_cv") else COUNTS.mean(axis=0)
    expected = rdm(X, method=method, precision=precision)
    tensor = None if precision is None else torch.tensor(precision)
    result = rdm(torch.tensor(X), method=method, precision=tensor)
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float64
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32])
@pytest.mark.parametrize("method", ["crossnobis", "poisson_cv", "poisson", "mahalanobis"])
def test_small_types_do_not_overflow(dtype: type, method: str) -> None:
    trials = np.minimum(COUNTS * 9, 250).round()
    X = trials if method in ("crossnobis", "poisson_cv") else trials[0]
    precision = {"precision": PRECISION} if method == "mahalanobis" else {}
    narrow = rdm(X.astype(dtype), method=method, **precision)
    np.testing.assert_allclose(narrow, rdm(X, method=method, **precision), atol=1e-9)


def test_memory_stays_at_a_few_matrices() -> None:
    trials = np.random.default_rng(0).poisson(3.0, size=(4, 800, 10)).astype(float)
    for method in ("crossnobis", "poisson_cv"):
        tracemalloc.start()
        rdm(trials, method=method)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3.5 * 8 * 800**2


# Laws.


def random_trials(seed: int, n_folds: int = 3) -> Floats:
    rng = np.random.default_rng(seed)
    trials = rng.poisson(rng.gamma(2.0, 2.0, size=(8, 5)), size=(n_folds, 8, 5))
    return trials.astype(float)


def random_precision(seed: int) -> Floats:
    half = np.random.default_rng(seed).normal(size=(5, 9))
    return half @ half.T / 9 + 0.1 * np.eye(5)


@SOME_LAWS
@given(seeds)
def test_rotation_with_its_precision_changes_nothing(seed: int) -> None:
    trials, P = random_trials(seed), random_precision(seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]
    turned = rotation.T @ P @ rotation
    for X, method in ((trials[0], "mahalanobis"), (trials, "crossnobis")):
        one = rdm(X, method=method, precision=P)
        other = rdm(X @ rotation, method=method, precision=turned)
        np.testing.assert_allclose(one, other, atol=1e-10 * np.abs(one).max())
    for X, method in ((trials[0], "euclidean"), (trials, "crossnobis")):
        np.testing.assert_allclose(
            rdm(X @ rotation, method=method), rdm(X, method=method), atol=1e-10
        )


@SOME_LAWS
@given(seeds, st.floats(0.01, 100), st.floats(-100, 100))
def test_scale_and_shift_of_a_pattern_leave_its_correlations(
    seed: int, scale: float, shift: float
) -> None:
    patterns = np.random.default_rng(seed).normal(size=(6, 9))
    changed = patterns.copy()
    changed[2] = scale * changed[2] + shift
    np.testing.assert_allclose(rdm(changed), rdm(patterns), atol=1e-10)


@SOME_LAWS
@given(seeds, st.floats(-1e4, 1e4))
def test_a_shift_of_all_patterns_changes_no_distance(seed: int, shift: float) -> None:
    trials = random_trials(seed)
    trials[0, 3] = trials[1, 5] = np.nan
    moved = trials + shift * np.random.default_rng(seed).normal(size=5)
    one, other = (rdm(each, method="crossnobis") for each in (trials, moved))
    np.testing.assert_allclose(one, other, atol=1e-7)
    one, other = (
        rdm(each[2], method="mahalanobis", precision=np.eye(5)) for each in (trials, moved)
    )
    np.testing.assert_allclose(one, other, atol=1e-7)


@SOME_LAWS
@given(seeds)
def test_permuted_stimuli_permute_the_matrix(seed: int) -> None:
    trials, P = random_trials(seed), random_precision(seed)
    trials[0, 3] = trials[1, 5] = np.nan
    order = np.random.default_rng(seed).permutation(8)
    for method in ("crossnobis", "poisson_cv"):
        straight, permuted = (square(rdm(X, method=method)) for X in (trials, trials[:, order]))
        np.testing.assert_allclose(permuted, straight[np.ix_(order, order)], atol=1e-10)
        folds = np.random.default_rng(seed).permutation(3)
        np.testing.assert_allclose(square(rdm(trials[folds], method=method)), straight, atol=1e-10)
    for method, precision in (("mahalanobis", P), ("poisson", None), ("euclidean", None)):
        straight, permuted = (
            square(rdm(X, method=method, precision=precision))
            for X in (trials[2], trials[2, order])
        )
        np.testing.assert_allclose(permuted, straight[np.ix_(order, order)], atol=1e-10)


@SOME_LAWS
@given(seeds)
def test_without_noise_the_cross_validated_forms_are_the_plain_ones(seed: int) -> None:
    trials, P = random_trials(seed), random_precision(seed)
    same = np.repeat(trials[:1], 3, axis=0)
    same[1, 4] = np.nan
    np.testing.assert_allclose(
        rdm(same, method="crossnobis", precision=P),
        rdm(same[0], method="mahalanobis", precision=P),
        atol=1e-9,
    )
    np.testing.assert_allclose(
        rdm(same, method="poisson_cv"), rdm(same[0], method="poisson"), atol=1e-9
    )


@pytest.mark.parametrize("method", ["crossnobis", "poisson_cv"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_expectation_is_zero_without_signal(method: str, missing: float) -> None:
    rng = np.random.default_rng(1)
    rate, means = rng.gamma(2.0, 5.0, size=20), []
    for _ in range(300):
        trials = rng.poisson(rate, size=(6, 5, 20)).astype(float)
        lost = rng.random((6, 5)) < missing
        lost[:2] = False
        trials[lost] = np.nan
        means.append(rdm(trials, method=method).mean())
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means)) < 3 * error
    plain = rdm(trials[0], method="euclidean" if method == "crossnobis" else "poisson")
    assert plain.mean() > 10 * error


def test_the_mean_pattern_adds_no_noise_to_unbalanced_designs() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = [], []
    for _ in range(100):
        trials = rng.poisson(20.0, size=(6, 4, 10)).astype(float)
        trials[:4, 0] = np.nan
        ours.append(rdm(trials, method="crossnobis"))
        theirs.append(unbalanced_peer(trials, "crossnobis"))
    assert np.std(ours) < 0.9 * np.std(theirs)


# Bad input.


def refuses(message: str, X: Any, **arguments: Any) -> None:
    with pytest.raises(ContractError, match=re.escape(message)):
        rdm(X, **arguments)


def test_wrong_shapes_and_arguments_are_refused() -> None:
    cross: dict[str, Any] = {"method": "crossnobis"}
    refuses(
        "trials have shape (12, 7), expected (n_repetitions, n_stimuli, n_units)", RATES, **cross
    )
    refuses(
        "X: shape is (4, 12, 7), expected (n_stimuli, n_features) for method='poisson'",
        COUNTS,
        method="poisson",
    )
    refuses("at least one of each", COUNTS[:, :0], **cross)
    refuses("1 fold, expected at least two", COUNTS[:1], **cross)
    refuses("1 fold, expected at least two", COUNTS, folds=["a"] * 4, **cross)
    refuses(
        "folds has shape (3,), expected one label for each of the 4",
        COUNTS,
        folds=[0, 1, 2],
        **cross,
    )
    refuses("one stimulus, expected at least two", COUNTS[:, :1], **cross)
    refuses("one stimulus, expected at least two", gram(RATES[:1]))
    refuses("folds was given, but a euclidean", RATES, method="euclidean", folds=[0, 1])
    refuses("precision was given, but a poisson", RATES, method="poisson", precision=PRECISION)
    refuses("a mahalanobis dissimilarity needs precision=", RATES, method="mahalanobis")
    refuses(
        "method='mahalanobis' needs the patterns",
        gram(RATES),
        method="mahalanobis",
        precision=PRECISION,
    )
    refuses("expected real numbers", COUNTS.astype(complex), **cross)


def test_missing_values_are_named() -> None:
    trials = COUNTS.copy()
    trials[1:, 4, 2] = np.nan
    refuses(
        "1 of 12 stimuli have trials of some unit in fewer than two folds (first: stimulus 4, "
        "unit 2)",
        trials,
        method="crossnobis",
    )
    trials = COUNTS.copy()
    trials[0, 4, 2] = np.nan
    refuses(
        "some trials hold some units only (first: fold 0, stimulus 4, unit 2): a precision",
        trials,
        method="crossnobis",
        precision=PRECISION,
    )
    refuses(
        "some trials hold some units only",
        trials,
        method="crossnobis",
        precision=np.stack([PRECISION] * 4),
    )
    trials[0, 4, 2] = np.inf
    refuses("trials hold infinite values", trials, method="crossnobis")
    patterns = RATES.copy()
    patterns[3, 1] = np.nan
    refuses(
        "1 of 7 features hold NaN or inf; first: feature 1",
        patterns,
        method="mahalanobis",
        precision=PRECISION,
    )
    refuses("feature 1 holds NaN or inf", patterns, method="poisson")


def test_unfit_precisions_are_refused() -> None:
    for X, method in ((RATES, "mahalanobis"), (COUNTS, "crossnobis")):
        refuses(
            "precision has shape (6, 6), expected (7, 7)",
            X,
            method=method,
            precision=PRECISION[:6, :6],
        )
        refuses(
            "precision is not symmetric",
            X,
            method=method,
            precision=PRECISION + np.triu(np.ones((7, 7)), 1),
        )
        refuses(
            "precision is not positive definite (smallest eigenvalue -1",
            X,
            method=method,
            precision=-np.eye(7),
        )
        refuses("precision holds NaN or inf", X, method=method, precision=PRECISION * np.nan)
    refuses(
        "precision holds 3 matrices, expected one for each of the 4 folds",
        COUNTS,
        method="crossnobis",
        precision=np.stack([PRECISION] * 3),
    )
    with pytest.raises(ContractError, match="not positive definite"):
        rdm(torch.tensor(RATES), method="mahalanobis", precision=torch.tensor(-np.eye(7)))


def test_rates_below_zero_are_refused() -> None:
    trials = COUNTS.copy()
    trials[:, 3, 2] = -1.0
    for X, method in ((trials[0], "poisson"), (trials, "poisson_cv")):
        with pytest.raises(
            UndefinedDissimilarityError, match=r"negative \(first: stimulus 3, unit 2"
        ):
            rdm(X, method=method)
    with pytest.raises(UndefinedDissimilarityError, match="zero, and there is no prior"):
        rdm(np.zeros((3, 2)), method="poisson", prior_weight=0.0)
    refuses("prior_rate is -1", RATES, method="poisson", prior_rate=-1.0)

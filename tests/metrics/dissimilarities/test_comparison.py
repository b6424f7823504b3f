"""Comparators of dissimilarity matrices: references, invariances, resampling, bad input."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.metrics.dissimilarities.comparison import (
    UNITS,
    Comparator,
    compare_rdms,
    compare_resampled,
)
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import (
    leave_one_subject_out,
    leave_one_subject_out_resampled,
    pool_rdms,
)
from brainscore_lite.metrics.dissimilarities.riemannian import bures_metric
from brainscore_lite.schema import ContractError

PEERS = {
    "pearson": "corr",
    "spearman": "spearman",
    "kendall_tau_a": "tau-a",
    "kendall_tau_b": "tau-b",
    "rho_a": "rho-a",
    "cosine": "cosine",
    "whitened_pearson": "corr_cov",
    "whitened_cosine": "cosine_cov",
}
COMPARATORS = get_args(Comparator)
WHITENED = ("whitened_pearson", "whitened_cosine")
N = 14
FIRST, SECOND = np.triu_indices(N, k=1)


def distances(patterns: np.ndarray) -> np.ndarray:
    squared = ((patterns[:, :, None] - patterns[:, None]) ** 2).mean(axis=-1)
    return squared[:, FIRST, SECOND]


RNG = np.random.default_rng(1)
SHARED = RNG.normal(size=(1, N, 30))
A = distances(RNG.normal(size=(3, N, 30)) + SHARED)
B = distances(RNG.normal(size=(4, N, 30)) + SHARED)
NOISE = np.cov(RNG.normal(size=(N, 60)) + RNG.normal(size=60))
WEIGHTS = np.vstack(
    [
        RNG.multinomial(N, np.full(N, 1 / N), size=5),
        [[8, 1, 1, 4] + [0] * (N - 4)],  # a stimulus drawn n/2 + 1 times
        [[7, 0, 0, 0, 3, 4] + [0] * (N - 6)],
    ]
)


def tied(vectors: np.ndarray) -> np.ndarray:
    return vectors.round(1)


@pytest.mark.parametrize("method", PEERS)
@pytest.mark.parametrize("prepare", [np.copy, tied])
def test_comparisons_equal_rsatoolbox(method, prepare):
    from rsatoolbox.rdm import RDMs, compare

    a, b = prepare(A), prepare(B)
    peer = compare(RDMs(a), RDMs(b), method=PEERS[method])
    np.testing.assert_allclose(compare_rdms(a, b, method=method), peer, rtol=0, atol=1e-10)


def test_moments_equal_rsatoolbox():
    from rsatoolbox.rdm import RDMs, compare
    from rsatoolbox.rdm.compare import _bures_similarity_second_way

    for sigma in (None, NOISE):
        peer = compare(RDMs(A), RDMs(B), method="neg_riem_dist", sigma_k=sigma)
        ours = compare_rdms(A, B, method="riemannian", sigma=sigma)
        np.testing.assert_allclose(ours, peer, rtol=0, atol=1e-10)
    centring = np.eye(N) - 1 / N

    def kernel(vector):
        matrix = np.zeros((N, N))
        matrix[FIRST, SECOND] = vector
        return -0.5 * centring @ (matrix + matrix.T) @ centring

    exact = [[_bures_similarity_second_way(kernel(x), kernel(y)) for y in B] for x in A]
    ours = compare_rdms(A, B, method="bures")
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-10)
    # rsatoolbox's own choice takes the roots of eigenvalues that are rounding, of order 1e-16
    peer = compare(RDMs(A), RDMs(B), method="bures")
    np.testing.assert_allclose(ours, peer, rtol=0, atol=1e-7)
    assert bures_metric(A[0], A[0]) == pytest.approx(0, abs=1e-6)
    peer = compare(RDMs(A), RDMs(B), method="bures_metric")
    assert bures_metric(A[1], B[2]) == pytest.approx(peer[1, 2], rel=1e-6)


@pytest.mark.parametrize("method", WHITENED)
def test_whitening_by_a_covariance_is_the_inverse_of_that_of_the_pairs(method):
    from rsatoolbox.rdm import RDMs, compare

    contrasts = np.zeros((len(FIRST), N))
    contrasts[np.arange(len(FIRST)), FIRST] = 1
    contrasts[np.arange(len(FIRST)), SECOND] = -1
    precision = np.linalg.inv((contrasts @ NOISE @ contrasts.T) ** 2)
    a, b = (x - (method == "whitened_pearson") * x.mean(axis=1, keepdims=True) for x in (A, B))
    norms = [np.sqrt(np.einsum("ip,pq,iq->i", x, precision, x)) for x in (a, b)]
    expected = a @ precision @ b.T / np.outer(*norms)
    ours = compare_rdms(A, B, method=method, sigma=NOISE)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
    # rsatoolbox stops its conjugate gradients at a relative residual of 1e-5
    peer = compare(RDMs(A), RDMs(B), method=PEERS[method], sigma_k=NOISE)
    np.testing.assert_allclose(ours, peer, rtol=0, atol=1e-4)
    identity = compare_rdms(A, B, method=method, sigma=np.eye(N))
    np.testing.assert_allclose(identity, compare_rdms(A, B, method=method), atol=1e-12)


@pytest.mark.parametrize("method", WHITENED)
def test_variances_scale_the_kernel_as_rsatoolbox_and_are_not_the_covariance(method):
    from rsatoolbox.rdm import RDMs, compare

    variances = np.linspace(0.5, 3, N)
    ours = compare_rdms(A, B, method=method, sigma=variances)
    peer = compare(RDMs(A), RDMs(B), method=PEERS[method], sigma_k=variances)
    np.testing.assert_allclose(ours, peer, rtol=0, atol=1e-10)
    exact = compare_rdms(A, B, method=method, sigma=np.diag(variances))
    assert np.abs(ours - exact).max() > 1e-3


@pytest.mark.parametrize("method", PEERS)
@pytest.mark.parametrize("variances", [None, np.linspace(0.5, 3, N)])
def test_resampling_equals_rsatoolbox_on_the_drawn_stimuli(method, variances):
    from rsatoolbox.rdm import RDMs, compare

    if variances is not None and method not in WHITENED:
        return
    ours = compare_resampled(A, B, WEIGHTS, method=method, sigma=variances)
    assert ours.shape == (len(WEIGHTS), len(A), len(B))
    both = RDMs(np.vstack([A, B]))
    for weights, drawn in zip(WEIGHTS, ours, strict=True):
        indices = np.repeat(np.arange(N), weights)
        sample = both.subsample_pattern("index", indices)
        sigma = None if variances is None else variances[indices]
        peer = compare(sample[[0, 1, 2]], sample[[3, 4, 5, 6]], PEERS[method], sigma_k=sigma)
        np.testing.assert_allclose(drawn, peer, rtol=0, atol=1e-10)
    one = compare_resampled(A[1], B, WEIGHTS, method=method, sigma=variances)
    np.testing.assert_allclose(one, ours[:, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", COMPARATORS)
def test_each_stimulus_once_is_the_plain_comparison(method):
    once = np.ones((2, N), dtype=np.uint8)
    drawn = compare_resampled(A, B, once, method=method)
    np.testing.assert_allclose(drawn[1], compare_rdms(A, B, method=method), rtol=0, atol=1e-10)
    if method in WHITENED:
        drawn = compare_resampled(A, B, once, method=method, sigma=NOISE)
        plain = compare_rdms(A, B, method=method, sigma=NOISE)
        np.testing.assert_allclose(drawn[0], plain, rtol=0, atol=1e-10)


def test_a_covariance_of_a_draw_is_that_of_more_precise_stimuli():
    weights = np.array([[2, 1, 3, 1, 1, 2] + [0] * (N - 6)])
    ours = compare_resampled(A, B, weights, method="whitened_cosine", sigma=NOISE)[0]
    kept = [p for p, (i, j) in enumerate(zip(FIRST, SECOND, strict=True)) if i < 6 and j < 6]
    scale = np.sqrt(weights[0, :6])
    sigma = NOISE[:6, :6] / np.outer(scale, scale)
    expected = compare_rdms(A[:, kept], B[:, kept], method="whitened_cosine", sigma=sigma)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


def test_bures_counts_a_repeated_stimulus_as_two_and_riemannian_once():
    indices = np.repeat(np.arange(6), [2, 1, 3, 1, 1, 2])
    weights = np.bincount(indices, minlength=N)[None]
    matrix = np.zeros((2, N, N))
    matrix[:, FIRST, SECOND] = A[0], B[0]
    matrix += matrix.transpose(0, 2, 1)
    for method, drawn in (("bures", indices), ("riemannian", np.unique(indices))):
        pairs = np.triu_indices(len(drawn), k=1)
        a, b = (one[np.ix_(drawn, drawn)][pairs] for one in matrix)
        ours = compare_resampled(A[0], B[:1], weights, method=method)[0, 0]
        assert ours == pytest.approx(compare_rdms(a, b, method=method), abs=1e-7)


@pytest.mark.parametrize("method", COMPARATORS)
def test_a_matrix_is_most_similar_to_itself_whatever_the_order_of_stimuli(method):
    values = compare_rdms(A[:1], np.vstack([A[:1], B]), method=method)[0]
    assert values[0] == pytest.approx(0.0 if method == "riemannian" else 1.0, abs=1e-3)
    assert values[0] >= values.max() - 1e-9
    order = np.random.default_rng(2).permutation(N)
    matrix = np.zeros((2, N, N))
    matrix[:, FIRST, SECOND] = A[0], B[0]
    matrix += matrix.transpose(0, 2, 1)
    a, b = matrix[:, order][:, :, order][:, FIRST, SECOND]
    tolerance = 1e-3 if method == "riemannian" else 1e-10  # a search from the same start
    shuffled = compare_rdms(a, b, method=method)
    assert shuffled == pytest.approx(compare_rdms(A[0], B[0], method=method), abs=tolerance)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), seed=st.integers(0, 1000))
def test_invariances(scale, shift, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 45)) + 0.1
    for method in COMPARATORS[:-2]:
        value = compare_rdms(a, b, method=method)
        assert compare_rdms(b, a, method=method) == pytest.approx(value, abs=1e-10)
        assert compare_rdms(scale * a, b, method=method) == pytest.approx(value, abs=1e-10)
        assert -1 - 1e-12 <= value <= 1 + 1e-12
    for method in ("pearson", "whitened_pearson"):
        shifted = compare_rdms(scale * a + shift, b, method=method)
        assert shifted == pytest.approx(compare_rdms(a, b, method=method), abs=1e-9)
    for method in ("spearman", "rho_a", "kendall_tau_a", "kendall_tau_b"):
        assert compare_rdms(np.exp(a), b, method=method) == compare_rdms(a, b, method=method)


def test_rho_a_is_spearman_expected_when_ties_are_broken_at_random():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, size=(2, 45)).astype(float)
    drawn = [
        compare_rdms(a + 0.1 * rng.random(45), b + 0.1 * rng.random(45), method="spearman")
        for _ in range(600)
    ]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert compare_rdms(a, b, method="rho_a") == pytest.approx(np.mean(drawn), abs=4 * error)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
@pytest.mark.parametrize("method", ["pearson", "whitened_cosine", "rho_a", "kendall_tau_b"])
def test_small_types_do_not_overflow(method, dtype):
    a, b = (np.round(60 * x).clip(0, 250) for x in (A, B))
    wide = compare_rdms(a, b, method=method)
    np.testing.assert_array_equal(
        compare_rdms(a.astype(dtype), b.astype(dtype), method=method), wide
    )


def test_units_name_every_comparator():
    assert set(UNITS) == set(COMPARATORS)


def test_draws_without_variance_are_undefined():
    weights = np.zeros((2, N), dtype=int)
    weights[0, :2] = 7, 7  # one distinct pair
    weights[1] = 1
    for method in ("pearson", "spearman", "whitened_cosine", "kendall_tau_b", "bures"):
        drawn = compare_resampled(A, B, weights, method=method)
        assert np.isnan(drawn[0]).all()
        assert (drawn[1] != 0).all()


def test_a_matrix_without_variance_is_zero_and_counted_in_every_draw():
    constant = np.ones_like(A[:1])
    weights = np.ones((2, N), dtype=int)
    with pytest.warns(UndefinedCorrelationWarning, match=f"{len(B)} of {len(B)} correlations"):
        assert (compare_resampled(constant, B, weights, method="spearman") == 0).all()


def test_bad_input_is_refused():
    with pytest.raises(ContractError, match="'pearson' takes no sigma"):
        compare_rdms(A, B, method="pearson", sigma=NOISE)
    with pytest.raises(ContractError, match=r"sigma has shape \(3, 3\), expected \(14,\)"):
        compare_rdms(A, B, method="whitened_cosine", sigma=np.eye(3))
    with pytest.raises(ContractError, match="positive definite"):
        compare_rdms(A, B, method="whitened_cosine", sigma=np.ones((N, N)))
    with pytest.raises(ContractError, match="linearly independent patterns"):
        compare_rdms(tied(A), distances(RNG.normal(size=(1, N, 3))), method="riemannian")
    with pytest.raises(ContractError, match=r"a has shape \(0, 91\)"):
        compare_rdms(A[:0], B)
    with pytest.raises(
        ContractError, match=r"weights have shape \(1, 3\), expected \(n_draws, 14\)"
    ):
        compare_resampled(A, B, np.ones((1, 3)))
    for weights in (np.full((1, N), np.nan), np.full((1, N), -1), np.full((1, N), 0.5)):
        with pytest.raises(ContractError, match="weights must be whole numbers"):
            compare_resampled(A, B, weights)


@pytest.mark.parametrize("method", PEERS)
@pytest.mark.parametrize("prepare", [np.copy, tied])
def test_bounds_of_draws_equal_rsatoolbox(method, prepare):
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs

    rng, vectors = np.random.default_rng(3), prepare(B)
    subjects = np.vstack([[[2, 2, 2, 2]], rng.integers(0, 4, size=(len(WEIGHTS) - 1, 4))])
    members = np.stack([np.bincount(drawn, minlength=4) for drawn in subjects])
    bounds = leave_one_subject_out_resampled(
        vectors, WEIGHTS, members, comparison=method, rank_pooling="reranked"
    )
    for draw, (drawn, weights) in enumerate(zip(subjects, WEIGHTS, strict=True)):
        sample = RDMs(vectors).subsample("index", drawn)
        sample = sample.subsample_pattern("index", np.repeat(np.arange(N), weights))
        peer = boot_noise_ceiling(sample, method=PEERS[method])
        np.testing.assert_allclose([one[draw] for one in bounds], peer, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rank_pooling", ["mean_of_ranks", "reranked"])
@pytest.mark.parametrize("method", COMPARATORS)
def test_bounds_of_everything_once_are_the_means_over_subjects(method, rank_pooling):
    settings = {"comparison": method, "rank_pooling": rank_pooling}
    lower, upper = leave_one_subject_out(B, **settings)
    once = np.ones((1, N)), np.ones((1, len(B)))
    drawn = leave_one_subject_out_resampled(B, *once, **settings)
    np.testing.assert_allclose(drawn, [[lower.mean()], [upper.mean()]], rtol=0, atol=1e-10)
    pool = pool_rdms(B, **settings)
    as_means = method == "spearman" and rank_pooling == "mean_of_ranks"
    if not as_means:
        compared = compare_rdms(B, pool[None], method=method)[:, 0]
        tolerance = 1e-6 if method == "riemannian" else 1e-10  # a search from the same start
        np.testing.assert_allclose(upper, compared, rtol=0, atol=tolerance)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_no_prediction_beats_the_pool(seed):
    rng = np.random.default_rng(seed)
    subjects = rng.random((4, 45)) + rng.random(45)
    for method in ("pearson", "cosine", "rho_a"):
        pool = pool_rdms(subjects, comparison=method)
        best = compare_rdms(pool[None], subjects, method=method).mean()
        other = pool * (1 + 0.1 * rng.normal(size=45))
        assert compare_rdms(other[None], subjects, method=method).mean() <= best + 1e-12


def test_bad_subjects_are_refused():
    with pytest.raises(ContractError, match="1 subject, expected at least two"):
        leave_one_subject_out(B[:1])
    with pytest.raises(ContractError, match="rank_pooling is 'median'"):
        pool_rdms(B, rank_pooling="median")
    with pytest.raises(ContractError, match="2 draws of stimuli, 3 of subjects"):
        leave_one_subject_out_resampled(B, np.ones((2, N)), np.ones((3, 4)))
    with pytest.raises(ContractError, match="how often each of the target's subjects"):
        leave_one_subject_out_resampled(B, np.ones((2, N)), np.ones((2, 3)))
    broken = B.copy()
    broken[1, 2] = np.nan
    with pytest.raises(ContractError, match="vectors: 1 dissimilarities are not finite"):
        leave_one_subject_out(broken)


def test_too_few_stimuli_are_not_the_best_riemannian_distance():
    weights = np.ones((2, N), dtype=int)
    weights[0, 2:] = 0
    drawn = compare_resampled(A, B, weights, method="riemannian")
    assert np.isnan(drawn[0]).all()
    assert (drawn[1] < 0).all()


@pytest.mark.parametrize("shift", [0.0, -9.0])
def test_bures_of_no_positive_variance_is_undefined(shift):
    empty = np.vstack([A[0] * 0 + shift, A[1]])
    with pytest.warns(UndefinedCorrelationWarning, match="4 of 8 correlations"):
        plain = compare_rdms(empty, B, method="bures")
    with pytest.warns(UndefinedCorrelationWarning, match="4 of 8 correlations"):
        drawn = compare_resampled(empty, B, np.ones((1, N)), method="bures")
    np.testing.assert_array_equal(plain[0], 0)
    np.testing.assert_allclose(drawn[0], plain, rtol=0, atol=1e-12)


def test_missing_dissimilarities_are_named():
    broken = A.copy()
    broken[1, [3, 8]] = np.nan
    with pytest.raises(ContractError, match="of 273; the first is pair 3 of matrix 1"):
        compare_rdms(broken, B)
    with pytest.raises(ContractError, match="b is no array of real numbers"):
        compare_rdms(A, [["a", "b", "c"]])
    with pytest.raises(ContractError, match=r"shapes \(91,\) and \(78,\), expected finite"):
        bures_metric(A[0], B[0, :78])
    with pytest.raises(ContractError, match="expected finite condensed"):
        bures_metric(broken[1], B[0])


def test_noise_in_small_units_must_be_symmetric_too():
    noise = NOISE * 1e-12
    expected = compare_rdms(A, B, method="whitened_cosine", sigma=NOISE)
    ours = compare_rdms(A, B, method="whitened_cosine", sigma=noise)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    noise[0, 1] *= 1.01
    with pytest.raises(ContractError, match="symmetric and positive definite"):
        compare_rdms(A, B, method="whitened_cosine", sigma=noise)


@pytest.mark.parametrize("method", COMPARATORS)
def test_stimuli_of_no_draw_change_nothing(method):
    rng = np.random.default_rng(3)
    points = rng.normal(size=(4, 12, 14))
    squares = ((points[:, :, None] - points[:, None]) ** 2).sum(axis=-1)
    weights = np.array(
        [[2, 1, 0, 1, 0, 3, 1, 0, 1, 0, 0, 1], [1] * 2 + [0] * 3 + [1] * 4 + [0] * 3]
    )
    drawn = np.flatnonzero(weights.any(axis=0))
    all_pairs, some = np.triu_indices(12, k=1), np.triu_indices(len(drawn), k=1)
    every = squares[:, *all_pairs]
    few = squares[np.ix_(range(4), drawn, drawn)][:, *some]
    np.testing.assert_allclose(
        compare_resampled(every[:2], every[2:], weights, method=method),
        compare_resampled(few[:2], few[2:], weights[:, drawn], method=method),
        atol=1e-12,
    )
    if method.startswith("whitened"):
        noise = np.cov(rng.normal(size=(12, 40)))
        np.testing.assert_allclose(
            compare_resampled(every[:2], every[2:], weights, method=method, sigma=noise),
            compare_resampled(
                few[:2],
                few[2:],
                weights[:, drawn],
                method=method,
                sigma=noise[np.ix_(drawn, drawn)],
            ),
            atol=1e-12,
        )

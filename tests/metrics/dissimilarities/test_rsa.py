"""Dissimilarities and their comparison, against rsatoolbox and by their laws."""

import time

import numpy as np
import pytest
import torch
import xarray as xr

from brainscore_lite.datasets import load_dataset
from brainscore_lite.metrics import (
    CKA,
    RSA,
    Metric,
    UndefinedDissimilarityError,
    compare_rdms,
    rdm,
)
from brainscore_lite.metrics.correlation import UndefinedCorrelationWarning
from brainscore_lite.metrics.dissimilarities.comparison import compare_resampled
from brainscore_lite.metrics.dissimilarities.rank_statistics import Concordance
from brainscore_lite.metrics.dissimilarities.rdm import condensed, square
from brainscore_lite.schema import ContractError, activations, rdms, responses

COMPARATORS = {
    "pearson": "corr",
    "spearman": "spearman",
    "kendall_tau_a": "tau-a",
    "cosine": "cosine",
}
RNG = np.random.default_rng(0)
PATTERNS = RNG.normal(size=(40, 120)) + RNG.normal(size=(40, 1)) + 1
OTHERS = np.stack([rdm(RNG.normal(size=(40, 30)) + PATTERNS[:, :30]).round(2) for _ in range(3)])
NAMES = [f"s{i}" for i in range(40)]


@pytest.mark.parametrize("method", ["correlation", "euclidean"])
@pytest.mark.parametrize("n_features", [20, 120])
def test_dissimilarities_equal_rsatoolbox(method: str, n_features: int) -> None:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    patterns = PATTERNS[:, :n_features]
    peer = calc_rdm(Dataset(patterns), method=method).dissimilarities[0]
    assert np.abs(rdm(patterns, method=method) - peer).max() < 1e-10
    tensor = rdm(torch.tensor(patterns), method=method)
    assert isinstance(tensor, torch.Tensor)
    assert np.abs(tensor.numpy() - peer).max() < 1e-10


@pytest.mark.parametrize("method", COMPARATORS)
def test_comparisons_equal_rsatoolbox(method: str) -> None:
    from rsatoolbox.rdm import RDMs, compare

    source = rdm(PATTERNS)[None]
    peer = compare(RDMs(source), RDMs(OTHERS), method=COMPARATORS[method])
    ours = compare_rdms(source, OTHERS, method=method)
    assert ours.shape == (1, 3)
    assert np.abs(ours - peer).max() < 1e-10


@pytest.mark.parametrize("method", COMPARATORS)
def test_resampling_equals_rsatoolbox_on_the_drawn_stimuli(method: str) -> None:
    from rsatoolbox.rdm import RDMs, compare

    source = rdm(PATTERNS)
    draws = np.random.default_rng(3).integers(0, 40, size=(4, 40))
    weights = np.stack([np.bincount(draw, minlength=40) for draw in draws])
    ours = compare_resampled(source, OTHERS, weights, method=method)
    everything = RDMs(
        np.vstack([source[None], OTHERS]), pattern_descriptors={"index": np.arange(40)}
    )
    for draw, ours_drawn in zip(draws, ours, strict=True):
        drawn = everything.subsample_pattern("index", draw)
        peer = compare(drawn[0], drawn.subset("index", [1, 2, 3]), method=COMPARATORS[method])
        assert np.abs(ours_drawn - peer[0]).max() < 1e-10


def test_tau_counts_the_same_in_blocks_and_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=700).round(1)
    b = (a + rng.normal(size=700)).round(1)
    weights = rng.integers(0, 4, size=(3, 700)).astype(float)
    repeated = [w.astype(int) for w in weights]
    expected = [
        compare_rdms(np.repeat(a, w), np.repeat(b, w), method="kendall_tau_a") for w in repeated
    ]
    np.testing.assert_allclose(Concordance.of(a, b).tau_a(weights)[0], expected, atol=1e-12)
    monkeypatch.setattr(
        "brainscore_lite.metrics.dissimilarities.rank_statistics._LARGEST_BLOCK", 50
    )
    np.testing.assert_allclose(Concordance.of(a, b).tau_a(weights)[0], expected, atol=1e-12)


def test_identical_matrices_compare_as_one() -> None:
    source = rdm(PATTERNS)
    for method in COMPARATORS:
        assert compare_rdms(source, source, method=method) == pytest.approx(1.0)
    assert compare_rdms(source, -source, method="kendall_tau_a") == pytest.approx(-1.0)


def test_rotation_leaves_euclidean_dissimilarities() -> None:
    rotation = np.linalg.qr(RNG.normal(size=(120, 120)))[0]
    one, other = (rdm(p, method="euclidean") for p in (PATTERNS, PATTERNS @ rotation))
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_condensed_and_square_are_inverse() -> None:
    source = rdm(PATTERNS)
    np.testing.assert_array_equal(condensed(square(source)), source)
    with pytest.raises(ContractError, match="4 dissimilarities are not those of a whole number"):
        square(np.ones(4))


def test_large_matrices_are_compared_fast() -> None:
    n_pairs = 640 * 639 // 2
    a, b = np.random.default_rng(0).random((2, n_pairs))
    for method in COMPARATORS:
        start = time.perf_counter()
        compare_rdms(a, b, method=method)
        assert time.perf_counter() - start < 20  # seconds; quadratic counting would take minutes


def test_bad_dissimilarities_are_refused() -> None:
    source = rdm(PATTERNS)
    broken = source.copy()
    broken[7] = np.nan
    with pytest.raises(ContractError, match="b: 1 dissimilarities are not finite"):
        compare_rdms(source, broken)
    with pytest.raises(ContractError, match="a has 780 pairs, b has 779"):
        compare_rdms(source, source[1:])
    with pytest.raises(ContractError, match="unknown comparison 'rho'; expected one of"):
        compare_rdms(source, source, method="rho")
    with pytest.raises(ContractError, match="expected condensed dissimilarities"):
        compare_rdms(square(source)[None], source)
    with pytest.raises(ContractError, match="unknown dissimilarity 'cosine'"):
        rdm(PATTERNS, method="cosine")
    with pytest.raises(ContractError, match="one stimulus, expected at least two"):
        rdm(PATTERNS[:1])
    flat = PATTERNS.copy()
    flat[4] = 2.5
    with pytest.raises(
        UndefinedDissimilarityError, match=r"1 of 40 stimuli .*\(first: position 4\)"
    ):
        rdm(flat)
    for settings in ({"dissimilarity": "cosine"}, {"comparison": "rho"}):
        with pytest.raises(ContractError, match="unknown"):
            RSA(**settings)


def test_constant_dissimilarities_count_as_zero_and_say_so() -> None:
    with pytest.warns(UndefinedCorrelationWarning, match="1 of 1 correlations are not defined"):
        assert compare_rdms(np.ones(10), np.arange(10.0)) == 0


def recorded(values: np.ndarray) -> xr.DataArray:
    return responses(
        values,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(values.shape[2])],
        region="IT",
        animal="one",
    )


def test_parts_are_subjects_for_matrices_and_one_population_for_responses() -> None:
    source = activations(PATTERNS, stimulus=NAMES, layer="conv")
    subjects = rdms(
        np.stack([square(one) for one in OTHERS]),
        stimulus=NAMES,
        subject=["s1", "s2", "s3"],
        region="IT",
        species="human",
    )
    values = RSA()(source, subjects)
    assert values.dims == ("subject",)
    expected = compare_rdms(rdm(PATTERNS)[None], OTHERS, method="spearman")[0]
    np.testing.assert_allclose(values, expected)
    trials = PATTERNS[None, :, :30] + RNG.normal(size=(4, 40, 30))
    population = RSA(comparison="pearson")(source, recorded(trials))
    assert population.dims == ()
    assert float(population) == pytest.approx(compare_rdms(rdm(PATTERNS), rdm(trials.mean(axis=0))))


def test_the_matrix_of_a_source_scores_as_the_source() -> None:
    source = activations(PATTERNS, stimulus=NAMES, layer="conv")
    target = recorded(PATTERNS[None, :, :30] + RNG.normal(size=(4, 40, 30)))
    matrix = RSA().matrix(source)
    assert matrix.dims == ("subject", "stimulus", "stimulus_other")
    xr.testing.assert_allclose(RSA()(matrix, target), RSA()(source, target))
    two = xr.concat([matrix, matrix.assign_coords(subject=["again"])], dim="subject")
    with pytest.raises(ContractError, match="source holds 2 dissimilarity matrices"):
        RSA()(two, target)


def test_units_name_the_comparison() -> None:
    assert RSA().unit == "spearman_r"
    assert RSA(comparison="kendall_tau_a").unit == "kendall_tau_a"


def test_human_and_monkey_it_agree_as_published(mirror: object) -> None:
    from brainscore_lite.datasets.kriegeskorte2008 import figure1_human

    monkey = load_dataset("kriegeskorte2008_92")["monkeyIT"]
    human = figure1_human()
    for comparison, value in (("pearson", 0.491), ("spearman", 0.439)):
        similarity = RSA(comparison=comparison)(human, monkey)
        assert float(similarity.squeeze()) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("metric", [RSA(), RSA(comparison="kendall_tau_a"), CKA()])
def test_time_bins_are_compared_one_by_one(metric: Metric) -> None:
    source = activations(PATTERNS, stimulus=NAMES, layer="conv")
    late = PATTERNS[:, :30] + 0.1 * RNG.normal(size=(40, 30))
    target = responses(
        np.stack([RNG.normal(size=(40, 30)), late], axis=-1)[None],
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(30)],
        region="IT",
        animal="one",
        time_bins=[(0, 50), (50, 100)],
    )
    values = metric(source, target)
    assert values.dims == ("time_bin",)
    assert values[1] > values[0] + 0.2
    assert values[1] == pytest.approx(float(metric(source, recorded(late[None]))))
    drawn = metric.compare(source, target).resampled(np.ones((3, 40), dtype=int))
    assert drawn.dims == ("draw", "time_bin")
    np.testing.assert_allclose(drawn[2], values, atol=1e-9)


def test_subjects_keep_their_time_bins() -> None:
    source = activations(PATTERNS, stimulus=NAMES, layer="conv")
    bins = xr.concat([RSA().matrix(source)] * 2, dim="time_bin").transpose(..., "time_bin")
    bins = bins.assign_coords(
        start_ms=("time_bin", [0.0, 50.0]), end_ms=("time_bin", [50.0, 100.0])
    )
    values = RSA()(source, bins)
    assert values.dims == ("subject", "time_bin")
    np.testing.assert_allclose(values, 1.0)


def test_square_matrices_are_refused_not_read_as_many() -> None:
    matrix = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    with pytest.raises(ContractError, match=r"a is a square matrix of 6 stimuli, expected cond"):
        compare_rdms(matrix, matrix)

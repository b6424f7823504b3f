"""Dissimilarities of recordings: movies over time, RSA with every dissimilarity, real data."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import spearmanr

from brainscore_lite.configuration import to_json
from brainscore_lite.datasets import load_dataset
from brainscore_lite.datasets.rsatoolbox_objects import to_rsatoolbox
from brainscore_lite.metrics import RSA, compare_rdms
from brainscore_lite.metrics.dissimilarities.dissimilarity import NOISE_FREE
from brainscore_lite.metrics.dissimilarities.noise_precision import noise_precision
from brainscore_lite.metrics.dissimilarities.rdm import condensed, rdm
from brainscore_lite.metrics.dissimilarities.recorded_rdms import rdm_movie, trial_dissimilarities
from brainscore_lite.schema import ContractError, activations, average_repetitions, responses

RNG = np.random.default_rng(5)
N_STIMULI, N_NEUROIDS = 20, 9
NAMES = [f"s{i:02d}" for i in RNG.permutation(N_STIMULI)]
FEATURES = np.abs(RNG.normal(size=(N_STIMULI, 30)))
RATES = FEATURES @ np.abs(RNG.normal(size=(30, N_NEUROIDS))) / 4
BINS = [(0.0, 50.0), (50.0, 100.0), (100.0, 150.0)]
COUNTS = np.stack([RNG.poisson(gain * RATES, (6, *RATES.shape)) for gain in (0.1, 1, 3)], axis=-1)


def recorded(values: np.ndarray) -> xr.DataArray:
    array = responses(
        values,
        stimulus=NAMES,
        neuroid=[f"n{i}" for i in range(N_NEUROIDS)],
        region="IT",
        animal="one",
        time_bins=BINS if values.ndim == 4 else None,
    )
    return array.assign_coords(session=("repetition", list("aabbcc")))


MOVIE = recorded(COUNTS)
SOURCE = activations(FEATURES, stimulus=NAMES, layer="conv")


def expected(trials: np.ndarray, method: str, folds: object = None) -> np.ndarray:
    if method in ("crossnobis", "mahalanobis"):
        arguments = {"precision": noise_precision(trials)}
    else:
        arguments = {}
    if method in ("crossnobis", "poisson_cv"):
        return np.asarray(rdm(trials, method=method, folds=folds, **arguments))
    return np.asarray(rdm(trials.mean(axis=0), method=method, **arguments))


@pytest.mark.parametrize("method", NOISE_FREE)
def test_a_movie_holds_the_matrix_of_each_time_bin(method: str) -> None:
    movie = rdm_movie(MOVIE, dissimilarity=method, species="macaque")
    assert movie.dims == ("subject", "stimulus", "stimulus_other", "time_bin")
    assert movie["subject"].values.tolist() == ["one"]
    assert movie["start_ms"].values.tolist() == [0.0, 50.0, 100.0]
    assert (movie["region"].item(), movie["species"].item()) == ("IT", "macaque")
    for position in range(3):
        vector = condensed(movie.values[0, :, :, position])
        np.testing.assert_allclose(
            vector, expected(COUNTS[..., position].astype(float), method), atol=1e-12
        )
    still = rdm_movie(MOVIE.isel(time_bin=1, drop=True), dissimilarity=method, subject="m1")
    assert still.dims == ("subject", "stimulus", "stimulus_other")
    np.testing.assert_allclose(still.values[0], movie.values[0, :, :, 1], atol=1e-12)


@pytest.mark.parametrize("method", ["euclidean", "correlation", "crossnobis", "poisson"])
def test_movies_equal_rsatoolbox(method: str) -> None:
    from rsatoolbox.data import TemporalDataset
    from rsatoolbox.rdm.calc import calc_rdm_movie

    rows = MOVIE.transpose("stimulus", "repetition", ...).values.reshape(-1, N_NEUROIDS, 3)
    cross = {"cv_descriptor": "fold"} if method == "crossnobis" else {}
    theirs = calc_rdm_movie(
        TemporalDataset(
            rows,
            obs_descriptors={"stimulus": np.repeat(NAMES, 6), "fold": np.tile(np.arange(6), 20)},
            time_descriptors={"time": np.arange(3)},
        ),
        method=method,
        descriptor="stimulus",
        **cross,
    )
    ours = rdm_movie(MOVIE, dissimilarity=method, noise="identity")
    # rsatoolbox sorts the stimuli it averages alphabetically: labels decide.
    order = theirs.pattern_descriptors["stimulus"]
    aligned = ours.sel(stimulus=order, stimulus_other=order).transpose("subject", "time_bin", ...)
    np.testing.assert_allclose(aligned.values[0], theirs.get_matrices(), atol=1e-12)


@pytest.mark.parametrize("method", NOISE_FREE)
def test_rsa_takes_every_dissimilarity(method: str) -> None:
    metric = RSA(dissimilarity=method, comparison="pearson")
    values = metric(SOURCE, MOVIE)
    assert values.dims == ("time_bin",)
    source = np.asarray(rdm(FEATURES, method=NOISE_FREE[method]))
    for position in range(3):
        target = expected(COUNTS[..., position].astype(float), method)
        similarity = compare_rdms(source, target, method="pearson")
        assert float(values[position]) == pytest.approx(similarity, abs=1e-12)
    drawn = metric.compare(SOURCE, MOVIE).resampled(np.ones((2, N_STIMULI), dtype=int))
    np.testing.assert_allclose(drawn[1], values, atol=1e-9)
    assert values[2] > values[0]
    assert method in to_json(metric)


def test_folds_may_be_sessions() -> None:
    trials = MOVIE.isel(time_bin=2, drop=True)
    by_session = RSA(dissimilarity="crossnobis", comparison="pearson", folds="session")
    vectors, template = by_session.target_dissimilarities(trials)
    labels = list("aabbcc")
    np.testing.assert_allclose(vectors[0], expected(trials.values, "crossnobis", labels))
    assert template.dims == ()
    by_trial = RSA(dissimilarity="crossnobis", comparison="pearson")
    assert not np.allclose(vectors, by_trial.target_dissimilarities(trials)[0])
    with pytest.raises(ContractError, match=r"no coordinate 'run'; they have \['repetition', 'ses"):
        RSA(dissimilarity="poisson_cv", folds="run")(SOURCE, trials)


def test_labels_decide_not_order() -> None:
    shuffled = MOVIE.isel(stimulus=np.random.default_rng(0).permutation(N_STIMULI))
    for method in ("crossnobis", "mahalanobis"):
        metric = RSA(dissimilarity=method)
        xr.testing.assert_allclose(metric(SOURCE, shuffled), metric(SOURCE, MOVIE))


def test_missing_trials_weigh_by_their_number() -> None:
    values = COUNTS[..., 2].astype(float)
    values[4:, ::2] = np.nan
    trials = recorded(values)
    score = RSA(dissimilarity="crossnobis", comparison="pearson")(SOURCE, trials)
    vector = rdm(values, method="crossnobis", precision=noise_precision(values))
    expected_score = compare_rdms(rdm(FEATURES, method="euclidean"), vector)
    assert float(score) == pytest.approx(expected_score)


@pytest.mark.parametrize("method", ["euclidean", "mahalanobis"])
def test_averages_over_unequal_repetitions_equal_rsatoolbox(method: str) -> None:
    from rsatoolbox.data.noise import prec_from_unbalanced
    from rsatoolbox.rdm.calc_unbalanced import calc_rdm_unbalanced

    values = COUNTS[..., 2].astype(float)
    values[4:, ::2] = values[0, 3] = np.nan
    trials = to_rsatoolbox(recorded(values))
    noise = prec_from_unbalanced(trials, "stimulus") if method == "mahalanobis" else None
    theirs = calc_rdm_unbalanced(trials, method, "stimulus", noise=noise)
    ours = rdm_movie(recorded(values), dissimilarity=method)
    assert theirs.pattern_descriptors["stimulus"].tolist() == NAMES
    np.testing.assert_allclose(ours.values, theirs.get_matrices(), atol=1e-12)


def test_unfit_settings_are_refused() -> None:
    with pytest.raises(ContractError, match="folds='session', but the euclidean dissimilarity"):
        RSA(dissimilarity="euclidean", folds="session")
    with pytest.raises(ContractError, match="unknown estimator of the noise 'ledoit'"):
        RSA(dissimilarity="crossnobis", noise="ledoit")
    single = MOVIE.isel(repetition=[0])
    for method in ("crossnobis", "poisson_cv", "mahalanobis"):
        with pytest.raises(ContractError, match=r"expected at least (two|one)"):
            RSA(dissimilarity=method, noise="diag")(SOURCE, single)
    areas = MOVIE.assign_coords(region=("neuroid", ["V4"] * 4 + ["IT"] * 5))
    with pytest.raises(ContractError, match=r"neuroids of 2 regions \(IT, V4\), expected one"):
        rdm_movie(areas)
    with pytest.raises(ContractError, match="responses is ndarray, expected an xarray"):
        rdm_movie(MOVIE.values)
    with pytest.raises(ContractError, match="values are negative"):
        RSA(dissimilarity="poisson")(SOURCE - 1, MOVIE)


def test_plain_dissimilarities_are_those_of_the_average() -> None:
    values = COUNTS[..., 2] + RNG.normal(size=COUNTS.shape[:3])
    values[4:, ::2] = np.nan
    trials = recorded(values)
    average = average_repetitions(trials).values
    for method in ("correlation", "euclidean"):
        vectors, _ = RSA(dissimilarity=method).target_dissimilarities(trials)
        np.testing.assert_array_equal(vectors[0], rdm(average, method=method))
    with pytest.raises(ContractError, match="these are dissimilarity matrices already"):
        rdm_movie(rdm_movie(MOVIE))


def test_plain_trials_of_any_kind_or_none() -> None:
    counts = COUNTS[..., 2]
    ours = trial_dissimilarities(counts, dissimilarity="euclidean")
    np.testing.assert_array_equal(ours, rdm(counts.mean(axis=0), method="euclidean"))
    for same in (counts.tolist(), counts.astype(np.uint8), torch.tensor(counts)):
        found = trial_dissimilarities(same, dissimilarity="euclidean")
        np.testing.assert_array_equal(found, ours)
    with pytest.raises(ContractError, match=r"trials have shape .* expected \(n_repetitions"):
        trial_dissimilarities(counts[0], dissimilarity="correlation")
    with pytest.raises(ContractError, match="unknown dissimilarity 'cosine'"):
        trial_dissimilarities(counts, dissimilarity="cosine")
    lost = counts.astype(float)
    lost[:, 2] = lost[:, 4, 1] = np.nan
    with pytest.raises(ContractError, match=r"2 of \d+ stimuli .* \(first: stimulus 2, neuroid 0"):
        trial_dissimilarities(lost, dissimilarity="correlation")


def test_mahalanobis_without_noise_estimate_is_euclidean() -> None:
    one = RSA(dissimilarity="mahalanobis", noise="identity")(SOURCE, MOVIE)
    xr.testing.assert_allclose(one, RSA(dissimilarity="euclidean")(SOURCE, MOVIE))


def test_v4_neurons_discriminate_across_trials(mirror: object) -> None:
    trials = load_dataset("cowley2023_v4_210325")["V4"]
    halves = trials.assign_coords(half=("repetition", np.arange(trials.sizes["repetition"]) % 2))
    one, other = (
        rdm_movie(half, dissimilarity="crossnobis", species="macaque")
        for half in (
            halves.isel(repetition=slice(0, None, 2)),
            halves.isel(repetition=slice(1, None, 2)),
        )
    )
    by_half = rdm_movie(halves, dissimilarity="crossnobis", folds="half", noise="diag")
    vectors = [condensed(each.values[0]) for each in (one, other, by_half)]
    assert all((vector > 0).mean() > 0.8 for vector in vectors)
    assert spearmanr(vectors[0], vectors[1])[0] > 0.4


@pytest.mark.slow
def test_it_conditions_separate_after_the_stimulus(mirror: object) -> None:
    """Figures of the recording's description: 0.06 before the stimulus, 0.78 after."""
    from brainscore_lite.datasets import zhang_desimone2011

    it = zhang_desimone2011.load(bin_ms=50, progress=False)["IT"]
    odd, even = (rdm_movie(it.isel(repetition=slice(start, None, 2))).values[0] for start in (0, 1))
    pairs = np.triu_indices(21, k=1)
    reliability = np.array([spearmanr(odd[pairs][:, t], even[pairs][:, t])[0] for t in range(20)])
    start = it["start_ms"].values
    assert abs(reliability[start < 0].mean()) < 0.2
    assert reliability[(start >= 150) & (start < 300)].mean() > 0.5
    crossed = rdm_movie(it, dissimilarity="crossnobis", noise="identity").values[0][pairs]
    before, after = crossed[:, start < 0].mean(), crossed[:, (start >= 100) & (start < 400)].mean()
    assert abs(before) < 0.1 * after

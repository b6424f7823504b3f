"""Decoding across time on codes that stay or change, and on recorded IT neurons."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from brainscore_lite.datasets import zhang_desimone2011
from brainscore_lite.metrics.behaviour.classification import classify
from brainscore_lite.metrics.behaviour.decoding import decoding_accuracy
from brainscore_lite.metrics.splits import Splits
from brainscore_lite.metrics.time.cross_temporal_decoding import (
    CrossTemporalDecoding,
    cross_temporal_decoding,
)
from brainscore_lite.metrics.time.step_by_time import mass_above_below
from brainscore_lite.schema import ContractError, responses

RNG = np.random.default_rng(12)
N_CLASSES, N_TRIALS, N_UNITS = 4, 80, 25
LABELS = np.repeat([f"object{i}" for i in range(N_CLASSES)], N_TRIALS // N_CLASSES)
CODES = np.repeat(np.arange(N_CLASSES), N_TRIALS // N_CLASSES)
CENTRES = RNG.normal(size=(3, N_CLASSES, N_UNITS))


def trials(*codes_at: int | None) -> np.ndarray:
    """Trials over time; at each time one of three codes, or none."""
    patterns = [
        RNG.normal(size=(N_TRIALS, N_UNITS)) * 0.8 + (0 if code is None else CENTRES[code][CODES])
        for code in codes_at
    ]
    return np.stack(patterns, axis=-1)


@pytest.mark.parametrize("classifier", ["maximum_correlation", "lda"])
def test_codes_generalise_for_as_long_as_they_stay(classifier: str) -> None:
    accuracy = cross_temporal_decoding(trials(None, 0, 0, 1), LABELS, classifier=classifier)
    assert accuracy.shape == (5, 4, 4)
    mean = accuracy.mean(axis=0)
    assert mean[1:3, 1:3].min() > 0.9
    assert mean[3, 3] > 0.9
    elsewhere = [mean[0, 0], mean[0, 2], mean[2, 0], mean[1, 3], mean[3, 2]]
    assert max(elsewhere) < 0.55
    mass = mass_above_below(mean, baseline=0.25)
    assert 0.05 < float(mass.above) < 0.3


@pytest.mark.parametrize("classifier", ["maximum_correlation", "logistic", "ridge", "lda"])
def test_within_a_time_it_is_decoding_accuracy(classifier: str) -> None:
    patterns = trials(0, 1)
    ours = cross_temporal_decoding(patterns, LABELS, classifier=classifier, splits=4)
    for t in range(2):
        within = decoding_accuracy(patterns[..., t], LABELS, classifier=classifier, splits=4)
        np.testing.assert_allclose(ours[:, t, t], within, atol=1e-12)


def test_across_times_it_is_a_loop_over_them() -> None:
    patterns, folds = trials(0, 0), Splits(4).folds(N_TRIALS, strata=LABELS)
    ours = cross_temporal_decoding(patterns, LABELS, splits=folds)
    for k, fold in enumerate(folds):
        answers = classify(
            patterns[fold.train, :, 0],
            LABELS[fold.train],
            test_X=patterns[fold.test, :, 1],
            classifier="maximum_correlation",
        )
        assert ours[k, 0, 1] == pytest.approx((answers == LABELS[fold.test]).mean())


def test_tensors_and_small_number_types_give_the_same() -> None:
    counts = RNG.poisson(4 * np.exp(0.5 * trials(0, 0))).clip(0, 250)
    expected = cross_temporal_decoding(counts.astype(float), LABELS)
    np.testing.assert_array_equal(cross_temporal_decoding(torch.tensor(counts), LABELS), expected)
    small = cross_temporal_decoding(counts.astype(np.uint8), LABELS)
    np.testing.assert_array_equal(small, expected)


def recorded(n_repetitions: int = 6) -> xr.DataArray:
    stimuli = [f"{i}_{place}" for i in range(N_CLASSES) for place in ("up", "down")]
    names = [s.split("_")[0] for s in stimuli]
    signal = CENTRES[0][np.array(names, dtype=int)][..., None] * np.array([0, 1, 1])
    noise = np.random.default_rng(3).normal(size=(n_repetitions, *signal.shape))
    return responses(
        signal + 0.5 * noise,
        stimulus=stimuli,
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="one",
        time_bins=[(-50, 0), (50, 100), (100, 150)],
        stimulus_coords={"object_name": names, "position": [s.split("_")[1] for s in stimuli]},
    )


def test_labelled_decoding_says_when_and_what_chance_is() -> None:
    accuracy = CrossTemporalDecoding("object_name")(recorded())
    assert accuracy.dims == ("split", "train_time", "test_time")
    assert accuracy["train_start_ms"].values.tolist() == [-50, 50, 100]
    assert float(accuracy["chance"]) == 0.25
    mean = accuracy.mean("split")
    assert float(mean[1:, 1:].min()) > 0.9
    assert float(mean[0].max()) < 0.6
    xr.testing.assert_identical(CrossTemporalDecoding("object_name")(recorded()), accuracy)


def test_groups_are_left_out_as_a_whole() -> None:
    metric = CrossTemporalDecoding("object_name", n_splits=2, group="position")
    assert metric(recorded()).sizes["split"] == 2
    alone = CrossTemporalDecoding("position", n_splits=2, group="position")
    with pytest.raises(ContractError, match="tests label 'up', which it does not train"):
        alone(recorded())


def test_trials_that_lack_a_neuroid_are_left_out_and_counted() -> None:
    ragged = recorded()
    ragged[5, :, 2] = np.nan  # one neuroid
    ragged[4, 0] = np.nan  # a stimulus shown less often
    accuracy = CrossTemporalDecoding("object_name")(ragged)
    assert (int(accuracy["n_samples"]), int(accuracy["n_incomplete"])) == (5 * 8 - 1, 9)
    assert float(accuracy["chance"]) == 10 / 39
    assert float(accuracy[:, 1:, 1:].mean()) > 0.9
    whole = CrossTemporalDecoding("object_name")(recorded().isel(repetition=slice(5)))
    ragged = recorded()
    ragged[5] = np.nan
    np.testing.assert_array_equal(CrossTemporalDecoding("object_name")(ragged), whole)


def test_bad_input_is_refused() -> None:
    patterns = trials(0, 1)
    with pytest.raises(ContractError, match=r"trials have shape \(80, 25\), expected"):
        cross_temporal_decoding(patterns[..., 0], LABELS)
    with pytest.raises(ContractError, match="one for each of 80"):
        cross_temporal_decoding(patterns, LABELS[1:])
    with pytest.raises(ContractError, match="expected at least two"):
        cross_temporal_decoding(patterns, ["a"] * 80)
    with pytest.raises(ContractError, match="classifier is 'svm', expected one of"):
        cross_temporal_decoding(patterns, LABELS, classifier="svm")
    with pytest.raises(ContractError, match="stratum 'object0' has 20 stimuli, fewer than the 30"):
        cross_temporal_decoding(patterns, LABELS, splits=30)
    broken = patterns.copy()
    broken[3, 7, 1] = np.inf
    with pytest.raises(ContractError, match="trials at time 1: 1 of 25 units hold NaN or inf"):
        cross_temporal_decoding(broken, LABELS)
    alternating = recorded()
    alternating[::2, :, 2] = alternating[1::2, :, 3] = np.nan
    with pytest.raises(ContractError, match="no trial was recorded from all neuroids"):
        CrossTemporalDecoding("object_name")(alternating)
    with pytest.raises(ContractError, match="no coordinate 'category'"):
        CrossTemporalDecoding("category")(recorded())
    with pytest.raises(ContractError, match="trials have dims"):
        CrossTemporalDecoding("object_name")(recorded().isel(time_bin=0, drop=True))


@pytest.mark.slow
def test_objects_are_decoded_from_recorded_it_neurons(mirror: Path) -> None:
    """Chance before the stimulus, best where the response is, and a code that stays in part."""
    edges = [(-300, -150), (50, 150), (100, 250), (350, 500)]
    spikes = zhang_desimone2011.load(bin_ms=50, progress=False)["IT"]
    complete = spikes.isel(repetition=slice(0, 19))
    start = complete["start_ms"].values
    counts = [
        complete.isel(time_bin=(start >= first) & (start < last)).sum("time_bin").values
        for first, last in edges
    ]
    windows = responses(
        np.stack(counts, axis=-1),
        stimulus=complete["stimulus"].values,
        neuroid=complete["neuroid"].values,
        region="IT",
        animal="bp",
        time_bins=edges,
        stimulus_coords={"object_name": complete["object_name"].values},
    )
    accuracy = CrossTemporalDecoding("object_name")(windows)
    mean = accuracy.mean("split").values
    chance = float(accuracy["chance"])
    np.testing.assert_allclose([*mean[0], *mean[:, 0]], chance, atol=0.05)
    assert np.diag(mean).argmax() == 2
    assert mean[2, 2] > 0.8
    assert chance + 0.2 < mean[2, 3] < mean[3, 3]
    mass = mass_above_below(mean, baseline=chance)
    assert min(float(mass.above), float(mass.below)) > 0.1

"""Simulated V4 and IT: the reliability and the ceiling are those asked for."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainscore_lite.datasets import load_dataset
from brainscore_lite.datasets.dataset import DatasetError
from brainscore_lite.datasets.simulated import REGIONS, SimulatedRecording, load, true_activations
from brainscore_lite.schema import average_repetitions, check_responses, match_stimuli
from brainscore_lite.seeding import generator

SETTINGS = SimulatedRecording(n_stimuli=320, n_neuroids=24, n_repetitions=6, reliability=0.7)


def test_it_satisfies_the_contract_and_says_simulated() -> None:
    dataset = load(SETTINGS)
    assert dataset.simulated
    assert dataset.caveats == ("simulated",)
    for region in REGIONS:
        trials = check_responses(dataset[region])
        assert trials.shape == (6, 320, 24)
        assert list(np.unique(trials.animal.values, return_counts=True)[1]) == [12, 12]
        assert list(np.unique(trials.block.values, return_counts=True)[1]) == 8 * [40]
    assert dataset.stimuli is not None
    assert dataset.stimuli.read(0).shape == (64, 64, 3)
    assert dataset.stimuli.ids == tuple(dataset["V4"].stimulus.values)


def test_the_default_is_loaded_by_name() -> None:
    dataset = load_dataset("simulated_v4_it")
    assert dataset["IT"].sizes["stimulus"] == SimulatedRecording().n_stimuli


def test_equal_settings_make_equal_recordings() -> None:
    first, second = load(SETTINGS), load(SETTINGS)
    assert first["IT"].identical(second["IT"])
    assert first.sha256 == second.sha256
    other = load(SimulatedRecording(n_stimuli=320, n_neuroids=24, n_repetitions=6, seed=1))
    assert not np.allclose(first["IT"].values, other["IT"].values)
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("reliability", [0.3, 0.8])
def test_reliability_of_trials_is_the_analytic_value(region: str, reliability: float) -> None:
    settings = SimulatedRecording(n_stimuli=400, n_repetitions=8, reliability=reliability)
    trials = load(settings)[region].values
    random, corrected = generator(0, "test", "halves"), []
    for _ in range(10):
        order = random.permutation(8)
        first, second = trials[order[:4]].mean(axis=0), trials[order[4:]].mean(axis=0)
        r = [np.corrcoef(first[:, i], second[:, i])[0, 1] for i in range(first.shape[1])]
        corrected.append(2 * np.array(r) / (1 + np.array(r)))
    by_neuroid = np.mean(corrected, axis=0)
    standard_error = by_neuroid.std(ddof=1) / np.sqrt(len(by_neuroid))
    assert by_neuroid.mean() == pytest.approx(reliability, abs=3 * standard_error)
    assert standard_error < 0.02


@pytest.mark.parametrize("region", REGIONS)
def test_true_tuning_correlates_at_the_ceiling(region: str) -> None:
    settings = SimulatedRecording()
    truth = true_activations(settings)
    truth, recorded = match_stimuli(truth, average_repetitions(load(settings)[region]))
    tuning = truth.sel(neuroid=recorded.neuroid.values).values
    assert set(truth.sel(neuroid=recorded.neuroid.values).layer.values) == {region}
    r = [np.corrcoef(tuning[:, i], recorded.values[:, i])[0, 1] for i in range(tuning.shape[1])]
    assert settings.ceiling == pytest.approx(np.sqrt(0.8))
    assert np.mean(r) == pytest.approx(settings.ceiling, abs=0.01)


@pytest.mark.parametrize("region", REGIONS)
def test_regression_from_the_true_generator_nears_the_ceiling(region: str) -> None:
    settings = SimulatedRecording()
    truth = true_activations(settings)
    features = truth.values[:, truth.layer.values == region]
    responses = average_repetitions(load(settings)[region]).values
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13), alpha_per_target=True))
    predicted = cross_val_predict(
        ridge, features, responses, cv=KFold(10, shuffle=True, random_state=0)
    )
    r = [np.corrcoef(predicted[:, i], responses[:, i])[0, 1] for i in range(responses.shape[1])]
    assert np.mean(r) == pytest.approx(settings.ceiling, abs=0.02)


def test_it_tells_objects_apart() -> None:
    dataset = load()
    tuning = average_repetitions(dataset["IT"])
    accuracy = cross_val_score(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        tuning.values,
        tuning.object_name.values,
        cv=5,
    ).mean()
    assert accuracy > 0.4  # chance 0.125


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"reliability": 0.0}, r"reliability is 0\.0, expected 0 < c <= 1"),
        ({"n_stimuli": 1}, "at least two stimuli"),
        ({"animals": ("a", "a")}, "names unique"),
        ({"image_size": 16}, "image_size is 16, expected at least 32"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        SimulatedRecording(**settings)  # type: ignore[arg-type]

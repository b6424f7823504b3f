"""Linear decoding: known accuracies, scikit-learn, labels and bad input."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainscore_lite.configuration import to_json
from brainscore_lite.datasets import zhang_desimone2011
from brainscore_lite.metrics.behaviour.classification import class_probabilities
from brainscore_lite.metrics.behaviour.decoding import Decoding, chance_accuracy, decoding_accuracy
from brainscore_lite.metrics.splits import Fold, Splits
from brainscore_lite.schema import ContractError, activations, responses

CLASSIFIERS = ("logistic", "maximum_correlation", "ridge", "lda")


def patterns(
    n: int = 120, n_units: int = 20, n_classes: int = 4, signal: float = 0.6, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    rng = np.random.default_rng(seed)
    code = np.arange(n) % n_classes
    X = signal * rng.normal(size=(n_classes, n_units))[code] + rng.normal(size=(n, n_units))
    return X, np.array([f"class{c}" for c in code])


each_classifier = pytest.mark.parametrize("classifier", CLASSIFIERS)


@each_classifier
def test_pure_signal_is_decoded_and_pure_noise_is_not(classifier: str) -> None:
    X, labels = patterns(signal=10)
    assert (decoding_accuracy(X, labels, classifier=classifier, splits=5) == 1).all()
    noise, labels = patterns(n=2000, n_units=8, signal=0)
    accuracy = decoding_accuracy(noise, labels, classifier=classifier, splits=5).mean()
    assert accuracy == pytest.approx(0.25, abs=0.03)


def test_accuracy_reaches_the_optimum_of_two_gaussians() -> None:
    """Two unit Gaussians at distance d are told apart with Phi(d / 2) at best."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 2000)
    X = rng.normal(size=(4000, 3)) + 2.0 * (labels == "a")[:, None] * np.array([1.0, 0, 0])
    for classifier in ("logistic", "ridge", "lda"):
        accuracy = decoding_accuracy(X, labels, classifier=classifier, splits=5).mean()
        assert accuracy == pytest.approx(norm.cdf(1), abs=0.012)


@pytest.mark.parametrize("n_units", [12, 150])
@pytest.mark.parametrize(
    ("classifier", "model"),
    [
        ("logistic", LogisticRegression(max_iter=2000)),
        ("ridge", RidgeClassifier()),
        ("lda", LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
    ],
)
def test_equals_a_pipeline_of_scikit_learn(classifier: str, model: object, n_units: int) -> None:
    X, labels = patterns(n_units=n_units, signal=3 / np.sqrt(n_units))
    folds = StratifiedKFold(3, shuffle=True, random_state=3)
    theirs = cross_val_score(make_pipeline(StandardScaler(), model), X, labels, cv=folds)
    ours = decoding_accuracy(X, labels, classifier=classifier, splits=Splits(3, seed=3))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_maximum_correlation_equals_its_definition() -> None:
    X, labels = patterns(n_units=9)
    folds = Splits(5, seed=1).folds(len(X), strata=labels)
    expected = []
    for fold in folds:
        mean, deviation = X[fold.train].mean(axis=0), X[fold.train].std(axis=0)
        z = (X - mean) / deviation
        right = 0
        for i in fold.test:
            r = {
                name: np.corrcoef(z[i], z[fold.train][labels[fold.train] == name].mean(axis=0))[
                    0, 1
                ]
                for name in np.unique(labels)
            }
            right += max(r, key=lambda name: r[name]) == labels[i]
        expected.append(right / len(fold.test))
    ours = decoding_accuracy(X, labels, classifier="maximum_correlation", splits=folds)
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@each_classifier
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 50), shift=st.floats(-20, 20))
def test_units_may_be_scaled_shifted_and_reordered(
    classifier: str, seed: int, scale: float, shift: float
) -> None:
    X, labels = patterns(n=60, n_units=6, n_classes=3, signal=2, seed=seed)
    order = np.random.default_rng(seed).permutation(6)
    moved = X[:, order] * np.linspace(1, scale, 6) + shift
    before = decoding_accuracy(X, labels, classifier=classifier, splits=3)
    after = decoding_accuracy(moved, labels, classifier=classifier, splits=3)
    # rounding may tip a pattern on the boundary
    np.testing.assert_allclose(before, after, atol=1 / 20 + 1e-9)


def test_names_of_classes_do_not_matter() -> None:
    X, labels = patterns()
    renamed = np.char.add("x", labels)
    numbers = np.array([int(name[-1]) for name in labels])
    for other in (renamed, numbers):
        np.testing.assert_array_equal(
            decoding_accuracy(X, labels, splits=3), decoding_accuracy(X, other, splits=3)
        )


def test_balanced_accuracy_averages_over_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["often", "rare"], [180, 20])
    X = rng.normal(size=(200, 5))
    plain = decoding_accuracy(X, labels, splits=4).mean()
    balanced = decoding_accuracy(X, labels, splits=4, balanced=True).mean()
    assert plain == pytest.approx(0.9, abs=0.02)
    assert balanced == pytest.approx(0.5, abs=0.05)
    assert chance_accuracy(labels) == 0.9
    assert chance_accuracy(labels, balanced=True) == 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32, bool])
def test_any_real_dtype(dtype: type) -> None:
    X, labels = patterns(signal=4)
    counts = np.clip(np.round(20 * X + 120), 0, 255).astype(dtype)
    if dtype is bool:
        counts = X > 0
    expected = decoding_accuracy(counts.astype(np.float64), labels, splits=3)
    np.testing.assert_array_equal(decoding_accuracy(counts, labels, splits=3), expected)


def test_torch_tensors() -> None:
    X, labels = patterns()
    np.testing.assert_array_equal(
        decoding_accuracy(torch.tensor(X), labels, splits=3), decoding_accuracy(X, labels, splits=3)
    )


def test_constant_units_change_nothing() -> None:
    X, labels = patterns()
    wider = np.hstack([X, np.full((len(X), 2), 3.0)])
    np.testing.assert_array_equal(
        decoding_accuracy(wider, labels, splits=3), decoding_accuracy(X, labels, splits=3)
    )


def test_grouped_folds_leave_whole_groups_out() -> None:
    """What tells classes apart differs by group, so that only memory of the group decodes."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(8), 30)
    labels = np.where(rng.random(240) < 0.5, "a", "b")
    code = rng.normal(size=(8, 40)) * 3
    X = code[group] * (labels == "a")[:, None] + rng.normal(size=(240, 40))
    assert decoding_accuracy(X, labels, splits=8).mean() > 0.9
    assert decoding_accuracy(X, labels, splits=8, groups=group).mean() < 0.8


def bad(**changes: object) -> dict[str, object]:
    X, labels = patterns(n=40)
    return {"X": X, "labels": labels, "splits": 4, **changes}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (bad(X=np.zeros((0, 3))), r"X: shape is \(0, 3\), expected"),
        (bad(X=np.ones(40)), r"X: shape is \(40,\), expected"),
        (bad(X=np.full((40, 3), np.nan)), "3 of 3 units hold NaN or inf; first: unit 0"),
        (bad(X=np.array([["a", "b"]] * 40)), "expected real numbers"),
        (bad(labels=["a"] * 40), r"labels name one class \('a'\), expected at least two"),
        (bad(labels=["a", "b"]), r"labels have shape \(2,\), expected one for each of 40"),
        (bad(labels=[np.nan, *[1.0, 2.0] * 19, 1.0]), r"1 of 40 stimuli have none .* stimulus 0"),
        (bad(labels=["a"] * 38 + ["b"] * 2), "stratum 'b' has 2 stimuli, fewer than the 4 splits"),
        (bad(classifier="svm"), "classifier is 'svm', expected one of"),
        (bad(splits=60), "40 stimuli cannot be split into 60 folds"),
        (bad(splits=Splits(4), seed=1), "seed=1 was given together with Splits"),
        (bad(X=np.ones((40, 2)), classifier="maximum_correlation"), "there are 2; expected at le"),
    ],
)
def test_bad_input(arguments: dict[str, object], message: str) -> None:
    X, labels = arguments.pop("X"), arguments.pop("labels")
    with pytest.raises(ContractError, match=message):
        decoding_accuracy(X, labels, **arguments)


def test_ready_folds_have_to_train_every_class() -> None:
    X, labels = patterns(n=40)
    where = np.arange(40)
    fold = Fold(train=where[labels != "class2"], test=where[labels == "class2"])
    with pytest.raises(ContractError, match="split 0 tests the class 'class2', which its training"):
        decoding_accuracy(X, labels, splits=[fold])


# ---- readout of probabilities


@pytest.mark.parametrize("n_classes", [2, 5])
def test_class_probabilities_minimise_the_penalised_loss(n_classes: int) -> None:
    """At the minimum the gradient C X'(p - y) + W vanishes, with W known from the log odds."""
    X, labels = patterns(n=80, n_units=4, n_classes=n_classes)
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    p, classes = class_probabilities(X, labels, test_X=X, penalty=0.05)
    log_odds = np.log(p) - np.log(p).mean(axis=1, keepdims=True)
    W = np.linalg.lstsq(np.hstack([z, np.ones((80, 1))]), log_odds, rcond=None)[0][:-1]
    y = (labels[:, None] == classes) * 1.0
    np.testing.assert_allclose(0.05 * z.T @ (p - y) + W, 0, atol=2e-4)
    np.testing.assert_allclose((p - y).sum(axis=0), 0, atol=5e-3)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_class_probabilities_refuse_bad_input() -> None:
    X, labels = patterns(n=40)
    for arguments, message in (
        ({"test_X": X[:, :3]}, "train_X has 20 features and test_X 3"),
        ({"test_X": X, "penalty": 0.0}, "penalty is 0.0, expected a positive"),
        ({"test_X": X * np.inf}, "test_X: 20 of 20 neuroids hold NaN or inf"),
    ):
        with pytest.raises(ContractError, match=message):
            class_probabilities(X, labels, **arguments)
    with pytest.raises(ContractError, match=r"train_labels have shape \(39,\)"):
        class_probabilities(X, labels[1:], test_X=X)


# ---- labelled


def recording(n_repetitions: int = 6, n_bins: int = 3) -> xr.DataArray:
    """12 stimuli of 3 objects at 4 positions; the object is there from the second bin on."""
    rng = np.random.default_rng(1)
    names = list(itertools.product(("car", "face", "kiwi"), ("up", "low", "left", "right")))
    tuning = {name: rng.normal(size=15) for name in ("car", "face", "kiwi")}
    signal = np.stack([tuning[name] for name, _ in names])[..., None]
    time = np.arange(n_bins) > 0
    values = rng.normal(size=(n_repetitions, 12, 15, n_bins)) + 2 * signal * time
    return responses(
        values,
        stimulus=[f"{name}_{position}" for name, position in names],
        neuroid=[f"n{i}" for i in range(15)],
        region="IT",
        animal="one",
        time_bins=[(100 * b, 100 * b + 100) for b in range(n_bins)],
        stimulus_coords={
            "object_name": [name for name, _ in names],
            "position": [position for _, position in names],
        },
    )


def test_decoding_over_time_bins() -> None:
    accuracy = Decoding("object_name", samples="trials", n_splits=6)(recording())
    assert accuracy.dims == ("split", "time_bin")
    assert accuracy["start_ms"].values.tolist() == [0, 100, 200]
    assert float(accuracy["chance"]) == pytest.approx(1 / 3)
    assert int(accuracy["n_samples"]) == 72
    by_bin = accuracy.mean("split").values
    assert by_bin[0] == pytest.approx(1 / 3, abs=0.12)
    assert (by_bin[1:] > 0.95).all()
    xr.testing.assert_identical(
        accuracy, Decoding("object_name", samples="trials", n_splits=6)(recording())
    )


def test_generalisation_to_new_positions() -> None:
    decode = Decoding("object_name", samples="trials", n_splits=4, group="position")
    assert (decode(recording()).isel(time_bin=1) > 0.9).all()
    whole_stimuli = Decoding("object_name", samples="trials", n_splits=4, group="stimulus")
    assert float(whole_stimuli(recording()).isel(time_bin=1).mean()) > 0.9


def test_incomplete_trials_are_left_out_and_counted() -> None:
    ragged = recording()
    ragged[5, :2, 3] = np.nan
    accuracy = Decoding("object_name", samples="trials", n_splits=4)(ragged)
    assert int(accuracy["n_samples"]) == 70
    assert int(accuracy["n_incomplete"]) == 2
    ragged[:, :, 0] = ragged[:, :, 0].where(ragged["repetition"] == 0)
    ragged[0, :, 1] = np.nan
    with pytest.raises(ContractError, match="no trial was recorded from all neuroids"):
        Decoding("object_name", samples="trials", n_splits=4)(ragged)


def test_activations_take_labels_from_the_recording() -> None:
    target = recording(n_bins=1).isel(time_bin=0, drop=True)
    rng = np.random.default_rng(1)
    code = {"car": 0, "face": 1, "kiwi": 2}
    X = np.eye(3)[[code[name] for name in target["object_name"].values]] * 5
    movie = np.stack([X + rng.normal(size=X.shape), np.full_like(X, np.nan)], axis=-1)
    source = activations(movie, stimulus=target["stimulus"].values, layer="IT")
    order = np.random.default_rng(2).permutation(12)
    decode = Decoding("object_name", classifier="ridge", n_splits=4)
    accuracy = decode(source.isel(stimulus=order), target)
    assert accuracy.dims == ("split", "step")
    assert float(accuracy.isel(step=0).mean()) > 0.9
    assert np.isnan(accuracy.isel(step=1)).all()
    xr.testing.assert_identical(accuracy, decode(source, target["object_name"]))
    with pytest.raises(ContractError, match="no coordinate 'object_name'"):
        decode(source)


def test_settings() -> None:
    assert "Decoding" in to_json(Decoding("object_name"))
    with pytest.raises(ContractError, match="samples is 'all', expected one of"):
        Decoding("object_name", samples="all")
    with pytest.raises(ContractError, match="classifier is 'svm'"):
        Decoding("object_name", classifier="svm")
    with pytest.raises(ContractError, match="n_splits is 1"):
        Decoding("object_name", n_splits=1)


@pytest.mark.slow
def test_objects_in_recorded_spikes(mirror: object) -> None:
    """All trials, maximum correlation, 150 ms windows: chance before the stimulus, then .59, .91.

    The last two are what the reader's own test notes for leaving out each trial in turn.
    """
    it = zhang_desimone2011.load(bin_ms=50, progress=False)["IT"]
    windows = {-300: 1 / 7, 50: 0.59, 100: 0.91}
    for start, accuracy in windows.items():
        end = start + (100 if start == 50 else 150)
        inside = (it["start_ms"].values >= start) & (it["end_ms"].values <= end)
        counts = it.isel(time_bin=inside).sum("time_bin", skipna=False)
        decode = Decoding("object_name", classifier="maximum_correlation", samples="trials")
        found = decode(counts)
        assert float(found["chance"]) == pytest.approx(1 / 7, abs=0.005)
        assert float(found.mean()) == pytest.approx(accuracy, abs=0.06)


def test_missing_and_absent_labels() -> None:
    labels = pd.Series(["a", "b"] * 19 + ["a", pd.NA], dtype="string")
    with pytest.raises(ContractError, match=r"1 of 40 stimuli have none .* stimulus 39"):
        decoding_accuracy(np.random.default_rng(0).normal(size=(40, 3)), labels)
    with pytest.raises(ContractError, match="1 of 3 stimuli have none"):
        chance_accuracy(["a", "b", np.nan])
    for nothing in ([], "a"):
        with pytest.raises(ContractError, match="expected one for each of"):
            chance_accuracy(nothing)
    with pytest.raises(ContractError, match="source is ndarray, expected an xarray"):
        Decoding("object_name")(np.ones((4, 3)))

"""Decoding and behaviour beside their peers: numbers and time.

``python speed/behaviour.py [--quick]`` prints both tables.
"""

import sys
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from measure import HERE, Parity, Speed, cpu_seconds, markdown, run_peer
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainscore_lite.metrics.behaviour.classification import class_probabilities
from brainscore_lite.metrics.behaviour.decoding import decoding_accuracy
from brainscore_lite.metrics.behaviour.error_consistency import among, error_consistency
from brainscore_lite.metrics.behaviour.image_confusions import ImageConfusions
from brainscore_lite.metrics.behaviour.signatures import behavioural_signature, confusion_rates
from brainscore_lite.metrics.behaviour.solution_times import solution_times
from brainscore_lite.metrics.splits import Splits

SIGNATURES = ("i1", "i1n", "i2", "i2n")
BRAINSCORE = "Brain-Score 2.4.2"
QUICK, FULL = ("simulated", 6000), ("alexnet", 60000)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return result


def simulated_model(n_objects: int, per_object: int) -> dict[str, NDArray[Any]]:
    """Simulate a model's probabilities."""
    choices = np.array([f"object{i:02d}" for i in range(n_objects)])
    truth = np.repeat(choices, per_object)
    noise = np.random.default_rng(3).normal(size=(len(truth), n_objects))
    return {
        "stimuli": np.array([f"image{i:04d}" for i in range(len(truth))]),
        "choices": choices,
        "truth": truth,
        "probabilities": softmax(2.0 * (truth[:, None] == choices) + 1.4 * noise),
    }


def alexnet() -> dict[str, NDArray[Any]]:
    """Read the probabilities of networks that Brain-Score ships: 240 images, 24 objects.

    They carry no true objects: these are the best assignment of ten images to each object by the
    mean of the three networks.
    """
    folder = next((HERE / ".peers").glob("brainscore/**/i1i2/test_resources"))
    files = [folder / f"{name}-probabilities.nc" for name in ("alexnet", "resnet18", "resnet34")]
    networks = [xr.load_dataset(file, engine="h5netcdf") for file in files]
    values = [next(iter(each.data_vars.values())).values.astype(float) for each in networks]
    order = [np.argsort(each["image_id"].values.astype(str)) for each in networks]
    mean = np.mean([p[rows] for p, rows in zip(values, order, strict=True)], axis=0)
    choices = networks[0]["choice_"].values.astype(str)
    _, taken = linear_sum_assignment(-np.repeat(mean, 10, axis=1))
    return {
        "stimuli": np.sort(networks[0]["image_id"].values.astype(str)),
        "choices": choices,
        "truth": choices[taken // 10],
        "probabilities": values[0][order[0]],
    }


def confusions(model: dict[str, NDArray[Any]], n_trials: int) -> dict[str, NDArray[Any]]:
    """Simulate trials of people who confuse partly what the model confuses, and a time course."""
    rng = np.random.default_rng(0)
    choices, truth, stimuli = model["choices"], model["truth"], model["stimuli"]
    n, n_objects = model["probabilities"].shape
    shared = np.log(model["probabilities"])
    human = softmax(shared + rng.normal(size=shared.shape))
    code = (truth[:, None] == choices).argmax(axis=1)
    image = rng.integers(n, size=n_trials)
    wrong = (code[image] + rng.integers(1, n_objects, size=n_trials)) % n_objects
    p_wrong = human[image, wrong] / (human[image, wrong] + human[image, code[image]])
    chosen = np.where(rng.random(n_trials) < p_wrong, wrong, code[image])
    gain = np.linspace(0, 2, 12)[:, None, None] * rng.uniform(0.2, 2, size=(n, 1))
    return model | {
        "trial_stimulus": stimuli[image],
        "trial_choice": choices[chosen],
        "trial_truth": truth[image],
        "trial_distractor": choices[wrong],
        "movie": softmax(gain * shared + 0.5 * rng.normal(size=(12, n, n_objects))),
        "times": np.arange(70, 190, 10),
        "threshold": rng.uniform(0.5, 3.0, size=n),
    }


def recognition(n_subjects: int, n_images: int) -> dict[str, NDArray[Any]]:
    """Simulate answers of people and a model, and features to read out."""
    rng = np.random.default_rng(1)
    names = np.array([f"category{i}" for i in range(16)])
    image_truth = names[rng.integers(16, size=n_images)]
    easy = rng.random(n_images)
    right = rng.random((n_subjects + 1, n_images)) < easy
    answers = np.where(right, image_truth, "none")
    train_labels = names[rng.integers(16, size=400)]
    tuning = dict(zip(names, rng.normal(size=(16, 60)), strict=True))
    return {
        "images": np.array([f"picture{i:03d}" for i in range(n_images)]),
        "image_truth": image_truth,
        "subjects": np.array([f"subject{i:02d}" for i in range(n_subjects)]),
        "answers": answers[1:],
        "model_answers": answers[0],
        "train_X": np.stack([tuning[name] for name in train_labels]) + rng.normal(size=(400, 60)),
        "train_labels": train_labels,
        "test_X": rng.normal(size=(50, 60)),
    }


@cache
def brainscore(network: str, n_trials: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was given to Brain-Score and what it answered."""
    model = alexnet() if network == "alexnet" else simulated_model(6, 8)
    given = confusions(model, n_trials) | recognition(10, 160)
    return given, run_peer("brainscore", "behaviour.py", given)


def labelled(given: dict[str, Any]) -> tuple[xr.DataArray, pd.DataFrame]:
    """Label the simulated probabilities and trials."""
    source = xr.DataArray(
        given["probabilities"],
        dims=("stimulus", "choice"),
        coords={"stimulus": given["stimuli"], "choice": given["choices"]},
    )
    columns = ("stimulus", "choice", "truth", "distractor")
    return source, pd.DataFrame({name: given[f"trial_{name}"] for name in columns})


def largest(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Return the largest difference; what is not defined must not be so on both sides."""
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return float("inf")
    return float(np.nanmax(np.abs(ours - theirs)))


def parity(quick: bool = False) -> list[Parity]:
    """Compare with Brain-Score and scikit-learn on the same arrays."""
    given, theirs = brainscore(*(QUICK if quick else FULL))
    source, trials = labelled(given)
    images = "simulated probabilities" if quick else "AlexNet's probabilities it ships"
    data = f"{images}, {len(given['stimuli'])} images, {len(trials)} simulated trials"
    rows = []
    for name in SIGNATURES:
        ours = ImageConfusions(name)(source, trials)
        for part in ("score", "ceiling"):
            difference = largest(ours[part].values, theirs[f"{name}_{part}"])
            rows.append(Parity(f"{name} {part}", BRAINSCORE, data, difference, "same halves"))
    right = (given["answers"] == given["image_truth"]) * 1.0
    own = (given["model_answers"] == given["image_truth"]) * 1.0
    pairs = among(right)[np.triu_indices(len(right), k=1)]
    people = "simulated, 10 people, 160 images"
    rows += [
        Parity(
            "error consistency, model to people",
            BRAINSCORE,
            people,
            largest(error_consistency(own, right).kappa, theirs["kappa_model"]),
            "pair by pair; its score is the absolute value of their mean",
        ),
        Parity(
            "error consistency, people to people",
            BRAINSCORE,
            people,
            largest(np.sort(pairs), theirs["kappa_humans"]),
        ),
        Parity("accuracy", BRAINSCORE, people, abs(own.mean() - float(theirs["accuracy"]))),
        _readout(given, theirs),
        _solution_times(given, theirs),
        _decoding(),
    ]
    return rows


def _readout(given: dict[str, Any], theirs: dict[str, Any]) -> Parity:
    ours, _ = class_probabilities(given["train_X"], given["train_labels"], test_X=given["test_X"])
    return Parity(
        "class probabilities",
        BRAINSCORE,
        "simulated, 400 x 60, 16 classes",
        largest(ours, theirs["readout"]),
        "newton-cg of scikit-learn 1.5 there",
    )


def _solution_times(given: dict[str, Any], theirs: dict[str, Any]) -> Parity:
    truth, choices = given["truth"], given["choices"]
    performance = np.stack(
        [
            behavioural_signature(
                confusion_rates(p, truth=truth, choices=choices),
                truth=truth,
                choices=choices,
                signature="i1",
            )
            for p in given["movie"]
        ]
    )
    ours = {
        name: solution_times(
            performance, given["threshold"], times=given["times"], interpolation=name
        )
        for name in ("brainscore", "previous_bin")
    }
    earlier = np.nanmax(np.abs(ours["brainscore"] - ours["previous_bin"]))
    solved = np.isfinite(ours["brainscore"]).mean()
    return Parity(
        'object solution times, interpolation="brainscore"',
        BRAINSCORE,
        "simulated, 12 bins of 10 ms, its TensorFlow readout replaced by given probabilities",
        largest(ours["brainscore"], theirs["ost"]),
        f"{solved:.0%} solved; its previous bin is the best, up to {earlier:.1f} ms off",
    )


def _decoding() -> Parity:
    X, labels = patterns(300, 80)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    theirs = cross_val_score(pipeline, X, labels, cv=folds)
    return Parity(
        "decoding accuracy, logistic",
        "scikit-learn",
        "simulated, 300 x 80, 6 classes",
        largest(decoding_accuracy(X, labels, splits=Splits(10, seed=0)), theirs),
    )


def patterns(n_stimuli: int, n_units: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Simulate patterns of six classes."""
    rng = np.random.default_rng(2)
    labels = rng.integers(6, size=n_stimuli)
    X = rng.normal(size=(6, n_units))[labels] * 10 / np.sqrt(n_units) + rng.normal(
        size=(n_stimuli, n_units)
    )
    return X, np.array([f"class{i}" for i in labels])


def speed(quick: bool) -> list[Speed]:
    """Time i2n against Brain-Score."""
    given, theirs = brainscore(*(QUICK if quick else FULL))
    source, trials = labelled(given)
    return [
        Speed(
            "i2n with ceiling, {} images x {} objects, ".format(*source.shape)
            + f"{len(trials)} trials",
            BRAINSCORE,
            cpu_seconds(lambda: ImageConfusions("i2n")(source, trials)),
            float(theirs["i2n_seconds"]),
        ),
    ]


def main() -> None:
    """Print both tables."""
    quick = "--quick" in sys.argv
    print(markdown(parity(quick)))
    print()
    print(markdown(speed(quick)))


if __name__ == "__main__":
    main()

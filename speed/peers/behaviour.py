"""Brain-Score's i1, i2n, error consistency, readout and solution times of given arrays."""

import importlib.util
import sys
import time
from pathlib import Path

import brainscore_vision
import numpy as np
from brainscore_core.supported_data_standards.brainio.assemblies import BehavioralAssembly
from brainscore_vision.metrics.accuracy.metric import Accuracy
from brainscore_vision.metrics.error_consistency.metric import ErrorConsistency
from brainscore_vision.metrics.i1i2.metric import I1, I2, I1n, I2n
from brainscore_vision.metrics.ost import metric as ost

# its package imports OpenCV, which the readout does not need
behavior = importlib.util.spec_from_file_location(
    "behavior",
    Path(brainscore_vision.__file__).parent / "model_helpers/brain_transformation/behavior.py",
)
readouts = importlib.util.module_from_spec(behavior)
behavior.loader.exec_module(readouts)

given_path, answer_path = sys.argv[1:3]
given = dict(np.load(given_path))
answer = {}


def probabilities(values):
    """Label class probabilities as the model side does."""
    return BehavioralAssembly(
        values,
        coords={
            "stimulus_id": ("presentation", given["stimuli"]),
            "image_number": ("presentation", np.arange(len(given["stimuli"]))),
            "choice": ("choice", given["choices"]),
        },
        dims=["presentation", "choice"],
    )


trials = BehavioralAssembly(
    given["trial_choice"],
    coords={
        "stimulus_id": ("presentation", given["trial_stimulus"]),
        "truth": ("presentation", given["trial_truth"]),
        "sample_obj": ("presentation", given["trial_truth"]),
        "dist_obj": ("presentation", given["trial_distractor"]),
    },
    dims=["presentation"],
)
for name, make in {"i1": I1, "i1n": I1n, "i2": I2, "i2n": I2n}.items():
    metric = make()
    start = time.process_time()
    answer[f"{name}_score"] = metric(probabilities(given["probabilities"]), trials).raw.values
    answer[f"{name}_ceiling"] = metric.ceiling(trials, skipna=True).raw.values
    answer[f"{name}_seconds"] = time.process_time() - start

subjects, images = given["answers"].shape
people = BehavioralAssembly(
    given["answers"].ravel(),
    coords={
        "stimulus_id": ("presentation", np.tile(given["images"], subjects)),
        "truth": ("presentation", np.tile(given["image_truth"], subjects)),
        "condition": ("presentation", np.full(subjects * images, "only")),
        "subject": ("presentation", np.repeat(given["subjects"], images)),
    },
    dims=["presentation"],
)
model = BehavioralAssembly(
    given["model_answers"],
    coords={
        "stimulus_id": ("presentation", given["images"]),
        "truth": ("presentation", given["image_truth"]),
        "condition": ("presentation", np.full(images, "only")),
    },
    dims=["presentation"],
)
consistency = ErrorConsistency()
start = time.process_time()
with_model = consistency(model, people).raw
among_people = consistency.ceiling(people).raw
answer["kappa_seconds"] = time.process_time() - start
answer["kappa_model"] = with_model.sel(subject=list(given["subjects"])).values.ravel()
answer["kappa_humans"] = np.sort(among_people.values.ravel())
answer["accuracy"] = np.array(float(Accuracy()(given["model_answers"], given["image_truth"])))

features = {
    side: BehavioralAssembly(
        given[f"{side}_X"],
        coords={
            "stimulus_id": ("presentation", [f"{side}{i}" for i in range(len(given[f"{side}_X"]))]),
            "number": ("presentation", np.arange(len(given[f"{side}_X"]))),
            "neuroid_id": ("neuroid", np.arange(given["train_X"].shape[1])),
            "layer": ("neuroid", ["one"] * given["train_X"].shape[1]),
        },
        dims=["presentation", "neuroid"],
    )
    for side in ("train", "test")
}


class Labels:
    """What the readout asks of its labels."""

    values = given["train_labels"]


readout = readouts.ProbabilitiesMapping.ProbabilitiesClassifier().fit(features["train"], Labels)
found = readout.predict_proba(features["test"])
answer["readout"] = found.sel(choice=sorted(found["choice"].values)).values


class Replayed:
    """Stand in for the TensorFlow readout by the probabilities of each time bin in turn."""

    bins = iter(given["movie"])

    def fit(self, X, labels):
        """Fit nothing."""

    def predict_proba(self, X):
        """Return this bin's probabilities."""
        return labelled_truth(next(self.bins))

    def close(self):
        """Hold nothing."""


def labelled_truth(values):
    """Add the true object, as the recording's coordinates would."""
    assembly = probabilities(values)
    assembly["truth"] = "presentation", given["truth"]
    return assembly


ost.TFProbabilitiesClassifier = Replayed
n_bins = len(given["movie"])
source = BehavioralAssembly(
    np.zeros((len(given["stimuli"]), 1, n_bins)),
    coords={
        "stimulus_id": ("presentation", given["stimuli"]),
        "image_label": ("presentation", given["truth"]),
        "neuroid_id": ("neuroid", [0]),
        "layer": ("neuroid", ["one"]),
        "time_bin_start": ("time_bin", given["times"]),
        "time_bin_end": ("time_bin", given["times"] + 10),
    },
    dims=["presentation", "neuroid", "time_bin"],
)
required = BehavioralAssembly(
    np.zeros(len(given["stimuli"])),
    coords={
        "stimulus_id": ("presentation", given["stimuli"]),
        "i1": ("presentation", given["threshold"]),
    },
    dims=["presentation"],
)
answer["ost"] = ost.OSTCorrelation().compute_osts(source, source, required)
np.savez(answer_path, **answer)

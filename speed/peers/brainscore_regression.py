"""Brain-Score's own regressions on given splits; runs in the environment of Brain-Score.

    python brainscore_regression.py given.npz answer.npz

Given: ``X`` (stimulus, feature), ``Y`` (stimulus, site), ``tests`` (split, stimulus) of bool,
``name`` of a regression: pls, pls_converged, ridge, ridgecv, dual_ridgecv,
linear, neuron_to_neuron. Answer: ``r`` (split, site) and the ``seconds`` of CPU time of each split.
"""

import sys
import time

import numpy as np
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_vision.metrics.regression_correlation import metric

REGRESSIONS = {
    "pls": metric.pls_regression,
    "pls_converged": lambda: metric.pls_regression({"max_iter": 100_000, "tol": 1e-26}),
    "ridge": metric.ridge_regression,
    "ridgecv": metric.ridge_cv_regression,
    "dual_ridgecv": metric.dual_ridge_cv_regression,
    "linear": metric.linear_regression,
    "neuron_to_neuron": metric.single_regression,
}


def assembly(values: np.ndarray, stimuli: np.ndarray) -> NeuroidAssembly:
    """Label values as Brain-Score does."""
    names = [f"unit{i:06d}" for i in range(values.shape[1])]
    coords = {
        "stimulus_id": ("presentation", [f"stimulus{i:06d}" for i in stimuli]),
        "object_name": ("presentation", np.repeat("any", len(stimuli))),
        "neuroid_id": ("neuroid", names),
        "region": ("neuroid", np.repeat("IT", len(names))),
    }
    return NeuroidAssembly(values, coords=coords, dims=["presentation", "neuroid"])


def main() -> None:
    """Fit and score each split."""
    given = np.load(sys.argv[1])
    X, Y = given["X"], given["Y"]
    scores, seconds = [], []
    for test in given["tests"]:
        parts = [np.flatnonzero(~test), np.flatnonzero(test)]
        sources, targets = ([assembly(v[p], p) for p in parts] for v in (X, Y))
        start = time.process_time()
        scorer = metric.TrainTestSplitCorrelation(
            regression=REGRESSIONS[str(given["name"])](),
            correlation=metric.pearsonr_correlation(),
        )
        score = scorer(sources[0], sources[1], targets[0], targets[1])
        seconds.append(time.process_time() - start)
        scores.append(score.attrs["raw"].sortby("neuroid_id").values)
    np.savez(sys.argv[2], r=np.array(scores), seconds=np.array(seconds))


if __name__ == "__main__":
    main()

"""Run Brain-Score's own metrics, ceilings and normalisations on arrays; see speed/ceilings.py.

Given: `source` (stimulus, feature), `trials` (repetition, stimulus, site), `stimulus`, `object`,
`subject` (by site), `test` (bool by stimulus), `metrics` (names to run), `runs` (timed calls of
each), `variants` (whether to fit by subject and on a fixed split as well). Answers: for every
metric its value, error and table, and CPU seconds.
"""

import os
import sys
import time
import warnings
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
from brainscore_core import Score
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_vision.benchmark_helpers.neural_common import (
    average_repetition,
    explained_variance,
    neuroid_wise_explained_var,
)
from brainscore_vision.metrics.cka.metric import CKA, CKACrossValidated
from brainscore_vision.metrics.internal_consistency.ceiling import InternalConsistency
from brainscore_vision.metrics.rdm.metric import (
    RDM,
    RDMCrossValidated,
    RDMMetric,
    RDMSimilarity,
)
from brainscore_vision.metrics.regression_correlation.metric import (
    CrossRegressedCorrelation,
    TrainTestSplitCorrelation,
    linear_regression,
    pearsonr_correlation,
    pls_regression,
    ridge_cv_regression,
    ridge_regression,
    single_regression,
)
from brainscore_vision.metrics.rsa_ceiling.ceiling import RSACeiling

warnings.filterwarnings("ignore")
REGRESSIONS = {
    "pls": pls_regression,
    "ridge": ridge_regression,
    "linear_predictivity": linear_regression,
    "ridgecv": ridge_cv_regression,
    "neuron_to_neuron": single_regression,
}


def recorded(given: dict[str, np.ndarray]) -> NeuroidAssembly:
    """Lay trials out as presentations x sites, repetition after repetition."""
    n_repetitions, n_stimuli, n_sites = given["trials"].shape
    return NeuroidAssembly(
        given["trials"].reshape(-1, n_sites),
        coords={
            "stimulus_id": ("presentation", np.tile(given["stimulus"], n_repetitions)),
            "object_name": ("presentation", np.tile(given["object"], n_repetitions)),
            "repetition": ("presentation", np.repeat(np.arange(n_repetitions), n_stimuli)),
            "neuroid_id": ("neuroid", np.arange(n_sites)),
            "subject": ("neuroid", given["subject"]),
            "region": ("neuroid", ["IT"] * n_sites),
        },
        dims=["presentation", "neuroid"],
    )


def averaged(given: dict[str, np.ndarray]) -> NeuroidAssembly:
    """Average over repetitions in the order given, on which the splits depend."""
    n_sites = given["trials"].shape[2]
    return NeuroidAssembly(
        given["trials"].mean(axis=0),
        coords={
            "stimulus_id": ("presentation", given["stimulus"]),
            "object_name": ("presentation", given["object"]),
            "neuroid_id": ("neuroid", np.arange(n_sites)),
            "subject": ("neuroid", given["subject"]),
            "region": ("neuroid", ["IT"] * n_sites),
        },
        dims=["presentation", "neuroid"],
    )


def activations(given: dict[str, np.ndarray]) -> NeuroidAssembly:
    """Label features."""
    n_features = given["source"].shape[1]
    return NeuroidAssembly(
        given["source"],
        coords={
            "stimulus_id": ("presentation", given["stimulus"]),
            "object_name": ("presentation", given["object"]),
            "neuroid_id": ("neuroid", np.arange(n_features)),
            "layer": ("neuroid", ["conv"] * n_features),
        },
        dims=["presentation", "neuroid"],
    )


def similarity(name: str) -> Any:
    """Return a metric without a fixed test set."""
    if name in REGRESSIONS:
        return CrossRegressedCorrelation(REGRESSIONS[name](), pearsonr_correlation())
    return {
        "rdm": RDMMetric,
        "rdm_cv": RDMCrossValidated,
        "cka": CKA,
        "cka_biased": lambda: CKA(unbiased=False),
        "cka_cv": CKACrossValidated,
    }[name]()


def fixed_split(
    name: str, source: NeuroidAssembly, target: NeuroidAssembly, test: np.ndarray
) -> Score:
    """Fit on the stimuli that are not tested, score once."""
    metric = TrainTestSplitCorrelation(REGRESSIONS[name](), pearsonr_correlation())
    return metric(
        source_train=source[~test],
        source_test=source[test],
        target_train=target[~test],
        target_test=target[test],
    )


def by_subject(
    name: str, source: NeuroidAssembly, target: NeuroidAssembly, ceiling: Score
) -> tuple[float, float]:
    """Fit and ceil each subject apart as ``alpha_coord='subject'`` does; mean score, mean raw."""
    scores, raws = [], []
    for subject in np.unique(target["subject"].values):
        sites = target["subject"].values == subject
        raw = similarity(name)(source, target[:, sites])
        own = Score(np.mean(np.median(ceiling.raw.values[:, sites], axis=1)))
        scores.append(float(explained_variance(raw, own)))
        raws.append(float(raw))
    return float(np.mean(scores)), float(np.mean(raws))


def rsa(source: NeuroidAssembly, target: NeuroidAssembly) -> Score:
    """Score as ``RSABenchmark`` does once it has the activations: its call needs images."""
    dissimilarity, compared = RDM(), RDMSimilarity()
    model, subjects = dissimilarity(source), []
    for subject in np.unique(target["subject"].values):
        own = target.sel(neuroid=target["subject"] == subject)
        subjects.append(float(compared(model, dissimilarity(own))))
    raw, ceiling = Score(np.mean(subjects)), RSACeiling()(target)
    score = Score(raw.values / ceiling.values)
    score.attrs.update(raw=raw, ceiling=ceiling)
    return score


def timed(call: Any, runs: int) -> tuple[Any, list[float]]:
    """Call it some times; the last result and the CPU seconds of each."""
    seconds = []
    for _ in range(max(runs, 1)):
        start = time.process_time()
        result = call()
        seconds.append(time.process_time() - start)
    return result, seconds


def main(given_path: str, answer_path: str) -> None:
    """Compute what is asked for."""
    with np.load(given_path) as found:
        given = dict(found)
    source, target, trials = activations(given), averaged(given), recorded(given)
    runs = int(given["runs"])
    ceiling, seconds = timed(lambda: InternalConsistency()(trials), runs)
    answer: dict[str, Any] = {
        "ceiling": ceiling.values,
        "ceiling_error": ceiling.error,
        "ceiling_table": ceiling.raw.transpose("split", "neuroid").values,
        "ceiling_cpu": seconds,
        "average": average_repetition(trials).sortby("stimulus_id").values,
    }
    for name in given["metrics"].tolist():
        if name == "rsa":
            score = rsa(source, target)
            answer |= {"rsa": score.raw.values, "rsa_ceiled": score.values}
            answer |= {"rsa_ceiling": score.ceiling.values}
            answer |= {"rsa_lower": score.ceiling.attrs["lower_bound_loo"]}
            continue
        score, seconds = timed(lambda name=name: similarity(name)(source, target), runs)
        answer |= {name: score.values, f"{name}_cpu": seconds}
        if "error" in score.attrs:
            answer[f"{name}_error"] = score.error
        if name in REGRESSIONS:
            answer[f"{name}_table"] = score.raw.transpose("split", "neuroid").values
            answer[f"{name}_ceiled"] = explained_variance(score, ceiling).values
        if name in REGRESSIONS and given["variants"]:
            answer[f"{name}_by_subject"] = by_subject(name, source, target, ceiling)
            fixed = fixed_split(name, source, target, given["test"])
            answer[f"{name}_fixed"] = fixed.values
            of_test = InternalConsistency()(
                trials[np.tile(given["test"], given["trials"].shape[0])]
            )
            answer[f"{name}_fixed_by_neuroid"] = neuroid_wise_explained_var(fixed, of_test).values
    np.savez(answer_path, **answer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

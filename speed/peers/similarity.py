"""Brain-Score's CKA and its regression that spans time, on given arrays."""

import sys

import numpy as np
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_vision.metrics.cka.metric import CKA, kernel_CKA
from brainscore_vision.metrics.regression_correlation import pearsonr_correlation, pls_regression
from brainscore_vision.metrics.regression_correlation.metric import (
    SpanTimeCrossRegressedCorrelation,
)

given_path, answer_path = sys.argv[1:3]
given = dict(np.load(given_path))
answer = {}


def assembly(values, dims=("presentation", "neuroid")):
    """Label responses as Brain-Score expects them, stimuli in sorted order."""
    coords = {
        "stimulus_id": ("presentation", [f"s{i:05d}" for i in range(values.shape[0])]),
        "object_name": ("presentation", ["a"] * values.shape[0]),
        "neuroid_id": ("neuroid", [f"n{i:05d}" for i in range(values.shape[1])]),
        "neuroid_num": ("neuroid", np.arange(values.shape[1])),
    }
    if len(dims) == 3:
        start = 50 * np.arange(values.shape[2])
        coords |= {
            "time_bin_start": ("time_bin", start),
            "time_bin_end": ("time_bin", start + 50),
        }
    return NeuroidAssembly(values, coords=coords, dims=dims)


X, Y = given["X"], given["Y"]
answer["cka"] = float(CKA()(assembly(X), assembly(Y)).values)
answer["cka_biased"] = float(CKA(unbiased=False)(assembly(X), assembly(Y)).values)
answer["rbf_cka_biased"] = float(kernel_CKA(X, Y))

over_time = ("presentation", "neuroid", "time_bin")
metric = SpanTimeCrossRegressedCorrelation(
    regression=pls_regression(),
    correlation=pearsonr_correlation(),
    crossvalidation_kwargs={"stratification_coord": None},
)
score = metric(assembly(given["X_time"], over_time), assembly(given["Y_time"], over_time))
raw = score.attrs["raw"]
while "raw" in raw.attrs and "neuroid" not in raw.dims:
    raw = raw.attrs["raw"]
answer["span_time"] = raw.transpose("split", "time_bin", "neuroid").values
np.savez(answer_path, **answer)

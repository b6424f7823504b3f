"""Metrics: how similar a model's activations are to recorded responses.

Array kernels (:func:`linear_predictivity`, :func:`rdm`, :func:`compare_rdms`,
:func:`linear_cka`) take plain arrays; the frozen classes (:class:`LinearPredictivity`,
:class:`RSA`, :class:`CKA`) align labelled arrays by stimulus and label the result.
"""

from brainscore_lite.metrics.cka import CKA, linear_cka
from brainscore_lite.metrics.comparison import compare_rdms
from brainscore_lite.metrics.cross_validation import (
    CrossValidated,
    chosen_per_split,
    cross_validate,
)
from brainscore_lite.metrics.gram import Gram, gram
from brainscore_lite.metrics.linear_predictivity import LinearPredictivity, linear_predictivity
from brainscore_lite.metrics.metric import Comparison, Metric
from brainscore_lite.metrics.pls import PLS
from brainscore_lite.metrics.rdm import UndefinedDissimilarityError, rdm
from brainscore_lite.metrics.ridge import Ridge
from brainscore_lite.metrics.rsa import RSA
from brainscore_lite.metrics.splits import Fold, Splits

METRICS: dict[str, Metric] = {
    "ridge": LinearPredictivity(regression="ridge"),
    "pls": LinearPredictivity(regression="pls"),
    "rsa": RSA(),
    "cka": CKA(),
}
"""The ready-made metrics by name."""

__all__ = [
    "CKA",
    "METRICS",
    "PLS",
    "RSA",
    "Comparison",
    "CrossValidated",
    "Fold",
    "Gram",
    "LinearPredictivity",
    "Metric",
    "Ridge",
    "Splits",
    "UndefinedDissimilarityError",
    "chosen_per_split",
    "compare_rdms",
    "cross_validate",
    "gram",
    "linear_cka",
    "linear_predictivity",
    "rdm",
]

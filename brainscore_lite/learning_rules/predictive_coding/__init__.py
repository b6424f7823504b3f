"""Predictive coding: errors are differences between activities and what predicts them.

`FixedPredictionCoding` and `ZeroDivergenceInferenceLearning` compute backprop's gradient;
`PredictiveCoding`, its incremental and its nudged form let values settle before or while weights
learn, and differ from backprop in what they learn.
"""

from brainscore_lite.learning_rules.predictive_coding.fixed_prediction import FixedPredictionCoding
from brainscore_lite.learning_rules.predictive_coding.incremental import IncrementalPredictiveCoding
from brainscore_lite.learning_rules.predictive_coding.nudged import NudgedPredictiveCoding
from brainscore_lite.learning_rules.predictive_coding.strict import PredictiveCoding
from brainscore_lite.learning_rules.predictive_coding.zero_divergence import (
    ZeroDivergenceInferenceLearning,
)

__all__ = [
    "FixedPredictionCoding",
    "IncrementalPredictiveCoding",
    "NudgedPredictiveCoding",
    "PredictiveCoding",
    "ZeroDivergenceInferenceLearning",
]

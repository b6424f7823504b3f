"""Noise ceilings: how well any model could score, given how reliable the recording is."""

from brainscore_lite.ceilings.measured import Ceiling, MeasuredCeiling, check_trials
from brainscore_lite.ceilings.split_half import InternalConsistency, RDMSplitHalf, SplitHalf
from brainscore_lite.ceilings.subjects import LeaveOneSubjectOut, RSACeiling
from brainscore_lite.ceilings.variance import (
    ConservativeOracle,
    ExplainableVariance,
    FractionExplained,
    JackknifeOracle,
    NoiseCeilingSNR,
)
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import leave_one_subject_out
from brainscore_lite.metrics.reliability.split_half import (
    NoReliabilityWarning,
    rdm_split_half,
    spearman_brown,
    split_half_reliability,
)

__all__ = [
    "Ceiling",
    "ConservativeOracle",
    "ExplainableVariance",
    "FractionExplained",
    "InternalConsistency",
    "JackknifeOracle",
    "LeaveOneSubjectOut",
    "MeasuredCeiling",
    "NoReliabilityWarning",
    "NoiseCeilingSNR",
    "RDMSplitHalf",
    "RSACeiling",
    "SplitHalf",
    "check_trials",
    "leave_one_subject_out",
    "rdm_split_half",
    "spearman_brown",
    "split_half_reliability",
]

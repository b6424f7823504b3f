"""Gradient transport: the forward pass of backprop, with another way back for the error."""

from brainscore_lite.learning_rules.transport.burstprop import BurstDependent
from brainscore_lite.learning_rules.transport.direct_feedback import (
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
)
from brainscore_lite.learning_rules.transport.feedback_alignment import FeedbackAlignment
from brainscore_lite.learning_rules.transport.learned_feedback import KolenPollack, WeightMirror
from brainscore_lite.learning_rules.transport.sign_symmetry import SignSymmetry

__all__ = [
    "BurstDependent",
    "DirectFeedbackAlignment",
    "DirectRandomTargetProjection",
    "FeedbackAlignment",
    "KolenPollack",
    "SignSymmetry",
    "WeightMirror",
]

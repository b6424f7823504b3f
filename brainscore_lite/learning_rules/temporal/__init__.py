"""Learning over time: back through the unrolled network, or forward with traces."""

from brainscore_lite.learning_rules.temporal.online import (
    EligibilityTraces,
    RealTimeRecurrentLearning,
)
from brainscore_lite.learning_rules.temporal.through_time import BackpropThroughTime

__all__ = ["BackpropThroughTime", "EligibilityTraces", "RealTimeRecurrentLearning"]

"""Target propagation: every area moves towards a target that came down from the readout's."""

from brainscore_lite.learning_rules.target.direct_feedback import (
    DirectDifferenceTargetPropagation,
)
from brainscore_lite.learning_rules.target.local_reconstruction import (
    LocalDifferenceReconstruction,
)
from brainscore_lite.learning_rules.target.target_propagation import (
    DifferenceTargetPropagation,
    TargetPropagation,
)

__all__ = [
    "DifferenceTargetPropagation",
    "DirectDifferenceTargetPropagation",
    "LocalDifferenceReconstruction",
    "TargetPropagation",
]

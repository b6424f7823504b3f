"""Learning rules: one file per family, one entry in `LEARNING_RULES` for each rule."""

from brainscore_lite.learning_rules.backprop import Backprop
from brainscore_lite.learning_rules.learning_rule import (
    LOCALITIES,
    REQUIREMENTS,
    Batch,
    Estimator,
    LearningRule,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.shuffled_labels import ShuffledLabels
from brainscore_lite.learning_rules.untrained import Untrained

#: Every rule with the settings of its paper, by name.
LEARNING_RULES: dict[str, LearningRule] = {
    rule.name: rule
    for rule in (
        Backprop(),
        # transport
        # perturbation
        # hebbian
        # energy
        # predictive_coding
        # target
        # local
        # self_supervised
        # temporal
        # controls
        ShuffledLabels(),
        Untrained(),
    )
}

__all__ = [
    "LEARNING_RULES",
    "LOCALITIES",
    "REQUIREMENTS",
    "Backprop",
    "Batch",
    "Estimator",
    "LearningRule",
    "ParameterGroup",
    "Phase",
    "ShuffledLabels",
    "StepInfo",
    "Support",
    "UnsupportedNetworkError",
    "Untrained",
]

"""Rules whose layers each follow an objective of their own."""

from brainscore_lite.learning_rules.local.clapp import CLAPP
from brainscore_lite.learning_rules.local.forward_forward import ForwardForward
from brainscore_lite.learning_rules.local.forward_forward_recurrent import RecurrentForwardForward
from brainscore_lite.learning_rules.local.forward_forward_unsupervised import (
    UnsupervisedForwardForward,
)
from brainscore_lite.learning_rules.local.greedy_infomax import GreedyInfoMax
from brainscore_lite.learning_rules.local.local_losses import LocalLosses
from brainscore_lite.learning_rules.local.synthetic_gradients import SyntheticGradients

__all__ = [
    "CLAPP",
    "ForwardForward",
    "GreedyInfoMax",
    "LocalLosses",
    "RecurrentForwardForward",
    "SyntheticGradients",
    "UnsupervisedForwardForward",
]

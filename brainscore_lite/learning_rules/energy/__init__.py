"""Energy and contrastive rules: the error is what a nudge changes in settled activity."""

from brainscore_lite.learning_rules.energy.dual_propagation import DualPropagation

__all__ = ["DualPropagation"]

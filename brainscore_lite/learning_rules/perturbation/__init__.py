"""Rules that try random changes and keep what lowers the loss; no error is sent back."""

from brainscore_lite.learning_rules.perturbation.forward_gradient import ForwardGradient
from brainscore_lite.learning_rules.perturbation.node_perturbation import NodePerturbation
from brainscore_lite.learning_rules.perturbation.weight_perturbation import WeightPerturbation

__all__ = ["ForwardGradient", "NodePerturbation", "WeightPerturbation"]

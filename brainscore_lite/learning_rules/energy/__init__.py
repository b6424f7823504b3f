"""Energy and contrastive rules: the error is what a nudge changes in settled activity."""

from brainscore_lite.learning_rules.energy.boltzmann import RestrictedBoltzmannMachine
from brainscore_lite.learning_rules.energy.contrastive import ContrastiveHebbian, GeneRec
from brainscore_lite.learning_rules.energy.coupled_learning import CoupledLearning
from brainscore_lite.learning_rules.energy.dual_propagation import DualPropagation
from brainscore_lite.learning_rules.energy.equilibrium_propagation import EquilibriumPropagation
from brainscore_lite.learning_rules.energy.recurrent_backprop import AlmeidaPineda

__all__ = [
    "AlmeidaPineda",
    "ContrastiveHebbian",
    "CoupledLearning",
    "DualPropagation",
    "EquilibriumPropagation",
    "GeneRec",
    "RestrictedBoltzmannMachine",
]

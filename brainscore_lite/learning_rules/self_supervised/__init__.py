"""Objectives without labels, trained by backprop: controls of the objective."""

from brainscore_lite.learning_rules.self_supervised.simclr import SimCLR
from brainscore_lite.learning_rules.self_supervised.vicreg import VICReg

__all__ = ["SimCLR", "VICReg"]

"""Attractor networks: states that settle onto stored patterns, alone or after a network's layer."""

from brainscore_lite.networks.attractors.hopfield import Hopfield
from brainscore_lite.networks.attractors.layer import AttractorModel, LayerAttractor, bipolar
from brainscore_lite.networks.attractors.modern import ModernHopfield
from brainscore_lite.networks.attractors.retrieval import Retrieval, overlaps, retrieve

__all__ = [
    "AttractorModel",
    "Hopfield",
    "LayerAttractor",
    "ModernHopfield",
    "Retrieval",
    "bipolar",
    "overlaps",
    "retrieve",
]

"""Recording of a model's layers, in memory or on disk."""

from brainscore_lite.activations.activation_file import load_activations
from brainscore_lite.activations.recording import record, record_to_file
from brainscore_lite.activations.reduction import RandomProjection, UnitSample, projected

__all__ = [
    "RandomProjection",
    "UnitSample",
    "load_activations",
    "projected",
    "record",
    "record_to_file",
]

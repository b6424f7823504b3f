"""Where models meet recordings: the catalogue of models, and scoring them."""

from brainscore_lite.studies.models import MODELS, ModelEntry, NamedModel, Training, load_model
from brainscore_lite.studies.scoring import Recording, score_layers, score_model

__all__ = [
    "MODELS",
    "ModelEntry",
    "NamedModel",
    "Recording",
    "Training",
    "load_model",
    "score_layers",
    "score_model",
]

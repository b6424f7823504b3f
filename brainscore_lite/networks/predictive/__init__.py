"""Networks whose feedback predicts what the layer below responds."""

from brainscore_lite.networks.predictive.pcn import PCN
from brainscore_lite.networks.predictive.predictive_feedback import PredictiveFeedback
from brainscore_lite.networks.predictive.prednet import PredNet

__all__ = ["PCN", "PredNet", "PredictiveFeedback"]

"""Hebbian rules: a synapse changes by the activity on its two sides."""

from brainscore_lite.learning_rules.hebbian.bcm import BCM
from brainscore_lite.learning_rules.hebbian.latent_predictive_learning import (
    LatentPredictiveLearning,
)
from brainscore_lite.learning_rules.hebbian.principal_components import PrincipalComponents
from brainscore_lite.learning_rules.hebbian.softhebb import SoftHebb
from brainscore_lite.learning_rules.hebbian.softhebb_networks import (
    DENSE_SOFTHEBB,
    MIXTURE_MLP,
    PUBLISHED_CNN,
    SOFTHEBB_CNN,
    SOFTHEBB_MLP,
)
from brainscore_lite.learning_rules.hebbian.three_factor import RewardModulatedHebb

__all__ = [
    "BCM",
    "DENSE_SOFTHEBB",
    "MIXTURE_MLP",
    "PUBLISHED_CNN",
    "SOFTHEBB_CNN",
    "SOFTHEBB_MLP",
    "LatentPredictiveLearning",
    "PrincipalComponents",
    "RewardModulatedHebb",
    "SoftHebb",
]

"""Inference: what scores say about stimuli, subjects, neuroids, animals and seeds not recorded."""

from brainscore_lite.inference.dual_bootstrap import corrected_variance, crossed_variance
from brainscore_lite.inference.equivalence import two_one_sided_tests
from brainscore_lite.inference.model_comparison import compare_models
from brainscore_lite.inference.multiplicity import benjamini_hochberg, holm, max_t
from brainscore_lite.inference.result import ModelComparison

__all__ = [
    "ModelComparison",
    "benjamini_hochberg",
    "compare_models",
    "corrected_variance",
    "crossed_variance",
    "holm",
    "max_t",
    "two_one_sided_tests",
]

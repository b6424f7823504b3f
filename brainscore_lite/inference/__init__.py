"""Inference: what scores say about stimuli, subjects, neuroids, animals and seeds not recorded.

:func:`compare_models` is the one comparison of models; the rest answers other questions: mixed
models of a table of scores, variance components, sample sizes, permutations.
"""

from brainscore_lite.inference.crossvalidated_ceiling import CrossedFold, crossvalidated_ceiling
from brainscore_lite.inference.dual_bootstrap import corrected_variance, crossed_variance
from brainscore_lite.inference.equivalence import two_one_sided_tests
from brainscore_lite.inference.mixed_models import MixedModel, mixed_model
from brainscore_lite.inference.model_comparison import compare_models
from brainscore_lite.inference.multiplicity import benjamini_hochberg, holm, max_t
from brainscore_lite.inference.permutation import (
    cluster_test,
    permutation_test,
    rdm_permutation_test,
)
from brainscore_lite.inference.rdm_bootstrap import RDMDraws, dual_bootstrap
from brainscore_lite.inference.rdm_crossvalidation import cross_validated_bootstrap
from brainscore_lite.inference.result import ModelComparison
from brainscore_lite.inference.rsatoolbox_protocol import rsatoolbox_evaluation
from brainscore_lite.inference.sample_size import power, power_table, sample_size
from brainscore_lite.inference.variance_components import (
    intraclass_correlation,
    variance_components,
)

__all__ = [
    "CrossedFold",
    "MixedModel",
    "ModelComparison",
    "RDMDraws",
    "benjamini_hochberg",
    "cluster_test",
    "compare_models",
    "corrected_variance",
    "cross_validated_bootstrap",
    "crossed_variance",
    "crossvalidated_ceiling",
    "dual_bootstrap",
    "holm",
    "intraclass_correlation",
    "max_t",
    "mixed_model",
    "permutation_test",
    "power",
    "power_table",
    "rdm_permutation_test",
    "rsatoolbox_evaluation",
    "sample_size",
    "two_one_sided_tests",
    "variance_components",
]

"""Metrics: how similar a model's activations are to recorded responses.

Array kernels (:func:`linear_predictivity`, :func:`rdm`, :func:`compare_rdms`,
:func:`linear_cka`, ...) take plain arrays; the frozen classes (:class:`LinearPredictivity`,
:class:`RSA`, :class:`CKA`, ...) align labelled arrays by stimulus and label the result. The folders
hold one idea each: regression, dissimilarities, similarity, behaviour, time and reliability.
"""

from brainscore_lite.metrics.behaviour.choices import category_choices, shape_bias
from brainscore_lite.metrics.behaviour.classification import class_probabilities
from brainscore_lite.metrics.behaviour.decoding import Decoding, chance_accuracy, decoding_accuracy
from brainscore_lite.metrics.behaviour.error_consistency import error_consistency
from brainscore_lite.metrics.behaviour.human_consistency import (
    behavioural_consistency,
    condition_consistency,
    masking_consistency,
)
from brainscore_lite.metrics.behaviour.image_confusions import (
    ImageConfusions,
    choice_probabilities,
)
from brainscore_lite.metrics.behaviour.object_solution_times import ObjectSolutionTimes
from brainscore_lite.metrics.behaviour.reaction_times import ReactionTimes
from brainscore_lite.metrics.behaviour.readout_entropy import (
    entropy_reaction_times,
    fit_entropy_threshold,
    readout_entropy,
)
from brainscore_lite.metrics.behaviour.solution_times import (
    compare_solution_times,
    solution_times,
)
from brainscore_lite.metrics.dissimilarities.comparison import compare_rdms, compare_resampled
from brainscore_lite.metrics.dissimilarities.dissimilarity import UndefinedDissimilarityError
from brainscore_lite.metrics.dissimilarities.noise_precision import (
    noise_precision,
    precision_from_residuals,
)
from brainscore_lite.metrics.dissimilarities.rdm import rdm
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import pool_rdms
from brainscore_lite.metrics.dissimilarities.rdm_cross_validation import cross_validate_rdm_model
from brainscore_lite.metrics.dissimilarities.rdm_models import (
    FixedRDM,
    InterpolatedRDM,
    SelectedRDM,
    WeightedRDM,
)
from brainscore_lite.metrics.dissimilarities.recorded_rdms import rdm_movie
from brainscore_lite.metrics.dissimilarities.rsa import RSA
from brainscore_lite.metrics.gram import Gram, gram
from brainscore_lite.metrics.metric import Comparison, Metric
from brainscore_lite.metrics.regression.banded_ridge import banded_ridge
from brainscore_lite.metrics.regression.cross_validation import (
    CrossValidated,
    chosen_per_split,
    cross_validate,
)
from brainscore_lite.metrics.regression.least_squares import LeastSquares, PrincipalComponents
from brainscore_lite.metrics.regression.linear_predictivity import (
    LinearPredictivity,
    linear_predictivity,
)
from brainscore_lite.metrics.regression.one_to_one import OneToOne
from brainscore_lite.metrics.regression.pls import PLS
from brainscore_lite.metrics.regression.ridge import Ridge
from brainscore_lite.metrics.regression.unique_variance import (
    UniqueVariance,
    rdm_unique_variance,
    unique_variance,
)
from brainscore_lite.metrics.regression.variance_partitioning import (
    VariancePartitioning,
    variance_partitioning,
)
from brainscore_lite.metrics.similarity.cca import CCA, canonical_correlations, cca
from brainscore_lite.metrics.similarity.cka import CKA, linear_cka, rbf_cka
from brainscore_lite.metrics.similarity.eigenspectrum import (
    Eigenspectrum,
    cross_validated_spectrum,
    eigenspectrum,
    power_law,
)
from brainscore_lite.metrics.similarity.hierarchy_score import HierarchyScore, hierarchy_score
from brainscore_lite.metrics.similarity.kernel_analysis import KernelAnalysis, kernel_analysis
from brainscore_lite.metrics.similarity.shape_metrics import (
    ShapeSimilarity,
    angular_distance,
    procrustes_distance,
    shape_distance,
    shape_similarity,
)
from brainscore_lite.metrics.similarity.similarity_grid import SIMILARITIES, similarity_grid
from brainscore_lite.metrics.splits import Fold, Splits
from brainscore_lite.metrics.time.cross_temporal import (
    CrossTemporalPredictivity,
    cross_temporal_predictivity,
)
from brainscore_lite.metrics.time.cross_temporal_decoding import (
    CrossTemporalDecoding,
    cross_temporal_decoding,
)
from brainscore_lite.metrics.time.depth_as_time import depth_as_time
from brainscore_lite.metrics.time.layer_time_map import (
    expected_best_score,
    layer_time_map,
    layer_time_path,
)
from brainscore_lite.metrics.time.phase_predictivity import PhasePredictivity
from brainscore_lite.metrics.time.representational_dynamics import (
    RepresentationalDynamics,
    representational_dynamics,
)
from brainscore_lite.metrics.time.span_time import SpanTime, span_time
from brainscore_lite.metrics.time.step_by_time import (
    at_step_times,
    mass_above_below,
    step_by_time,
)
from brainscore_lite.metrics.time.step_times import StepTimes, layers_by_time, step_times

METRICS: dict[str, Metric] = {
    "ridge": LinearPredictivity(regression="ridge"),
    "pls": LinearPredictivity(regression="pls"),
    "rsa": RSA(),
    "cka": CKA(),
}
"""The ready-made metrics by name."""

__all__ = [
    "CCA",
    "CKA",
    "METRICS",
    "PLS",
    "RSA",
    "SIMILARITIES",
    "Comparison",
    "CrossTemporalDecoding",
    "CrossTemporalPredictivity",
    "CrossValidated",
    "Decoding",
    "Eigenspectrum",
    "FixedRDM",
    "Fold",
    "Gram",
    "HierarchyScore",
    "ImageConfusions",
    "InterpolatedRDM",
    "KernelAnalysis",
    "LeastSquares",
    "LinearPredictivity",
    "Metric",
    "ObjectSolutionTimes",
    "OneToOne",
    "PhasePredictivity",
    "PrincipalComponents",
    "ReactionTimes",
    "RepresentationalDynamics",
    "Ridge",
    "SelectedRDM",
    "ShapeSimilarity",
    "SpanTime",
    "Splits",
    "StepTimes",
    "UndefinedDissimilarityError",
    "UniqueVariance",
    "VariancePartitioning",
    "WeightedRDM",
    "angular_distance",
    "at_step_times",
    "banded_ridge",
    "behavioural_consistency",
    "canonical_correlations",
    "category_choices",
    "cca",
    "chance_accuracy",
    "choice_probabilities",
    "chosen_per_split",
    "class_probabilities",
    "compare_rdms",
    "compare_resampled",
    "compare_solution_times",
    "condition_consistency",
    "cross_temporal_decoding",
    "cross_temporal_predictivity",
    "cross_validate",
    "cross_validate_rdm_model",
    "cross_validated_spectrum",
    "decoding_accuracy",
    "depth_as_time",
    "eigenspectrum",
    "entropy_reaction_times",
    "error_consistency",
    "expected_best_score",
    "fit_entropy_threshold",
    "gram",
    "hierarchy_score",
    "kernel_analysis",
    "layer_time_map",
    "layer_time_path",
    "layers_by_time",
    "linear_cka",
    "linear_predictivity",
    "masking_consistency",
    "mass_above_below",
    "noise_precision",
    "pool_rdms",
    "power_law",
    "precision_from_residuals",
    "procrustes_distance",
    "rbf_cka",
    "rdm",
    "rdm_movie",
    "rdm_unique_variance",
    "readout_entropy",
    "representational_dynamics",
    "shape_bias",
    "shape_distance",
    "shape_similarity",
    "similarity_grid",
    "solution_times",
    "span_time",
    "step_by_time",
    "step_times",
    "unique_variance",
    "variance_partitioning",
]

"""Evidence on models of dissimilarities with parameters, fitted and tested within each draw."""

from collections.abc import Mapping
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from brainscore_lite.inference.dual_bootstrap import Factors
from brainscore_lite.inference.factors import Factor
from brainscore_lite.inference.rdm_crossvalidation import cross_validated_bootstrap
from brainscore_lite.metrics.dissimilarities.comparison import Comparator
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.rdm_cross_validation import (
    cross_validate_rdm_model,
    default_folds,
)
from brainscore_lite.metrics.dissimilarities.rdm_models import FixedRDM, RDMModel
from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
CEILING_BOUNDS = ("lower", "ceiling")
FITTED = (
    "Models are fitted to some stimuli and subjects and tested on others, anew in each draw; "
    "what the assignment to folds adds to the variance is taken off."
)
_N_ASSIGNMENTS = 10
_KEPT = 1 - 1 / np.e
_WAYS: tuple[frozenset[Factor], ...] = (
    frozenset({"stimuli", "subjects"}),
    frozenset({"stimuli"}),
    frozenset({"subjects"}),
)


def is_fitted(model: object) -> TypeGuard[RDMModel]:
    """Say whether a model has parameters to be fitted."""
    return callable(getattr(model, "fit", None))


def fitted_draws(
    models: Mapping[str, object],
    subjects: Floats,
    *,
    comparison: Comparator,
    factors: frozenset[Factor],
    n_draws: int,
    seed: int,
) -> tuple[Floats, Floats, dict[Factors, Floats]]:
    """Cross-validate models on the data and in each draw, both with the same number of folds.

    Parameters
    ----------
    models : mapping of name to RDMModel or condensed dissimilarities, shape (n_pairs,)
    subjects : ndarray, shape (n_subjects, n_pairs)
    comparison : str
    factors : frozenset of {"stimuli", "subjects"}
    n_draws, seed : int

    Returns
    -------
    estimates : ndarray, shape (n_models + 2,)
        The models, and both bounds of the ceiling.
    joint : ndarray, shape (n_draws, n_models + 2)
        Draws of all factors, means over assignments to folds; undefined ones are left out.
    covariances : mapping of set of factors to ndarray, shape (n_models + 2, n_models + 2)

    Raises
    ------
    ContractError
        If a model is no model of dissimilarities, or there are other factors.
    """
    if factors not in _WAYS:
        raise ContractError(
            f"models with parameters generalise to stimuli and subjects, not to {sorted(factors)}."
        )
    every = [_as_model(name, model) for name, model in models.items()]
    folds = {
        "k_stimuli": default_folds(_KEPT * n_stimuli_of(subjects.shape[1]), of="stimuli"),
        "k_subjects": default_folds(_KEPT * len(subjects), of="subjects"),
    }
    once = cross_validate_rdm_model(
        every, subjects, comparison=comparison, n_assignments=_N_ASSIGNMENTS, seed=seed, **folds
    )
    bounds = [once.lower.mean(), once.upper.mean()]
    drawn = cross_validated_bootstrap(
        every, subjects, comparison=comparison, n_draws=n_draws, seed=seed, **folds
    )
    matrices = dict(zip(_WAYS, drawn.covariances(), strict=True))
    way = _WAYS.index(factors)
    values = (drawn.both, drawn.stimuli_only, drawn.subjects_only)[way]
    limits = [bound[:, :, way, None] for bound in (drawn.lower, drawn.upper)]
    joint = np.concatenate([values, *limits], axis=2).mean(axis=1)
    return (
        np.array([*once.values.mean(axis=(0, 1)), *bounds]),
        joint[np.isfinite(joint).all(axis=1)],
        {chosen: matrix for chosen, matrix in matrices.items() if chosen <= factors},
    )


def _as_model(name: str, model: object) -> RDMModel:
    if is_fitted(model):
        return model
    if not isinstance(model, np.ndarray):
        raise ContractError(
            f"model '{name}' is {type(model).__name__} beside models with parameters, expected "
            "such a model or condensed dissimilarities, shape (n_pairs,)."
        )
    return FixedRDM(model)

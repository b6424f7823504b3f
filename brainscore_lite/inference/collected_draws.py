"""The draws of all models and of the ceiling, collected for one scope of generalisation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from brainscore_lite.ceilings import MeasuredCeiling
from brainscore_lite.inference.ceiling_draws import CeilingBounds
from brainscore_lite.inference.compared import (
    Model,
    Seeds,
    as_comparisons,
    check_one_metric,
    check_same_parts,
    readable,
    target_vectors,
)
from brainscore_lite.inference.dual_bootstrap import Factors, subsets
from brainscore_lite.inference.evidence import Floats, covariances_of
from brainscore_lite.inference.factors import Generalisation, Population
from brainscore_lite.inference.fitted_rdms import CEILING_BOUNDS, FITTED, fitted_draws
from brainscore_lite.inference.resampled_scores import FactorWeights, draw_scores, weights_of
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import FEWEST_STIMULI
from brainscore_lite.metrics.dissimilarities.rsa import RSA
from brainscore_lite.metrics.metric import Metric
from brainscore_lite.metrics.regression.linear_predictivity import PredictedResponses
from brainscore_lite.schema import ContractError
from brainscore_lite.score import aggregate

FEWEST_DRAWS = 100
_OF_THE_TEST = (
    "Predictions are not fitted again: over stimuli the intervals hold the variance of the test, "
    "not of the fit."
)


@dataclass(frozen=True, eq=False)
class CollectedDraws:
    """Estimates of models and bounds, in this order, with how they vary.

    Parameters
    ----------
    models, bounds : tuple of str
    estimates : ndarray, shape (n_quantities,)
    joint : ndarray, shape (n_draws, n_quantities)
        The draws that resample all factors.
    covariances : mapping of set of factors to ndarray, shape (n_quantities, n_quantities)
    scope : Generalisation
    note : str
    """

    models: tuple[str, ...]
    bounds: tuple[str, ...]
    estimates: Floats
    joint: Floats
    covariances: Mapping[Factors, Floats]
    scope: Generalisation
    note: str


def draws_of_comparisons(
    models: Mapping[str, Model | Sequence[Model]],
    *,
    generalise_to: Collection[str],
    target: xr.DataArray | ArrayLike | None,
    metric: Metric | None,
    ceiling: MeasuredCeiling | None,
    paired_seeds: bool | None,
    n_draws: int,
    seed: int,
) -> CollectedDraws:
    """Draw models that have been compared with one recording; see ``compare_models``."""
    seeds = as_comparisons(models, target=target, metric=metric)
    values = {name: [one.values() for one in each] for name, each in seeds.items()}
    scope = _scope(seeds, values, generalise_to)
    check_one_metric(seeds)
    check_same_parts(values, scope.resampled)
    bounds = None if ceiling is None else CeilingBounds.of(ceiling, seeds)
    if bounds is not None:
        bounds.check_belongs(next(iter(values.values()))[0])
    estimates = _estimates(values, bounds)
    weights = _weights(seeds, estimates, scope, paired_seeds, n_draws=n_draws, seed=seed)
    draws = _defined(_draws(seeds, bounds, weights, list(subsets(scope.resampled))), weights)
    joint = draws[frozenset(scope.resampled)]
    of_the_test = _OF_THE_TEST if "stimuli" in scope.factors and _any_predictions(seeds) else ""
    return CollectedDraws(
        models=tuple(seeds),
        bounds=() if bounds is None else bounds.names,
        estimates=estimates,
        joint=joint,
        covariances=covariances_of(draws),
        scope=scope,
        note=_note(scope, of_the_test, n_undefined=n_draws - len(joint), n_draws=n_draws),
    )


def draws_of_fitted(
    models: Mapping[str, Model | Sequence[Model]],
    *,
    generalise_to: Collection[str],
    target: xr.DataArray | ArrayLike | None,
    metric: Metric | None,
    n_draws: int,
    seed: int,
) -> CollectedDraws:
    """Draw models of dissimilarities that have parameters; see ``compare_models``."""
    if not isinstance(metric, RSA) or target is None:
        raise ContractError(
            "models with parameters are fitted to dissimilarities of subjects: give them as "
            "target, and RSA as metric."
        )
    vectors, _ = target_vectors(target, metric)
    population = Population(
        n_stimuli=n_stimuli_of(vectors.shape[1]),
        n_subjects=len(vectors),
        animal=None,
        n_seeds=(1,) * len(models),
    )
    scope = Generalisation.checked(generalise_to, population)
    estimates, joint, covariances = fitted_draws(
        models,
        vectors,
        comparison=metric.comparison,
        factors=frozenset(scope.resampled),
        n_draws=n_draws,
        seed=seed,
    )
    _check_enough(len(joint), n_draws)
    return CollectedDraws(
        models=tuple(models),
        bounds=CEILING_BOUNDS,
        estimates=estimates,
        joint=joint,
        covariances=covariances,
        scope=scope,
        note=_note(scope, FITTED, n_undefined=n_draws - len(joint), n_draws=n_draws),
    )


def _note(scope: Generalisation, method: str, *, n_undefined: int, n_draws: int) -> str:
    left_out = f"{n_undefined} of {n_draws} draws were undefined and left out."
    notes = [scope.sentence, method, left_out if n_undefined else ""]
    return " ".join(note for note in notes if note)


def _scope(
    seeds: Mapping[str, Seeds],
    values: Mapping[str, Sequence[xr.DataArray]],
    generalise_to: Collection[str],
) -> Generalisation:
    counts = {one.n_stimuli for each in seeds.values() for one in each}
    if len(counts) > 1:
        raise ContractError(
            f"the comparisons have {sorted(map(str, counts))} stimuli, expected the same ones in "
            "the same order for all models."
        )
    population = Population.of(
        next(iter(values.values()))[0],
        n_stimuli=counts.pop(),
        n_seeds=tuple(len(each) for each in seeds.values()),
    )
    return Generalisation.checked(generalise_to, population)


def _estimates(
    values: Mapping[str, Sequence[xr.DataArray]], bounds: CeilingBounds | None
) -> Floats:
    means = [np.mean([float(aggregate(one)) for one in each]) for each in values.values()]
    limits = [] if bounds is None else bounds.estimates()
    estimates = np.array([*means, *limits], dtype=np.float64)
    names = [*values, *([] if bounds is None else bounds.names)]
    undefined = [names[position] for position in np.flatnonzero(np.isnan(estimates))]
    if undefined:
        raise ContractError(
            f"'{undefined[0]}' has no score: some of its parts are NaN. Leave out, for all models, "
            "the neuroids that do not vary."
        )
    return estimates


def _weights(
    seeds: Mapping[str, Seeds],
    estimates: Floats,
    scope: Generalisation,
    paired_seeds: bool | None,
    *,
    n_draws: int,
    seed: int,
) -> FactorWeights:
    """Draw the weights; streams of nested seeds go by rank of the score, not by name or order."""
    if "seeds" in scope.factors:
        _check_pairing(seeds, paired_seeds)
    names = [list(seeds)[position] for position in np.argsort(estimates[: len(seeds)])]
    return weights_of(
        scope.resampled,
        n_draws=n_draws,
        seed=seed,
        sizes={factor: scope.population.size(factor) for factor in scope.resampled},
        animal=scope.population.animal,
        n_seeds={name: len(seeds[name]) for name in names},
        paired_seeds=bool(paired_seeds),
    )


def _check_pairing(seeds: Mapping[str, Seeds], paired_seeds: bool | None) -> None:
    if paired_seeds is None:
        raise ContractError(
            "generalising to seeds needs paired_seeds: True where seed k of every model shares "
            "initialisation and data order, False where each model has seeds of its own."
        )
    n_seeds = {name: len(each) for name, each in seeds.items()}
    if paired_seeds and len(set(n_seeds.values())) > 1:
        raise ContractError(
            f"paired seeds, but models have {n_seeds} of them; expected the same number in the "
            "same order. Use paired_seeds=False where they are not shared."
        )


def _draws(
    seeds: Mapping[str, Seeds],
    bounds: CeilingBounds | None,
    weights: FactorWeights,
    chosen: Sequence[Factors],
) -> dict[Factors, Floats]:
    draws = draw_scores(readable(seeds), weights, chosen)
    if bounds is None:
        return draws
    limits = bounds.draws(weights, chosen)
    return {f: np.concatenate([draws[f], limits[f]], axis=1) for f in chosen}


def _defined(draws: Mapping[Factors, Floats], weights: FactorWeights) -> dict[Factors, Floats]:
    """Leave out draws that are undefined for any model, or have hardly any distinct stimuli."""
    finite = np.all([np.isfinite(each).all(axis=1) for each in draws.values()], axis=0)
    if "stimuli" in weights.counts:
        finite &= (weights.counts["stimuli"] > 0).sum(axis=1) >= FEWEST_STIMULI
    _check_enough(int(finite.sum()), len(finite))
    return {factors: each[finite] for factors, each in draws.items()}


def _check_enough(n_defined: int, n_draws: int) -> None:
    if n_defined < FEWEST_DRAWS:
        raise ContractError(
            f"only {n_defined} of {n_draws} draws are defined for all models, expected at least "
            f"{FEWEST_DRAWS}. There are too few stimuli or subjects, or constant ones."
        )


def _any_predictions(seeds: Mapping[str, Seeds]) -> bool:
    return any(isinstance(one, PredictedResponses) for each in seeds.values() for one in each)

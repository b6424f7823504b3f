"""Compare models with each other, with nothing and with the ceiling: one function."""

from collections.abc import Collection, Mapping, Sequence
from typing import get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from brainscore_lite.ceilings import MeasuredCeiling
from brainscore_lite.inference.collected_draws import (
    FEWEST_DRAWS,
    CollectedDraws,
    draws_of_comparisons,
    draws_of_fitted,
)
from brainscore_lite.inference.compared import Model
from brainscore_lite.inference.equivalence import check_margin
from brainscore_lite.inference.evidence import (
    ALONE,
    Degrees,
    Evidence,
    Interval,
    Positions,
    Variance,
)
from brainscore_lite.inference.fitted_rdms import is_fitted
from brainscore_lite.inference.result import ModelComparison
from brainscore_lite.metrics.metric import Metric
from brainscore_lite.schema import ContractError


def compare_models(
    models: Mapping[str, Model | Sequence[Model]],
    *,
    generalise_to: Collection[str],
    target: xr.DataArray | ArrayLike | None = None,
    metric: Metric | None = None,
    ceiling: MeasuredCeiling | None = None,
    equivalence: float | None = None,
    paired_seeds: bool | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    interval: Interval = "t",
    variance: Variance = "corrected",
    degrees: Degrees = "smallest",
    seed: int = 0,
) -> ModelComparison:
    """Estimate the scores of models, and test all pairs, against zero and against the ceiling.

    Each factor of `generalise_to` is drawn with replacement, the same draws for all models, and
    the parts are averaged as a ``Score`` averages them by default. Over several factors the
    variance of a score, or of a difference, combines the draws of every set of factors
    (``crossed_variance``; two factors: the dual bootstrap of Schütt et al. 2023).

    Parameters
    ----------
    models : mapping of name to comparison
        Comparisons made by ``metric.compare(source, target)`` with one recording; a list for a
        model of several seeds. With `target` and `metric`: activations; condensed
        dissimilarities, shape (n_pairs,); or models of dissimilarities with parameters
        (``RDMModel``), which are cross-validated within each draw.
    generalise_to : set of {"stimuli", "subjects", "neuroids", "animals", "seeds"}
        Of what else the conclusions are to hold. Animals are drawn with all their neuroids,
        neuroids within their animals. What is left out is in ``conditional_on``.
    target : DataArray or array of shape (n_subjects, n_pairs), optional
    metric : Metric, optional
    ceiling : measured ceiling, optional
        Drawn with the scores, so that both vary together.
    equivalence : float, optional
        Margin, in the unit of the score, within which two models count as equally good.
    paired_seeds : bool, optional
        Whether seed k of every model shares initialisation and data order. To be said where
        seeds are generalised to.
    n_draws : int
    level : float
        Of intervals; two models are equivalent where p_equivalence <= 1 - level.
    interval : {"t", "percentile"}
    variance : {"corrected", "uncorrected"}
    degrees : {"smallest", "satterthwaite"}
        Of freedom. These three: see ``Evidence``.
    seed : int

    Returns
    -------
    ModelComparison

    Raises
    ------
    ContractError
        If the comparisons do not allow what is asked; with fewer than five animals there is no
        generalisation to animals.

    Notes
    -----
    Measured on simulated recordings (``speed/inference.py``): over one factor, and over several
    with ``degrees="satterthwaite"``, intervals cover and tests err about as often as they say;
    over several factors ``"smallest"`` errs on the safe side. Intervals are far too narrow for
    what is left out of `generalise_to`, and over neuroids that are not independent.

    References
    ----------
    Schütt, Kipnis, Diedrichsen & Kriegeskorte (2023), doi:10.7554/eLife.82566.

    Examples
    --------
    >>> from brainscore_lite.metrics import RSA
    >>> rng = np.random.default_rng(0)
    >>> subjects = rng.random(45) + 0.5 * rng.random((6, 45))
    >>> result = compare_models({"mean": subjects.mean(axis=0), "chance": rng.random(45)},
    ...                         target=subjects, metric=RSA(), generalise_to={"subjects"})
    >>> bool(result.pairs["p_holm"].item() < 0.05)
    True
    """
    for name, choices in ((interval, Interval), (variance, Variance), (degrees, Degrees)):
        _check_name(name, choices)
    _check_numbers(n_draws, level, equivalence)
    if not isinstance(models, Mapping) or not models:
        raise ContractError("no models were given; expected a mapping of name to comparison.")
    if any(is_fitted(model) for model in models.values()):
        _check_fitted(ceiling, interval)
        drawn = draws_of_fitted(
            models,
            generalise_to=generalise_to,
            target=target,
            metric=metric,
            n_draws=n_draws,
            seed=seed,
        )
    else:
        drawn = draws_of_comparisons(
            models,
            generalise_to=generalise_to,
            target=target,
            metric=metric,
            ceiling=ceiling,
            paired_seeds=paired_seeds,
            n_draws=n_draws,
            seed=seed,
        )
    evidence = Evidence(
        estimates=drawn.estimates,
        joint=drawn.joint,
        covariances=drawn.covariances,
        sizes=drawn.scope.sizes,
        entries_free=drawn.scope.entries_free,
        level=level,
        interval=interval,
        variance=variance,
        degrees=degrees,
    )
    return _result(drawn, evidence, equivalence)


def _check_fitted(ceiling: MeasuredCeiling | None, interval: Interval) -> None:
    if ceiling is not None:
        raise ContractError(
            "models with parameters come with the ceiling of the folds that test them. Leave out "
            "ceiling."
        )
    if interval != "t":
        raise ContractError(
            "models fitted to fewer distinct stimuli in each draw score lower there, so that "
            "percentiles of draws are no interval. Use interval='t'."
        )


def _check_name(name: str, choices: object) -> None:
    if name not in get_args(choices):
        raise ContractError(f"unknown setting '{name}', expected one of {get_args(choices)}.")


def _check_numbers(n_draws: int, level: float, equivalence: float | None) -> None:
    if n_draws < FEWEST_DRAWS:
        raise ContractError(f"n_draws is {n_draws}, expected at least {FEWEST_DRAWS}.")
    if not 0 < level < 1:
        raise ContractError(f"level is {level}, expected between 0 and 1.")
    if equivalence is not None:
        check_margin(equivalence)


def _result(drawn: CollectedDraws, evidence: Evidence, margin: float | None) -> ModelComparison:
    names, scope = drawn.models, drawn.scope
    every = np.arange(len(names))
    alone = np.full(len(names), ALONE)
    common = {"n": scope.n, "over": scope.over, "method": evidence.method}
    scores = evidence.table(every, alone, two_sided=False)
    shown = ["estimate", "low", "high", "standard_error", "dof"]
    return ModelComparison(
        estimates=_labelled(scores[shown], {"model": names}, common),
        pairs=_pairs(names, evidence, common, margin),
        against_zero=_labelled(scores, {"model": names}, common),
        against_ceiling=_against(names, drawn.bounds, evidence, common, margin),
        draws=xr.DataArray(
            evidence.joint,
            dims=("draw", "quantity"),
            coords={"quantity": [*names, *(f"ceiling: {bound}" for bound in drawn.bounds)]},
        ),
        generalises_to=scope.resampled,
        conditional_on=scope.conditional_on,
        note=drawn.note,
    )


def _pairs(
    names: Sequence[str], evidence: Evidence, common: Mapping[str, str], margin: float | None
) -> pd.DataFrame:
    first, second = np.triu_indices(len(names), k=1)
    labels = {"first": [names[int(i)] for i in first], "second": [names[int(j)] for j in second]}
    return _differences(evidence, first, second, labels, common, margin)


def _against(
    names: Sequence[str],
    limits: Sequence[str],
    evidence: Evidence,
    common: Mapping[str, str],
    margin: float | None,
) -> pd.DataFrame:
    every = np.arange(len(names))
    tables = [
        _differences(
            evidence,
            every,
            np.full(len(names), len(names) + position),
            {"model": names, "bound": [bound] * len(names)},
            common,
            margin,
        )
        for position, bound in enumerate(limits)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _differences(
    evidence: Evidence,
    first: Positions,
    second: Positions,
    labels: Mapping[str, Sequence[str]],
    common: Mapping[str, str],
    margin: float | None,
) -> pd.DataFrame:
    if not len(first):
        return pd.DataFrame()
    table = evidence.table(first, second, margin=margin)
    return _labelled(table.rename(columns={"estimate": "difference"}), labels, common)


def _labelled(
    table: pd.DataFrame, labels: Mapping[str, Sequence[str]], common: Mapping[str, str]
) -> pd.DataFrame:
    result = table.assign(**common)
    for position, (name, column) in enumerate(labels.items()):
        result.insert(position, name, list(column))
    return result

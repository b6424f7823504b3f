"""Models as comparisons with one recording, and how their draws are read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.inference.factors import Factor
from brainscore_lite.inference.resampled_scores import PART_DIMS, Counts
from brainscore_lite.metrics.dissimilarities.comparison import compare_resampled
from brainscore_lite.metrics.dissimilarities.rdm_models import RDMModel
from brainscore_lite.metrics.dissimilarities.rsa import RSA, ComparedRDMs
from brainscore_lite.metrics.metric import Comparison, Metric
from brainscore_lite.metrics.regression.linear_predictivity import PredictedResponses
from brainscore_lite.schema import ContractError

Model = Comparison | RDMModel | xr.DataArray | ArrayLike
Seeds = tuple[Comparison, ...]
DIM_OF = {"subjects": "subject", "neuroids": "neuroid", "animals": "neuroid"}


@dataclass(frozen=True, eq=False)
class OneComparison:
    """The single quantity of a comparison."""

    comparison: Comparison

    def parts(self) -> Sequence[xr.DataArray]:
        """Return the parts of the comparison."""
        return [self.comparison.values()]

    def resampled_parts(self, weights: Counts) -> Sequence[xr.DataArray]:
        """Return them under stimulus weights."""
        return [self.comparison.resampled(weights)]


@dataclass(frozen=True, eq=False)
class ComparedTogether:
    """Several models' dissimilarities compared with the same targets, in one product."""

    comparisons: Sequence[ComparedRDMs]

    def parts(self) -> Sequence[xr.DataArray]:
        """Return the parts of every comparison."""
        return [comparison.values() for comparison in self.comparisons]

    def resampled_parts(self, weights: Counts) -> Sequence[xr.DataArray]:
        """Return them under stimulus weights."""
        first = self.comparisons[0]
        sources = np.stack([comparison.source for comparison in self.comparisons])
        drawn = compare_resampled(sources, first.targets, weights, method=first.comparison)
        shape = (len(weights), *first.template.shape)
        return [
            xr.DataArray(
                drawn[:, model].reshape(shape),
                dims=("draw", *first.template.dims),
                coords=first.template.coords,
            )
            for model in range(len(sources))
        ]


def as_comparisons(
    models: Mapping[str, Model | Sequence[Model]],
    *,
    target: xr.DataArray | ArrayLike | None,
    metric: Metric | None,
) -> dict[str, Seeds]:
    """Bring models to comparisons, several for a model of several seeds.

    Raises
    ------
    ContractError
        If only one of `target` and `metric` is given, or what the models are does not fit them.
    """
    if (target is None) != (metric is None):
        raise ContractError(
            "target and metric belong together: give both to compare activations or "
            "dissimilarities here, or neither and comparisons made by metric.compare(...)."
        )
    if metric is not None and (isinstance(metric, type) or not hasattr(metric, "compare")):
        raise ContractError(
            f"metric is {metric!r}, expected a metric with its settings, such as RSA() or "
            "LinearPredictivity('ridge')."
        )
    several = {
        name: tuple(given) if isinstance(given, list | tuple) else (given,)
        for name, given in models.items()
    }
    empty = [name for name, seeds in several.items() if not seeds]
    if empty:
        raise ContractError(f"model '{empty[0]}' has no comparisons; expected one for each seed.")
    return {
        name: tuple(_compared(name, seed, target, metric) for seed in seeds)
        for name, seeds in several.items()
    }


def readable(models: Mapping[str, Seeds]) -> dict[str, list[OneComparison | ComparedTogether]]:
    """Say how the draws of all models are read: together where they share their targets."""
    if shared_targets(models) is not None and all(len(seeds) == 1 for seeds in models.values()):
        together = [cast(ComparedRDMs, seeds[0]) for seeds in models.values()]
        return {"": [ComparedTogether(together)]}
    return {name: [OneComparison(one) for one in seeds] for name, seeds in models.items()}


def shared_targets(models: Mapping[str, Seeds]) -> ComparedRDMs | None:
    """Return one of the comparisons if all compare dissimilarities with the same targets."""
    every = [comparison for seeds in models.values() for comparison in seeds]
    rdms = [comparison for comparison in every if isinstance(comparison, ComparedRDMs)]
    same = len(rdms) == len(every) and all(_same(rdms[0], other) for other in rdms)
    return rdms[0] if same else None


def check_one_metric(models: Mapping[str, Seeds]) -> None:
    """Raise if models are compared in different ways, or over other orders of the stimuli."""
    kinds: dict[str, str] = {}
    orders: dict[tuple[str, ...], str] = {}
    for name, seeds in models.items():
        for one in seeds:
            by = f" by {one.comparison}" if isinstance(one, ComparedRDMs) else ""
            kinds[f"{type(one).__name__}{by}"] = name
            if isinstance(one, PredictedResponses):
                orders[tuple(one.target["stimulus"].values.tolist())] = name
    if len(kinds) > 1:
        shown = ", ".join(f"'{name}' as {kind}" for kind, name in kinds.items())
        raise ContractError(
            f"models are compared in different ways ({shown}), so their scores have no "
            "difference. Compare all models with one metric."
        )
    if len(orders) > 1:
        first, second, *_ = orders.values()
        raise ContractError(
            f"models '{first}' and '{second}' have other stimuli, or the same in another order, so "
            "draws would not pair them. Compare all models with the same recording."
        )


def check_same_parts(
    values: Mapping[str, Sequence[xr.DataArray]], resampled: Collection[Factor]
) -> None:
    """Raise if there are time bins, or models do not share the subjects or neuroids drawn."""
    for name, each in values.items():
        more = {str(dim) for parts in each for dim in parts.dims} - set(PART_DIMS)
        if more:
            raise ContractError(
                f"model '{name}' has values along {sorted(more)}, expected one score. Choose one "
                "time bin with .isel(time_bin=i) before comparing."
            )
    first_name, first = next((name, each[0]) for name, each in values.items())
    drawn = {DIM_OF[factor] for factor in resampled if factor in DIM_OF}
    for name, each in values.items():
        for dim in drawn:
            if any(_labels(parts, dim) != _labels(first, dim) for parts in each):
                raise ContractError(
                    f"models '{first_name}' and '{name}' have different labels along '{dim}' "
                    f"({first.sizes.get(dim, 0)} and {each[0].sizes.get(dim, 0)}). Compare all "
                    "models with the same recording."
                )


def _compared(
    name: str,
    model: Model,
    target: xr.DataArray | ArrayLike | None,
    metric: Metric | None,
) -> Comparison:
    if target is None or metric is None:
        if isinstance(model, xr.DataArray) or not callable(getattr(model, "resampled", None)):
            raise ContractError(
                f"model '{name}' is {type(model).__name__}, expected a comparison made by "
                "metric.compare(source, target). Give target and metric to compare it here."
            )
        return cast(Comparison, model)
    if isinstance(model, xr.DataArray) and isinstance(target, xr.DataArray):
        return metric.compare(model, target)
    if not isinstance(metric, RSA):
        raise ContractError(
            f"model '{name}': {metric!r} compares labelled arrays only. Label them with "
            "activations(...) and responses(...), or use RSA for condensed dissimilarities."
        )
    targets, template = target_vectors(target, metric)
    source = np.asarray(model, dtype=np.float64)
    if source.shape != targets.shape[1:]:
        raise ContractError(
            f"model '{name}' has shape {source.shape}, expected an array of the "
            f"{targets.shape[1]} condensed dissimilarities of the target's stimuli (a list holds "
            "one for each seed)."
        )
    if not np.isfinite(source).all():
        raise ContractError(
            f"model '{name}': {int((~np.isfinite(source)).sum())} of {source.size} "
            "dissimilarities are not finite. Leave out the stimuli concerned, for all models."
        )
    return ComparedRDMs(source, targets, metric.comparison, template)


def target_vectors(
    target: xr.DataArray | ArrayLike, metric: RSA
) -> tuple[NDArray[np.float64], xr.DataArray]:
    """Return the target's condensed matrices, (n_subjects, n_pairs), and what labels them."""
    if isinstance(target, xr.DataArray):
        return metric.target_dissimilarities(target)
    vectors = np.atleast_2d(np.asarray(target, dtype=np.float64))
    labels = [str(subject) for subject in range(len(vectors))]
    return vectors, xr.DataArray(np.zeros(len(vectors)), coords={"subject": labels})


def _same(first: ComparedRDMs, other: ComparedRDMs) -> bool:
    return (
        first.comparison == other.comparison
        and first.template.dims == other.template.dims
        and np.array_equal(first.targets, other.targets)
    )


def _labels(parts: xr.DataArray, dim: str) -> list[str]:
    return [str(label) for label in parts[dim].values] if dim in parts.dims else []

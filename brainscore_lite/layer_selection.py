"""Choose a model's layer on stimuli kept apart from those that score it.

The maximum over layers on the scoring stimuli would favour models with many layers. Regressions
choose within the training stimuli of each split (nested cross-validation); metrics without a fit
choose on one random half of the stimuli and score on the other, repeatedly.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.benchmarks import Benchmark
from brainscore_lite.metrics import RSA, LinearPredictivity, Metric, UndefinedDissimilarityError
from brainscore_lite.metrics.regression.cross_validation import chosen_per_split
from brainscore_lite.metrics.regression.linear_predictivity import PredictedResponses
from brainscore_lite.schema import ContractError, Labels, check_activations, select_stimuli
from brainscore_lite.score import Score
from brainscore_lite.seeding import generator

FEWEST_STIMULI = 3


@dataclass(frozen=True)
class RandomHalves:
    """How metrics without a fit keep choice and score apart.

    Parameters
    ----------
    n_repeats : int
        Random halvings. Each half chooses once and scores once; the score is the mean of all.
    seed : int
    """

    n_repeats: int = 10
    seed: int = 0

    def halves(self, n_stimuli: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the positions to choose on and the positions to score on, both ascending.

        Raises
        ------
        ContractError
            If a half would hold fewer than 3 stimuli.
        """
        if n_stimuli < 2 * FEWEST_STIMULI:
            raise ContractError(
                f"{n_stimuli} stimuli are too few to choose a layer on one half and score it on "
                f"the other; at least {2 * FEWEST_STIMULI} are needed. Name a layer instead."
            )
        draws = generator(self.seed, "layer_selection", "halves")
        for _ in range(self.n_repeats):
            order = draws.permutation(n_stimuli)
            first, second = (np.sort(half) for half in np.array_split(order, 2))
            yield first, second
            yield second, first


@dataclass(frozen=True, eq=False)
class LayerScores:
    """The score with a chosen layer, and every layer's value for a map of layers.

    Parameters
    ----------
    score : Score
        Of the chosen layers; free of the bias of choosing.
    by_layer : mapping of str to float
        Raw value of each layer over all stimuli: for description. Its maximum is no score.
    """

    score: Score
    by_layer: Mapping[str, float]


def select_layer(
    benchmark: Benchmark, activations: xr.DataArray, *, halves: RandomHalves | None = None
) -> LayerScores:
    """Score a model with its layer chosen on stimuli kept apart.

    Parameters
    ----------
    benchmark : Benchmark
    activations : DataArray, dims (stimulus, neuroid)
        All candidate layers, told apart by the coordinate ``layer``.
    halves : RandomHalves, optional
        For metrics without a fit.

    Returns
    -------
    LayerScores
        ``score.provenance`` says which layers were chosen, how often, and how.

    Raises
    ------
    ContractError
        If activations break their contract or lack stimuli.
    """
    layers = by_layer(activations)
    if isinstance(benchmark.metric, LinearPredictivity):
        return _nested(benchmark, layers, benchmark.metric)
    return _halved(benchmark, layers, halves or RandomHalves())


def by_layer(activations: xr.DataArray) -> dict[str, xr.DataArray]:
    """Split activations into their layers, in the order in which these first occur."""
    check_activations(activations)
    labels = activations["layer"].values
    names, first = np.unique(labels, return_index=True)
    return {
        str(name): activations.isel(neuroid=_as_slice(np.flatnonzero(labels == name)))
        for name in names[np.argsort(first)]
    }


def best_layer(
    benchmark: Benchmark,
    layers: Mapping[str, xr.DataArray],
    *,
    choose_on: Labels,
    score_on: Labels,
) -> str:
    """Name the layer that scores best on some stimuli, to be scored on others.

    Parameters
    ----------
    benchmark : Benchmark
    layers : mapping of str to DataArray
    choose_on, score_on : sequence of str
        Stimulus labels.

    Returns
    -------
    str

    Raises
    ------
    ContractError
        If a stimulus is in both.
    """
    shared = np.intersect1d(choose_on, score_on)
    if len(shared):
        raise ContractError(
            f"{len(shared)} stimuli both choose the layer and score it (first: '{shared[0]}'). "
            "Keep the two sets apart, or the best of many layers looks better than it is."
        )
    target = select_stimuli(benchmark.target, choose_on)
    aggregate = benchmark.aggregation
    values = [float(aggregate(benchmark.metric(layer, target))) for layer in layers.values()]
    if np.isnan(values).all():
        raise ContractError("no layer has a defined score on the stimuli to choose on.")
    return tuple(layers)[int(np.nanargmax(values))]


def _nested(
    benchmark: Benchmark, layers: Mapping[str, xr.DataArray], metric: LinearPredictivity
) -> LayerScores:
    compared = {
        name: metric.compare(layer, benchmark.target, inner=True) for name, layer in layers.items()
    }
    candidates = [each.cross_validated for each in compared.values()]
    choice = np.argmax([each.selection_scores() for each in candidates], axis=0)
    target = next(iter(compared.values())).target
    chosen = PredictedResponses(chosen_per_split(candidates, choice), target)
    names = [tuple(layers)[position] for position in choice]
    return LayerScores(
        score=benchmark.score(
            chosen.values(),
            ceiling=benchmark.measured_ceiling,
            draws=chosen.resampled(benchmark.weights) if benchmark.n_draws else None,
            ceiling_draws=benchmark.ceiling_draws,
            provenance=_choice(_attrs(layers), names, "within the training stimuli of each split"),
        ),
        by_layer={
            name: float(benchmark.aggregation(each.values())) for name, each in compared.items()
        },
    )


def _halved(
    benchmark: Benchmark, layers: Mapping[str, xr.DataArray], halves: RandomHalves
) -> LayerScores:
    attrs = _attrs(layers)
    layers, left_out = _compared_by(benchmark.metric, layers)
    labels = benchmark.target["stimulus"].values.astype(str)
    names, values, draws, ceilings, ceiling_draws = [], [], [], [], []
    for choose_on, score_on in halves.halves(len(labels)):
        name = best_layer(benchmark, layers, choose_on=labels[choose_on], score_on=labels[score_on])
        target = select_stimuli(benchmark.target, labels[score_on])
        comparison = benchmark.metric.compare(layers[name], target)
        names.append(name)
        values.append(comparison.values())
        if benchmark.n_draws:
            draws.append(comparison.resampled(benchmark.weights[:, score_on]))
        if benchmark.ceiling is not None:
            ceiling, drawn = benchmark.ceiling_on(labels[score_on])
            ceilings.append(ceiling)
            if drawn is not None:
                ceiling_draws.append(drawn)
    how = (
        f"on one half of the stimuli, scored on the other, both ways; {halves.n_repeats} random "
        "halvings"
    )
    provenance = _choice(attrs, names, how) | {"halves_seed": halves.seed}
    if left_out:
        provenance["layers_left_out"] = left_out
    return LayerScores(
        score=benchmark.score(
            xr.concat(values, dim="split"),
            ceiling=_by_split(ceilings),
            draws=xr.concat(draws, dim="split") if draws else None,
            ceiling_draws=_by_split(ceiling_draws),
            provenance=provenance,
        ),
        by_layer={
            name: float(benchmark.aggregation(benchmark.metric(layer, benchmark.target)))
            for name, layer in layers.items()
        },
    )


def _by_split(ceilings: Sequence[xr.Dataset]) -> xr.Dataset | None:
    return xr.concat(ceilings, dim="split", data_vars="all") if ceilings else None


def _compared_by(
    metric: Metric, layers: Mapping[str, xr.DataArray]
) -> tuple[dict[str, xr.DataArray], dict[str, str]]:
    """Compute each layer's dissimilarities once; say why a layer that has none is left out."""
    if not isinstance(metric, RSA):
        return dict(layers), {}
    matrices, left_out = {}, {}
    for name, layer in layers.items():
        try:
            matrices[name] = metric.matrix(layer)
        except UndefinedDissimilarityError as error:
            left_out[name] = str(error)
    if not matrices:
        raise ContractError(f"no layer can be compared: {left_out}.")
    return matrices, left_out


def _attrs(layers: Mapping[str, xr.DataArray]) -> dict[str, Any]:
    return {str(key): value for key, value in next(iter(layers.values())).attrs.items()}


def _choice(attrs: dict[str, Any], names: Sequence[str], how: str) -> dict[str, Any]:
    counted = Counter(names).most_common()
    return {
        **attrs,
        "layer": counted[0][0],
        "layers_chosen": dict(counted),
        "layer_choice": f"chosen {how}",
    }


def _as_slice(positions: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return a slice where the layer's neuroids lie together, so that nothing is copied."""
    if len(positions) == positions[-1] - positions[0] + 1:
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions

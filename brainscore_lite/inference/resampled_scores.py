"""Scores under resampled stimuli, subjects, neuroids, animals and seeds.

Stimuli are counted by weights inside a comparison; what its parts lie along (subjects, neuroids,
animals) by weights on the parts, and seeds by weights on whole scores. NumPy only.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.inference.dual_bootstrap import Factors
from brainscore_lite.inference.factors import Factor
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
_CHUNK_BYTES = 64 * 2**20
PART_DIMS = ("draw", "split", "subject", "neuroid")


class Readable(Protocol):
    """Several quantities whose parts are read plain and under stimulus weights, together."""

    def parts(self) -> Sequence[xr.DataArray]:
        """Return the unaggregated parts of each quantity."""
        ...

    def resampled_parts(self, weights: Counts) -> Sequence[xr.DataArray]:
        """Return the same with stimuli counted by `weights`; dims (draw, ...)."""
        ...


@dataclass(frozen=True, eq=False)
class FactorWeights:
    """How often each entry of each factor is drawn.

    Parameters
    ----------
    n_draws : int
    counts : mapping of factor to ndarray of int, shape (n_draws, n_entries)
        ``stimuli``, ``subjects``; ``neuroids`` or ``animals``, both counted on neuroids.
    seeds : mapping of model to ndarray, shape (n_draws, n_seeds)
        Weights of a mean over seeds; see :func:`seed_weights`.
    """

    n_draws: int
    counts: Mapping[Factor, Counts] = field(default_factory=dict)
    seeds: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.counts) - set(get_args(Factor)) | {"seeds"} & set(self.counts)
        if unknown:
            raise ContractError(f"counts of unknown factors: {sorted(unknown)}.")
        rows = {len(array) for array in (*self.counts.values(), *self.seeds.values())}
        if rows - {self.n_draws}:
            raise ContractError(f"weights of {sorted(rows)} draws, expected {self.n_draws}.")


def bootstrap_counts(n_entries: int, *, n_draws: int, random: np.random.Generator) -> Counts:
    """Draw as many entries as there are, with replacement; shape (n_draws, n_entries)."""
    return random.multinomial(n_entries, np.full(n_entries, 1 / n_entries), size=n_draws)


def neuroid_counts(
    animal: NDArray[np.str_], *, over: Factor, n_draws: int, random: np.random.Generator
) -> Counts:
    """Draw neuroids within each animal, or whole animals with all their neuroids.

    Neuroids are nested in animals: the variance between animals already holds that of their
    neuroids, which are therefore not drawn again.

    Parameters
    ----------
    animal : ndarray of str, shape (n_neuroids,)
    over : {"neuroids", "animals"}

    Returns
    -------
    ndarray of int, shape (n_draws, n_neuroids)
    """
    names, index = np.unique(animal, return_inverse=True)
    if over == "animals":
        return bootstrap_counts(len(names), n_draws=n_draws, random=random)[:, index]
    counts = np.empty((n_draws, len(animal)), dtype=np.int64)
    for position in range(len(names)):
        own = index == position
        counts[:, own] = bootstrap_counts(int(own.sum()), n_draws=n_draws, random=random)
    return counts


def seed_weights(n_seeds: int, *, n_draws: int, random: np.random.Generator) -> Floats:
    """Draw weights for a mean over seeds, spread as new seeds would be.

    w = 1 + sqrt(K / (K-1)) (c - 1) with c counts of K seeds drawn with replacement: the variance
    of the weighted mean is that of a mean over K new seeds, also where models differ in K.

    Returns
    -------
    ndarray, shape (n_draws, n_seeds)
    """
    counts = bootstrap_counts(n_seeds, n_draws=n_draws, random=random)
    return np.asarray(1 + np.sqrt(n_seeds / (n_seeds - 1)) * (counts - 1), dtype=np.float64)


def draw_scores(
    models: Mapping[str, Sequence[Readable]],
    weights: FactorWeights,
    chosen: Collection[Factors],
) -> dict[Factors, Floats]:
    """Aggregate every model under draws of each set of factors; all sets share their draws.

    Parameters
    ----------
    models : mapping of name to sequence of Readable
        One for each seed of the model, all of as many quantities.
    weights : FactorWeights
    chosen : collection of set of factors

    Returns
    -------
    mapping of set of factors to ndarray, shape (n_draws, n_quantities)
        Quantities of the first model, of the second, ...; NaN where a draw is undefined.
    """
    without_seeds = {factors - {"seeds"} for factors in chosen}
    results: dict[Factors, list[Floats]] = {factors: [] for factors in chosen}
    for name, seeds in models.items():
        each = [_draws_of(seed, weights, without_seeds) for seed in seeds]
        for factors in chosen:
            stacked = np.stack([draws[factors - {"seeds"}] for draws in each], axis=1)
            plain = np.ones((weights.n_draws, len(seeds)))
            w = weights.seeds.get(name, plain) if "seeds" in factors else plain
            results[factors].append(np.einsum("dk,dkq->dq", w, stacked) / len(seeds))
    return {factors: np.concatenate(draws, axis=1) for factors, draws in results.items()}


def _draws_of(
    source: Readable, weights: FactorWeights, chosen: Collection[Factors]
) -> dict[Factors, Floats]:
    plain = source.parts()
    n_parts = sum(part.size for part in plain)
    results = {factors: np.empty((weights.n_draws, len(plain))) for factors in chosen}
    with_stimuli = [factors for factors in chosen if "stimuli" in factors]
    size = max(1, _CHUNK_BYTES // (8 * n_parts))
    for start in range(0, weights.n_draws, size):
        draws = slice(start, start + size)
        drawn = source.resampled_parts(weights.counts["stimuli"][draws]) if with_stimuli else plain
        for factors in chosen:
            parts = drawn if "stimuli" in factors else plain
            counts: dict[Factor, Counts] = {
                f: counted[draws]
                for f, counted in weights.counts.items()
                if f in factors and f != "stimuli"
            }
            for quantity, part in enumerate(parts):
                results[factors][draws, quantity] = aggregate_counted(part, counts)
    return results


def aggregate_counted(parts: xr.DataArray, counts: Mapping[Factor, Counts]) -> Floats:
    """Average parts as ``score.aggregate`` does, with subjects and neuroids counted.

    Mean over splits, weighted median over neuroids, weighted mean over subjects. Parts that a
    draw leaves undefined (NaN) are left out.

    Parameters
    ----------
    parts : DataArray, dims any of (draw, split, neuroid, subject)
    counts : mapping of factor to ndarray of int, shape (n_draws, n_entries)
        ``subjects``; ``neuroids`` or ``animals``, both counted on neuroids.

    Returns
    -------
    ndarray, shape (n_draws,), or (1,) without any draws
    """
    values = _in_order(parts)
    by_split = _mean(values, np.ones((1, values.shape[1], 1, 1)))
    neuroids = counts.get("neuroids", counts.get("animals"))
    if neuroids is not None:
        by_subject = weighted_median(by_split, neuroids[:, None, :])
    elif np.isnan(by_split).any():
        by_subject = weighted_median(by_split, np.ones((1, 1, 1), dtype=np.int64))
    else:
        by_subject = np.median(by_split, axis=-1)
    return _mean(by_subject, counts.get("subjects", np.ones((1, by_subject.shape[1]))))


def weighted_median(values: Floats, counts: Counts) -> Floats:
    """Take the median along the last axis with each value repeated `counts` times.

    Parameters
    ----------
    values : ndarray, shape (..., n)
        NaN is left out.
    counts : ndarray of int, shape broadcasting with `values`

    Returns
    -------
    ndarray, shape (...)
        NaN where nothing is left.
    """
    shape = np.broadcast_shapes(values.shape, counts.shape)
    order = np.argsort(values, axis=-1)
    ordered = np.broadcast_to(np.take_along_axis(values, order, axis=-1), shape)
    repeated = np.take_along_axis(
        np.broadcast_to(counts, shape), np.broadcast_to(order, shape), axis=-1
    )
    ends = np.cumsum(np.where(np.isnan(ordered), 0, repeated), axis=-1)
    total = ends[..., -1:]
    last = shape[-1] - 1
    lower = np.minimum((ends <= (total - 1) // 2).sum(axis=-1, keepdims=True), last)
    upper = np.minimum((ends <= total // 2).sum(axis=-1, keepdims=True), last)
    middle = np.take_along_axis(ordered, lower, axis=-1) + np.take_along_axis(
        ordered, upper, axis=-1
    )
    return np.asarray(np.where(total > 0, middle / 2, np.nan)[..., 0])


def _mean(values: Floats, weights: Floats | Counts) -> Floats:
    """Average along the second axis; NaN is left out, and stays where nothing is left."""
    missing = np.isnan(values)
    if missing.any():
        weights, values = np.where(missing, 0, weights), np.where(missing, 0.0, values)
    total = np.sum(weights, axis=1)
    weighted = np.sum(weights * values, axis=1)
    return np.asarray(np.where(total > 0, weighted, np.nan) / np.where(total > 0, total, 1.0))


def weights_of(
    factors: Collection[Factor],
    *,
    n_draws: int,
    seed: int,
    sizes: Mapping[str, int],
    animal: NDArray[np.str_] | None = None,
    n_seeds: Mapping[str, int] | None = None,
    paired_seeds: bool = True,
) -> FactorWeights:
    """Draw the weights of every factor, each from a generator of its own.

    Parameters
    ----------
    factors : collection of factor
    sizes : mapping of factor to int
        Entries of ``stimuli`` and ``subjects``.
    animal : ndarray of str, shape (n_neuroids,), optional
        Needed for neuroids and animals.
    n_seeds : mapping of model to int, optional
        Needed for seeds, in an order that does not depend on the models' names.
    paired_seeds : bool
        Whether seed k of every model shares initialisation and data order, and so its draws.
    """
    counts: dict[Factor, Counts] = {}
    for factor in factors:
        random = generator(seed, "inference", factor)
        if factor in ("stimuli", "subjects"):
            counts[factor] = bootstrap_counts(sizes[factor], n_draws=n_draws, random=random)
        elif factor in ("neuroids", "animals") and animal is not None:
            counts[factor] = neuroid_counts(animal, over=factor, n_draws=n_draws, random=random)
    seeds: dict[str, Floats] = {}
    for position, (name, n) in enumerate((n_seeds or {}).items() if "seeds" in factors else ()):
        stream = "paired" if paired_seeds else str(position)
        random = generator(seed, "inference", "seeds", stream)
        seeds[name] = seed_weights(n, n_draws=n_draws, random=random)
    return FactorWeights(n_draws=n_draws, counts=counts, seeds=seeds)


def _in_order(parts: xr.DataArray) -> Floats:
    """Bring parts to the axes (draw, split, subject, neuroid), those missing of length one."""
    dims = [dim for dim in PART_DIMS if dim in parts.dims]
    if len(dims) < parts.ndim:
        raise ContractError(
            f"the parts of a comparison have dims {parts.dims}, expected some of {PART_DIMS}."
        )
    shape = [parts.sizes[dim] if dim in dims else 1 for dim in PART_DIMS]
    values: Floats = parts.transpose(*dims).values.astype(np.float64).reshape(shape)
    return values

"""Variance partitioning: what two or three feature spaces explain alone, and what they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_numpy
from brainscore_lite.metrics.gram import Columns, Gram, as_gram, gram
from brainscore_lite.metrics.labels import (
    kept_coords,
    recorded_responses,
    source_features,
    stimulus_labels,
)
from brainscore_lite.metrics.regression.banded_ridge import BandedPredictions, banded_ridge
from brainscore_lite.metrics.regression.ridge import Ridge
from brainscore_lite.metrics.splits import Fold, SplitKind, Splits
from brainscore_lite.schema import ContractError, match_stimuli

Subset = tuple[str, ...]
_MOST_SPACES = 3


@dataclass(frozen=True, eq=False)
class VarianceParts:
    """Explained variance of every set of feature spaces, and its partition.

    Parameters
    ----------
    subsets : tuple of tuple of str
        Every non-empty set of feature spaces, small ones first.
    r2 : array, shape (n_splits, n_subsets, n_units)
        Held-out explained variance of the joint fit of each set.
    parts : array, shape (n_splits, n_subsets, n_units)
        The variance that is explained by each space of the set and by no other: unique for a
        single space, shared for several. The parts sum to `r2` of all spaces.
    joint : BandedPredictions
        The fit of all spaces.
    """

    subsets: tuple[Subset, ...]
    r2: Array
    parts: Array
    joint: BandedPredictions


def variance_partitioning(
    Xs: Mapping[str, Columns | Gram],
    Y: Array,
    *,
    splits: int | Splits | Sequence[Fold] = 10,
    ridge: Ridge | None = None,
    weights: int = 50,
    seed: int = 0,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> VarianceParts:
    """Partition the explained variance of two or three feature spaces by fits of all their sets.

    With R2(T) the held-out explained variance of the banded ridge on the spaces T (that of no
    space is 0), the part of the set S among all spaces F is

        V(S) = sum over T within S of (-1)^(|T| + 1) R2((F - S) + T):

    for two spaces V(a) = R2(a, b) - R2(b) and V(a, b) = R2(a) + R2(b) - R2(a, b). Parts may be
    negative, by noise or because one space suppresses noise of another; nothing is clamped.

    Parameters
    ----------
    Xs : mapping of str to array, shape (n_stimuli, n_features), or Gram
        Two or three feature spaces.
    Y : array, shape (n_stimuli, n_units)
    splits : int, Splits or sequence of Fold
    ridge : Ridge, optional
    weights : int
        Candidates of the weights of the spaces in each joint fit; 1 for equal weights.
    seed : int
    strata, groups : sequence of labels, length n_stimuli, optional
        All as for :func:`banded_ridge`.

    Returns
    -------
    VarianceParts

    Raises
    ------
    ContractError
        If there are fewer than two or more than three spaces.

    References
    ----------
    Borcard, Legendre & Drapeau (1992), doi:10.2307/1940179; de Heer et al. (2017),
    doi:10.1523/JNEUROSCI.3267-16.2017.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, B = rng.normal(size=(2, 120, 4))
    >>> found = variance_partitioning({"a": A, "b": B}, A + B, splits=4, weights=1)
    >>> found.subsets
    (('a',), ('b',), ('a', 'b'))
    >>> bool(np.allclose(found.parts.sum(axis=1), found.r2[:, -1]))
    True
    """
    if not 2 <= len(Xs) <= _MOST_SPACES:
        raise ContractError(
            f"{len(Xs)} feature spaces were given, expected 2 or {_MOST_SPACES}. Use banded_ridge "
            "and its r2_by_band for more, linear_predictivity for one."
        )
    grams = {name: as_gram(X) for name, X in Xs.items()}
    subsets = [s for size in range(1, len(grams) + 1) for s in combinations(grams, size)]
    fits = [
        banded_ridge(
            {name: grams[name] for name in subset},
            Y,
            splits=splits,
            ridge=ridge,
            weights=weights,
            seed=seed,
            strata=strata,
            groups=groups,
        )
        for subset in subsets
    ]
    joint = fits[-1]
    explained = {frozenset(s): fit.r2() for s, fit in zip(subsets, fits, strict=True)}
    xp = array_namespace(joint.responses)
    return VarianceParts(
        subsets=tuple(subsets),
        r2=xp.stack([explained[frozenset(s)] for s in subsets], axis=1),
        parts=xp.stack([_part(s, tuple(grams), explained) for s in subsets], axis=1),
        joint=joint,
    )


@dataclass(frozen=True)
class VariancePartitioning:
    """Partition what two or three layers or models explain of each neuroid.

    Parameters
    ----------
    ridge : Ridge
        Penalties and how they are chosen.
    n_weights : int
        Candidates of the weights of the feature spaces in each joint fit.
    n_splits, seed, split_kind, stratify, group
        As for :class:`LinearPredictivity`; the seed is also that of the candidates.

    Examples
    --------
    >>> import numpy as np
    >>> from brainscore_lite.schema import activations, responses
    >>> rng, names = np.random.default_rng(0), [f"s{i}" for i in range(60)]
    >>> X = rng.normal(size=(2, 60, 4))
    >>> layers = {n: activations(x, stimulus=names, layer=n) for n, x in zip("ab", X)}
    >>> target = responses(X[0], stimulus=names, neuroid=list("wxyz"), region="IT", animal="m")
    >>> VariancePartitioning(n_weights=5, n_splits=4)(layers, target)["variance"].dims
    ('split', 'part', 'neuroid')
    """

    ridge: Ridge = Ridge()
    n_weights: int = 50
    n_splits: int = 10
    seed: int = 0
    split_kind: SplitKind = "k_fold"
    stratify: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        Splits(self.n_splits, seed=self.seed, kind=self.split_kind)
        if self.stratify is not None and self.group is not None:
            raise ContractError("both stratify and group were given; choose one.")
        if self.n_weights < 1:
            raise ContractError(f"n_weights is {self.n_weights}, expected at least 1.")

    def __call__(self, sources: Mapping[str, xr.DataArray], target: xr.DataArray) -> xr.Dataset:
        """Return the parts of the explained variance of each split and neuroid.

        Parameters
        ----------
        sources : mapping of str to DataArray, dims (stimulus, neuroid)
            Two or three layers or models by name.
        target : DataArray, dims (repetition, stimulus, neuroid[, time_bin])
            Recorded responses; averaged over repetitions here.

        Returns
        -------
        Dataset
            ``variance`` and ``r2``, dims (split, part[, time_bin], neuroid): the unique and shared
            parts, and the explained variance of the joint fit of the same spaces ("a & b");
            ``product``, dims (split, space[, time_bin], neuroid): the joint fit split by the
            product measure.

        Raises
        ------
        ContractError
            If stimuli are missing, or an array breaks its contract.
        """
        grams = {}
        for name, source in sources.items():
            aligned, target = match_stimuli(source, target)
            grams[name] = gram(source_features(aligned))
        recorded = recorded_responses(target).transpose("stimulus", ..., "neuroid")
        folds = Splits(self.n_splits, seed=self.seed, kind=self.split_kind).folds(
            target.sizes["stimulus"],
            strata=stimulus_labels(target, self.stratify),
            groups=stimulus_labels(target, self.group),
        )
        by_bin = recorded.values.reshape(recorded.sizes["stimulus"], -1, recorded.sizes["neuroid"])
        bins = [
            variance_partitioning(
                grams,
                by_bin[:, b],
                splits=folds,
                ridge=self.ridge,
                weights=self.n_weights,
                seed=self.seed,
            )
            for b in range(by_bin.shape[1])
        ]
        parts = [" & ".join(subset) for subset in bins[0].subsets]
        spaces = list(grams)
        products = [found.joint.r2_by_band() for found in bins]
        return xr.Dataset(
            {
                "variance": _labelled([found.parts for found in bins], "part", parts, recorded),
                "r2": _labelled([found.r2 for found in bins], "part", parts, recorded),
                "product": _labelled(products, "space", spaces, recorded),
            }
        )


def _part(subset: Subset, spaces: Subset, explained: Mapping[frozenset[str], Array]) -> Array:
    """Return what each space of a set explains and no space outside it."""
    others = frozenset(spaces) - frozenset(subset)
    total: Array = 0.0
    for size in range(len(subset) + 1):
        for chosen in combinations(subset, size):
            joint = others | frozenset(chosen)
            if joint:
                total = total + (-1.0) ** (size + 1) * explained[joint]
    return total


def _labelled(
    bins: Sequence[Array], dim: str, names: Sequence[str], recorded: xr.DataArray
) -> xr.DataArray:
    """Label values of shape (n_splits, n_names, n_units), one array for each time bin."""
    values: NDArray[np.float64] = np.stack([as_numpy(v) for v in bins], axis=2)
    units = tuple(str(d) for d in recorded.dims[1:])
    return xr.DataArray(
        values.reshape(values.shape[:2] + recorded.shape[1:]),
        dims=("split", dim, *units),
        coords={"split": np.arange(len(values)), dim: list(names), **kept_coords(recorded, units)},
    )

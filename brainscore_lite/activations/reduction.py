"""Fewer numbers of wide layers: random projections and random units, the same at every step."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

Array = NDArray[np.float32]
NOWHERE = -1  # channel, row or column of a neuroid that has none


@dataclass(frozen=True)
class RandomProjection:
    """Project wide layers onto few random directions that keep inner products.

    Every unit is added to one component, drawn at random, with a random sign, so that

        E[<P x, P y>] = <x, y>,   Var[<P x, P y>] <= (|x|^2 |y|^2 + <x, y>^2) / n_components.

    The mean over units is taken apart and comes back as the mean over components,

        z = C P (x - m 1) + m sqrt(n_units / n_components) 1,   m = mean(x),

    C centring over components: so distances, correlations between patterns and what regression
    sees are all kept. Layers of at most `n_components` units are left as they are.

    Parameters
    ----------
    n_components : int
        Directions per layer.
    seed : int
        Root seed; every layer has its own stream, named after it.

    References
    ----------
    Charikar, Chen & Farach-Colton (2004), doi:10.1016/S0304-3975(03)00400-6;
    Weinberger et al. (2009), doi:10.1145/1553374.1553516.
    """

    n_components: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_components < 1:
            raise ContractError(
                f"A projection onto {self.n_components} components keeps nothing; at least 1 is "
                "expected."
            )

    def matrix(self, layer: str, n_units: int) -> sparse.csr_array:
        """Return P of a layer, shape (n_components, n_units): one entry, +-1, in each column."""
        rng = generator(self.seed, "projection", layer)
        components = rng.integers(0, self.n_components, size=n_units)
        signs = rng.integers(0, 2, size=n_units, dtype=np.int8).astype(np.float32) * 2 - 1
        entries = (signs, (components, np.arange(n_units)))
        return sparse.csr_array(entries, shape=(self.n_components, n_units))


def projected(patterns: Array, matrix: sparse.csr_array) -> Array:
    """Project patterns, their means kept (see :class:`RandomProjection`).

    Parameters
    ----------
    patterns : float32 array, shape (n, n_units)
    matrix : sparse array, shape (n_components, n_units)

    Returns
    -------
    float32 array, shape (n, n_components)
    """
    n_components, n_units = matrix.shape
    mean = patterns.mean(axis=1, keepdims=True)
    directions: Array = (matrix @ np.ascontiguousarray((patterns - mean).T)).T
    directions -= directions.mean(axis=1, keepdims=True)
    directions += mean * np.float32(math.sqrt(n_units / n_components))
    return directions


@dataclass(frozen=True)
class UnitSample:
    """Keep units drawn at random from each wide layer, the same for all images and at all steps.

    The units keep their labels and places. Layers of at most `n_units` units are left as they are.

    Parameters
    ----------
    n_units : int
        Units per layer.
    seed : int
        Root seed; every layer has its own stream, named after it.

    Raises
    ------
    ContractError
        If no unit would be kept.
    """

    n_units: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_units < 1:
            raise ContractError(
                f"A sample of {self.n_units} units keeps nothing; at least 1 is expected."
            )

    def units(self, layer: str, n_units: int) -> NDArray[np.int64]:
        """Return the numbers of a layer's units that are kept, ascending."""
        if n_units <= self.n_units:
            return np.arange(n_units)
        rng = generator(self.seed, "units", layer)
        return np.sort(rng.choice(n_units, size=self.n_units, replace=False))


def kept_units(
    layer: str, shape: tuple[int, ...], reduction: RandomProjection | UnitSample | None
) -> tuple[Callable[[Array], Array], NDArray[np.int32]]:
    """Return how a layer's activations are made narrower, and where the kept units lie.

    Parameters
    ----------
    layer : str
    shape : tuple of int
        Of the activations that one image causes.
    reduction : RandomProjection or UnitSample, optional

    Returns
    -------
    reduce : callable
        From (n, n_units) to (n, n_kept).
    places : int32 array, shape (3, n_kept)
        Channel, row and column; -1 where there is none.
    """
    places = _positions(shape)
    n_units = places.shape[1]
    if isinstance(reduction, RandomProjection) and n_units > reduction.n_components:
        matrix = reduction.matrix(layer, n_units)
        nowhere = np.full((3, reduction.n_components), NOWHERE, dtype=np.int32)
        return lambda flat: projected(flat, matrix), nowhere
    if isinstance(reduction, UnitSample) and n_units > reduction.n_units:
        kept = reduction.units(layer, n_units)
        return lambda flat: flat[:, kept], places[:, kept]
    return lambda flat: flat, places


def _positions(shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return channel, row and column of each unit, shape (3, n_units)."""
    if len(shape) == 3:
        return np.indices(shape, dtype=np.int32).reshape(3, -1)
    places = np.full((3, math.prod(shape)), NOWHERE, dtype=np.int32)
    if len(shape) == 1:
        places[0] = np.arange(shape[0])
    return places

"""Depth as time: the layers of a feedforward network one after the other, as steps."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.schema import ContractError, activations, check_activations
from brainscore_lite.seeding import generator

DepthMapping = Literal["uniform", "graded"]
LAYER = "depth"
"""Layer of the units of :func:`depth_as_time`."""


def depth_positions(n_layers: int, n_steps: int) -> NDArray[np.float64]:
    """Return how deep each step looks: from 0, the first layer, to n_layers - 1, the last.

    Parameters
    ----------
    n_layers : int
    n_steps : int
        At least `n_layers`, so that no layer is passed over.

    Returns
    -------
    ndarray, shape (n_steps,)

    Raises
    ------
    ContractError
        If there are fewer than two layers, or fewer steps than layers.
    """
    if n_layers < 2 or n_steps < n_layers:
        raise ContractError(
            f"{n_layers} layers as {n_steps} steps, expected at least two layers and as many "
            "steps. Ask for more steps, or leave layers out."
        )
    return np.linspace(0, n_layers - 1, n_steps)


def layer_of_units(
    n_layers: int, *, n_steps: int, ranks: ArrayLike, mapping: DepthMapping = "uniform"
) -> NDArray[np.int64]:
    """Say which layer each unit is taken from at each step.

    * uniform: all units change together, and each layer lasts as many steps, as far as their
      number allows: step t of T shows layer floor(t L / T) of L.
    * graded: units change one by one. With x = t (L - 1) / (T - 1), a unit of rank u is taken from
      the layer ceil(x) if u < x - floor(x) and from floor(x) otherwise, so that a share
      x - floor(x) of the units has moved on.

    Parameters
    ----------
    n_layers, n_steps : int
        L and T.
    ranks : array, shape (n_units,)
        Between 0 and 1: how early a unit moves on. Only ``graded`` uses it.
    mapping : {"uniform", "graded"}

    Returns
    -------
    ndarray of int, shape (n_steps, n_units)
    """
    if mapping not in get_args(DepthMapping):
        raise ContractError(f"mapping is {mapping!r}, expected one of {get_args(DepthMapping)}.")
    u = np.asarray(ranks, dtype=np.float64)
    x = depth_positions(n_layers, n_steps)
    if mapping == "uniform":
        whole = np.arange(n_steps) * n_layers // n_steps
        return np.repeat(whole[:, None], len(u), axis=1)
    below = np.floor(x + 1e-9)
    moved = u[None, :] < (x - below)[:, None]
    return (below[:, None] + moved).astype(np.int64)


def depth_as_time(
    source: xr.DataArray,
    *,
    layers: Sequence[str],
    n_steps: int,
    mapping: DepthMapping = "uniform",
    n_units: int | None = None,
    seed: int = 0,
) -> xr.DataArray:
    """Turn the layers of a network without dynamics into steps: the control for scores over time.

    A network with lateral or feedback connections has to beat this control before a score over
    time says anything about them: later responses may just look like deeper layers. A step has the
    same number of units whatever layer it shows, drawn at random from each layer once.

    Parameters
    ----------
    source : DataArray, dims (stimulus, neuroid)
        Activations of several layers.
    layers : sequence of str
        From the first to the last.
    n_steps : int
        At least as many as layers.
    mapping : {"uniform", "graded"}
        See :func:`layer_of_units`, where both are defined.
    n_units : int, optional
        Units of a step; by default as many as the smallest layer has.
    seed : int
        Of the draw of the units.

    Returns
    -------
    DataArray, dims (stimulus, neuroid, step)
        Layer "depth"; the coordinate ``shown`` of a step names the layers that it shows, joined
        by "+".

    Raises
    ------
    ContractError
        If the activations have steps already, a layer is unknown or too small, or there are too
        few steps.

    References
    ----------
    The control is proposed by Nayebi et al. (2022), doi:10.1162/neco_a_01506; the two mappings are
    defined here.

    Examples
    --------
    >>> X = activations(np.arange(12.0).reshape(3, 4), stimulus=list("abc"),
    ...                 layer=["V1", "V1", "IT", "IT"])
    >>> depth_as_time(X, layers=["V1", "IT"], n_steps=4)["shown"].values.tolist()
    ['V1', 'V1', 'IT', 'IT']
    """
    columns = _columns(source, layers)
    smallest = min(len(units) for units in columns)
    n = smallest if n_units is None else n_units
    if not 1 <= n <= smallest:
        raise ContractError(
            f"n_units is {n_units}, expected 1 to {smallest}, the units of the smallest layer."
        )
    draws = generator(seed, "depth as time", "units")
    chosen = np.stack([np.sort(draws.choice(units, size=n, replace=False)) for units in columns])
    ranks = (draws.permutation(n) + 0.5) / n
    shown = layer_of_units(len(layers), n_steps=n_steps, ranks=ranks, mapping=mapping)
    values = source.values[:, chosen[shown, np.arange(n)]]  # (stimulus, step, unit)
    steps = activations(
        values.transpose(0, 2, 1), stimulus=source["stimulus"].values, layer=LAYER, name=LAYER
    )
    names = ["+".join(layers[layer] for layer in np.unique(row)) for row in shown]
    return steps.assign_coords(shown=("step", names))


def _columns(source: xr.DataArray, layers: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return the positions of each layer's units."""
    check_activations(source)
    if "step" in source.dims:
        raise ContractError(
            f"source has {source.sizes['step']} steps already. Choose one with .isel(step=..., "
            "drop=True): depth as time is a control for networks without dynamics."
        )
    of_unit = source["layer"].values.astype(str)
    unknown = [layer for layer in layers if layer not in of_unit]
    if unknown:
        known = list(dict.fromkeys(of_unit.tolist()))
        raise ContractError(f"source has no layers {unknown}; it has {known}.")
    if len(set(layers)) < len(layers):
        raise ContractError(f"layers {list(layers)} name a layer twice, expected each once.")
    return [np.flatnonzero(of_unit == layer) for layer in layers]

"""Similarity of every layer to every other, from one Gram matrix per layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from brainscore_lite.metrics.arrays import Array
from brainscore_lite.metrics.gram import Gram, as_gram
from brainscore_lite.metrics.labels import source_features
from brainscore_lite.metrics.similarity.cca import CCA
from brainscore_lite.metrics.similarity.cka import CKA
from brainscore_lite.metrics.similarity.representations import RepresentationSimilarity
from brainscore_lite.metrics.similarity.shape_metrics import ShapeSimilarity
from brainscore_lite.schema import ContractError, select_stimuli

Layers = Mapping[str, Array | Gram | xr.DataArray]

SIMILARITIES: dict[str, RepresentationSimilarity] = {
    "cka": CKA(),
    "cka_biased": CKA(debiased=False),
    "rbf_cka": CKA(kernel="rbf"),
    "cca": CCA(),
    "svcca": CCA(variance=0.99),
    "pwcca": CCA(summary="projection_weighted"),
    "procrustes": ShapeSimilarity(),
}
"""The ready-made measures by name."""


def similarity_grid(
    layers: Layers, other: Layers | None = None, *, method: str | RepresentationSimilarity = "cka"
) -> xr.DataArray:
    """Compare every layer of a model with every other, or with those of another model.

    Each layer is read once: its Gram matrix, and what the measure needs of it alone
    (centring; eigendecomposition and whitening), serve its whole row and column. A mapping that
    loads its layers on access never has more than one of them in memory.

    Parameters
    ----------
    layers : mapping of name to array, shape (n_stimuli, n_features), Gram, or DataArray
        Labelled activations or responses, dims (stimulus, neuroid) or (repetition, stimulus,
        neuroid), are aligned by stimulus with the first of them; either all layers are labelled
        or none.
    other : mapping, optional
        The columns; `layers` again if not given.
    method : {"cka", "cka_biased", "rbf_cka", "cca", "svcca", "pwcca", "procrustes"} or object
        Or an object such as ``ShapeSimilarity(alpha=0.5)``. Angular distances are
        ``angular_distance`` of the values.

    Returns
    -------
    DataArray, dims (layer, layer_other)
        Named after the measure's unit. Memory: for each layer one array of
        (n_stimuli, n_stimuli), less for the spectral measures where features are fewer.

    Raises
    ------
    ContractError
        If a layer is refused by the measure or has other stimuli; says which layer.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> layers = {name: rng.normal(size=(30, 8)) for name in ("conv1", "conv2")}
    >>> similarity_grid(layers).sel(layer="conv1", layer_other="conv1").round(9).item()
    1.0
    """
    measure = _resolved(method)
    prepared = _forms(measure, layers) if other is None else _forms(measure, layers, other)
    forms, columns = prepared[0], prepared[-1]
    mirrored = other is None and measure.symmetric
    values = np.zeros((len(forms), len(columns)))
    for i, (row, first) in enumerate(forms.items()):
        for j, (column, second) in enumerate(columns.items()):
            if mirrored and j < i:
                values[i, j] = values[j, i]
                continue
            try:
                values[i, j] = measure.similarity(first, second)
            except ContractError as error:
                raise ContractError(f"layers '{row}' and '{column}': {error}") from error
    return xr.DataArray(
        values,
        dims=("layer", "layer_other"),
        coords={"layer": list(forms), "layer_other": list(columns)},
        name=measure.unit,
    )


def _resolved(method: str | RepresentationSimilarity) -> RepresentationSimilarity:
    """Return the measure of a name; a measure itself is returned as it is."""
    if not isinstance(method, str):
        return method
    if method not in SIMILARITIES:
        raise ContractError(
            f"unknown similarity '{method}'; expected one of {tuple(SIMILARITIES)}, or an object "
            "such as ShapeSimilarity(alpha=0.5)."
        )
    return SIMILARITIES[method]


def _forms(measure: RepresentationSimilarity, *models: Layers) -> list[dict[str, Any]]:
    """Prepare every layer of every model, aligned with the first where layers are labelled."""
    reference: xr.DataArray | None = None
    prepared: list[dict[str, Any]] = []
    for model in models:
        if not model:
            raise ContractError("no layers were given, expected at least one.")
        forms: dict[str, Any] = {}
        for name in model:
            first = not (prepared or forms)
            try:
                kernel, stimuli = _kernel(model[name], reference, first=first)
                reference = stimuli if first else reference
                forms[name] = measure.form(kernel)
            except ContractError as error:
                raise ContractError(f"layer '{name}': {error}") from error
        prepared.append(forms)
    return prepared


def _kernel(
    layer: Array | Gram | xr.DataArray, reference: xr.DataArray | None, *, first: bool
) -> tuple[Gram, xr.DataArray | None]:
    """Return a layer's Gram matrix, and its stimulus labels if it has any."""
    if not first and isinstance(layer, xr.DataArray) != (reference is not None):
        raise ContractError(
            "some layers are labelled DataArrays and others plain arrays, whose order of stimuli "
            "cannot be checked. Label all or none."
        )
    if not isinstance(layer, xr.DataArray):
        return as_gram(layer), None
    patterns = layer if reference is None else select_stimuli(layer, reference.values)
    return as_gram(source_features(patterns)), layer["stimulus"]

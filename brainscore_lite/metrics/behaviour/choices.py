"""From a network's probabilities to a choice among categories, and what choices are led by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.arrays import Array, as_matrix, as_numpy
from brainscore_lite.schema import ContractError


def category_choices(
    probabilities: Array, *, categories: Mapping[str, Sequence[int]]
) -> NDArray[np.str_]:
    """Choose the category whose classes have the largest mean probability.

    Parameters
    ----------
    probabilities : array, shape (n_stimuli, n_classes)
        For example of the 1000 classes of ImageNet.
    categories : mapping of str to sequence of int
        The columns of `probabilities` that belong to each category, such as the 16 entry-level
        categories of Geirhos et al. (2018). The package ships no table.

    Returns
    -------
    ndarray of str, shape (n_stimuli,)
        The first of the mapping's categories where means are equal.

    Raises
    ------
    ContractError
        If probabilities are negative or not finite, or the categories are empty, overlap or name a
        column that does not exist.

    References
    ----------
    Geirhos, Temme, Rauber, Schutt, Bethge & Wichmann (2018), doi:10.48550/arXiv.1808.08750.

    Examples
    --------
    >>> p = np.array([[0.5, 0.3, 0.2], [0.2, 0.1, 0.7]])
    >>> category_choices(p, categories={"dog": [0, 1], "truck": [2]}).tolist()
    ['dog', 'truck']
    """
    p = as_numpy(as_matrix(probabilities, name="probabilities", units="column"))
    if p.min() < 0:
        raise ContractError(
            f"probabilities reach down to {p.min():.3g}, expected at least 0. Give the softmax, "
            "not the logits: a mean over classes depends on it."
        )
    members = [np.asarray(columns, dtype=np.int64).ravel() for columns in categories.values()]
    if len(members) < 2 or any(each.size == 0 for each in members):
        raise ContractError("categories must be at least two, each with at least one class.")
    columns = np.concatenate(members)
    if columns.min() < 0 or columns.max() >= p.shape[1] or len(np.unique(columns)) != len(columns):
        raise ContractError(
            f"categories name columns {columns.min()} to {columns.max()}, {len(columns)} in all; "
            f"expected different ones of 0 to {p.shape[1] - 1}."
        )
    means = np.stack([p[:, each].mean(axis=1) for each in members], axis=1)
    choices: NDArray[np.str_] = np.array(list(categories))[means.argmax(axis=1)]
    return choices


@dataclass(frozen=True)
class ShapeBias:
    """How many decisions on images of conflicting cues follow shape, and how many texture.

    Parameters
    ----------
    n_shape, n_texture : int
        Decisions for the category of the shape and of the texture.
    n_neither : int
        Decisions for another category; they do not enter the bias.
    n_without_conflict : int
        Images whose shape and texture are of one category; left out.
    """

    n_shape: int
    n_texture: int
    n_neither: int
    n_without_conflict: int

    @property
    def value(self) -> float:
        """Return shape decisions / (shape + texture decisions); NaN where there is neither."""
        decided = self.n_shape + self.n_texture
        return self.n_shape / decided if decided else float("nan")


def shape_bias(choices: ArrayLike, *, shape: ArrayLike, texture: ArrayLike) -> ShapeBias:
    """Count decisions for the shape and for the texture of cue-conflict images.

    Parameters
    ----------
    choices, shape, texture : sequence of labels, length n_stimuli
        The category chosen, and those of the image's shape and texture.

    Returns
    -------
    ShapeBias

    Raises
    ------
    ContractError
        If lengths disagree, a label is missing, or no image has conflicting cues.

    References
    ----------
    Geirhos, Rubisch, Michaelis, Bethge, Wichmann & Brendel (2019),
    doi:10.48550/arXiv.1811.12231.

    Examples
    --------
    >>> shape_bias(["cat", "dog"], shape=["cat", "car"], texture=["clock", "dog"]).value
    0.5
    """
    for name, each in (("choices", choices), ("shape", shape), ("texture", texture)):
        missing = int(np.sum(pd.isna(np.asarray(each, dtype=object))))
        if missing:
            raise ContractError(f"{name} lack {missing} entries (NaN or None). Leave them out.")
    chosen, by_shape, by_texture = (
        np.asarray(each).astype(str) for each in (choices, shape, texture)
    )
    if not chosen.shape == by_shape.shape == by_texture.shape or chosen.ndim != 1:
        raise ContractError(
            f"choices, shape and texture have shapes {chosen.shape}, {by_shape.shape} and "
            f"{by_texture.shape}; expected one label for each image."
        )
    conflict = by_shape != by_texture
    if not conflict.any():
        raise ContractError("no image has a shape and a texture of different categories.")
    for_shape = int((chosen == by_shape)[conflict].sum())
    for_texture = int((chosen == by_texture)[conflict].sum())
    return ShapeBias(
        n_shape=for_shape,
        n_texture=for_texture,
        n_neither=int(conflict.sum()) - for_shape - for_texture,
        n_without_conflict=int((~conflict).sum()),
    )

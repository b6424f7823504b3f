"""The names of the dissimilarities, and what their kernels share."""

from typing import Literal, get_args

from array_api_compat import array_namespace

from brainscore_lite.metrics.arrays import Array
from brainscore_lite.metrics.gram import Gram
from brainscore_lite.schema import ContractError

Dissimilarity = Literal[
    "correlation", "euclidean", "mahalanobis", "crossnobis", "poisson", "poisson_cv"
]
CROSS_VALIDATED = ("crossnobis", "poisson_cv")
"""Those computed from single trials; the others from one pattern for each stimulus."""
TAKES_PRECISION = ("mahalanobis", "crossnobis")
"""Those in units of the noise."""
NOISE_FREE: dict[Dissimilarity, Dissimilarity] = {
    "correlation": "correlation",
    "euclidean": "euclidean",
    "mahalanobis": "euclidean",
    "crossnobis": "euclidean",
    "poisson": "poisson",
    "poisson_cv": "poisson",
}
"""What each becomes for patterns without noise, as a model's are."""


class UndefinedDissimilarityError(ContractError):
    """A stimulus has no such dissimilarity: its pattern is constant, or a rate is negative."""


def check_dissimilarity(method: str) -> None:
    """Raise if the name of a dissimilarity is unknown."""
    if method not in get_args(Dissimilarity):
        raise ContractError(
            f"unknown dissimilarity '{method}'; expected one of {get_args(Dissimilarity)}."
        )


def pattern_distances(kernel: Gram) -> Array:
    """Return the squared Euclidean distances of the patterns behind a Gram matrix, none below 0.

    Returns
    -------
    array, shape (n_stimuli, n_stimuli)
    """
    xp = array_namespace(kernel.centred)
    distances = squared_distances(xp.asarray(kernel.centred, copy=True))
    return xp.where(distances > 0, distances, xp.zeros_like(distances))


def squared_distances(products: Array) -> Array:
    """Turn K into K_ii + K_jj - 2 K_ij, in its own memory.

    Parameters
    ----------
    products : array, shape (n_stimuli, n_stimuli)
        Symmetric; overwritten.

    Returns
    -------
    array, shape (n_stimuli, n_stimuli)
    """
    xp = array_namespace(products)
    diagonal = xp.asarray(xp.linalg.diagonal(products), copy=True)
    products *= -2
    products += diagonal[:, None]
    products += diagonal[None, :]
    return products

"""VICReg: views agree, while units keep varying and do not repeat each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.linear_readout import frozen_readout
from brainscore_lite.learning_rules.self_supervised.two_view_estimator import TwoViewEstimator
from brainscore_lite.learning_rules.settings import check_not_negative, check_sizes
from brainscore_lite.learning_rules.support import differentiable_graph
from brainscore_lite.networks.network import Network

#: Added to a unit's variance under the root.
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class VICReg:
    """Follow the exact gradient of an objective without labels or negatives.

    L = i mean (z - z')^2 + v [V(z) + V(z')] / 2 + c [C(z) + C(z')]

    V(z) = mean_j max(0, 1 - sqrt(var z_j + 1e-4)), C(z) = (1/d) sum_{j != k} cov(z)_jk^2 over the
    d units of a projection z, variances and covariances over the batch. The invariance is a
    mean over units and the variance one over views, the convention in which weights of 25, 25 and 1
    are in balance. Like `SimCLR`, the control of the objective: backprop, without labels, and a
    readout on fixed features at the end.

    Parameters
    ----------
    invariance, variance, covariance : float
        i, v and c.
    projector_units : tuple of int
        Of the layers between features and comparison; the paper's are 8192 each.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Bardes, Ponce & LeCun (2022), arXiv 2105.04906.

    Examples
    --------
    >>> VICReg().invariance
    25.0
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    projector_units: tuple[int, ...] = (512, 512, 512)

    name: ClassVar[str] = "vicreg"
    family: ClassVar[str] = "self_supervised"
    citation: ClassVar[str] = "Bardes, Ponce & LeCun 2022, arXiv 2105.04906"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"views"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_not_negative(self, "invariance", "variance", "covariance")
        check_sizes(self, "projector_units")

    def supports(self, architecture: Any) -> Support:
        """Accept every graph of areas with a readout to train and derivatives throughout."""
        return differentiable_graph(architecture, frozen_readout(architecture))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, its readout is frozen, or it has a stage of unknown
            derivative.
        """
        check_support(self, network)
        return TwoViewEstimator(
            cast(Network, network),
            generator,
            name=self.name,
            units=self.projector_units,
            objective=self.objective,
        )

    def objective(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the loss of two projections of shape (batch, units)."""
        spread = too_little_variance(one) + too_little_variance(other)
        shared = covariance(one) + covariance(other)
        agreement = functional.mse_loss(one, other)
        return self.invariance * agreement + self.variance * spread / 2 + self.covariance * shared


def too_little_variance(projections: Tensor) -> Tensor:
    """Return V(z) (see `VICReg`) of projections of shape (batch, units)."""
    deviation = (projections.var(dim=0) + _LEAST_VARIANCE).sqrt()
    return (1 - deviation).relu().mean()


def covariance(projections: Tensor) -> Tensor:
    """Return C(z) (see `VICReg`) of projections of shape (batch, units)."""
    n, n_units = projections.shape
    centred = projections - projections.mean(dim=0)
    squares = (centred.T @ centred / (n - 1)).square()
    return (squares.sum() - squares.diagonal().sum()) / n_units

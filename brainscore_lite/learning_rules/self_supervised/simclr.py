"""SimCLR: two views of an image are told from the views of all other images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
from brainscore_lite.learning_rules.settings import check_positive, check_sizes
from brainscore_lite.learning_rules.support import differentiable_graph
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class SimCLR:
    """Follow the exact gradient of a contrastive objective, without labels.

    L = -mean_a log [exp(s(a, a') / T) / sum_{b != a} exp(s(a, b) / T)]

    s is the cosine between projections, a and a' are the two views of an image, and b runs over
    all other views of the batch. The control of the objective: the gradient is backprop's, only
    what it is the gradient of needs no labels; so it approximates no gradient of the
    cross-entropy (`exactness` "none"). The readout is trained at the end, on fixed features. It is
    worth as much as the views differ: crop and recolour them (`Augmentation`).

    Parameters
    ----------
    temperature : float
        T; the paper's on CIFAR-10.
    projector_units : tuple of int
        Of the layers between features and comparison; the paper's hidden layer is as large as its
        2048 features.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Chen, Kornblith, Norouzi & Hinton (2020), arXiv 2002.05709.

    Examples
    --------
    >>> sorted(SimCLR().requires)
    ['views']
    """

    temperature: float = 0.5
    projector_units: tuple[int, ...] = (512, 128)

    name: ClassVar[str] = "simclr"
    family: ClassVar[str] = "self_supervised"
    citation: ClassVar[str] = "Chen, Kornblith, Norouzi & Hinton 2020, arXiv 2002.05709"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"views"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_positive(self, "temperature")
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
            objective=partial(contrast, temperature=self.temperature),
        )


def contrast(one: Tensor, other: Tensor, *, temperature: float) -> Tensor:
    """Return the contrastive loss between two views (see `SimCLR`), in nats.

    Parameters
    ----------
    one, other : Tensor, shape (batch, units)
    temperature : float

    Returns
    -------
    Tensor, shape ()
    """
    directions = functional.normalize(torch.cat([one, other]), dim=1)
    scores = directions @ directions.T / temperature
    n_views = len(scores)
    itself = torch.eye(n_views, dtype=torch.bool, device=scores.device)
    partner = torch.arange(n_views, device=scores.device).roll(len(one))
    return functional.cross_entropy(scores.masked_fill(itself, -torch.inf), partner)

"""Greedy InfoMax: every area tells views of one image from views of all others, alone."""

from __future__ import annotations

from collections.abc import Sequence
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
from brainscore_lite.learning_rules.local.area_losses import separate_areas
from brainscore_lite.learning_rules.local.greedy_estimator import GreedyEstimator
from brainscore_lite.learning_rules.settings import check_counts
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class GreedyInfoMax:
    """Train each area to tell two views of an image from views of other images.

    L_l = -mean_i log [exp(z_i^T W_l c_i) / sum_j exp(z_j^T W_l c_i)]

    c_i and z_i are the area's summaries of two views of image i (averages over squares of its
    maps, flattened), j runs over the batch, and either view is the context once. No gradient passes
    between areas; the readout is trained at the end, on fixed features. In a recurrent network
    every step has its loss.

    In the paper an area predicts its summary of one patch of an image from that of another. A
    network for small images sees no patches, and its dense areas have no map to cut them from;
    so here views take their place, and any area can be trained. Cropped views
    (`Augmentation.crop_scale`) are patches brought to the size of the input.

    Parameters
    ----------
    pooled_units : int
        Most numbers in a summary. The paper's summaries are averages over each patch.

    Raises
    ------
    ContractError
        If `pooled_units` is no whole number above 0.

    References
    ----------
    Lowe, O'Connor & Veeling (2019), arXiv 1905.11786.

    Examples
    --------
    >>> sorted(GreedyInfoMax().makes_local)
    ['update_locking']
    """

    pooled_units: int = 512

    name: ClassVar[str] = "greedy_infomax"
    family: ClassVar[str] = "local"
    citation: ClassVar[str] = "Lowe, O'Connor & Veeling 2019, arXiv 1905.11786"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"views"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"update_locking"})

    def __post_init__(self) -> None:
        check_counts(self, "pooled_units")

    def supports(self, architecture: Any) -> Support:
        """Accept every graph of areas with a readout to train and the derivatives of areas."""
        return separate_areas(architecture, frozen_readout(architecture))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, its readout is frozen, or an area to be trained
            ends in a black box.
        """
        check_support(self, network)
        return GreedyEstimator(
            cast(Network, network),
            generator,
            name=self.name,
            pooled_units=self.pooled_units,
            comparisons=("predict",),
            contrast=_contrast_all,
        )


def _contrast_all(estimator: GreedyEstimator, summaries: Sequence[tuple[str, Tensor]]) -> Tensor:
    losses = [
        information_loss(summary, estimator.comparison(area)["predict"])
        for area, summary in summaries
    ]
    total = torch.stack(losses).sum()
    total.backward()
    return total


def information_loss(summary: Tensor, predict: Tensor) -> Tensor:
    """Return L_l of an area (see `GreedyInfoMax`), in nats, the mean over both contexts.

    Parameters
    ----------
    summary : Tensor, shape (2, batch, units)
        Of both views.
    predict : Tensor, shape (units, units)
        W_l.

    Returns
    -------
    Tensor, shape ()
    """
    scores = summary @ predict.T @ summary.flip(0).transpose(1, 2)  # (context, i, j)
    own = torch.arange(summary.shape[1], device=summary.device).repeat(2)
    return functional.cross_entropy(scores.flatten(0, 1), own)

"""CLAPP: contrastive predictions whose updates are Hebbian terms times a broadcast factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.linear_readout import frozen_readout
from brainscore_lite.learning_rules.local.area_losses import separate_areas
from brainscore_lite.learning_rules.local.greedy_estimator import GreedyEstimator
from brainscore_lite.learning_rules.settings import check_choices, check_counts
from brainscore_lite.networks.network import Network


@dataclass(frozen=True)
class CLAPP:
    """Contrastive, local and predictive plasticity: Hebbian terms times a broadcast factor.

    L_l = max(0, 1 - y z^T W c): y = 1 where gaze stays (z and c are two views of an image), y = -1
    after a saccade (z is a view of another image). With g = y where 1 - y z^T W c > 0, else 0:

    dW_jk = lr g z_j c_k;  dR_kj = lr g c_k z_j
    dw_ji = lr g [(W c)_j rho'(a_j) x_i at the view z + (R z)_j rho'(a_j) x_i at the view c]

    w are the area's weights, x its input and a its drive; W predicts and R "retrodicts", and
    both reach the area as dendritic input. z and c are averages over squares of the area's maps. No
    error is carried back, neither between areas nor through the transpose of a weight; with R = W^T
    the rule follows the gradient of L_l. The readout is trained at the end, on fixed features.

    In the paper's simulations z and c are patches of an image, one below the other. As in
    `GreedyInfoMax`, views take their place: fixations of one object, if they are cropped.

    Parameters
    ----------
    retrodiction : {"learned", "transposed"}
        Whether R is a weight of its own, or W^T.
    saccades : {"sampled", "both"}
        Whether for each image gaze either stays or moves, by chance, or both at once.
    pooled_units : int
        Most numbers in a summary. The paper's summaries are averages over each patch.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Illing, Ventura, Bellec & Gerstner (2021), arXiv 2010.08262.

    Examples
    --------
    >>> "weight_transport" in CLAPP().makes_local
    True
    """

    retrodiction: Literal["learned", "transposed"] = "learned"
    saccades: Literal["sampled", "both"] = "sampled"
    pooled_units: int = 512

    name: ClassVar[str] = "clapp"
    family: ClassVar[str] = "local"
    citation: ClassVar[str] = "Illing, Ventura, Bellec & Gerstner 2021, arXiv 2010.08262"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"views"})

    def __post_init__(self) -> None:
        check_choices(self, retrodiction=("learned", "transposed"), saccades=("sampled", "both"))
        check_counts(self, "pooled_units")

    @property
    def makes_local(self) -> frozenset[str]:
        """Demands of backprop that the rule does without; transposed weights are one."""
        local = frozenset({"separate_error", "update_locking"})
        return local | {"weight_transport"} if self.retrodiction == "learned" else local

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
        learned = self.retrodiction == "learned"
        return GreedyEstimator(
            cast(Network, network),
            generator,
            name=self.name,
            pooled_units=self.pooled_units,
            comparisons=("predict", "retrodict") if learned else ("predict",),
            contrast=self.plasticity,
        )

    def plasticity(
        self, estimator: GreedyEstimator, summaries: Sequence[tuple[str, Tensor]]
    ) -> Tensor:
        """Write the updates, with the sign turned, of all areas; return the summed losses."""
        n = summaries[0][1].shape[1]
        gaze = drawn_gaze(n, estimator.generator, both=self.saccades == "both")
        gaze = Gaze(*(each.to(summaries[0][1].device) for each in gaze))
        losses, dendrites = [], []
        for area, summary in summaries:
            loss, dendritic = hebbian(summary.detach(), estimator.comparison(area), gaze)
            losses.append(loss)
            dendrites.append(dendritic)
        learning = [place for place, (_, summary) in enumerate(summaries) if summary.requires_grad]
        torch.autograd.backward(
            [summaries[place][1] for place in learning], [dendrites[place] for place in learning]
        )
        return torch.stack(losses).sum()


class Gaze(NamedTuple):
    """Which views follow each other: context, what is seen next, and 1 if gaze stayed, else -1."""

    context: Tensor
    seen: Tensor
    stays: Tensor


def drawn_gaze(n: int, generator: torch.Generator, *, both: bool) -> Gaze:
    """Draw for each of n images whether gaze stays, and where it moves to.

    Parameters
    ----------
    n : int
        At least 2.
    generator : torch.Generator
    both : bool
        Whether gaze stays and moves on every image, and nothing but the other image is drawn.

    Returns
    -------
    Gaze
        Tensors of shape (n,), or (2 n,) if both: positions in the batch, and 1 or -1.
    """
    here = torch.arange(n)
    away = (here + torch.randint(1, n, (), generator=generator)) % n
    if both:
        return Gaze(here.repeat(2), torch.cat([here, away]), 1 - 2 * (torch.arange(2 * n) // n))
    stays = torch.rand(n, generator=generator) < 0.5
    return Gaze(here, torch.where(stays, here, away), 2 * stays.long() - 1)


def hebbian(
    summary: Tensor, comparison: Mapping[str, nn.Parameter], gaze: Gaze
) -> tuple[Tensor, Tensor]:
    """Write what an area's W and R learn, and return the dendritic input to its units.

    Parameters
    ----------
    summary : Tensor, shape (2, batch, units)
        c and z: of the views that are contexts, and of those seen next.
    comparison : mapping of str to Parameter
        "predict", W, and perhaps "retrodict", R.
    gaze : Gaze

    Returns
    -------
    loss : Tensor, shape ()
    dendritic : Tensor, shape (2, batch, units)
        -g R z at the contexts, -g W c at what is seen; divided by the batch.
    """
    context, seen, stays = gaze
    predict = comparison["predict"].detach()
    retrodict = comparison["retrodict"].detach() if "retrodict" in comparison else predict.T
    c, z = summary[0, context], summary[1, seen]
    prediction = c @ predict.T
    margin = 1 - stays * (z * prediction).sum(dim=1)
    n = summary.shape[1]
    factor = (-stays * (margin > 0)).to(summary.dtype)[:, None] / n
    dendritic = torch.zeros_like(summary)
    dendritic[0].index_add_(0, context, factor * (z @ retrodict.T))
    dendritic[1].index_add_(0, seen, factor * prediction)
    learned = (factor * z).T @ c
    for name, update in (("predict", learned), ("retrodict", learned.T)):
        if name in comparison:
            grown = comparison[name].grad
            comparison[name].grad = update if grown is None else grown + update
    return margin.relu().sum() / n, dendritic

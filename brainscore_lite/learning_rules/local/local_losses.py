"""Local losses: every area predicts the class, or matches the similarity of the labels, alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.classification import count_correct, labels_of
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    StepInfo,
    Support,
    check_support,
    trainable,
)
from brainscore_lite.learning_rules.local.area_losses import (
    detached,
    pooled,
    pooling,
    separate_areas,
)
from brainscore_lite.learning_rules.settings import check_choices, check_counts, check_shares
from brainscore_lite.networks.connections import Convolution, FullyConnected, initialise
from brainscore_lite.networks.model import READOUT, device_of
from brainscore_lite.networks.network import Network

_LOSSES = ("pred", "sim", "predsim")


@dataclass(frozen=True)
class LocalLosses:
    """Train each area on a loss of its own, with no gradient between areas.

    L_l = (1 - w) CE(A_l pool(h_l), y) + w mean_ij (S(G_l h_l) - S(y))_ij^2

    h_l are the area's activations, A_l a linear head on averages over squares, G_l a 3 x 3
    convolution (a matrix in dense areas), S the cosine similarity between the examples of a batch
    after each example's mean is taken away; of maps, S reads each channel's standard deviation over
    positions. Heads and areas follow the gradient of their own loss, and the readout that of its
    cross-entropy. Any graph of areas can be trained, batch normalisation included, for a loss that
    compares the examples of a batch; in a recurrent network each area's loss is the mean over
    the steps at which a signal has reached it. The paper's dropout is no part of the rule.

    Parameters
    ----------
    loss : {"pred", "sim", "predsim"}
        Only the first term, only the second, or both.
    similarity_weight : float
        w, in "predsim".
    pooled_units : int
        Most numbers that A_l reads.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Nokland & Eidnes (2019), arXiv 1901.06656.

    Examples
    --------
    >>> LocalLosses(loss="sim").name
    'local_losses_sim'
    """

    loss: Literal["pred", "sim", "predsim"] = "predsim"
    similarity_weight: float = 0.99
    pooled_units: int = 2048

    family: ClassVar[str] = "local"
    citation: ClassVar[str] = "Nokland & Eidnes 2019, arXiv 1901.06656"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"update_locking"})

    def __post_init__(self) -> None:
        check_choices(self, loss=_LOSSES)
        check_counts(self, "pooled_units")
        check_shares(self, "similarity_weight")

    @property
    def name(self) -> str:
        """Name of the variant."""
        return f"local_losses_{self.loss}"

    @property
    def weights(self) -> tuple[float, float]:
        """Weights of the predictive and of the similarity term."""
        share = {"pred": 0.0, "sim": 1.0, "predsim": self.similarity_weight}[self.loss]
        return 1 - share, share

    def supports(self, architecture: Any) -> Support:
        """Accept every graph of areas with weights to train and their derivatives."""
        return separate_areas(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, or an area to be trained
            ends in a black box.
        """
        check_support(self, network)
        return LocalLossEstimator(cast(Network, network), generator, rule=self)


class LocalLossEstimator(Estimator):
    """A network with a head, or two, on each of its areas.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
        Draws the heads from N(0, 1 / fan_in).
    rule : LocalLosses
    """

    network: Network

    def __init__(self, network: Network, generator: torch.Generator, *, rule: LocalLosses) -> None:
        super().__init__(network, generator)
        self.rule = rule
        shapes = network.activation_shapes()
        (self.n_classes,) = shapes.pop(READOUT)
        weight = next(network.parameters())
        self.heads = nn.ModuleDict()
        for name, shape in shapes.items():
            head = AreaHead(shape, self.n_classes, rule=rule, generator=generator)
            self.heads[name] = head.to(device_of(network), weight.dtype)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the network with its heads."""
        return [ParameterGroup(trainable(self))]

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the gradient of each area's own loss.

        Raises
        ------
        ContractError
            If the batch has no labels.
        """
        labels = labels_of(batch, rule=self.rule.name)
        losses, scores = self.local_losses(batch)
        total = torch.stack([*losses.values()]).sum()
        total.backward()
        return StepInfo(loss=total.item(), n_correct=count_correct(scores, labels))

    def local_losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Run the network with its areas cut off from each other.

        Parameters
        ----------
        batch : Batch
            With labels.

        Returns
        -------
        losses : dict of str to Tensor, shape ()
            By area; the readout's is its cross-entropy at the last step.
        scores : Tensor, shape (batch, n_classes)

        Raises
        ------
        ContractError
            If the batch has no labels.
        """
        labels = labels_of(batch, rule=self.rule.name)
        wanted = None
        if self.rule.weights[1]:
            targets = functional.one_hot(labels, self.n_classes)
            wanted = similarity(targets.to(batch.images.dtype))
        found: dict[str, list[Tensor]] = {}
        for activations in self.network.run(batch.images, carry=detached):
            for name, head in self.heads.items():
                if name in activations:
                    loss = head(activations[name], labels, wanted)
                    found.setdefault(name, []).append(loss)
        scores = activations[READOUT]
        losses = {name: torch.stack(each).mean() for name, each in found.items()}
        return losses | {READOUT: functional.cross_entropy(scores, labels)}, scores


class AreaHead(nn.Module):
    """The weights that an area's loss needs besides the area's own.

    Parameters
    ----------
    shape : tuple of int
        Of the area's activations, without the batch.
    n_classes : int
    rule : LocalLosses
    generator : torch.Generator
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        n_classes: int,
        *,
        rule: LocalLosses,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.predictive, self.matching = rule.weights
        self.side = pooling(shape, rule.pooled_units)
        if self.predictive:
            n_pooled = pooled(torch.zeros(1, *shape), self.side).shape[1]
            self.classify = FullyConnected((n_classes, n_pooled))
            initialise(self.classify, generator, gain=1.0)
        if self.matching:
            self.compare = (
                FullyConnected((shape[0], shape[0]))
                if len(shape) == 1
                else Convolution((shape[0], shape[0], 3, 3), padding=1)
            )
            initialise(self.compare, generator, gain=1.0)

    def forward(self, activations: Tensor, labels: Tensor, wanted: Tensor | None) -> Tensor:
        """Return the loss of an area.

        Parameters
        ----------
        activations : Tensor, shape (batch, ...)
        labels : int64 Tensor, shape (batch,)
        wanted : Tensor, shape (batch, batch), optional
            Similarity of the labels, where the loss needs it.

        Returns
        -------
        Tensor, shape ()
        """
        terms = []
        if self.predictive:
            scores = self.classify(pooled(activations, self.side))
            terms.append(self.predictive * functional.cross_entropy(scores, labels))
        if wanted is not None:
            shown = similarity(self.compare(activations))
            terms.append(self.matching * functional.mse_loss(shown, wanted))
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def similarity(activations: Tensor) -> Tensor:
    """Compare the examples of a batch.

    S_ij = <x_i - m_i, x_j - m_j> / (|x_i - m_i| |x_j - m_j|), m_i the mean over the units of i

    Parameters
    ----------
    activations : Tensor, shape (batch, units) or (batch, channels, rows, columns)
        Of maps of more than one pixel, x is each channel's standard deviation over positions.

    Returns
    -------
    Tensor, shape (batch, batch)
    """
    units = activations.flatten(1)
    if activations.ndim == 4 and activations[0, 0].numel() > 1:
        units = activations.flatten(2).std(dim=2)
    centred = units - units.mean(dim=1, keepdim=True)
    directions = functional.normalize(centred, dim=1, eps=1e-8)
    return directions @ directions.T

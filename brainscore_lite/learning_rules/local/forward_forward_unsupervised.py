"""Forward-forward without labels: real images against hybrids that only look real from close by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.linear_readout import FeaturesThenReadout
from brainscore_lite.learning_rules.local.forward_forward_goodness import (
    Goodness,
    GoodnessKind,
    check_goodness,
    normalised,
)
from brainscore_lite.learning_rules.local.forward_forward_layers import (
    PROBED,
    OnePassReadout,
    Probed,
    contrast_layers,
    frozen_one_pass_readout,
    peers_of,
    respond_normalised,
    supports_goodness,
    threshold_for,
    weights_of,
)
from brainscore_lite.learning_rules.settings import check_choices, check_counts, check_not_negative
from brainscore_lite.learning_rules.stages import stages
from brainscore_lite.networks.model import Step, device_of
from brainscore_lite.networks.network import Network

FEATURES_PHASE = Phase(name="features", labels=False)


@dataclass(frozen=True)
class UnsupervisedForwardForward:
    """Give images high goodness and hybrids of two images low goodness; then read out linearly.

    x_false = m * x + (1 - m) * x_other, with a mask m of large blobs;
    L_l = mean log(1 + exp(-+ (g_l - theta) / temperature)),  dW_l = -lr dL_l / dW_l

    Hybrids have the short-range statistics of images and not their shape, so that a layer has to
    learn shape to tell them apart.

    Parameters
    ----------
    n_blurs : int
        How often random dots, half of them 1, are blurred before the mask is cut at 1/2: the size
        of its blobs.
    goodness : {"sum_of_squares", "mean_of_squares", "absolute", "t_density"}
    threshold : float, optional
        Share of theta of each unit; by default as in `ForwardForward`.
    temperature : float, optional
        Of the decision between real and false; None is the root of the number of units.
    minimised : bool
        Whether images are to have low goodness instead.
    peer_normalisation : float
        Strength with which the mean activities of a layer's units are drawn together.
    probed : {"normalised", "raw"}
        Whether activations are given as passed on, or with their length.

    Raises
    ------
    ContractError
        If a setting is none of its choices.

    References
    ----------
    Hinton (2022), arXiv:2212.13345, section 3.2.

    Examples
    --------
    >>> FEATURES_PHASE.labels
    False
    """

    family: ClassVar[str] = "local"
    name: ClassVar[str] = "forward_forward_unsupervised"
    citation: ClassVar[str] = "Hinton 2022, arXiv:2212.13345"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset()
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "update_locking"}
    )

    n_blurs: int = 10
    goodness: GoodnessKind = "sum_of_squares"
    threshold: float | None = None
    temperature: float | None = 1.0
    minimised: bool = False
    peer_normalisation: float = 0.03
    probed: Probed = "normalised"

    def __post_init__(self) -> None:
        check_choices(self, probed=PROBED)
        check_counts(self, "n_blurs", least=0)
        check_not_negative(self, "peer_normalisation")
        check_goodness(self)

    def supports(self, architecture: Any) -> Support:
        """Accept a chain of areas where examples are apart and activity is free in its length.

        Something of its readout must be trainable: the network's own, or weights of the rule from
        hidden layers between the first and the last.
        """
        return supports_goodness(architecture, frozen_one_pass_readout(architecture))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain of areas, an area to be trained ends in a black box, its
            normalisation mixes examples or fixes the length of activity, or nothing of its readout
            can be trained.
        """
        check_support(self, network)
        return _UnsupervisedEstimator(cast(Network, network), generator, rule=self)


class _UnsupervisedEstimator(FeaturesThenReadout):
    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: UnsupervisedForwardForward
    ) -> None:
        super().__init__(network, generator, name=rule.name, feature_phases=(FEATURES_PHASE,))
        self.rule = rule
        threshold = threshold_for(network) if rule.threshold is None else rule.threshold
        self.goodness = Goodness(rule.goodness, threshold, rule.temperature, rule.minimised)
        self.hidden = stages(network)[:-1]
        self.peers = peers_of(network, rule.peer_normalisation)
        self.readout = OnePassReadout(network)

    def feature_groups(self) -> list[ParameterGroup]:
        """Return the weights of the hidden layers."""
        return [ParameterGroup(weights_of(self.hidden))]

    def learn_features(self, batch: Batch) -> StepInfo:
        """Write the gradient of each layer's own loss."""
        images = self.network.entering(batch.images)
        both = torch.cat([images, hybrids(images, self.rule.n_blurs, generator=self.generator)])
        loss = contrast_layers(
            self.hidden,
            self.hidden[0].drive(normalised(both)),
            n_real=len(images),
            goodness=self.goodness,
            peers=self.peers,
        )
        return StepInfo(loss=loss.item())

    def readout_parameters(self) -> tuple[nn.Parameter, ...]:
        """Return the weights of the readout, those from layers between included."""
        return self.readout.parameters_read()

    def read_out(self, images: Tensor) -> Tensor:
        """Return the scores of the readout, with a graph that ends at what it reads."""
        return self.readout.on_fixed_features(self.network.entering(images))

    def predict(self, images: Tensor) -> Tensor:
        """Return the scores of the readout, of shape (batch, n_classes)."""
        return self.readout(self.network.entering(images))

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the activations of areas that pass on only the direction of their activity."""
        images = images.to(device_of(self))
        yield from respond_normalised(
            self.network,
            images,
            layers,
            probed=self.rule.probed,
            readout=lambda: self.predict(images),
        )


def hybrids(images: Tensor, n_blurs: int, *, generator: torch.Generator) -> Tensor:
    """Put together each image and the next one of a random order, along the edges of a mask.

    Parameters
    ----------
    images : Tensor, shape (batch, channels, size, size)
    n_blurs : int
    generator : torch.Generator

    Returns
    -------
    Tensor, of the shape of the images
    """
    batch, _, height, width = images.shape
    device = generator.device
    order = torch.randperm(batch, generator=generator, device=device).to(images.device)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    mask = blobs(batch, height, width, n_blurs=n_blurs, generator=generator)
    return torch.where(mask.to(images.device), images, images[other])


def blobs(
    batch: int, height: int, width: int, *, n_blurs: int, generator: torch.Generator
) -> Tensor:
    """Draw masks with large regions of ones and zeros.

    Random dots are blurred again and again with (1/4, 1/2, 1/4) in both directions, and cut at 1/2.

    Parameters
    ----------
    batch, height, width, n_blurs : int
    generator : torch.Generator

    Returns
    -------
    bool Tensor, shape (batch, 1, height, width)
    """
    shape = (batch, 1, height, width)
    dots = torch.randint(0, 2, shape, generator=generator, device=generator.device).double()
    return _blur(height, n_blurs).to(dots) @ dots @ _blur(width, n_blurs).to(dots).T > 0.5


def _blur(size: int, n_blurs: int) -> Tensor:
    """Return the matrix that blurs a line of pixels so many times; its ends are joined."""
    stay = torch.eye(size, dtype=torch.float64)
    once = stay / 2 + (stay.roll(1, dims=0) + stay.roll(-1, dims=0)) / 4
    return torch.linalg.matrix_power(once, n_blurs)

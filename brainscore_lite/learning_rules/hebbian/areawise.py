"""Unsupervised learning in which each area of a chain learns from what it sees itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.correlation import correlation
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    LearningRule,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
)
from brainscore_lite.learning_rules.linear_readout import FeaturesThenReadout, frozen_readout
from brainscore_lite.learning_rules.stages import Stage, stages
from brainscore_lite.learning_rules.support import (
    areas_of,
    no_chain,
    support,
    trained_black_box,
    untrainable,
)
from brainscore_lite.networks.areas import Area
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network

#: Share of the way that a bias moves, in one batch, to what centres the drive.
CENTRING_RATE = 0.1


@dataclass(frozen=True, eq=False)
class Sight:
    """What an area sees of a batch, and how its weights answer.

    Parameters
    ----------
    index : int
        Of the area, from below.
    stage : Stage
    seen : Tensor, shape (batch, ...)
        x: what the weights of the connection are applied to, after its first pooling. In
        convolutions, each patch of it is a sample.
    drive : Tensor, shape (batch, units) or (batch, channels, rows, columns)
        W x: what the weights make of it, before the second pooling and the bias.
    """

    index: int
    stage: Stage
    seen: Tensor
    drive: Tensor

    @property
    def n_samples(self) -> int:
        """Images, or positions in all images: how often each weight was used."""
        return self.drive.numel() // self.drive.shape[1]

    @property
    def weight(self) -> nn.Parameter:
        """W, of shape (units, ...)."""
        return self.stage.connection.op.weight

    @cached_property
    def mean_drive(self) -> Tensor:
        """W <x>, shape (units,)."""
        return sum_of_samples(self.drive) / self.n_samples

    @cached_property
    def mean_seen(self) -> Tensor:
        """<x>, shaped like the weights of one unit: (1, ...)."""
        return self.correlation(torch.ones_like(self.drive[:, :1])) / self.n_samples

    @cached_property
    def mean_square(self) -> Tensor:
        """<|x|^2>, shape ()."""
        everywhere = torch.ones_like(self.drive[:, :1])
        square = correlation(self.stage.connection.op, self.seen.square(), everywhere)
        return square.sum() / self.n_samples

    @cached_property
    def variance(self) -> Tensor:
        """<|x - <x>|^2>, shape ()."""
        tiny = torch.finfo(self.drive.dtype).tiny
        return (self.mean_square - self.mean_seen.square().sum()).clamp_min(tiny)

    def centred_drive(self) -> Tensor:
        """Return W (x - <x>), shaped like `drive`."""
        return self.drive - over_units(self.mean_drive, self.drive)

    def correlation(self, postsynaptic: Tensor) -> Tensor:
        """Return sum over samples of y x^T, shaped like the weights of as many units."""
        return correlation(self.stage.connection.op, self.seen, postsynaptic)

    def centred_correlation(self, postsynaptic: Tensor) -> Tensor:
        """Return sum over samples of y (x - <x>)^T."""
        total = sum_of_samples(postsynaptic)
        found = self.correlation(postsynaptic)
        return found.sub_(over_weights(total, found) * self.mean_seen)


def per_sample(values: Tensor) -> Tensor:
    """Lay activity (batch, units, ...) out as (units, samples)."""
    return values.transpose(0, 1).flatten(1)


def sum_of_samples(activity: Tensor) -> Tensor:
    """Sum activity, (batch, units, ...), over the batch and over positions: (units,)."""
    return activity.sum(dim=[0, *range(2, activity.ndim)])


def over_weights(values: Tensor, weight: Tensor) -> Tensor:
    """Shape values of units, (units,), so that they multiply weights, (units, ...)."""
    return values.view(-1, *(1,) * (weight.ndim - 1))


def over_units(values: Tensor, activity: Tensor) -> Tensor:
    """Shape values of units, (units,), so that they join activity, (batch, units, ...)."""
    return values.view(-1, *(1,) * (activity.ndim - 2))


def chain_support(architecture: Any, *findings: str) -> Support:
    """Return whether a network is a chain with a readout to train, and nothing else was found."""
    return support(
        untrainable(architecture), no_chain(architecture), frozen_readout(architecture), *findings
    )


def hebbian_support(architecture: Any) -> Support:
    """Accept chains whose weights each see many samples, with black boxes below the readout."""
    return chain_support(
        architecture, _unshared(architecture), trained_black_box(architecture, {READOUT})
    )


def _unshared(architecture: Any) -> str:
    for area in areas_of(architecture):
        if isinstance(area, Area) and not area.shared:
            return (
                f"area '{area.name}' has shared=False, but the rule averages what one weight sees "
                "over all places. Set shared=True, or use 'latent_predictive_learning'."
            )
    return ""


def areas_phase(rule: str, *, epochs: int, lr: float) -> Phase:
    """Return the phase of areas that follow their rule as it is: plain steps, without labels."""
    return Phase(name=rule, epochs=epochs, labels=False, optimizer="sgd", lr=lr, momentum=0.0)


class AreawiseEstimator(FeaturesThenReadout):
    """Areas learn all at once without labels, then the readout learns on fixed features.

    A rule says in `learn` how one area changes; no area knows of those above it.

    Parameters
    ----------
    network : Network
        A chain of areas.
    generator : torch.Generator
    rule : LearningRule
    phase : Phase
        Of the areas; names its learning rate.
    """

    rule: LearningRule

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: LearningRule, phase: Phase
    ) -> None:
        super().__init__(network, generator, name=rule.name, feature_phases=(phase,))
        self.rule = rule
        self.areas = stages(network)[:-1]

    def feature_groups(self) -> list[ParameterGroup]:
        """Return what each area learns, without decay: the norm of weights is the rule's."""
        groups = []
        for index, stage in enumerate(self.areas):
            rates = (self.lr_multiplier(index), self.bias_multiplier(index))
            groups += [
                ParameterGroup((parameter,), lr_multiplier=rate, weight_decay=0.0)
                for parameter, rate in zip(self.trained(index, stage), rates, strict=False)
            ]
        return groups

    def trained(self, index: int, stage: Stage) -> tuple[nn.Parameter, ...]:
        """Return what an area learns: its weights and, where the rule trains it, its bias."""
        weight, bias = stage.connection.op.weight, stage.area.bias
        if not weight.requires_grad:
            return ()
        if bias is None or not bias.requires_grad or not self.trains_biases:
            return (weight,)
        return (weight, bias)

    @property
    def trains_biases(self) -> bool:
        """Whether biases are trained."""
        return True

    def lr_multiplier(self, index: int) -> float:
        """Return the learning rate of an area's weights relative to that of the phase."""
        return 1.0

    def bias_multiplier(self, index: int) -> float:
        """Return the same for its bias: by default it moves by `CENTRING_RATE` of the way."""
        return CENTRING_RATE / cast(float, self.feature_phases[0].lr)

    def learn_features(self, batch: Batch) -> StepInfo:
        """Write the updates of all areas."""
        return StepInfo(loss=self.learn_areas(batch).item())

    def learn_areas(self, batch: Batch) -> Tensor:
        """Write the updates of all areas and return the sum of their objectives, shape ()."""
        loss = torch.zeros((), dtype=batch.images.dtype, device=batch.images.device)
        with torch.no_grad():
            responses = self.network.entering(batch.images)
            for index, stage in enumerate(self.areas):
                seen = stage.connection.pool_in(responses)
                drive = stage.connection.op(seen)
                if self.trained(index, stage):
                    loss += self.learn(Sight(index, stage, seen, drive))
                if index < len(self.areas) - 1:
                    responses = stage.area([stage.scaled(stage.connection.pool_out(drive))])
        return loss

    def learn(self, sight: Sight) -> Tensor:
        """Write the update of one area and return its objective, shape ()."""
        raise NotImplementedError

    def centre(self, sight: Sight) -> None:
        """Write the update with which an area's bias follows -W <x>."""
        bias = sight.stage.area.bias
        if bias is not None and bias.requires_grad:
            bias.grad = sight.mean_drive + bias

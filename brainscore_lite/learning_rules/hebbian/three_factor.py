"""Reward-modulated Hebbian learning: presynaptic activity, postsynaptic fluctuation, reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import support
from brainscore_lite.learning_rules.classification import count_correct, labels_of
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.perturbation.node_perturbation import learnt_by_noise_on_drives
from brainscore_lite.learning_rules.perturbation.noise_on_drives import draw_noise, write_products
from brainscore_lite.learning_rules.settings import check_choices, check_positive, check_shares
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network

REWARDS = ("correct", "log_likelihood")


@dataclass(frozen=True)
class RewardModulatedHebb:
    """Strengthen what co-varied with more reward than usual: the exploratory Hebb rule.

    dW_l = lr (R - <R>) (a_l - <a_l>) h_{l-1}^T / sigma^2,  <R> += rate (mean R - <R>)

    Every unit's drive fluctuates by N(0, sigma^2) around its mean <a_l>, every image is seen once,
    in one noisy pass, and all that comes back is one number, the reward R against its running
    average. On a still image <a_l> is the drive without the unit's own noise, which stands here
    for the running average of a unit in time. The mean update is the gradient of the expected
    reward of the noisy network, at any sigma and for any <R> (it is REINFORCE); the difference
    to node perturbation is the baseline, which knows nothing of the image.

    Parameters
    ----------
    sigma : float
        Standard deviation of the fluctuations, in units of the drive.
    reward : {"correct", "log_likelihood"}
        1 where the noisy network's highest score is the image's class and 0 elsewhere, or the
        logarithm of the softmax probability of the class (nats).
    rate : float
        Share of a batch in the running average of the reward.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Legenstein, Chase, Schwartz & Maass (2010), doi:10.1523/JNEUROSCI.4284-09.2010. Fremaux &
    Gerstner (2016), doi:10.3389/fncir.2015.00085. Williams (1992), doi:10.1007/BF00992696.

    Examples
    --------
    >>> RewardModulatedHebb(sigma=0.2).reward
    'correct'
    """

    sigma: float = 0.3
    reward: Literal["correct", "log_likelihood"] = "correct"
    rate: float = 0.05

    name: ClassVar[str] = "reward_modulated_hebb"
    family: ClassVar[str] = "hebbian"
    citation: ClassVar[str] = "Legenstein et al. 2010, doi:10.1523/JNEUROSCI.4284-09.2010"
    exactness: ClassVar[Exactness] = "approximate"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "distinct_phases", "derivatives"}
    )

    def __post_init__(self) -> None:
        check_positive(self, "sigma")
        check_choices(self, reward=REWARDS)
        check_shares(self, "rate")

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas, unknown stages and several steps included."""
        return support.support(
            support.untrainable(architecture),
            support.no_graph_of_areas(architecture),
            learnt_by_noise_on_drives(architecture),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, or normalises by the
            batch or with learnt factors.
        """
        check_support(self, network)
        return _RewardModulatedHebbEstimator(cast(Network, network), generator, rule=self)


class _RewardModulatedHebbEstimator(Estimator):
    network: Network
    usual_reward: Tensor

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: RewardModulatedHebb
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        like = next(network.parameters())
        self.register_buffer("usual_reward", torch.zeros((), dtype=like.dtype, device=like.device))

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write minus the mean over images of (R - <R>) xi h^T / sigma^2, and update <R>."""
        labels = labels_of(batch, rule=self.rule.name)
        drives: list[Tensor] = []
        fluctuations: list[Tensor] = []

        def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
            drives.append(area.drive(arriving))
            fluctuations.append(self.fluctuation(drives[-1]))
            with torch.no_grad():
                return area.respond_to(drives[-1].detach() + fluctuations[-1])

        with torch.enable_grad():
            for activations in self.network.run(batch.images, answer=answer):
                last = activations
        scores = last[READOUT]
        rewards = self._rewards(scores, labels)
        surprise = self.surprise(rewards)
        changes = [
            -each * surprise.view(-1, *[1] * (each.ndim - 1)) if drive.requires_grad else None
            for drive, each in zip(drives, fluctuations, strict=True)
        ]
        write_products(self.network, drives, changes)
        self.usual_reward += self.rule.rate * (rewards.mean() - self.usual_reward)
        return StepInfo(loss=-rewards.mean().item(), n_correct=count_correct(scores, labels))

    def fluctuation(self, drive: Tensor) -> Tensor:
        """Draw what is added to a drive of shape (batch, ...)."""
        return draw_noise(drive, 1, sigma=self.rule.sigma, generator=self.generator)[0]

    def surprise(self, rewards: Tensor) -> Tensor:
        """Return (R - <R>) / (sigma^2 B), of shape (batch,)."""
        return (rewards - self.usual_reward) / (self.rule.sigma**2 * len(rewards))

    def _rewards(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return R of each image, of shape (batch,)."""
        if self.rule.reward == "correct":
            return (scores.argmax(dim=1) == labels).to(scores.dtype)
        return -functional.cross_entropy(scores, labels, reduction="none")

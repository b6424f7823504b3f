"""Weight perturbation: noise on all weights at once, and one number back, how the loss changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from brainscore_lite.learning_rules import support
from brainscore_lite.learning_rules.classification import count_correct, labels_of
from brainscore_lite.learning_rules.draws import normal_like
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_counts, check_positive
from brainscore_lite.networks.model import device_of


@dataclass(frozen=True)
class WeightPerturbation:
    """Credit each weight's noise with the change of the batch's mean loss that followed.

    dW = -lr mean_k (L(W + xi_k) - L(W)) xi_k / sigma^2,  xi_k ~ N(0, sigma^2), as W in shape

    Unbiased as sigma -> 0, with a variance in proportion to the number of weights, where that of
    node perturbation grows with the number of units. It trains any module, through any stage.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise, in units of the weights.
    n_samples : int
        K, samples of noise per step, each a pass of its own.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Jabri & Flower (1991), doi:10.1162/neco.1991.3.4.546. Cauwenberghs (1992), "A fast stochastic
    error-descent algorithm for supervised learning and optimization", NIPS 5.

    Examples
    --------
    >>> WeightPerturbation(n_samples=4).exactness
    'bp_limit'
    """

    sigma: float = 1e-3
    n_samples: int = 1

    name: ClassVar[str] = "weight_perturbation"
    family: ClassVar[str] = "perturbation"
    citation: ClassVar[str] = "Jabri & Flower 1991, doi:10.1162/neco.1991.3.4.546"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "derivatives"}
    )

    def __post_init__(self) -> None:
        check_positive(self, "sigma")
        check_counts(self, "n_samples")

    def supports(self, architecture: Any) -> Support:
        """Accept whatever has weights to train."""
        return support.support(support.untrainable(architecture))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network has no trainable weights.
        """
        check_support(self, network)
        return _WeightPerturbationEstimator(network, generator, rule=self)


class _WeightPerturbationEstimator(Estimator):
    def __init__(
        self, network: nn.Module, generator: torch.Generator, *, rule: WeightPerturbation
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule

    @torch.no_grad()
    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the mean over samples of (L(W + xi) - L(W)) xi / sigma^2."""
        labels = labels_of(batch, rule=self.rule.name)
        weights = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        samples = [self.draw(weights) for _ in range(self.rule.n_samples)]
        device = device_of(self.network)
        noisy = []
        for noise in samples:
            moved = {name: weights[name] + xi for name, xi in noise.items()}
            # Modules that draw (dropout) draw the same in every pass, the clean one included.
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                scores = functional_call(self.network, moved, batch.images)
            noisy.append(functional.cross_entropy(scores, labels))
        scores = self.network(batch.images)
        loss = functional.cross_entropy(scores, labels)
        factors = [(each - loss) / (self.rule.sigma**2 * len(samples)) for each in noisy]
        for name, parameter in weights.items():
            change = samples[0][name] * factors[0]
            for noise, factor in zip(samples[1:], factors[1:], strict=True):
                change.addcmul_(noise[name], factor)
            parameter.grad = change
        return StepInfo(loss=loss.item(), n_correct=count_correct(scores, labels))

    def draw(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw the noise of one sample, by parameter."""
        sigma = self.rule.sigma
        return {n: normal_like(w, self.generator, deviation=sigma) for n, w in weights.items()}

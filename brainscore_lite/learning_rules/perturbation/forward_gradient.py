"""Forward gradient: the slope of the loss along a random direction, times that direction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
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
from brainscore_lite.learning_rules.settings import check_counts


@dataclass(frozen=True)
class ForwardGradient:
    """Follow a random direction of all weights by the slope of the loss along it.

    dW = -lr mean_k (grad L . v_k) v_k,  v_k ~ N(0, 1), as W in shape

    The slope is a Jacobian-vector product: it is carried forward beside the activations, in the
    same pass, and nothing is sent back. Exactly unbiased, since E[v v^T] = 1; the variance is in
    proportion to the number of weights.

    Parameters
    ----------
    n_samples : int
        K, directions per step, each a pass of its own.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Baydin, Pearlmutter, Syme, Wood & Torr (2022), arXiv 2202.08587.

    Examples
    --------
    >>> ForwardGradient().makes_local >= {"weight_transport", "distinct_phases"}
    True
    """

    n_samples: int = 1

    name: ClassVar[str] = "forward_gradient"
    family: ClassVar[str] = "perturbation"
    citation: ClassVar[str] = "Baydin et al. 2022, arXiv 2202.08587"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "distinct_phases"}
    )

    def __post_init__(self) -> None:
        check_counts(self, "n_samples")

    def supports(self, architecture: Any) -> Support:
        """Accept whatever has weights to train and derivatives throughout."""
        return support.support(support.untrainable(architecture), support.black_box(architecture))

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network has no trainable weights, or a stage of unknown derivative.
        """
        check_support(self, network)
        return _ForwardGradientEstimator(network, generator, rule=self)


class _ForwardGradientEstimator(Estimator):
    def __init__(
        self, network: nn.Module, generator: torch.Generator, *, rule: ForwardGradient
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule

    @torch.no_grad()
    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the mean over directions of (grad L . v) v."""
        labels = labels_of(batch, rule=self.rule.name)
        weights = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for _ in range(self.rule.n_samples):
            direction = {
                name: normal_like(weight, self.generator) for name, weight in weights.items()
            }
            loss, slope, n_correct = slope_along(
                self.network, batch.images, labels, direction=direction
            )
            for name, along in direction.items():
                total[name].addcmul_(along, slope / self.rule.n_samples)
        for name, parameter in weights.items():
            parameter.grad = total[name]
        return StepInfo(loss=loss.item(), n_correct=n_correct)


def slope_along(
    network: nn.Module, images: Tensor, labels: Tensor, *, direction: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, int]:
    """Return the loss and its slope along a direction of the weights, in one forward pass.

    Parameters
    ----------
    network : Module
    images : Tensor, shape (batch, channels, height, width)
    labels : int64 Tensor, shape (batch,)
    direction : mapping of str to Tensor
        By parameter, of its shape.

    Returns
    -------
    loss : Tensor, shape ()
        Mean cross-entropy of the batch, in nats.
    slope : Tensor, shape ()
        grad L . v
    n_correct : int
        Images classified correctly.
    """
    _load_forward_mode()
    weights = dict(network.named_parameters())
    with forward_ad.dual_level():
        moving = {n: forward_ad.make_dual(weights[n].detach(), v) for n, v in direction.items()}
        scores = functional_call(network, moving, images)
        loss = functional.cross_entropy(scores, labels)
        value, slope = forward_ad.unpack_dual(loss)
    return value, torch.zeros_like(value) if slope is None else slope, count_correct(scores, labels)


@cache
def _load_forward_mode() -> None:
    """Let torch load what it needs at the first dual tensor, without warnings of its own making."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.filterwarnings("ignore", r"`torch\.jit\.script", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))

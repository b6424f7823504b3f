"""Backprop on labels that mean nothing: the control for what training without a task does."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from brainscore_lite.learning_rules.backprop import Backprop, BackpropEstimator
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Phase,
    Support,
    check_support,
)


@dataclass(frozen=True)
class ShuffledLabels:
    """Follow the gradient of the cross-entropy of labels dealt out anew among the training images.

    Every image keeps the label it was dealt throughout training, so a network can learn the pairs
    by heart; what it cannot learn from them is the classes.

    References
    ----------
    Zhang, Bengio, Hardt, Recht & Vinyals (2017), arXiv 1611.03530.

    Examples
    --------
    >>> ShuffledLabels().family
    'none'
    """

    name: ClassVar[str] = "shuffled_labels"
    family: ClassVar[str] = "none"
    citation: ClassVar[str] = "control; Zhang et al. 2017, arXiv 1611.03530"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def supports(self, architecture: Any) -> Support:
        """Accept whatever backprop accepts."""
        return Backprop().supports(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If backprop cannot train the network.
        """
        check_support(self, network)
        return _ShuffledLabelsEstimator(network, generator, rule=self)


class _ShuffledLabelsEstimator(BackpropEstimator):
    def phases(self) -> tuple[Phase, ...]:
        """Return one phase whose labels are dealt out anew."""
        return (Phase(name="training", shuffled=True),)

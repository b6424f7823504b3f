"""Sign-symmetry: feedback weights share nothing with the forward weights but their signs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_choices, check_positive
from brainscore_lite.learning_rules.support import differentiable_graph
from brainscore_lite.learning_rules.transport.transported_errors import (
    crossed,
    follow_error,
    initial_deviation,
)
from brainscore_lite.networks.connections import Connection
from brainscore_lite.networks.network import Network

Variant = Literal["usf", "brsf", "frsf"]
VARIANTS: tuple[Variant, ...] = ("usf", "brsf", "frsf")


@dataclass(frozen=True)
class SignSymmetry:
    """Send errors back through weights that have the signs of the forward weights.

    delta_l = phi'(a_l) * (B_{l+1} delta_{l+1}),  B = sign(W)^T * M,  dW_l = -lr delta_l h_{l-1}^T

    Signs are those of the current W. The magnitudes M are one number for each connection (uSF,
    "uniform"), random and drawn anew for each batch (brSF), or random and fixed (frSF).

    Parameters
    ----------
    variant : {"usf", "brsf", "frsf"}
    scale : float
        M = scale * s (uSF), or uniform between 0 and sqrt(3) * scale * s, whose root mean square
        is the same; s is the deviation with which `ConvNet.build` draws W at initial_gain 1. (The
        paper's uSF has M = 1 and needs batch normalisation to keep errors from growing with depth;
        a constant factor is all that differs.)

    Raises
    ------
    ContractError
        If there is no such variant, or the scale is not a positive number.

    References
    ----------
    Liao, Leibo & Poggio (2016), arXiv 1510.05067; Xiao, Chen, Liao & Poggio (2018),
    arXiv 1811.03567; Moskovitz, Litwin-Kumar & Abbott (2018), arXiv 1812.06488.

    Examples
    --------
    >>> SignSymmetry("frsf").name
    'sign_symmetry_frsf'
    """

    variant: Variant = "usf"
    scale: float = 1.0

    family: ClassVar[str] = "transport"
    citation: ClassVar[str] = "Liao, Leibo & Poggio 2016, arXiv 1510.05067"
    exactness: ClassVar[Exactness] = "approximate"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choices(self, variant=VARIANTS)
        check_positive(self, "scale")

    @property
    def name(self) -> str:
        """Name of the variant."""
        return f"sign_symmetry_{self.variant}"

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas."""
        return differentiable_graph(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, or has a stage of
            unknown derivative.
        """
        check_support(self, network)
        return _SignSymmetryEstimator(cast(Network, network), generator, rule=self)


class _SignSymmetryEstimator(Estimator):
    network: Network

    def __init__(self, network: Network, generator: torch.Generator, *, rule: SignSymmetry) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.magnitudes = nn.Module()
        if rule.variant == "frsf":
            for each in crossed(network):
                self.magnitudes.register_buffer(each.name, self._drawn(each))

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the update for errors that went back through signed magnitudes."""
        feedback = {each.name: self.feedback(each) for each in crossed(self.network)}
        return follow_error(
            self.network, batch, feedback_of=lambda each: feedback[each.name], rule=self.rule.name
        )

    def feedback(self, connection: Connection) -> Tensor:
        """Return M * sign(W) for the current weights, of the shape of W."""
        signs = torch.sign(connection.op.weight.detach())
        if self.rule.variant == "usf":
            return signs.mul_(self._deviation(connection))
        if self.rule.variant == "frsf":
            return signs.mul_(self.magnitudes.get_buffer(connection.name))
        return signs.mul_(self._drawn(connection))

    def _deviation(self, connection: Connection) -> float:
        return self.rule.scale * initial_deviation(self.network, connection)

    def _drawn(self, connection: Connection) -> Tensor:
        """Draw magnitudes, two from each 64 random bits: brSF draws in every batch."""
        weight = connection.op.weight
        n_pairs = -(-weight.numel() // 2)
        bits = torch.empty(n_pairs, dtype=torch.int64, device=self.generator.device)
        bits.random_(-(2**63), None, generator=self.generator)
        signed = bits.view(torch.int32)[: weight.numel()].view(weight.shape).to(weight)
        return signed.abs_().mul_(math.sqrt(3) * self._deviation(connection) / 2**31)

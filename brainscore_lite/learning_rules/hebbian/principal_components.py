"""Oja's and Sanger's rules: Hebbian learning that finds principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.hebbian.areawise import (
    AreawiseEstimator,
    Sight,
    areas_phase,
    hebbian_support,
    per_sample,
)
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import check_choices, check_counts, check_positive
from brainscore_lite.networks.network import Network

_SOURCES = {
    "subspace": "Oja 1982, doi:10.1007/BF00275687; Oja 1989, doi:10.1142/S0129065789000475",
    "sequential": "Sanger 1989, doi:10.1016/0893-6080(89)90044-0",
}


@dataclass(frozen=True, kw_only=True)
class PrincipalComponents:
    """Let the weights of each area turn to the principal components of what the area sees.

    dW = lr (<y x^T> - T(<y y^T>) W) / v,  y = W (x - <x>),  v = <|x - <x>|^2>

    T leaves the matrix as it is ("subspace": with one unit Oja's rule dw = lr y (x - y w), with
    more his subspace rule, whose weights become any orthonormal basis of the first components) or
    keeps its lower triangle ("sequential": Sanger's rule, whose weights become the components
    themselves, in order). x is an image, a patch of maps (convolutions), or the responses of the
    area below; <> is the mean over the batch and, in convolutions, over positions. Division by the
    variance v makes the learning rate a number without unit: the step along a component is lr times
    its share of the variance. Where an area has a bias, it follows -W <x>.

    Parameters
    ----------
    deflation : {"subspace", "sequential"}
        T above; the rule is called "oja" or "sanger".
    lr : float
        Of the areas; the readout has that of the training configuration.
    epochs : int
        Through the images, without labels.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Oja (1982), doi:10.1007/BF00275687. Oja (1989), doi:10.1142/S0129065789000475.
    Sanger (1989), doi:10.1016/0893-6080(89)90044-0.

    Examples
    --------
    >>> PrincipalComponents(deflation="sequential").name
    'sanger'
    """

    deflation: Literal["subspace", "sequential"] = "subspace"
    lr: float = 0.5
    epochs: int = 1

    family: ClassVar[str] = "hebbian"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset()
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "distinct_phases", "update_locking", "derivatives"}
    )

    def __post_init__(self) -> None:
        check_choices(self, deflation=_SOURCES)
        check_positive(self, "lr")
        check_counts(self, "epochs", least=0)

    @property
    def name(self) -> str:
        """The name of the variant: "oja" or "sanger"."""
        return "oja" if self.deflation == "subspace" else "sanger"

    @property
    def citation(self) -> str:
        """The paper of the variant."""
        return _SOURCES[self.deflation]

    def supports(self, architecture: Any) -> Support:
        """Accept chains of areas without local receptive fields."""
        return hebbian_support(architecture)

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain of areas, has local receptive fields, or its readout is
            frozen.
        """
        check_support(self, network)
        return _PrincipalComponentsEstimator(cast(Network, network), generator, rule=self)


class _PrincipalComponentsEstimator(AreawiseEstimator):
    rule: PrincipalComponents

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: PrincipalComponents
    ) -> None:
        phase = areas_phase(rule.name, epochs=rule.epochs, lr=rule.lr)
        super().__init__(network, generator, rule=rule, phase=phase)

    def learn(self, sight: Sight) -> Tensor:
        """Write the update of one area; its objective is the share of variance left unexplained."""
        weight, n = sight.weight.flatten(1), sight.n_samples
        centred = sight.centred_drive()
        outputs = per_sample(centred)
        among = outputs @ outputs.T / n  # <y y^T>
        with_input = sight.correlation(centred).flatten(1) / n  # <y x^T>
        deflated = (among.tril() if self.rule.deflation == "sequential" else among) @ weight
        sight.weight.grad = ((deflated - with_input) / sight.variance).view_as(sight.weight)
        self.centre(sight)
        explained = 2 * among.trace() - (among * (weight @ weight.T)).sum()
        return 1 - explained / sight.variance

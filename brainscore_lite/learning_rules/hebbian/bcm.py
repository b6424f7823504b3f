"""The rule of Bienenstock, Cooper and Munro: a threshold that slides with activity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.hebbian.areawise import (
    AreawiseEstimator,
    Sight,
    areas_phase,
    hebbian_support,
    over_units,
    over_weights,
    sum_of_samples,
)
from brainscore_lite.learning_rules.learning_rule import (
    Estimator,
    Exactness,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.settings import (
    check_counts,
    check_flags,
    check_positive,
    check_shares,
)
from brainscore_lite.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class BCM:
    """Strengthen what drives a unit above its threshold, weaken what drives it less.

    dw = lr x y (y - theta) / (theta <|x|^2>),  theta = running mean of y^2,  y = max(w x, 0)

    with x - <x> in the place of x (`centred`), <> the mean over the batch and, in convolutions,
    over positions, and biases that follow -W <x>.

    At a fixed point each input drives a unit not at all or exactly to y = theta, so that a unit
    which answers the share p of its inputs answers with 1 / p. Division by theta (Law & Cooper)
    and by the mean square of the input, which leave the fixed points where they are, let one
    learning rate serve early and late, near and far from the input; `normalised=False` leaves both
    out. The rule rectifies the drive without a bound, since under a bound of 1 no threshold could
    ever catch up; the network's own activation passes the responses on.

    Parameters
    ----------
    lr : float
        Of the areas; the readout has that of the training configuration.
    threshold_rate : float
        Share of a batch in the running mean theta, which must follow faster than the weights move.
    normalised : bool
        Whether updates are divided by the threshold and by the mean square of the input.
    centred : bool
        Whether the mean input is taken off; without it biases are not trained.
    epochs : int
        Through the images, without labels.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Bienenstock, Cooper & Munro (1982), doi:10.1523/JNEUROSCI.02-01-00032.1982. Law & Cooper (1994),
    doi:10.1073/pnas.91.16.7797.

    Examples
    --------
    >>> BCM().requires
    frozenset()
    """

    lr: float = 0.01
    threshold_rate: float = 0.1
    normalised: bool = True
    centred: bool = True
    epochs: int = 1

    name: ClassVar[str] = "bcm"
    family: ClassVar[str] = "hebbian"
    citation: ClassVar[str] = (
        "Bienenstock, Cooper & Munro 1982, doi:10.1523/JNEUROSCI.02-01-00032.1982"
    )
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset()
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "distinct_phases", "update_locking", "derivatives"}
    )

    def __post_init__(self) -> None:
        check_positive(self, "lr")
        check_shares(self, "threshold_rate", above_0=True)
        check_flags(self, "normalised", "centred")
        check_counts(self, "epochs", least=0)

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
        return _BCMEstimator(cast(Network, network), generator, rule=self)


class _BCMEstimator(AreawiseEstimator):
    rule: BCM

    def __init__(self, network: Network, generator: torch.Generator, *, rule: BCM) -> None:
        phase = areas_phase(rule.name, epochs=rule.epochs, lr=rule.lr)
        super().__init__(network, generator, rule=rule, phase=phase)
        # Weighted sums of the squares of all batches so far, and of 1: their ratio is theta.
        for index, stage in enumerate(self.areas):
            weight = stage.connection.op.weight.detach()
            self.register_buffer(f"squares_{index}", weight.new_zeros(len(weight)))
        self.register_buffer("batches", self.squares(0).new_zeros(len(self.areas)))

    def squares(self, index: int) -> Tensor:
        """Return the running sum of squares of an area, shape (units,)."""
        return self.get_buffer(f"squares_{index}")

    def threshold(self, index: int) -> Tensor:
        """Return theta of an area, shape (units,); 0 before the first batch."""
        tiny = torch.finfo(self.squares(index).dtype).tiny
        return self.squares(index) / self.get_buffer("batches")[index].clamp_min(tiny)

    @property
    def trains_biases(self) -> bool:
        """Whether biases centre the drive."""
        return self.rule.centred

    def learn(self, sight: Sight) -> Tensor:
        """Write the update of one area; its objective is <(y - theta)^2> where units answer."""
        centred = self.rule.centred
        responses = (sight.centred_drive() if centred else sight.drive).clamp_min(0)
        threshold = self._slide(sight.index, sum_of_samples(responses.square()) / sight.n_samples)
        above = responses - over_units(threshold, responses)
        correlate = sight.centred_correlation if centred else sight.correlation
        change = correlate(responses * above) / sight.n_samples
        if self.rule.normalised:
            tiny = torch.finfo(change.dtype).tiny
            change /= over_weights(threshold, change).clamp_min(tiny)
            change /= (sight.variance if centred else sight.mean_square).clamp_min(tiny)
        sight.weight.grad = -change
        if centred:
            self.centre(sight)
        return (above.square() * (responses > 0)).mean()

    def _slide(self, index: int, square: Tensor) -> Tensor:
        """Take the mean squares of a batch, (units,), into the threshold, and return it."""
        passed = self.get_buffer("batches")[index]
        passed.lerp_(torch.ones_like(passed), self.rule.threshold_rate)
        self.squares(index).lerp_(square, self.rule.threshold_rate)
        return self.threshold(index)

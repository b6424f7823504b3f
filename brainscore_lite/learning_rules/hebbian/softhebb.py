"""SoftHebb: Hebbian learning in soft winner-take-all networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    check_choices,
    check_counts,
    check_flags,
    check_not_negative,
    check_positive,
    check_series,
)
from brainscore_lite.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class SoftHebb:
    """Let units compete softly for each input, and move the winner's weights towards it.

    dw_k = lr c_k <s_k y_k (x - u_k w_k / R^2)>,  u_k = w_k x,  y = softmax_k(t u_k + log prior_k)

    s_k = 1 for the unit with the largest u, -1 for the others (`anti_hebbian`, the multilayer form)
    or 1 for all (the form of 2022, whose fixed points are a mixture model of the input: the update
    is then the gradient on the sphere |w_k| = R of its log likelihood). Weights tend to the norm R.
    c_k = | |w_k| - R |^norm_power / max |dW| slows a unit down as its norm arrives.
    In convolutions, channels compete at each position. The rule trains the weights of any chain of
    areas; what these pass on is the network's own activation. The paper's own network has triangle
    activations and normalises batches: see `SOFTHEBB_CNN` and the settings beside it.

    Parameters
    ----------
    lrs : tuple of float
        Learning rate by area from below, the last for all above; the readout has that of the
        training configuration.
    inverse_temperatures : tuple of float
        t by area from below, the last for all above.
    radius : float
        R above.
    norm_power : float
        0 leaves the learning rate as it is.
    rescaled : bool
        Whether updates are divided by their largest absolute entry.
    anti_hebbian : bool
    biases : {"standardise", "prior", "none"}
        "standardise": they follow -W <x>, and R counts in units of 1 / the standard deviation of
        the input, so that the area sees x standardised (the paper normalises batches before each
        layer). "prior": they learn the log prior, b_k = log(prior_k) / t, by db_k =
        lr <y_k - prior_k> / (t prior_k), the form of 2022. "none": they are not trained.
    initial_norm : float, optional
        Norm to which each unit's weights are scaled when the rule is joined to a network; by
        default they stay as they are.
    epochs : int
        Through the images, without labels.

    Notes
    -----
    The defaults are those of convolutions, with few inputs. A dense area has hundreds: weights of
    norm 1 then drive its units several units far, beyond a bounded activation, and steps of 0.08
    leave features worse than random ones. There use a smaller radius, sharper competition and
    smaller steps: `DENSE_SOFTHEBB`.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Moraitis, Toichkin, Journe, Chua & Guo (2022), doi:10.1088/2634-4386/aca710. Journe, Garcia
    Rodriguez, Guo & Moraitis (2023), arXiv:2209.11883.

    Examples
    --------
    >>> SoftHebb().requires
    frozenset()
    """

    lrs: tuple[float, ...] = (0.08, 0.005, 0.01)
    inverse_temperatures: tuple[float, ...] = (1.0, 0.65, 0.25)
    radius: float = 1.0
    norm_power: float = 0.5
    rescaled: bool = True
    anti_hebbian: bool = True
    biases: Literal["standardise", "prior", "none"] = "standardise"
    initial_norm: float | None = None
    epochs: int = 1

    name: ClassVar[str] = "softhebb"
    family: ClassVar[str] = "hebbian"
    citation: ClassVar[str] = (
        "Moraitis et al. 2022, doi:10.1088/2634-4386/aca710; Journe et al. 2023, arXiv:2209.11883"
    )
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset()
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "distinct_phases", "update_locking", "derivatives"}
    )

    def __post_init__(self) -> None:
        check_choices(self, biases=("standardise", "prior", "none"))
        check_series(self, "lrs", "inverse_temperatures")
        check_flags(self, "rescaled", "anti_hebbian")
        check_positive(self, "radius", *(["initial_norm"] if self.initial_norm is not None else []))
        check_not_negative(self, "norm_power")
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
        return _SoftHebbEstimator(cast(Network, network), generator, rule=self)


class _SoftHebbEstimator(AreawiseEstimator):
    rule: SoftHebb

    def __init__(self, network: Network, generator: torch.Generator, *, rule: SoftHebb) -> None:
        phase = areas_phase(rule.name, epochs=rule.epochs, lr=rule.lrs[0])
        super().__init__(network, generator, rule=rule, phase=phase)
        if rule.initial_norm is not None:
            for stage in self.areas:
                _rescale(stage.connection.op.weight, rule.initial_norm)

    @property
    def trains_biases(self) -> bool:
        """Whether biases centre the drive, or hold the log prior."""
        return self.rule.biases != "none"

    def lr_multiplier(self, index: int) -> float:
        """Return the learning rate of an area relative to the lowest one's."""
        return by_area(self.rule.lrs, index) / self.rule.lrs[0]

    def bias_multiplier(self, index: int) -> float:
        """Return the same for the bias, which as a prior has the rate of the weights."""
        if self.rule.biases == "prior":
            return self.lr_multiplier(index)
        return super().bias_multiplier(index)

    def learn(self, sight: Sight) -> Tensor:
        """Write the update of one area; its objective is -<log sum_k prior_k exp(t u_k)> / t."""
        rule = self.rule
        inverse = by_area(rule.inverse_temperatures, sight.index)
        standardised = rule.biases == "standardise"
        scale = _deviation(sight) if standardised else sight.drive.new_ones(())
        drive = sight.centred_drive() if standardised else sight.drive
        responses, loss = self._compete(sight, drive, inverse=inverse)
        change = (sight.centred_correlation if standardised else sight.correlation)(responses)
        # In terms of x' = x / scale and w' = scale w, whose product is the drive.
        change /= scale
        weight = scale * sight.weight
        shrinkage = sum_of_samples(responses * drive)
        change -= over_weights(shrinkage / rule.radius**2, change) * weight
        change /= change.abs().amax() + 1e-30 if rule.rescaled else sight.n_samples
        if rule.norm_power:
            distance = (weight.flatten(1).norm(dim=1) - rule.radius).abs() + 1e-10
            change *= over_weights(torch.pow(distance, rule.norm_power), change)
        sight.weight.grad = change.div_(-scale)
        if standardised:
            self.centre(sight)
        return loss

    def _compete(self, sight: Sight, drive: Tensor, *, inverse: float) -> tuple[Tensor, Tensor]:
        """Return s y, shaped like the drive, and the objective; as a prior, the bias learns."""
        logits = inverse * drive
        bias = sight.stage.area.bias if self.rule.biases == "prior" else None
        if bias is not None:
            logits += over_units(inverse * bias, logits)
        responses = functional.softmax(logits, dim=1)
        winner, where = logits.max(dim=1, keepdim=True)
        of_winner = responses.gather(1, where)
        # The winner's softmax is exp(its logit) / sum, so the sum needs no second pass.
        loss = (of_winner.log() - winner).mean() / inverse
        if bias is not None and bias.requires_grad:
            share = (inverse * bias).exp()
            bias.grad = (share - sum_of_samples(responses) / sight.n_samples) / (inverse * share)
        if self.rule.anti_hebbian:
            responses = responses.neg_().scatter_(1, where, of_winner)
        return responses, loss


def by_area(values: tuple[float, ...], index: int) -> float:
    """Return the value of an area, the last one for all above."""
    return values[min(index, len(values) - 1)]


def _deviation(sight: Sight) -> Tensor:
    """Return the standard deviation of one input of a unit, over inputs and samples, shape ()."""
    return (sight.variance / sight.weight[0].numel()).sqrt()


def _rescale(weight: nn.Parameter, norm: float) -> None:
    with torch.no_grad():
        lengths = weight.flatten(1).norm(dim=1).clamp_min(1e-30)
        weight.mul_(over_weights(norm / lengths, weight))

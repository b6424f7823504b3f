"""Goodness of a layer, and the contrast between real and false examples that a layer learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules.learning_rule import LearningRule
from brainscore_lite.learning_rules.settings import check_choices, check_flags, check_positive
from brainscore_lite.schema import ContractError

GoodnessKind = Literal["sum_of_squares", "mean_of_squares", "absolute", "t_density"]
GOODNESS_KINDS = ("sum_of_squares", "mean_of_squares", "absolute", "t_density")

#: Below this root mean square a layer counts as silent, and stays as it is.
_SILENT = 1e-12


def normalised(activations: Tensor) -> Tensor:
    """Give the activity of each example a root mean square of 1, without centring it.

    h^ = sqrt(d) h / |h|, so that only the direction of the activity is passed on; a silent example
    stays silent.

    Parameters
    ----------
    activations : Tensor, shape (batch, ...)

    Returns
    -------
    Tensor, of the same shape
    """
    n_units = activations[0].numel()
    length = torch.linalg.vector_norm(activations.flatten(1), dim=1)
    scale = n_units**0.5 / length.clamp_min(_SILENT * n_units**0.5)
    return activations * scale.view(-1, *[1] * (activations.ndim - 1))


def check_goodness(rule: LearningRule) -> None:
    """Refuse a kind of goodness that there is not, or one of its settings out of range.

    Raises
    ------
    ContractError
    """
    check_choices(rule, goodness=GOODNESS_KINDS)
    check_flags(rule, "minimised")
    for setting in ("threshold", "temperature"):
        if getattr(rule, setting) is not None:
            check_positive(rule, setting)


@dataclass(frozen=True)
class Goodness:
    """How good a layer finds its input, as the sum or mean of a function of its activities.

    g = sum_j h_j^2 ("sum_of_squares"), mean_j h_j^2 ("mean_of_squares"), sum_j |h_j| ("absolute"),
    or sum_j log(1 + h_j^2), the negative log of a t-density with one degree of freedom up to a
    constant ("t_density"). An example is held to be real with probability
    sigma((g - theta) / temperature), or sigma((theta - g) / temperature) where goodness is
    minimised.

    Parameters
    ----------
    kind : {"sum_of_squares", "mean_of_squares", "absolute", "t_density"}
    threshold : float
        Share of theta of each unit: theta is `threshold` for a mean, and for a sum over d units
        d times `threshold`.
    temperature : float, optional
        By default sqrt(d) for a sum and 1 / sqrt(d) for a mean: the size of the fluctuations of a
        layer of d independent units, so that layers of any size learn alike.
    minimised : bool
        Whether real examples are to have low goodness.

    Raises
    ------
    ContractError
        If the kind is unknown.
    """

    kind: GoodnessKind
    threshold: float
    temperature: float | None = None
    minimised: bool = False

    def __post_init__(self) -> None:
        if self.kind not in GOODNESS_KINDS:
            raise ContractError(
                f"goodness '{self.kind}' is unknown. Choose one of: {', '.join(GOODNESS_KINDS)}."
            )

    def of(self, activations: Tensor) -> Tensor:
        """Return the goodness of each example.

        Parameters
        ----------
        activations : Tensor, shape (batch, ...)

        Returns
        -------
        Tensor, shape (batch,)
        """
        flat = activations.flatten(1)
        if self.kind == "absolute":
            return flat.abs().sum(dim=1)
        if self.kind == "t_density":
            return flat.square().log1p().sum(dim=1)
        squares = torch.einsum("bi,bi->b", flat, flat)
        return squares / flat.shape[1] if self.kind == "mean_of_squares" else squares

    def evidence(self, activations: Tensor) -> Tensor:
        """Return the evidence that each example is real: g / d, or -g / d where it is minimised.

        Per unit, so that a prediction from several layers weighs them alike, whatever their size;
        among layers of one size the order of labels is that of their summed goodness.

        Parameters
        ----------
        activations : Tensor, shape (batch, ...)

        Returns
        -------
        Tensor, shape (batch,)
        """
        n_units = 1 if self.kind == "mean_of_squares" else activations[0].numel()
        return self.of(activations) / (-n_units if self.minimised else n_units)

    def contrast(self, activations: Tensor, n_real: int) -> tuple[Tensor, Tensor]:
        """Return the loss of a layer and its gradient at the activities, in closed form.

        L = mean_b log(1 + exp(-t_b (g_b - theta) / temperature)), with t = 1 for the real examples,
        which come first, and -1 for the false ones.

        Parameters
        ----------
        activations : Tensor, shape (batch, ...)
            Without a graph.
        n_real : int
            The first so many examples are real.

        Returns
        -------
        loss : Tensor, shape ()
        gradient : Tensor, of the shape of the activities
            dL / dh.
        """
        n_units = activations[0].numel()
        scale = 1 if self.kind == "mean_of_squares" else n_units
        temperature = self.temperature or scale / n_units**0.5
        target = activations.new_full((len(activations),), 1 if self.minimised else -1)
        target[:n_real] *= -1
        target /= temperature
        against = target * (self.threshold * scale - self.of(activations))
        loss = -functional.logsigmoid(-against).mean()
        slope = -target * against.sigmoid() / len(activations)
        slope = slope.view(-1, *[1] * (activations.ndim - 1))
        return loss, slope * self._slope(activations)

    def _slope(self, activations: Tensor) -> Tensor:
        if self.kind == "absolute":
            return activations.sign()
        if self.kind == "t_density":
            return 2 * activations / (1 + activations.square())
        if self.kind == "mean_of_squares":
            return activations * (2 / activations[0].numel())
        return 2 * activations

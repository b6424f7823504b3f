"""Synthetic gradients: a guess of its error teaches every area, and better guesses teach it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.classification import (
    count_correct,
    cross_entropy_error,
    labels_of,
)
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    StepInfo,
    Support,
    check_support,
    trainable,
)
from brainscore_lite.learning_rules.settings import check_counts, check_flags
from brainscore_lite.learning_rules.support import differentiable_graph, recurrent
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import Convolution, FullyConnected
from brainscore_lite.networks.model import READOUT, device_of
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError


@dataclass(frozen=True)
class SyntheticGradients:
    """Update each area with a linear guess of the gradient at its activations.

    d_l = A_l h_l + C_l y (+ b_l);  dw_l = -lr d_l dh_l/dw_l;  dM_l = -lr grad |d_l - t_l|^2

    h_l are the area's activations, y the class (one-hot), M_l = (A_l, C_l) the linear model of the
    gradient of an example's loss, and t_l the gradient that arrives from the areas above: through
    one area, from their own guess d_{l+1}, or from the true error at the readout. A_l is a
    convolution in convolutional areas; all of M_l starts at 0. No area waits for those above before
    it is updated; its model still learns by the transpose of the weights above.

    Parameters
    ----------
    labels : bool
        Whether guesses know the class ("cDNI" in the paper); else b_l takes the place of C_l y.
    kernel : int
        Side of A_l in convolutional areas, in pixels; odd.

    Raises
    ------
    ContractError
        If the kernel is not odd.

    References
    ----------
    Jaderberg et al. (2017), arXiv 1608.05343.

    Examples
    --------
    >>> SyntheticGradients().exactness
    'approximate'
    """

    labels: bool = True
    kernel: int = 5

    name: ClassVar[str] = "synthetic_gradients"
    family: ClassVar[str] = "local"
    citation: ClassVar[str] = "Jaderberg et al. 2017, arXiv 1608.05343"
    exactness: ClassVar[Exactness] = "approximate"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset({"update_locking"})

    def __post_init__(self) -> None:
        check_flags(self, "labels")
        check_counts(self, "kernel")
        if self.kernel % 2 == 0:
            raise ContractError(
                f"{self.name}: kernel is {self.kernel}, expected an odd number of pixels."
            )

    def supports(self, architecture: Any) -> Support:
        """Accept feedforward graphs of areas with weights to train and derivatives throughout."""
        return differentiable_graph(
            architecture,
            recurrent(
                architecture,
                why="the rule guesses the error of an area that answers an image once",
                instead="Use a feedforward ConvNet, or a rule for any graph such as "
                "'local_losses_predsim'.",
            ),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is recurrent or no graph of areas, has no trainable weights, or has a
            stage of unknown derivative.
        """
        check_support(self, network)
        return SyntheticGradientEstimator(cast(Network, network), generator, rule=self)


class SyntheticGradientEstimator(Estimator):
    """A network with a model of the gradient at each of its areas.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
    rule : SyntheticGradients
    """

    network: Network

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: SyntheticGradients
    ) -> None:
        super().__init__(network, generator)
        weight = next(network.parameters())
        shapes = network.activation_shapes()
        (n_classes,) = shapes.pop(READOUT)
        self.models = nn.ModuleDict()
        for name, shape in shapes.items():
            model = GradientModel(shape, n_classes if rule.labels else 1, kernel=rule.kernel)
            self.models[name] = model.to(device_of(network), weight.dtype)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the network with its models of the gradient."""
        return [ParameterGroup(trainable(self))]

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write each area's guessed gradient, and what its guess learns.

        Raises
        ------
        ContractError
            If the batch has no labels.
        """
        labels = labels_of(batch, rule=SyntheticGradients.name)
        sent: dict[str, Tensor] = {}
        received: dict[str, Tensor] = {}

        def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
            sent[area.name] = area(arriving)
            received[area.name] = sent[area.name].detach().requires_grad_()
            return received[area.name]

        for _ in self.network.run(batch.images, answer=answer):
            pass
        scores = received[READOUT].detach()
        errors = {READOUT: cross_entropy_error(scores, labels)}
        guesses = {
            name: model(received[name].detach(), labels) for name, model in self.models.items()
        }
        n = len(scores)
        errors |= {name: guess.detach() for name, guess in guesses.items()}
        moved = [name for name, response in sent.items() if response.requires_grad]
        torch.autograd.backward(
            [sent[name] for name in moved], [errors[name] / n for name in moved]
        )
        self._learn(guesses, received)
        loss = functional.cross_entropy(scores, labels)
        return StepInfo(loss=loss.item(), n_correct=count_correct(scores, labels))

    def _learn(self, guesses: dict[str, Tensor], received: dict[str, Tensor]) -> None:
        """Write the gradient of |d_l - t_l|^2 of all models, the mean over the batch."""
        wrong = []
        for name, guess in guesses.items():
            difference = guess.detach() / len(guess)
            arrived = received[name].grad  # of the mean loss; None where nothing reads the area
            wrong.append(2 * (difference if arrived is None else difference - arrived))
        torch.autograd.backward([*guesses.values()], wrong)


class GradientModel(nn.Module):
    """d = A h + C y, all 0 at first.

    Parameters
    ----------
    shape : tuple of int
        Of the area's activations, without the batch.
    n_classes : int
        Rows of C; 1 for a bias, whatever the class.
    kernel : int
        Side of A where the area has maps.
    """

    def __init__(self, shape: tuple[int, ...], n_classes: int, *, kernel: int) -> None:
        super().__init__()
        self.from_activations = (
            FullyConnected((shape[0], shape[0]))
            if len(shape) == 1
            else Convolution((shape[0], shape[0], kernel, kernel), padding=kernel // 2)
        )
        self.from_class = nn.Parameter(torch.zeros(n_classes, *shape))

    def forward(self, activations: Tensor, labels: Tensor) -> Tensor:
        """Guess the gradient of each example's loss.

        Parameters
        ----------
        activations : Tensor, shape (batch, ...)
        labels : int64 Tensor, shape (batch,)

        Returns
        -------
        Tensor, of the shape of the activations
        """
        told = labels if len(self.from_class) > 1 else torch.zeros_like(labels)
        return self.from_activations(activations) + self.from_class[told]

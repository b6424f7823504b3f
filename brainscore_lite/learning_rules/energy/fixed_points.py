"""What all settling rules share: which networks can settle, and the free phase.

The network that these rules train is the recurrent one in which each connection also sends back,
through its transpose. Its free fixed point is what is probed and what predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.classification import count_correct, labels_of, one_hot
from brainscore_lite.learning_rules.energy.hopfield import (
    RESPONSES,
    HopfieldEnergy,
    States,
    potential,
)
from brainscore_lite.learning_rules.energy.objectives import (
    Objective,
    SoftmaxReadout,
    SquaredErrorReadout,
)
from brainscore_lite.learning_rules.energy.settling import settle
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    StepInfo,
    Support,
)
from brainscore_lite.learning_rules.output_losses import OutputLoss
from brainscore_lite.learning_rules.support import (
    activated_otherwise,
    areas_of,
    black_box,
    no_chain,
    no_graph_of_areas,
    normalised_by,
    recurrent,
    support,
    untrainable,
)
from brainscore_lite.networks.areas import (
    BOUNDED_ACTIVATIONS,
    CONVOLUTIONAL_NORMS,
    AreaModule,
)
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.model import READOUT, Step, check_layers, device_of
from brainscore_lite.networks.network import Network

UNBOUNDED = "feedback through the transposed weights drives unbounded areas without limit"


def settles(
    architecture: Any,
    *,
    n_steps: int,
    chain: bool = False,
    activations: Set[str] = BOUNDED_ACTIVATIONS,
    why: str = UNBOUNDED,
) -> Support:
    """Say whether a network has the energy that settling rules descend.

    Parameters
    ----------
    architecture : ConvNet or Module
    n_steps : int
        Steps of the free phase.
    chain : bool
        Whether the areas must form one single line.
    activations : set of str
        Those allowed below the readout.
    why : str
        What the others break.
    """
    graph = support(
        untrainable(architecture),
        no_chain(architecture) if chain else no_graph_of_areas(architecture),
    )
    if not graph.ok:
        return graph
    return support(
        recurrent(
            architecture,
            why="the rule sends feedback of its own back through the forward connections",
            instead="Use a feedforward ConvNet, which the rule runs as a recurrent one.",
        ),
        black_box(architecture),
        normalised_by(
            architecture,
            frozenset(CONVOLUTIONAL_NORMS) - {"none"},
            why="the energy has no term for it",
        ),
        activated_otherwise(architecture, activations, why=why),
        _activated_readout(architecture),
        _too_few_steps(architecture, n_steps),
    )


@dataclass(frozen=True, eq=False)
class FreePhase:
    """Where a batch has settled without a target.

    Parameters
    ----------
    energy : HopfieldEnergy
    objective : Objective
    states : dict of str to Tensor, each of shape (batch, ...)
    scores : Tensor, shape (batch, n_classes)
    residual : float
        Root mean square change of the last update.
    """

    energy: HopfieldEnergy
    objective: Objective
    states: States
    scores: Tensor
    residual: float


class SettlingRule(Protocol):
    """What the free phase asks of a rule."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def free_steps(self) -> int:
        """Steps of the free phase."""


class FixedPointEstimator(Estimator):
    """A settling rule bound to a network; rules add what follows the free phase.

    Parameters
    ----------
    network : Network
    generator : torch.Generator
    rule : SettlingRule
    objective : {"cross_entropy", "squared_error"}
        Of a softmax readout that the areas do not feel, or of a readout among them.
    feedback : float
        Factor on what areas receive from above.
    """

    network: Network
    rule: SettlingRule

    def __init__(
        self,
        network: Network,
        generator: torch.Generator,
        *,
        rule: SettlingRule,
        objective: OutputLoss,
        feedback: float = 1.0,
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self._objective = objective
        self._feedback = feedback
        self._shapes = network.activation_shapes()

    @property
    def areas(self) -> tuple[str, ...]:
        """Areas that take part in the dynamics, from below to above."""
        names = self.network.layer_names
        return names if self._objective == "squared_error" else names[:-1]

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Settle freely, then write what the rule makes of the targets.

        Raises
        ------
        ContractError
            If the batch has no labels.
        """
        labels = labels_of(batch, rule=self.rule.name)
        with torch.no_grad():
            free = self.free_phase(batch.images)
            targets = one_hot(labels, like=free.scores)
            loss = free.objective.loss(free.scores, targets)
            for parameter, gradient in self.gradients(free, targets).items():
                parameter.grad = gradient
        return StepInfo(
            loss=loss.item(),
            n_correct=count_correct(free.scores, labels),
            settling_residual=free.residual,
        )

    def gradients(self, free: FreePhase, targets: Tensor) -> dict[nn.Parameter, Tensor]:
        """Return the rule's estimate of the gradient, mean over the batch."""
        raise NotImplementedError

    def free_phase(self, images: Tensor) -> FreePhase:
        """Settle without a target, from areas that nothing has reached."""
        energy, leading_out = HopfieldEnergy.of(
            self.network,
            images,
            areas=self.areas,
            shapes=self._shapes,
            feedback=self._feedback,
        )
        objective: Objective = (
            SquaredErrorReadout(self.network)
            if self._objective == "squared_error"
            else SoftmaxReadout(self.network, leading_out)
        )
        states: States = {}
        residual = settle(
            energy, states, self.answer, n_steps=self.rule.free_steps, first=energy.fed
        )
        return FreePhase(energy, objective, states, objective.scores(states), residual)

    def answer(self, name: str, drive: Tensor, states: States) -> Tensor:
        """Return rho(drive)."""
        area = self.network.areas[name]
        activation = area.settings.activation if isinstance(area, AreaModule) else ""
        return RESPONSES[activation](drive)

    def loss(self, batch: Batch) -> Tensor | None:
        """Return the loss at the free fixed point, differentiable through as many steps again."""
        if batch.labels is None:
            return None
        with torch.no_grad():
            free = self.free_phase(batch.images)
        targets = one_hot(batch.labels, like=free.scores)
        states = {name: state.detach().requires_grad_() for name, state in free.states.items()}
        with torch.enable_grad():
            for _ in range(self.rule.free_steps):
                states = unrolled_step(
                    self.network, free.energy.image, states, feedback=self._feedback
                )
            scores = states[READOUT] if READOUT in states else self._read_out(states)
            return free.objective.loss(scores, targets)

    def _read_out(self, states: States) -> Tensor:
        every = cast("list[Connection]", list(self.network.connections.values()))
        into = [each for each in every if each.target == READOUT]
        return self.network.areas[READOUT]([each(states[each.source]) for each in into])

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the free fixed point, with its settling residual."""
        chosen = check_layers(layers, self.network.layer_names, model=self.network.name)
        with torch.no_grad():
            free = self.free_phase(images.to(device_of(self)))
        activations = {**free.states, READOUT: free.scores}
        yield Step(0, {layer: activations[layer] for layer in chosen}, residual=free.residual)

    def predict(self, images: Tensor) -> Tensor:
        """Return the readout of the free fixed point, of shape (batch, n_classes)."""
        with torch.no_grad():
            return self.free_phase(images).scores


def unrolled_step(
    network: Network, image: Tensor, states: States, *, feedback: float = 1.0
) -> States:
    """Return s <- rho(dPhi/ds) for all areas at once, as it is defined: differentiable, and slow.

    With feedback other than 1 in a chain, each term of Phi counts ``feedback`` times the one below,
    and areas divide what they receive by the factor of their own.
    """
    names = list(states)
    scales = {name: feedback**height for height, name in enumerate(names)}
    phi = potential(network, {IMAGE: image, **states}, scales=scales)
    slopes = torch.autograd.grad(phi, [states[name] for name in names], create_graph=True)
    return {
        name: cast(AreaModule, network.areas[name]).activation(slope / scales[name])
        for name, slope in zip(names, slopes, strict=True)
    }


def _activated_readout(architecture: Any) -> str:
    readout = areas_of(architecture)[-1]
    if readout.activation == "identity":
        return ""
    return (
        f"its readout has activation='{readout.activation}', but the loss is taken of a linear "
        "one. Set activation='identity'."
    )


def _too_few_steps(architecture: Any, n_steps: int) -> str:
    n_areas = len(areas_of(architecture))
    if n_steps >= n_areas:
        return ""
    return (
        f"{n_steps} steps of settling are too few to pass its {n_areas} areas. Settle for at least "
        f"{n_areas} steps; 30 are usual."
    )

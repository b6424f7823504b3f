"""The restricted Boltzmann machine, trained by contrastive divergence, and stacks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    Phase,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.linear_readout import FeaturesThenReadout, frozen_readout
from brainscore_lite.learning_rules.settings import (
    check_choices,
    check_counts,
    check_flags,
    check_positive,
)
from brainscore_lite.learning_rules.stages import Stage, stages
from brainscore_lite.learning_rules.support import (
    activated_otherwise,
    areas_of,
    black_box,
    no_chain,
    normalised_by,
    support,
    untrainable,
)
from brainscore_lite.networks.areas import BATCH_NORMS, Area
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

_SOURCES = {
    False: "Hinton 2002, doi:10.1162/089976602760128018",
    True: "Tieleman 2008, doi:10.1145/1390156.1390290",
}


@dataclass(frozen=True, kw_only=True)
class RestrictedBoltzmannMachine:
    """Raise the probability of the data, lower that of what the model makes of it.

    dW = lr (<h v^T>_data - <h v^T>_model),  p(h = 1 | v) = sigmoid(W v + b)

    and likewise for the hidden biases b and the visible biases c. The model's average is taken
    after `n_steps` of Gibbs sampling from the data (contrastive divergence, CD-k), or over chains
    that go on from batch to batch (`persistent`, PCD). Dense areas with sigmoid activation are
    trained one after the other from below, each as the machine whose visible units are the
    probabilities below it; the lowest sees the image.

    Parameters
    ----------
    visible : {"gaussian", "bernoulli"}
        The lowest visible units: real-valued of variance 1, p(v | h) = N(c + W^T h, 1), or binary,
        p(v = 1 | h) = sigmoid(c + W^T h), for images between 0 and 1.
    persistent : bool
    n_steps : int
        k above.
    n_chains : int
        Chains of PCD.
    lr : float
        Of the machines; the readout has that of the training configuration.
    epochs : int
        Through the images, for each area, without labels.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Ackley, Hinton & Sejnowski (1985), doi:10.1207/s15516709cog0901_7. Hinton (2002),
    doi:10.1162/089976602760128018. Tieleman (2008), doi:10.1145/1390156.1390290.

    Examples
    --------
    >>> RestrictedBoltzmannMachine(persistent=True).name
    'restricted_boltzmann_machine_persistent'
    """

    visible: Literal["gaussian", "bernoulli"] = "gaussian"
    persistent: bool = False
    n_steps: int = 1
    n_chains: int = 100
    lr: float = 0.01
    epochs: int = 1

    family: ClassVar[str] = "energy"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"symmetry"})
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"separate_error", "update_locking", "derivatives"}
    )

    def __post_init__(self) -> None:
        check_choices(self, visible=("gaussian", "bernoulli"))
        check_flags(self, "persistent")
        check_positive(self, "lr")
        check_counts(self, "n_steps", "n_chains")
        check_counts(self, "epochs", least=0)

    @property
    def name(self) -> str:
        """The name of the variant: with "_persistent" where chains persist."""
        return "restricted_boltzmann_machine" + ("_persistent" if self.persistent else "")

    @property
    def citation(self) -> str:
        """The paper of the variant."""
        return _SOURCES[self.persistent]

    def supports(self, architecture: Any) -> Support:
        """Accept chains of dense areas with sigmoid activation and without norms."""
        return support(
            untrainable(architecture),
            no_chain(architecture),
            black_box(architecture),
            frozen_readout(architecture),
            _convolutional(architecture),
            activated_otherwise(
                architecture, {"sigmoid"}, why="a hidden unit's response is its probability to be 1"
            ),
            normalised_by(
                architecture, {*BATCH_NORMS, "layer"}, why="a hidden unit's probability has no norm"
            ),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain of dense areas with sigmoid activation, or its readout is
            frozen.
        """
        check_support(self, network)
        return _BoltzmannEstimator(cast(Network, network), generator, rule=self)


class _BoltzmannEstimator(FeaturesThenReadout):
    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: RestrictedBoltzmannMachine
    ) -> None:
        areas = stages(network)[:-1]
        machines = tuple(
            Phase(
                name=f"machine_{stage.name}",
                epochs=rule.epochs,
                labels=False,
                optimizer="sgd",
                lr=rule.lr,
                momentum=0.0,
            )
            for stage in areas
        )
        super().__init__(network, generator, name=rule.name, feature_phases=machines)
        self.rule = rule
        self.areas = areas
        weights = [stage.connection.op.weight for stage in self.areas]
        self.visible_biases = nn.ParameterList(
            nn.Parameter(weight.detach().new_zeros(weight.shape[1])) for weight in weights
        )
        for index, weight in enumerate(weights if rule.persistent else ()):
            start = torch.rand(rule.n_chains, weight.shape[1], generator=generator)
            self.register_buffer(f"chains_{index}", start.to(weight).round())

    @property
    def index(self) -> int:
        """Which area is trained now."""
        return 0 if self.phase is None else self.feature_phases.index(self.phase)

    def feature_groups(self) -> list[ParameterGroup]:
        """Return weights and biases of the machine that is trained now."""
        return [ParameterGroup(self._machine(self.index))]

    def learn_features(self, batch: Batch) -> StepInfo:
        """Write the update of one machine."""
        index = self.index
        with torch.no_grad():
            responses = self.network.entering(batch.images)
            for stage in self.areas[:index]:
                responses = stage(responses)
            seen = self.areas[index].connection.pool_in(responses).flatten(1)
            return StepInfo(loss=self._learn(index, seen).item())

    def _learn(self, index: int, seen: Tensor) -> Tensor:
        """Write the update of a machine; return its squared error of reconstruction."""
        if self._binary(index) and (seen.min() < 0 or seen.max() > 1):
            raise ContractError(
                f"{self.rule.name}: images reach from {seen.min():.3g} to {seen.max():.3g}, but "
                "visible='bernoulli' takes them for probabilities. Use Preprocessing(mean=(0.0,), "
                "std=(1.0,)), or visible='gaussian'."
            )
        stage = self.areas[index]
        hidden = self._hidden(stage, seen)
        visible = self.get_buffer(f"chains_{index}") if self.rule.persistent else seen
        start = self._hidden(stage, visible) if self.rule.persistent else hidden
        for _ in range(self.rule.n_steps):
            visible = self._draw_visible(index, self._draw(start))
            start = self._hidden(stage, visible)
        if self.rule.persistent:
            self.get_buffer(f"chains_{index}").copy_(visible)
        differences = {
            id(stage.connection.op.weight): start.T @ visible / len(visible)
            - hidden.T @ seen / len(seen),
            id(stage.area.bias): start.mean(dim=0) - hidden.mean(dim=0),
            id(self.visible_biases[index]): visible.mean(dim=0) - seen.mean(dim=0),
        }
        for parameter in self._machine(index):
            parameter.grad = differences[id(parameter)]
        return (self._expected_visible(index, hidden) - seen).square().mean()

    def _machine(self, index: int) -> tuple[nn.Parameter, ...]:
        stage, visible = self.areas[index], self.visible_biases[index]
        each = (stage.connection.op.weight, stage.area.bias, visible)
        return tuple(p for p in each if p is not None and p.requires_grad)

    def _binary(self, index: int) -> bool:
        return index > 0 or self.rule.visible == "bernoulli"

    def _hidden(self, stage: Stage, visible: Tensor) -> Tensor:
        return torch.sigmoid(stage.area.drive([stage.connection.op(visible)]))

    def _expected_visible(self, index: int, hidden: Tensor) -> Tensor:
        drive = hidden @ self.areas[index].connection.op.weight + self.visible_biases[index]
        return torch.sigmoid(drive) if self._binary(index) else drive

    def _draw_visible(self, index: int, hidden: Tensor) -> Tensor:
        expected = self._expected_visible(index, hidden)
        if self._binary(index):
            return self._draw(expected)
        noise = torch.randn(expected.shape, generator=self.generator, dtype=expected.dtype)
        return expected + noise.to(expected.device)

    def _draw(self, probability: Tensor) -> Tensor:
        chance = torch.rand(probability.shape, generator=self.generator, dtype=probability.dtype)
        return (chance.to(probability.device) < probability).to(probability.dtype)


def _convolutional(architecture: Any) -> str:
    for area in areas_of(architecture):
        if isinstance(area, Area):
            return (
                f"area '{area.name}' is convolutional, but the machine joins every visible with "
                "every hidden unit. Use Dense areas, or another unsupervised rule such as "
                "'softhebb'."
            )
    return ""

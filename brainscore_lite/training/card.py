"""The card of a trained model: what one must know before believing its scores."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from brainscore_lite.learning_rules.learning_rule import (
    SETTLING_MEASURES,
    Estimator,
    LearningRule,
    ParameterGroup,
    Phase,
)
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.network import Network
from brainscore_lite.training.history import History
from brainscore_lite.training.measurement import layer_of
from brainscore_lite.training.settings import TrainingConfig

#: A layer whose weights moved by less than this share of their norm counts as hardly trained.
LEAST_WEIGHT_CHANGE = 0.1
#: One whose weights moved by more than this many times their norm was carried away by its steps:
#: what training leaves otherwise is about its size.
MOST_WEIGHT_CHANGE = 100.0
#: Above this settling residual a network was still moving. Families measure it otherwise
#: (`SETTLING_MEASURES`): as a share of what drives the units, or as their last change, in units of
#: activity. By either measure settled networks lie well below.
MOST_SETTLING_RESIDUAL = 0.1
#: Rounding in single precision leaves the alignment of an update along the gradient above this.
LEAST_EXACT_ALIGNMENT = 0.999


class CardWarning(UserWarning):
    """What the card of a network says against it, as `fit` ends."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What was trained, how, at what cost, and what speaks against taking it as trained.

    Parameters
    ----------
    model, rule, family, exactness : str
    ngrad : bool
        Whether differences of activity carry the error.
    makes_local : tuple of str
        What the rule does without, out of `LOCALITIES`.
    accuracy : dict of str to float
        By split: "train" (a sample), "validation" and "test", as far as measured.
    weight_change : dict of str to float
        |W - W(0)| / |W(0)| by layer.
    never_trained : tuple of str
        Layers that no phase of the rule trains, by design or since they are frozen; they are as
        they were drawn.
    norms : dict of str to str
        Norm and post-norm by area, as in "batch, none"; empty for networks without areas.
    alignment : dict of str to dict of str to float
        Cosine between the rule's update and the gradient by layer, at the "start", "middle" and
        "end" of the epochs in which the layer has an update. The gradient is that of the rule's
        differentiable objective, for shuffled labels in a phase that is told shuffled ones.
    settling_residual : float or None
        How far from its fixed point a settling network was left in the last epoch, mean over
        images, in the measure of the family: with an energy, the root mean square change of all
        units in their last update, in units of activity; in predictive coding, the share of the
        feedback that is not balanced. None where nothing is meant to settle.
    optimizer : dict of str to str
        By phase: optimiser, schedule, momentum, and of each group of parameters the learning rate
        at its peak and the weight decay.
    budget : dict of str to float
        "epochs", "images" shown, "updates" of the weights by the loop, "cpu_seconds" of training
        without measuring.
    seed : int
    epoch : int
        After which the weights were taken.
    """

    model: str
    rule: str
    family: str
    exactness: str
    ngrad: bool
    makes_local: tuple[str, ...]
    accuracy: dict[str, float]
    weight_change: dict[str, float]
    never_trained: tuple[str, ...]
    norms: dict[str, str]
    alignment: dict[str, dict[str, float]]
    settling_residual: float | None
    optimizer: dict[str, str]
    budget: dict[str, float]
    seed: int
    epoch: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against taking the network as trained by its rule."""
        found = []
        still = [
            name
            for name, moved in self.weight_change.items()
            if moved < LEAST_WEIGHT_CHANGE and name not in self.never_trained
        ]
        if still:
            found.append(
                f"effectively untrained: the weights of {', '.join(still)} moved by less than "
                f"{LEAST_WEIGHT_CHANGE:.0%} of their norm; train longer or raise the learning rate"
            )
        far = [
            n for n, moved in self.weight_change.items() if MOST_WEIGHT_CHANGE < moved < math.inf
        ]
        if far:
            found.append(
                f"carried away: the weights of {', '.join(far)} moved by more than "
                f"{MOST_WEIGHT_CHANGE:.0f} times their norm; lower the learning rate"
            )
        left = 0.0 if self.settling_residual is None else self.settling_residual
        if left > MOST_SETTLING_RESIDUAL and not self._exact:
            found.append(
                f"not settled: the settling residual is {left:.2g}, above "
                f"{MOST_SETTLING_RESIDUAL:g}, so weights learned from states on the way to a fixed "
                "point; give the rule more steps (n_steps, free_steps) or smaller ones (step_size)"
            )
        return tuple(found)

    @property
    def _exact(self) -> bool:
        """Whether updates had the direction of the gradient, so that nothing had to settle.

        What a rule says of itself holds on chains; on other networks the measurement may differ.
        """
        measured = [cosine for layers in self.alignment.values() for cosine in layers.values()]
        return self.exactness == "bp" and min(measured, default=1.0) > LEAST_EXACT_ALIGNMENT

    def to_dict(self) -> dict[str, Any]:
        """Return the card as plain JSON values, its warnings among them."""
        return {**dataclasses.asdict(self), "warnings": list(self.warnings)}

    def __str__(self) -> str:
        """Return one line for each fact."""
        lines = {
            "rule": f"{self.rule} ({self.family}; exactness {self.exactness}; "
            f"{'' if self.ngrad else 'not '}an NGRAD)",
            "accuracy": _listed(self.accuracy),
            "weight change": _listed(self.weight_change),
            "never trained": ", ".join(self.never_trained) or "no layer",
            **{f"alignment, {when}": _listed(each) for when, each in self.alignment.items()},
            "norm": ", ".join(f"{area}: {norm}" for area, norm in self.norms.items()) or "unknown",
            "settling residual": "nothing settles"
            if self.settling_residual is None
            else f"{self.settling_residual:.2g} ({SETTLING_MEASURES.get(self.family, 'its own')})",
            **{f"phase '{phase}'": each for phase, each in self.optimizer.items()},
            "budget": ", ".join(f"{value:,.0f} {what}" for what, value in self.budget.items()),
            "seed": f"{self.seed}",
        }
        width = max(map(len, lines))
        facts = [f"  {what:<{width}}  {fact}" for what, fact in lines.items()]
        warned = [f"  WARNING: {each}" for each in self.warnings]
        return "\n".join([f"{self.model} after epoch {self.epoch}", *facts, *warned])


def card_of(
    estimator: Estimator,
    rule: LearningRule,
    *,
    name: str,
    config: TrainingConfig,
    history: History,
    epoch: int,
    weight_change: dict[str, float],
) -> Card:
    """Gather the card of a trained model.

    Parameters
    ----------
    estimator : Estimator
        After training.
    rule : LearningRule
    name : str
        Of the model.
    config : TrainingConfig
    history : History
        Of the whole run; what came after `epoch` is left out.
    epoch : int
    weight_change : dict of str to float

    Returns
    -------
    Card
    """
    table = history.table[history.table["epoch"] <= epoch]
    shown = table[table["split"] == "batches"]
    spent = shown.reindex(columns=["images", "updates", "cpu_seconds"]).sum()
    residuals = shown.reindex(columns=["settling_residual"]).to_numpy(float).ravel()
    return Card(
        model=name,
        rule=rule.name,
        family=rule.family,
        exactness=rule.exactness,
        ngrad=rule.ngrad,
        makes_local=tuple(sorted(rule.makes_local)),
        accuracy=history.accuracies(epoch),
        weight_change=weight_change,
        never_trained=_never_trained(estimator, weight_change),
        norms=_norms(estimator),
        alignment=_course(history, epoch, layers=tuple(weight_change)),
        settling_residual=float(residuals[-1]) if np.isfinite(residuals[-1:]).any() else None,
        optimizer=_optimizers(estimator, config),
        budget={"epochs": float(len(shown)), **{str(what): float(n) for what, n in spent.items()}},
        seed=config.seed,
        epoch=epoch,
    )


def _never_trained(estimator: Estimator, weight_change: dict[str, float]) -> tuple[str, ...]:
    groups = itertools.chain.from_iterable(_groups(estimator).values())
    trained = {parameter for group in groups for parameter in group.parameters}
    layers = estimator.model.layer_names
    learning = {
        layer_of(name, layers) for name, p in estimator.network.named_parameters() if p in trained
    }
    return tuple(layer for layer in weight_change if layer not in learning)


def _groups(estimator: Estimator) -> dict[Phase, list[ParameterGroup]]:
    """Return what each phase trains."""
    entered, found = estimator.phase, {}
    for phase in estimator.phases():
        if phase.epochs != 0:
            estimator.begin(phase)
            found[phase] = estimator.parameter_groups()
    estimator.phase = entered
    return found


def _norms(estimator: Estimator) -> dict[str, str]:
    if not isinstance(estimator.network, Network):
        return {}
    areas = [each for each in estimator.network.areas.values() if isinstance(each, AreaModule)]
    return {each.name: f"{each.settings.norm}, {each.settings.post_norm}" for each in areas}


def _course(
    history: History, epoch: int, *, layers: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    measured = history.alignment().loc[:epoch]
    courses = {layer: measured[layer].dropna() for layer in layers if layer in measured}
    places = {"start": 0.0, "middle": 0.5, "end": 1.0}
    found = {
        when: {
            layer: float(course.iloc[min(int(at * len(course)), len(course) - 1)])
            for layer, course in courses.items()
            if len(course)
        }
        for when, at in places.items()
    }
    return found if any(found.values()) else {}


def _optimizers(estimator: Estimator, config: TrainingConfig) -> dict[str, str]:
    found = {}
    for phase, groups in _groups(estimator).items():
        optimizer = phase.optimizer or config.optimizer
        momentum = config.momentum if phase.momentum is None else phase.momentum
        shared = f"momentum {momentum:g}, " if optimizer == "sgd" else ""
        lr = config.lr if phase.lr is None else phase.lr
        steps: dict[tuple[float, float], list[nn.Parameter]] = {}
        for group in groups:
            decay = config.weight_decay if group.weight_decay is None else group.weight_decay
            steps.setdefault((lr * group.lr_multiplier, decay), []).extend(group.parameters)
        if len(steps) == 1:
            ((rate, decay),) = steps
            found[phase.name] = (
                f"{optimizer}, lr {rate:g} {config.schedule}, {shared}weight decay {decay:g}, "
                f"batches of {config.batch_size}"
            )
            continue
        each = "".join(
            f"; lr {rate:g}, weight decay {decay:g}: {_named(estimator, parameters)}"
            for (rate, decay), parameters in steps.items()
        )
        found[phase.name] = (
            f"{optimizer}, {config.schedule}, {shared}batches of {config.batch_size}"
            f"{each or '; nothing to step'}"
        )
    return found


def _named(estimator: Estimator, parameters: list[nn.Parameter]) -> str:
    """Name parameters by layer and kind, and those of the rule by what holds them."""
    names = {parameter: name for name, parameter in estimator.named_parameters()}
    found = []
    for name in (names[parameter] for parameter in parameters):
        owner, _, inside = name.partition(".")
        layer = layer_of(inside, estimator.model.layer_names)
        kind = inside.rpartition(".")[2]
        within = kind if layer == inside else f"{layer} {kind}"
        found.append(within if owner == "network" else owner)
    return ", ".join(dict.fromkeys(found))


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items()) or "not measured"

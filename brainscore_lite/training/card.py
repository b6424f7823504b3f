"""The card of a trained model: what one must know before believing its scores."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainscore_lite.learning_rules.learning_rule import Estimator, LearningRule
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
#: Above this settling residual a network was still moving: whether the residual is a share of what
#: drives the units or their last change, settled ones lie well below.
MOST_SETTLING_RESIDUAL = 0.1


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
        "end" of the epochs in which the layer has an update.
    settling_residual : float or None
        How far from its fixed point a settling network was left in the last epoch, mean over
        images; None where nothing settles.
    optimizer : dict of str to str
        By phase: optimiser, learning rate and its schedule, weight decay.
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
                f"{LEAST_WEIGHT_CHANGE:.0%} of their norm"
            )
        far = [
            n for n, moved in self.weight_change.items() if MOST_WEIGHT_CHANGE < moved < math.inf
        ]
        if far:
            found.append(
                f"carried away: the weights of {', '.join(far)} moved by more than "
                f"{MOST_WEIGHT_CHANGE:.0f} times their norm; lower the learning rate"
            )
        if self.settling_residual is not None and self.settling_residual > MOST_SETTLING_RESIDUAL:
            found.append(
                f"not settled: a settling residual of {self.settling_residual:.2g}, above "
                f"{MOST_SETTLING_RESIDUAL:g}, was left, so that weights learned from states on the "
                "way to a fixed point, not at it; give the rule more steps of inference"
            )
        return tuple(found)

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
            else f"{self.settling_residual:.2g}",
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
    entered, trained = estimator.phase, set()
    for phase in estimator.phases():
        if phase.epochs != 0:
            estimator.begin(phase)
            trained |= {p for group in estimator.parameter_groups() for p in group.parameters}
    estimator.phase = entered
    layers = estimator.model.layer_names
    learning = {
        layer_of(name, layers) for name, p in estimator.network.named_parameters() if p in trained
    }
    return tuple(layer for layer in weight_change if layer not in learning)


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
    for phase in estimator.phases():
        if phase.epochs == 0:
            continue
        lr = config.lr if phase.lr is None else phase.lr
        found[phase.name] = (
            f"{phase.optimizer or config.optimizer}, lr {lr:g} {config.schedule}, weight decay "
            f"{config.weight_decay:g}, batches of {config.batch_size}"
        )
    return found


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items()) or "not measured"

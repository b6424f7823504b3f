"""Cost of a training step and of a prediction, as ratios to backprop on the same network and batch.

A step is what the training loop does: gradients, Adam, `after_step`. CPU time of one thread; rule
and backprop are timed in turn, and the ratio is the median over the turns.

    python speed/learning_rules.py --rules feedback_alignment dual_propagation
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from brainscore_lite.learning_rules import LEARNING_RULES, Backprop, Batch, Estimator, LearningRule
from brainscore_lite.learning_rules.perturbation import NodePerturbation
from brainscore_lite.learning_rules.predictive_coding import FixedPredictionCoding
from brainscore_lite.networks.architectures import MATCHED_CNN, MATCHED_MLP
from brainscore_lite.training import TrainingConfig
from brainscore_lite.training.optimization import build_optimizer

N_IMAGES = 64
TURNS, QUICK_TURNS = 7, 2
SECONDS_A_TURN, QUICK_SECONDS = 0.3, 0.03
NETWORKS = {"mlp": MATCHED_MLP, "cnn": MATCHED_CNN}

#: Rules at other settings than their own, by what the table calls them.
VARIANTS: dict[str, LearningRule] = {
    "node_perturbation, 20 samples": NodePerturbation(n_samples=20),
    "predictive_coding_fixed, linearised, T = 100": FixedPredictionCoding(
        step_size=0.1, n_steps=100, method="linearised"
    ),
    "predictive_coding_fixed, naive, T = 100": FixedPredictionCoding(
        step_size=0.1, n_steps=100, method="naive"
    ),
}
TIMED = {**LEARNING_RULES, **VARIANTS}

#: Largest ratio to a backprop step that the rule may cost, on both networks unless one is named.
TARGETS: dict[str, float | dict[str, float]] = {
    "feedback_alignment": 1.2,
    "sign_symmetry_usf": 1.2,
    "sign_symmetry_brsf": 1.2,
    "sign_symmetry_frsf": 1.2,
    "direct_feedback_alignment": {"cnn": 1.0},
    "forward_forward": 2.0,
    "local_losses_pred": 2.0,
    "local_losses_sim": 2.0,
    "local_losses_predsim": 2.0,
    "predictive_coding_fixed": 1.5,
    "zero_divergence_inference_learning": 3.0,
    "predictive_coding": 15.0,
    "node_perturbation": 1.5,
    "node_perturbation, 20 samples": 20.0,
    "predictive_coding_fixed, linearised, T = 100": 18.0,
    "local_difference_reconstruction": 4.0,
    "dual_propagation": 3.0,
    "equilibrium_propagation": 20.0,
}


@dataclass(frozen=True)
class Cost:
    """What a rule costs on a network, times backprop."""

    rule: str
    network: str
    step: float
    prediction: float
    backprop_step_ms: float
    target: float | None


def cost(name: str, network: str, *, quick: bool) -> Cost | None:
    """Time a rule beside backprop; None where it cannot train the network."""
    rule, architecture = TIMED[name], NETWORKS[network]
    if not rule.supports(architecture).ok:
        return None
    steps, predictions = {}, {}
    for each in (rule, Backprop()):
        estimator = each.bind(
            architecture.build(torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
        )
        key = "rule" if each is rule else "backprop"
        steps[key], predictions[key] = work(estimator)
    step, backprop_s = ratio(steps["rule"], steps["backprop"], quick=quick)
    prediction, _ = ratio(predictions["rule"], predictions["backprop"], quick=quick)
    target = TARGETS.get(name)
    if isinstance(target, dict):
        target = target.get(network)
    return Cost(name, network, step, prediction, 1e3 * backprop_s, target)


def work(estimator: Estimator) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a training step, and a prediction.

    The step is one of the phase called "training", or else of the first.
    """
    phases = estimator.phases()
    phase = next((each for each in phases if each.name == "training"), phases[0])
    estimator.begin(phase)
    estimator.train()
    config = TrainingConfig(optimizer="adam", lr=1e-3)
    optimizer = build_optimizer(estimator.parameter_groups(), phase=phase, config=config)
    rng = torch.Generator().manual_seed(2)
    images = torch.rand(N_IMAGES, 1, 28, 28, generator=rng)
    views = torch.stack([images] * phase.views) if phase.views else None
    labels = torch.arange(N_IMAGES) % 10
    batch = Batch(images, labels if phase.labels else None, views)

    def apply() -> None:
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def train() -> None:
        estimator(batch, apply)
        apply()
        estimator.after_step(1e-3)

    def predict() -> Tensor:
        with torch.no_grad():
            return estimator.predict(images)

    return train, predict


def ratio(
    ours: Callable[[], object], backprop: Callable[[], object], *, quick: bool
) -> tuple[float, float]:
    """Return the median ratio of CPU times over turns, and backprop's seconds per call."""
    turns, seconds = (QUICK_TURNS, QUICK_SECONDS) if quick else (TURNS, SECONDS_A_TURN)
    calls = {each: max(1, round(seconds / timed(each, 2))) for each in (backprop, ours)}
    ratios, reference = [], []
    for _ in range(turns):
        reference.append(timed(backprop, calls[backprop]))
        ratios.append(timed(ours, calls[ours]) / reference[-1])
    return median(ratios), median(reference)


def timed(call: Callable[[], object], n_calls: int) -> float:
    """Return CPU seconds per call."""
    call()
    start = time.process_time()
    for _ in range(n_calls):
        call()
    return (time.process_time() - start) / n_calls


def table(costs: list[Cost]) -> str:
    """Write the costs as Markdown."""
    lines = [
        "| rule | network | step / backprop | target | prediction / backprop |",
        "|---|---|---:|---:|---:|",
    ]
    for each in costs:
        target = "" if each.target is None else f"{each.target:g}"
        lines.append(
            f"| {each.rule} | {each.network} | {each.step:.2f} | {target} | {each.prediction:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Time the rules named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rules", nargs="*", choices=TIMED, default=list(TIMED))
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--quick", action="store_true", help="few and short turns")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = (
        cost(name, network, quick=arguments.quick)
        for name in arguments.rules
        for network in arguments.networks
    )
    costs = [each for each in found if each is not None]
    print(table(costs))
    for network in arguments.networks:
        spent = [each.backprop_step_ms for each in costs if each.network == network]
        if spent:
            print(f"backprop on the {network}: {median(spent):.2f} ms a step of {N_IMAGES} images")


if __name__ == "__main__":
    main()

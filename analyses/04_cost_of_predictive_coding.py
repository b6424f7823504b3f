"""Does predictive coding cost 100 times backprop?

The statement stands for T = 100 steps of inference with fixed predictions. The same update is
computed here in three ways that give the same numbers: naively, with the graph built anew at every
step; with the Jacobians frozen, as the rule assumes them to be; and in closed form, in one sweep.
On MATCHED_MLP and MATCHED_CNN, 64 images, T from 1 to 100 at eta = 0.1: CPU time of one thread for
a step with Adam, over that of backprop timed in turn (median over turns), and the cosine to
backprop's gradient over all weights, and layer by layer, where it is 1 at every T. Strict
predictive coding, whose values do settle, stands beside. The full run takes about a CPU minute.

    python analyses/04_cost_of_predictive_coding.py
    python analyses/04_cost_of_predictive_coding.py --figure-only
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from matplotlib.figure import Figure

from brainscore_lite.figures import OKABE_ITO, save_figure
from brainscore_lite.learning_rules import Backprop, Batch, LearningRule
from brainscore_lite.learning_rules.predictive_coding import FixedPredictionCoding, PredictiveCoding
from brainscore_lite.networks.architectures import MATCHED_CNN, MATCHED_MLP
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.training import TrainingConfig
from brainscore_lite.training.measurement import layer_of
from brainscore_lite.training.optimization import build_optimizer

NAME = "04_cost_of_predictive_coding"
NETWORKS = {"MLP": MATCHED_MLP, "CNN": MATCHED_CNN}
METHODS = {"naive": "naive", "frozen Jacobians": "linearised", "closed form": "closed_form"}
STEPS, QUICK_STEPS = (1, 3, 10, 30, 100), (1, 3)
STRICT = "strict (values settle)"
N_IMAGES = 64
TURNS, QUICK_TURNS = 3, 1
SECONDS_A_TURN, QUICK_SECONDS = 0.1, 0.005
RESULTS = Path(__file__).parent / "results"


def prepared(rule: LearningRule, architecture: ConvNet) -> tuple[Callable[[], None], dict]:
    """Return a training step of a rule, and the gradients that it writes at the start."""
    network = architecture.build(torch.Generator().manual_seed(0))
    estimator = rule.bind(network, torch.Generator().manual_seed(1))
    config = TrainingConfig(optimizer="adam", lr=1e-3)
    phase = estimator.phases()[0]
    optimizer = build_optimizer(estimator.parameter_groups(), phase=phase, config=config)
    images = torch.rand(N_IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    batch = Batch(images, torch.arange(N_IMAGES) % 10)
    assert optimizer is not None

    def step() -> None:
        estimator(batch, lambda: None)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    estimator(batch, lambda: None)
    gradients = {n: p.grad.flatten().double() for n, p in network.named_parameters()}
    optimizer.zero_grad(set_to_none=True)
    return step, gradients


def cosine(found: dict, expected: dict, names: list[str]) -> float:
    """Return the cosine over the weights named."""
    u, g = (torch.cat([each[name] for name in names]) for each in (found, expected))
    return torch.nn.functional.cosine_similarity(u, g, dim=0).item()


def seconds(step: Callable[[], None], n_calls: int) -> float:
    """Return CPU seconds a call."""
    start = time.process_time()
    for _ in range(n_calls):
        step()
    return (time.process_time() - start) / n_calls


def measured(rule: LearningRule, network: str, *, quick: bool) -> dict:
    """Time a rule beside backprop, and compare what they write."""
    turns, length = (QUICK_TURNS, QUICK_SECONDS) if quick else (TURNS, SECONDS_A_TURN)
    architecture = NETWORKS[network]
    ours, found = prepared(rule, architecture)
    theirs, expected = prepared(Backprop(), architecture)
    calls = [max(1, round(length / seconds(each, 1))) for each in (ours, theirs)]
    times = [(seconds(ours, calls[0]), seconds(theirs, calls[1])) for _ in range(turns)]
    layers = [area.name for area in architecture.single_areas]
    groups = [[n for n in expected if layer_of(n, layers) == layer] for layer in layers]
    within = [cosine(found, expected, g) for g in groups if any(found[n].any() for n in g)]
    return {
        "network": network,
        "ratio": median(rule_s / backprop_s for rule_s, backprop_s in times),
        "milliseconds": 1e3 * median(rule_s for rule_s, _ in times),
        "backprop_milliseconds": 1e3 * median(backprop_s for _, backprop_s in times),
        "cosine": cosine(found, expected, list(expected)),
        "lowest_cosine_of_a_layer": min(within),
        "layers_reached": len(within),
        "layers": len(groups),
    }


def measure(*, quick: bool) -> pd.DataFrame:
    """Measure every method at every T on both networks."""
    rows = []
    for network in NETWORKS:
        for n_steps in QUICK_STEPS if quick else STEPS:
            rules: dict[str, LearningRule] = {
                label: FixedPredictionCoding(n_steps=n_steps, method=method)
                for label, method in METHODS.items()
            }
            rules[STRICT] = PredictiveCoding(n_steps=n_steps)
            for label, rule in rules.items():
                row = {"method": label, "T": n_steps, **measured(rule, network, quick=quick)}
                rows.append(row)
                print(f"{network} T={n_steps} {label}: {row['ratio']:.1f} x backprop", flush=True)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Draw cost and cosine against T, one column for each network."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    panels = figure.subplots(2, len(NETWORKS), sharex=True, sharey="row")
    for column, network in enumerate(NETWORKS):
        cost, angle = panels[:, column]
        for colour, label in zip(OKABE_ITO, (*METHODS, STRICT), strict=False):
            rows = table[(table["network"] == network) & (table["method"] == label)]
            style = {"color": colour, "marker": "o", "markersize": 3.5}
            cost.plot(rows["T"], rows["ratio"], label=label, **style)
            if label in ("closed form", STRICT):
                angle.plot(rows["T"], rows["cosine"], **style)
        reached = table[(table["network"] == network) & (table["method"] == "closed form")]
        grey = {"color": "0.4", "linestyle": ":", "marker": "s", "markersize": 3}
        angle.plot(reached["T"], reached["lowest_cosine_of_a_layer"], **grey)
        cost.axhline(100, color="0.6", linewidth=0.8, linestyle="--")
        cost.set(title=network, xscale="log", yscale="log", ylim=(0.4, 300))
        angle.set(xlabel="steps of inference T", ylim=(0, 1.08))
    panels[0, 1].annotate("100 times", (1, 110), fontsize=8, color="0.4", va="bottom")
    panels[0, 0].set_ylabel("CPU time of a step\n/ backprop")
    panels[1, 0].set_ylabel("cosine to\nbackprop's gradient")
    panels[0, 0].legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, 0.83))
    panels[1, 0].plot([], [], label="fixed predictions, lowest of the layers", **grey)
    panels[1, 0].legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def main() -> None:
    """Measure, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="two values of T, few repetitions")
    parser.add_argument("--figure-only", action="store_true", help="from the CSV of an earlier run")
    arguments = parser.parse_args()
    output = arguments.output or (Path("results/quick") if arguments.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if not arguments.figure_only:
        measure(quick=arguments.quick).to_csv(
            output / f"{NAME}.csv", index=False, float_format="%.6g"
        )
    save_figure(draw(pd.read_csv(output / f"{NAME}.csv")), output / NAME, formats=("svg",))


if __name__ == "__main__":
    main()

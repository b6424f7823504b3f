"""Which rules learn broad distinctions before fine ones?

Eight items hang from a tree of three levels: two branches of two twigs of two leaves. An item is
seen as the features of the nodes above it and its own (14 binary features), and the network, of one
hidden area, is to name it. Knowledge of a level is read from the probabilities P (item shown, item
named) along the contrasts u that split a node of that level in two, mean over nodes of u^T P u: 0
if the network cannot tell the two sides apart, 1 if it always can. Networks that follow the
gradient differentiate progressively: the branches first, then the twigs, then the leaves.

The question and the tree follow Cao, Summerfield & Saxe (2020), "Characterizing emergent
representations in a space of candidate learning rules for deep networks", NeurIPS. They trained
linear networks from items to features by squared error, in a continuous space of rules; here the
rules are those of the registry, which name classes, so that features are the input, items the
output, and most losses are cross-entropies. Their "quasi-predictive coding" is a point of that
space; the predictive coding here is the one of Whittington & Bogacz. Their Hebbian rules have no
counterpart here but reward-modulated Hebb.

A network 14-32-8 of clipped rectifiers, weights drawn at a fifth of their usual size, full batches,
plain gradient steps (no momentum); the learning rates are in RULES. Three seeds. About 70 s of
one CPU thread.

    python analyses/06_progressive_differentiation.py
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import Tensor

from brainscore_lite.figures import OKABE_ITO
from brainscore_lite.learning_rules import LEARNING_RULES, Batch, Estimator
from brainscore_lite.networks import ConvNet, Dense
from brainscore_lite.seeding import torch_generator

NAME = "06_progressive_differentiation"
RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
N_STEPS, N_MEASURED, N_FIRST = 600, 60, 200  # N_FIRST: steps of any phase before the last
LEVELS = ("branches", "twigs", "leaves")
SMALL = 0.2  # of the usual weights
#: Learning rate of each rule.
RULES = {
    "backprop": 0.1,
    "feedback_alignment": 0.1,
    "direct_random_target_projection": 0.1,
    "local_difference_reconstruction": 0.1,
    "dual_propagation": 0.1,
    "predictive_coding": 0.1,
    "equilibrium_propagation": 0.1,
    "contrastive_hebbian": 0.05,
    "node_perturbation": 0.1,
    "reward_modulated_hebb": 0.05,
    "local_losses_predsim": 0.1,
    "untrained": 0.1,
}
#: Rules whose scores approach 1 for the item shown and 0 for the others.
SQUARED = ("contrastive_hebbian",)
NETWORK = ConvNet(
    areas=(Dense("hidden", 32, activation="clipped_relu"),),
    n_classes=8,
    image_size=4,
    in_channels=1,
    name="tree_mlp",
)


def tree() -> tuple[Tensor, Tensor]:
    """Return the items as images, (8, 1, 4, 4), and the contrasts by level, (3, 4, 8)."""
    leaves = torch.arange(8)
    features = [
        (leaves // width == node).float() for width in (4, 2, 1) for node in range(8 // width)
    ]
    images = torch.zeros(8, 16)
    images[:, : len(features)] = torch.stack(features, dim=1)
    contrasts = torch.zeros(3, 4, 8)
    for level, width in enumerate((4, 2, 1)):
        for node in range(4 // width):
            side = torch.zeros(8)
            first = 2 * width * node
            side[first : first + width], side[first + width : first + 2 * width] = 1.0, -1.0
            contrasts[level, node] = side / side.norm()
    return images.view(8, 1, 4, 4), contrasts


def knowledge(estimator: Estimator, images: Tensor, contrasts: Tensor, name: str) -> list[float]:
    """Return u^T P u by level, mean over the nodes of a level."""
    with torch.no_grad():
        scores = estimator.predict(images)
    named = scores if name in SQUARED else scores.softmax(dim=1)
    strengths = torch.einsum("lni,ij,lnj->ln", contrasts, named, contrasts)
    return [(strengths[level].sum() / n).item() for level, n in enumerate((1, 2, 4))]


def step_by(estimator: Estimator, lr: float) -> None:
    """Take a plain gradient step."""
    with torch.no_grad():
        for group in estimator.parameter_groups():
            for parameter in group.parameters:
                if parameter.grad is not None:
                    parameter -= lr * group.lr_multiplier * parameter.grad
    estimator.zero_grad(set_to_none=True)


def trained(name: str, *, seed: int, n_steps: int) -> list[dict[str, Any]]:
    """Train the network with a rule; one row for each measurement and level."""
    network = NETWORK.build(torch_generator(seed, "network"))
    with torch.no_grad():
        for weight in network.connections.parameters():
            weight *= SMALL
    estimator = LEARNING_RULES[name].bind(network, torch_generator(seed, "rule"))
    images, contrasts = tree()
    lr, rows, every = RULES[name], [], max(1, n_steps // N_MEASURED)
    for phase in estimator.phases():
        estimator.begin(phase)
        last = phase == estimator.phases()[-1]
        labels = torch.arange(8) if phase.labels else None
        for index in range(n_steps + 1 if last else min(N_FIRST, n_steps)):
            if last and index % every == 0:
                found = knowledge(estimator, images, contrasts, name)
                about = {"rule": name, "seed": seed, "step": index}
                rows += [
                    {**about, "level": level, "knowledge": value}
                    for level, value in zip(LEVELS, found, strict=True)
                ]
            if not estimator.parameter_groups():
                continue
            estimator(Batch(images, labels), lambda: step_by(estimator, lr))
            step_by(estimator, lr)
            estimator.after_step(lr)
    return rows


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw knowledge of each level over steps, one panel for each rule."""
    names = list(dict.fromkeys(table["rule"]))
    n_columns = min(4, len(names))
    n_rows = -(-len(names) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(2.4 * n_columns, 1.9 * n_rows + 0.4), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis, name in zip(axes.flat, names, strict=False):
        of_rule = table[table["rule"] == name]
        for level, colour in zip(LEVELS, OKABE_ITO, strict=False):
            for _, run in of_rule[of_rule["level"] == level].groupby("seed"):
                axis.plot(run["step"], run["knowledge"], color=colour, linewidth=0.6, alpha=0.5)
            mean = of_rule[of_rule["level"] == level].groupby("step")["knowledge"].mean()
            axis.plot(mean.index, mean, color=colour, label=level)
        axis.set_title(name.replace("_", " "), fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("knowledge of a level (1: always told apart)", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Train with every rule, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--figure-only", action="store_true", help="redraw from the CSV")
    parser.add_argument("--quick", action="store_true", help="one seed, few steps, three rules")
    arguments = parser.parse_args()
    output = arguments.output or (Path("results/quick") if arguments.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{NAME}.csv"
    if not arguments.figure_only:
        torch.set_num_threads(1)
        rules = tuple(RULES)[:3] if arguments.quick else RULES
        rows = [
            row
            for name in rules
            for seed in (SEEDS[:1] if arguments.quick else SEEDS)
            for row in trained(name, seed=seed, n_steps=60 if arguments.quick else N_STEPS)
        ]
        pd.DataFrame(rows).to_csv(path, index=False, float_format="%.5g")
    draw(pd.read_csv(path), output / f"{NAME}.svg")


if __name__ == "__main__":
    main()

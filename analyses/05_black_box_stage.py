"""Which rules still learn where a stage inside the network is an unknown black box?

A fixed random stage lies between two trained areas. As a *known* stage it saturates linearly; as a
*black box* its units are scrambled staircases: activity is cut into four levels, and each unit
sends on, for each level, whatever its own random table holds. No derivative passes, so backprop is
refused. Forward-forward needs none, because each area learns by its own goodness; node perturbation
needs none, because it only feels how the loss changes. The control trains by node perturbation what
lies above the stage and leaves the area below as it began: what the black box alone allows.

MNIST, 6000 training and 1000 test images, 12 epochs, three seeds, small network (784-128-128-64-10).
About 4 minutes of one CPU thread; --figure-only redraws from the CSV in seconds.

    python analyses/05_black_box_stage.py
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import Tensor, nn

from brainscore_lite.datasets import load_images
from brainscore_lite.figures import CONTROL_COLOUR, OKABE_ITO
from brainscore_lite.learning_rules import LEARNING_RULES, LearningRule, NodePerturbation
from brainscore_lite.networks import ConvNet, Dense, Network, put_black_box
from brainscore_lite.seeding import torch_generator
from brainscore_lite.training import TrainingConfig, fit

NAME = "05_black_box_stage"
RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
N_TRAINED, N_TESTED, EPOCHS = 6000, 1000, 12
N_LEVELS = 4
NETWORK = ConvNet(
    areas=(
        Dense("below", 128, activation="clipped_relu"),
        Dense("stage", 128, activation="clipped_relu"),
        Dense("above", 64, activation="clipped_relu"),
    ),
    n_classes=10,
    image_size=28,
    in_channels=1,
    name="staged_mlp",
)


@dataclass(frozen=True)
class Condition:
    """A rule with the settings of its training, and a colour."""

    label: str
    rule: LearningRule
    lr: float
    colour: str
    below_frozen: bool = False


NOISE = NodePerturbation(sigma=0.1, n_samples=50)
CONDITIONS = (
    Condition("backprop", LEARNING_RULES["backprop"], 1e-3, OKABE_ITO[0]),
    Condition("node perturbation", NOISE, 1e-3, OKABE_ITO[1]),
    Condition("forward-forward", LEARNING_RULES["forward_forward"], 1e-3, OKABE_ITO[2]),
    Condition("node perturbation above the stage only", NOISE, 1e-3, CONTROL_COLOUR, True),
)


class Scrambled(nn.Module):
    """Give each unit a staircase of random heights: activity in [0, 1] picks the step."""

    def __init__(self, n_units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("heights", torch.rand(n_units, N_LEVELS, generator=generator))

    def forward(self, activations: Tensor) -> Tensor:
        """Return the heights, of shape (batch, n_units)."""
        level = (activations * N_LEVELS).long().clamp(0, N_LEVELS - 1)
        return self.heights.gather(1, level.T).T


def network(stage: str, *, seed: int, below_frozen: bool) -> Network:
    """Build the network, its middle stage fixed, known or a black box."""
    built = NETWORK.build(torch_generator(seed, "network"))
    fixed = ("stage", "below") if below_frozen else ("stage",)
    for name in fixed:
        built.areas[name].requires_grad_(False)
    for name, connection in built.connections.items():
        if connection.target in fixed:
            built.connections[name].requires_grad_(False)
    if stage == "black box":
        put_black_box(built, "stage", Scrambled(128, torch_generator(seed, "black box")))
    return built


def rows(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Train every condition with the known stage and with the black box."""
    images = load_images("digits" if quick else "mnist")
    images = replace(
        images,
        train_images=images.train_images[: 200 if quick else N_TRAINED],
        train_labels=images.train_labels[: 200 if quick else N_TRAINED],
        test_images=images.test_images[: 100 if quick else N_TESTED],
        test_labels=images.test_labels[: 100 if quick else N_TESTED],
    )
    epochs = 1 if quick else EPOCHS
    for seed in SEEDS[:1] if quick else SEEDS:
        for condition in CONDITIONS:
            for stage in ("known", "black box"):
                built = network(stage, seed=seed, below_frozen=condition.below_frozen)
                about = {"rule": condition.label, "stage": stage, "seed": seed}
                support = condition.rule.supports(built)
                if not support.ok:
                    yield {**about, "refused": support.reason}
                    continue
                config = TrainingConfig(
                    epochs=epochs,
                    batch_size=64,
                    optimizer="adam",
                    lr=condition.lr,
                    seed=seed,
                    checkpoint_epochs=tuple(range(epochs + 1)),
                )
                table = fit(built, condition.rule, images=images, config=config).history.table
                tested = table[table["split"] == "test"]
                for epoch, accuracy in zip(tested["epoch"], tested["accuracy"], strict=True):
                    yield {**about, "epoch": epoch, "test_accuracy": accuracy}
                print(about, f"{accuracy:.3f}", flush=True)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draw accuracy over epochs: one panel for each kind of stage, thin lines for seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), sharey=True, layout="constrained")
    for axis, stage in zip(axes, ("known", "black box"), strict=True):
        for condition in CONDITIONS:
            mine = table[(table["stage"] == stage) & (table["rule"] == condition.label)]
            if mine["test_accuracy"].isna().all():
                continue
            curves = mine.pivot_table(index="epoch", columns="seed", values="test_accuracy")
            axis.plot(curves.index, 100 * curves, color=condition.colour, lw=0.6, alpha=0.5)
            style = "--" if condition.below_frozen else "-"
            axis.plot(
                curves.index, 100 * curves.mean(axis=1), style, color=condition.colour, lw=2,
                label=condition.label,
            )  # fmt: skip
        axis.axhline(10, color=CONTROL_COLOUR, lw=0.8, ls=":")
        axis.set(title=f"middle stage: {stage}", xlabel="epoch", ylim=(0, 100))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].annotate("chance", (axes[0].get_xlim()[1], 11), ha="right", color="0.4", fontsize=8)
    axes[0].set_ylabel("test accuracy (%)")
    refused = table[table["refused"].notna()]["rule"].unique()
    if len(refused):
        note = f"refused: {', '.join(refused)}"
        axes[1].annotate(note, (0.98, 0.04), xycoords="axes fraction", ha="right", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, fontsize=8)  # fmt: skip
    return figure


def main() -> None:
    """Train, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="one epoch of few images")
    parser.add_argument("--figure-only", action="store_true", help="redraw from the CSV")
    arguments = parser.parse_args()
    output = arguments.output or (Path("results/quick") if arguments.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{NAME}.csv"
    if not arguments.figure_only:
        pd.DataFrame(list(rows(quick=arguments.quick))).to_csv(path, index=False)
    figure = draw(pd.read_csv(path))
    figure.savefig(output / f"{NAME}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()

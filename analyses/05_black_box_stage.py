"""Which rules still learn where a stage inside the network is an unknown black box?

A fixed random stage lies between two trained areas. As a *known* stage its units are clipped
rectifiers; as a *black box* they are also shuffled and cut into eight levels, which each unit turns
into a staircase of random heights, up or down. No derivative passes, so backprop is refused.
Forward-forward needs none, because each area learns by its own goodness; node perturbation needs
none, because it only feels how the loss changes. The controls (dashed) train what lies above the
stage and leave the area below as it began: what the black box alone allows.

MNIST, 4000 training and 1000 test images, 8 epochs in batches of 32, three seeds, a small network
(784-24-128-64-10, the stage of 128 fixed). Adam at 1e-3; node perturbation with sigma 0.1 and 20
samples. About 3 minutes of one CPU thread; --figure-only redraws from the CSV in seconds.

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
from brainscore_lite.datasets.image_sets import ImageDataset
from brainscore_lite.figures import CONTROL_COLOUR, OKABE_ITO
from brainscore_lite.learning_rules import LEARNING_RULES, LearningRule, NodePerturbation
from brainscore_lite.networks import ConvNet, Dense, Network, put_black_box
from brainscore_lite.networks.architectures import INK
from brainscore_lite.seeding import torch_generator
from brainscore_lite.training import TrainingConfig, fit

NAME = "05_black_box_stage"
RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
N_TRAINED, N_TESTED, EPOCHS = 4000, 1000, 8
LEARNING_RATE = 1e-3
N_UNITS, N_LEVELS = 128, 8  # of the stage
NETWORK = ConvNet(
    areas=(
        Dense("below", 24, activation="clipped_relu"),
        Dense("stage", N_UNITS, activation="clipped_relu"),
        Dense("above", 64, activation="clipped_relu"),
    ),
    n_classes=10,
    image_size=28,
    in_channels=1,
    preprocessing=INK,
    name="staged_mlp",
)


@dataclass(frozen=True)
class Condition:
    """A rule, whether the area below the stage is left as it began, and a colour."""

    label: str
    rule: LearningRule
    colour: str
    below_frozen: bool = False


NOISE = NodePerturbation(sigma=0.1, n_samples=20)
CONDITIONS = (
    Condition("backprop", LEARNING_RULES["backprop"], OKABE_ITO[0]),
    Condition("node perturbation", NOISE, OKABE_ITO[1]),
    Condition("forward-forward", LEARNING_RULES["forward_forward"], OKABE_ITO[2]),
    Condition("node perturbation, above the stage only", NOISE, OKABE_ITO[1], True),
    Condition(
        "forward-forward, above the stage only",
        LEARNING_RULES["forward_forward"],
        OKABE_ITO[2],
        True,
    ),
)


class Scrambled(nn.Module):
    """Shuffle the units, and give each a staircase up or down with steps of random height."""

    def __init__(self, n_units: int, generator: torch.Generator) -> None:
        super().__init__()
        heights = torch.rand(n_units, N_LEVELS, generator=generator).sort(dim=1).values
        falls = torch.rand(n_units, generator=generator) < 0.5
        heights[falls] = heights[falls].flip(1)
        self.register_buffer("heights", heights)
        self.register_buffer("order", torch.randperm(n_units, generator=generator))
        self.register_buffer("first", N_LEVELS * torch.arange(n_units))

    def forward(self, activations: Tensor) -> Tensor:
        """Return the heights, of shape (batch, n_units)."""
        level = (activations[:, self.order] * N_LEVELS).long().clamp_max_(N_LEVELS - 1)
        return self.heights.take(level + self.first)


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
        put_black_box(built, "stage", Scrambled(N_UNITS, torch_generator(seed, "black box")))
    return built


def few(images: ImageDataset, n_trained: int, n_tested: int) -> ImageDataset:
    """Keep the first images of a set."""
    return replace(
        images,
        train_images=images.train_images[:n_trained],
        train_labels=images.train_labels[:n_trained],
        test_images=images.test_images[:n_tested],
        test_labels=images.test_labels[:n_tested],
    )


def trained(
    condition: Condition, stage: str, *, seed: int, images: ImageDataset, epochs: int
) -> list[dict[str, Any]]:
    """Train a network; one row for each epoch, or one that says why it was refused."""
    about = {"rule": condition.label, "stage": stage, "seed": seed}
    built = network(stage, seed=seed, below_frozen=condition.below_frozen)
    support = condition.rule.supports(built)
    if not support.ok:
        return [{**about, "refused": support.reason}]
    config = TrainingConfig(
        epochs=epochs,
        batch_size=32,
        optimizer="adam",
        lr=LEARNING_RATE,
        seed=seed,
        checkpoint_epochs=tuple(range(epochs + 1)),
    )
    table = fit(built, condition.rule, images=images, config=config).history.table
    tested = table[table["split"] == "test"]
    print(about, f"{tested['accuracy'].iloc[-1]:.3f}", flush=True)
    return [
        {**about, "epoch": epoch, "test_accuracy": accuracy}
        for epoch, accuracy in zip(tested["epoch"], tested["accuracy"], strict=True)
    ]


def rows(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Train every rule with the known stage and with the black box, and each control."""
    images = few(load_images("digits"), 200, 100) if quick else None
    images = images or few(load_images("mnist"), N_TRAINED, N_TESTED)
    for seed in SEEDS[:1] if quick else SEEDS:
        for condition in CONDITIONS:
            for stage in ("black box",) if condition.below_frozen else ("known", "black box"):
                yield from trained(
                    condition, stage, seed=seed, images=images, epochs=1 if quick else EPOCHS
                )


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
                label="_" if condition.below_frozen else condition.label,
            )  # fmt: skip
        axis.axhline(10, color=CONTROL_COLOUR, lw=0.8, ls=":")
        axis.set(title=f"middle stage: {stage}", xlabel="epoch", ylim=(0, 100))
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].plot([], [], "--", color="0.3", label="above the stage only")
    axes[0].annotate("chance", (axes[0].get_xlim()[1], 11), ha="right", color="0.4", fontsize=8)
    axes[0].set_ylabel("test accuracy (%)")
    refused = table[table["refused"].notna()]["rule"].unique()
    if len(refused):
        note = f"refused: {', '.join(refused)}"
        axes[1].annotate(note, (0.98, 0.04), xycoords="axes fraction", ha="right", fontsize=9)
    named = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    shown = {label: line for label, line in named.items() if not str(label).startswith("_")}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, frameon=False)
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

"""Does predictive coding cope with a continuous stream, and with the loss of half of its units?

Images of MNIST come one by one, each seen once, and every image is one update (plain gradient
steps, batch of one). Backprop; strict predictive coding; incremental predictive coding (the values
settle for as many steps, the weights move at each by a share of the learning rate). In the stream
proper values are carried over: a new image finds the values that the last one left, instead of the
forward pass. Half-way through, half of the units of both hidden layers are cut for good, and
learning goes on. Song et al. (2024, doi:10.1038/s41593-023-01514-1) report that predictive coding
learns better than backprop online and in changing conditions; here each condition has the best of
the same grid of learning rates, by mean accuracy over the stream and the seeds, on test images.
Full run: 3 seeds, 3 learning rates, 1000 images, about 7 CPU minutes.

    python analyses/07_predictive_coding_on_a_stream.py
    python analyses/07_predictive_coding_on_a_stream.py --figure-only
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.datasets import load_images
from brainscore_lite.figures import OKABE_ITO, save_figure
from brainscore_lite.learning_rules.predictive_coding.clamped_output import ClampedLoss
from brainscore_lite.learning_rules.predictive_coding.inference import Inference
from brainscore_lite.learning_rules.predictive_coding.prediction_graph import PredictionGraph
from brainscore_lite.networks.architectures import INK
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network, Node
from brainscore_lite.seeding import torch_generator

NAME = "07_predictive_coding_on_a_stream"
NETWORK = ConvNet(
    areas=(Dense("hidden1", 64, activation="tanh"), Dense("hidden2", 64, activation="tanh")),
    n_classes=10,
    image_size=28,
    in_channels=1,
    preprocessing=INK,
    name="stream_mlp",
)
#: By condition: rule, whether values are carried over from image to image, steps of inference.
CONDITIONS = {
    "backprop": ("backprop", False, 0),
    "strict, from the forward pass": ("strict", False, 10),
    "strict, carried over": ("strict", True, 10),
    "strict, carried over, 40 steps": ("strict", True, 40),
    "incremental, from the forward pass": ("incremental", False, 10),
    "incremental, carried over": ("incremental", True, 10),
}
LEARNING_RATES, QUICK_RATES = (0.003, 0.01, 0.03), (0.01,)
SEEDS, QUICK_SEEDS = (0, 1, 2), (0,)
N_IMAGES, QUICK_IMAGES = 1000, 20
N_INSPECTIONS = 10
N_TEST_IMAGES = 1000
STEP_SIZE = 0.1
SHARE_CUT = 0.5
RESULTS = Path(__file__).parent / "results"


class Stream(NamedTuple):
    """Images in their order, and the test images, ready for the network."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class Cut(nn.Module):
    """Silence units of an area, as seen by the area above."""

    def __init__(self, spared: Tensor) -> None:
        super().__init__()
        self.register_buffer("spared", spared)

    def forward(self, activations: Tensor) -> Tensor:
        """Return the activations of the units that are spared, and 0 for the others."""
        return activations * self.spared


def streamed(seed: int, n_images: int) -> Stream:
    """Draw training and test images at random."""
    found = load_images("mnist")
    draw = torch_generator(seed, "stream")
    parts = []
    for pixels, labels, n in (
        (found.train_images, found.train_labels, n_images),
        (found.test_images, found.test_labels, N_TEST_IMAGES),
    ):
        chosen = torch.randperm(len(pixels), generator=draw)[:n].numpy()
        gray = torch.from_numpy(pixels[chosen][..., 0]).float()[:, None] / 255
        eye = NETWORK.eye
        parts += [(gray - eye.mean[0]) / eye.std[0], torch.from_numpy(labels[chosen]).long()]
    return Stream(*parts)


def learn(
    network: Network,
    graph: PredictionGraph,
    image: Tensor,
    label: Tensor,
    *,
    rule: str,
    n_steps: int,
    lr: float,
    values: dict[Node, Tensor] | None,
) -> dict[Node, Tensor] | None:
    """Update the weights once for one image, and return the values that it leaves."""
    weights = list(network.parameters())
    if rule == "backprop":
        functional.cross_entropy(network(image), label).backward()
        descend(weights, lr)
        return None
    output = ClampedLoss(label, "cross_entropy")
    inference = Inference(graph, image, step_size=STEP_SIZE, values=values)
    if rule == "strict":
        inference.settle(output, n_steps=n_steps)
        inference.write_gradients(weights, factor=1.0)
        descend(weights, lr)
    else:
        for _ in range(n_steps):
            inference.settle_and_learn(output, weights, factor=1.0)
            descend(weights, lr / n_steps)
            inference.predict_anew()
    return inference.values


@torch.no_grad()
def descend(weights: list[nn.Parameter], lr: float) -> None:
    """Take a plain gradient step."""
    for weight in weights:
        weight -= lr * weight.grad
        weight.grad = None


def cut_half(network: Network, seed: int) -> None:
    """Cut the same random half of the units of each hidden area, for good."""
    draw = torch_generator(seed, "stream", "lesion")
    for source, target in (("hidden1", "hidden2"), ("hidden2", "readout")):
        order = torch.randperm(64, generator=draw)
        spared = (order >= SHARE_CUT * len(order)).float()
        network.connections[f"{source}->{target}"].pool_in = Cut(spared)


def accuracy(network: Network, stream: Stream) -> float:
    """Return the fraction of test images classified correctly."""
    with torch.no_grad():
        answers = network(stream.test_images).argmax(dim=1)
    return (answers == stream.test_labels).double().mean().item()


def run(condition: str, stream: Stream, *, lr: float, seed: int) -> list[dict]:
    """Learn the whole stream, cut half of the units half-way, and inspect along the way."""
    rule, carried, n_steps = CONDITIONS[condition]
    network = NETWORK.build(torch.Generator().manual_seed(seed))
    graph, values = PredictionGraph(network), None
    n_images = len(stream.images)
    every, rows = max(1, n_images // N_INSPECTIONS), []
    settings = {"condition": condition, "lr": lr, "seed": seed}

    def inspect(seen: int, *, cut: bool) -> None:
        row = {**settings, "images": seen, "cut": cut, "accuracy": accuracy(network, stream)}
        rows.append(row)

    inspect(0, cut=False)
    for index in range(n_images):
        if index == n_images // 2:
            cut_half(network, seed)
            inspect(index, cut=True)
        image, label = stream.images[index : index + 1], stream.labels[index : index + 1]
        settings_of_rule = {"rule": rule, "n_steps": n_steps, "lr": lr}
        left = learn(network, graph, image, label, **settings_of_rule, values=values)
        values = left if carried else None
        if (index + 1) % every == 0:
            inspect(index + 1, cut=index >= n_images // 2)
    return rows


def measure(*, quick: bool) -> pd.DataFrame:
    """Run every condition at every learning rate and seed."""
    rows: list[dict] = []
    for seed in QUICK_SEEDS if quick else SEEDS:
        stream = streamed(seed, QUICK_IMAGES if quick else N_IMAGES)
        for condition in CONDITIONS:
            for lr in QUICK_RATES if quick else LEARNING_RATES:
                rows += run(condition, stream, lr=lr, seed=seed)
                print(f"seed {seed} {condition} lr={lr}: {rows[-1]['accuracy']:.3f}", flush=True)
    return pd.DataFrame(rows)


def best(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the learning rate of each condition with the highest accuracy over its streams."""
    means = table.groupby(["condition", "lr"])["accuracy"].mean().reset_index()
    chosen = means.loc[means.groupby("condition")["accuracy"].idxmax(), ["condition", "lr"]]
    return table.merge(chosen, on=["condition", "lr"])


def draw(table: pd.DataFrame) -> Figure:
    """Draw test accuracy along the stream, and what the lesion costs and learning restores."""
    kept = best(table)
    half = kept["images"].max() // 2
    figure = Figure(figsize=(8.6, 3.8), layout="constrained")
    along, after = figure.subplots(1, 2, width_ratios=(1.6, 1))
    for place, (colour, condition) in enumerate(zip(OKABE_ITO, CONDITIONS, strict=False)):
        rows = kept[kept["condition"] == condition]
        lr = rows["lr"].iloc[0]
        for cut, part in rows.groupby("cut"):
            curve = part.groupby("images")["accuracy"].agg(["mean", "min", "max"])
            label = None if cut else f"{condition} (lr {lr:g})"
            along.plot(curve.index, curve["mean"], color=colour, label=label, linewidth=1.4)
            along.fill_between(
                curve.index, curve["min"], curve["max"], color=colour, alpha=0.12, linewidth=0
            )
        states = (
            rows[(rows["images"] == half) & ~rows["cut"]],
            rows[(rows["images"] == half) & rows["cut"]],
            rows[rows["images"] == rows["images"].max()],
        )
        for x, state in enumerate(states):
            at = x + 0.12 * (place - 2.5)
            after.plot([at] * len(state), state["accuracy"], ".", color=colour, markersize=4)
            after.plot(at, state["accuracy"].mean(), "_", color=colour, markersize=11)
    along.axvline(half, color="0.6", linestyle="--", linewidth=0.8)
    along.set(xlabel="images seen", ylabel="test accuracy", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    after.set_xticks(range(3), ["before\nthe cut", "half of the\nunits cut", "after learning\non"])
    after.set(ylim=(0, 1), ylabel="test accuracy (dots: seeds)")
    return figure


def main() -> None:
    """Run, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="one seed and rate, few images")
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

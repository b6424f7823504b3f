"""Do attractor networks settle later the more of a pattern is lost, and is anything gained?

Steps until nothing moves, of the queries that end at their own pattern (cosine above 0.99; drawn
where at least 5 % do) and of all, since those that fail run longer, up to 256 steps. (1) Hopfield
network with outer products, 25 random patterns in 500 units, parts of the units turned round;
synchronous steps and asynchronous sweeps. (2) Modern Hopfield network by beta, 200 random patterns
of length 1 in 200 units, noise of 0 to 5 times their length. (3) Saturated modes after Tang et al.
(2018, doi:10.1073/pnas.1719397115), which store codes of whole images and start from images seen
through holes: the ink of 60 drawn digits of 16 x 16 pixels, and the last block of a trained
ResNet-20, each of 4096 units above its median or not, on 100 test images of CIFAR-10 (JPEG copy).
For (3) the category is read before and after settling: that of the most similar stored code, and by
logistic regression on codes of the stored whole images; on stored images and, where completion
cannot know them, on as many new ones. Means with 95 % t-intervals over 10 draws of patterns or
images (the ResNet is one and the same); gains are averaged over the levels at which something is
hidden. Full run: about 5 CPU minutes, with the mirror of CIFAR-10 and of the ResNet's weights.

    python analyses/11_settling_of_attractors.py
    python analyses/11_settling_of_attractors.py --figure-only
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from brainscore_lite.datasets import load_images
from brainscore_lite.datasets.degraded_images import occluded
from brainscore_lite.datasets.digit_glyphs import BACKGROUND
from brainscore_lite.datasets.digit_scenes import DigitDebris, digit_stimuli
from brainscore_lite.figures import OKABE_ITO, save_figure
from brainscore_lite.networks import Hopfield, LayerAttractor, ModernHopfield, Pixels
from brainscore_lite.networks.attractors import AttractorModel, Retrieval, overlaps, retrieve
from brainscore_lite.networks.pretrained import resnet_cifar
from brainscore_lite.seeding import generator, torch_generator
from brainscore_lite.stimuli import StimulusSet
from brainscore_lite.tables import to_markdown

NAME = "11_settling_of_attractors"
N_DRAWS, QUICK_DRAWS = 10, 2
MAX_STEPS = 256
SHOWN_STEPS = 20  # of the energy
RECOVERED = 0.99  # cosine with the own pattern
N_UNITS, N_PATTERNS = 500, 25
FLIPPED = (0.0, 0.1, 0.2, 0.3, 0.35, 0.4, 0.45)
CLASSIC = {"Hopfield, synchronous": "synchronous", "Hopfield, asynchronous": "asynchronous"}
BETAS, QUICK_BETAS = (5, 8, 10, 15, 30, 100), (8, 30)
N_MODERN = 200
NOISE = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
HIDDEN = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9)
N_DIGITS, QUICK_DIGITS, N_OF_CLASS = 60, 12, 10
INK = 0.3  # only the black faces of digits are darker
DIGITS, RESNET = "digits, pixels", "ResNet-20, layer3.2"
READINGS = ("nearest stored", "readout of wholes")
COLOURS = dict(zip((*CLASSIC, DIGITS, RESNET), OKABE_ITO, strict=False)) | dict(
    zip((f"modern, beta {beta}" for beta in BETAS), OKABE_ITO, strict=False)
)
RESULTS = Path(__file__).parent / "results"

Row = dict[str, Any]


def settling(system: str, draw: int, found: Mapping[float, Retrieval], own: Tensor) -> list[Row]:
    """Say how queries settled, level by level, and how their steps go with the level."""
    rows, steps, levels, backs = [], [], [], []
    for level, end in found.items():
        back = functional.cosine_similarity(end.state, own) > RECOVERED
        of_all = end.settling_steps.double()
        rise = end.energy.diff(dim=0).amax().item() if len(end.energy) > 1 else 0.0
        measured = {
            "recovered": back.double().mean().item(),
            "settled": end.settled.double().mean().item(),
            "steps of recovered": of_all[back].mean().item(),
            "steps of all": of_all.mean().item(),
            "largest rise of energy": max(rise, 0.0) / own.shape[1],
        }
        rows += [{"level": level, "measure": name, "value": v} for name, v in measured.items()]
        steps.append(of_all.numpy())
        backs.append(back.numpy())
        levels.append(np.full(len(own), level))
    step, back, level = (np.concatenate(parts) for parts in (steps, backs, levels))
    for name, kept in (("recovered", back), ("all", np.ones_like(back))):
        varies = len(set(step[kept])) > 1 and len(set(level[kept])) > 1
        rho = stats.spearmanr(step[kept], level[kept]).statistic if varies else math.nan
        rows.append({"measure": f"Spearman of steps and level, {name}", "value": rho})
    return [{"system": system, "draw": draw, "images": "stored", **row} for row in rows]


def classic(draw: int, *, quick: bool) -> tuple[list[Row], list[Row]]:
    """Turn units of stored patterns round; return rows and mean energies along settling."""
    n_units, n_patterns = (100, 5) if quick else (N_UNITS, N_PATTERNS)
    random = torch_generator(draw, "settling", "classic")
    coins = torch.randint(0, 2, (n_patterns, n_units), generator=random)
    patterns = 2 * coins.double() - 1
    ranks = torch.rand(patterns.shape, generator=random).argsort(dim=1)
    rows, energies = [], []
    for system, update in CLASSIC.items():
        network = Hopfield(update=update)  # type: ignore[arg-type]
        found = {}
        for level in FLIPPED:
            query = torch.where(ranks < round(level * n_units), -patterns, patterns)
            found[level] = retrieve(
                patterns, query, network=network, max_steps=MAX_STEPS, generator=random
            )
            along = found[level].energy.mean(dim=1)[: SHOWN_STEPS + 1] / n_units
            energies += [
                {"system": system, "draw": draw, "level": level, "step": step, "energy": energy}
                for step, energy in enumerate(along.tolist())
            ]
        rows += settling(system, draw, found, patterns)
    return rows, energies


def modern(draw: int, *, betas: Sequence[int]) -> list[Row]:
    """Put noise over the patterns of a modern Hopfield network, for several beta."""
    random = torch_generator(draw, "settling", "modern")
    shape = (N_MODERN, N_MODERN)
    patterns, noise = (
        functional.normalize(torch.randn(shape, generator=random, dtype=torch.float64), dim=1)
        for _ in range(2)
    )
    rows = []
    for beta in betas:
        found = {
            level: retrieve(
                patterns,
                patterns + level * noise,
                network=ModernHopfield(beta),
                max_steps=MAX_STEPS,
            )
            for level in NOISE
        }
        rows += settling(f"modern, beta {beta}", draw, found, patterns)
    return rows


def codes(model: AttractorModel, stimuli: StimulusSet) -> Tensor:
    """Return where the network starts from for every image."""
    batches = stimuli.batches(model.preprocessing, batch_size=len(model.patterns))
    return torch.cat([model.code(torch.from_numpy(images)) for _, images in batches])


@torch.no_grad()
def completion(
    system: str, draw: int, model: AttractorModel, images: Mapping[str, StimulusSet], fill: int
) -> list[Row]:
    """Hide parts of images, let the layer settle, and read the category before and after."""
    patterns = model.patterns
    stored = np.array(images["stored"].coords["category"])
    readout = LogisticRegression(max_iter=1000).fit(patterns.numpy(), stored)
    readings = (
        lambda state: stored[overlaps(state, patterns).argmax(dim=1).numpy()],
        lambda state: readout.predict(state.numpy()),
    )
    rows = []
    for kind, whole in images.items():
        categories = np.array(whole.coords["category"])
        found = {}
        for level in HIDDEN:
            seen = occluded(whole, [level], occluder="partial_viewing", fill=fill, seed=draw)
            start = codes(model, seen)
            found[level] = retrieve(
                patterns, start, network=model.settings.network, max_steps=MAX_STEPS
            )
            for reading, read in zip(READINGS, readings, strict=True):
                for when, state in (("before", start), ("after", found[level].state)):
                    accuracy = float((read(state) == categories).mean())
                    labels = {"system": system, "draw": draw, "images": kind, "level": level}
                    rows.append({**labels, "measure": f"{reading}, {when}", "value": accuracy})
        if kind == "stored":
            rows += settling(system, draw, found, patterns)
    return rows


def digits(draw: int, *, n_images: int) -> list[Row]:
    """Complete drawn digits from their pixels."""
    drawn = digit_stimuli([DigitDebris(n_fragments=0, size=16)], n_images=2 * n_images, seed=draw)
    stored, new = drawn.select(drawn.ids[:n_images]), drawn.select(drawn.ids[n_images:])
    settings = LayerAttractor(layer="pixels", threshold=INK)
    model = settings.build(Pixels(image_size=16, channels="L"), stored)
    return completion(DIGITS, draw, model, {"stored": stored, "new": new}, BACKGROUND)


def photographs() -> list[Row]:
    """Complete the last block's answers of a trained network to photographs."""
    found, network = load_images("cifar10_jpeg"), resnet_cifar(20)
    settings = LayerAttractor(layer="layer3.2", threshold="median")
    rows = []
    for draw in range(N_DRAWS):
        random = generator(draw, "settling", "photographs")
        chosen = np.stack(
            [
                random.choice(np.flatnonzero(found.test_labels == label), 2 * N_OF_CLASS, False)
                for label in range(len(found.class_names))
            ]
        )
        images = {}
        for kind, part in (("stored", chosen[:, :N_OF_CLASS]), ("new", chosen[:, N_OF_CLASS:])):
            images[kind] = StimulusSet.from_arrays(
                "cifar10_jpeg",
                list(found.test_images[part.ravel()]),
                ids=[str(index) for index in part.ravel()],
                coords={"category": tuple(str(found.test_labels[i]) for i in part.ravel())},
            )
        model = settings.build(network, images["stored"], batch_size=100)
        rows += completion(RESNET, draw, model, images, 128)
        print(f"photographs, draw {draw}", flush=True)
    return rows


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % t-interval."""
    kept = np.asarray(values)[np.isfinite(values)]
    if len(kept) < 2 or np.ptp(kept) == 0:
        return (float(kept.mean()),) * 3 if len(kept) else (math.nan,) * 3
    half = stats.t.ppf(0.975, len(kept) - 1) * stats.sem(kept)
    return float(kept.mean()), float(kept.mean() - half), float(kept.mean() + half)


def said(values: Sequence[float], digits_after: int = 2) -> str:
    """Write a mean and its interval, or a dash where there are no values."""
    if not np.isfinite(values).any():
        return "-"
    mean, lower, upper = (f"{value:.{digits_after}f}" for value in interval(values))
    return mean if lower == upper == mean else f"{mean} [{lower}, {upper}]"


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy after less before settling, by system, images, reading, level and draw."""
    read = rows[rows["measure"].str.startswith(READINGS)]
    split = read["measure"].str.rsplit(", ", n=1)
    wide = read.assign(reading=split.str[0], when=split.str[1]).pivot_table(
        index=["system", "images", "reading", "level", "draw"], columns="when", values="value"
    )
    return wide.assign(gain=wide["after"] - wide["before"]).reset_index()


def table(rows: pd.DataFrame) -> str:
    """Write settling by level, its order, and what completion gains."""
    by_level = rows[rows["level"].notna() & ~rows["measure"].str.startswith(READINGS)]
    shown = by_level[by_level["measure"] != "largest rise of energy"]
    wide = shown.groupby(["system", "level", "measure"], sort=False)["value"].agg(said).unstack()
    order = rows[rows["level"].isna()].groupby(["system", "measure"], sort=False)["value"]
    rises = by_level[by_level["measure"] == "largest rise of energy"]
    orders = order.agg(said).unstack()
    orders["largest rise of energy, by unit"] = (
        rises.groupby("system")["value"].max().map("{:.1e}".format)
    )
    compared = []
    hidden = gains(rows).query("level > 0")
    for (system, images, reading), own in hidden.groupby(["system", "images", "reading"]):
        draws = own.groupby("draw")[["before", "after", "gain"]].mean()
        p = stats.ttest_1samp(draws["gain"], 0).pvalue
        compared.append(
            {"system": system, "images": images, "read by": reading,
             "before": f"{draws['before'].mean():.3f}", "after": f"{draws['after'].mean():.3f}",
             "gain": said(draws["gain"].tolist(), 3), "p": f"{p:.2g}", "n": len(draws),
             "over": "draw of images", "method": "paired t"}
        )  # fmt: skip
    parts = (wide.reset_index(), orders.reset_index(), pd.DataFrame(compared))
    heads = (
        f"Means over {rows['draw'].nunique()} draws of patterns or images, with 95 % t-intervals. "
        "Level: part of the units turned round, length of the noise, part of the image hidden.",
        "Order within each draw, over its queries at all levels.",
        "Accuracy before and after settling, mean over levels with something hidden.",
    )
    return "\n".join(f"{h}\n\n{to_markdown(p)}" for h, p in zip(heads, parts, strict=True))


def curve(axis: Axes, rows: pd.DataFrame, *, style: str, colour: str, label: str = "") -> None:
    """Draw means and intervals over draws of a value by level."""
    by_level = rows.dropna(subset="value").groupby("level")["value"]
    points = np.array([interval(values.tolist()) for _, values in by_level]).reshape(-1, 3)
    level = np.array(list(by_level.groups), dtype=float)
    axis.plot(level, points[:, 0], style, color=colour, label=label or None, markersize=3)
    axis.fill_between(level, points[:, 1], points[:, 2], color=colour, alpha=0.15, linewidth=0)


def steps_of(axis: Axes, rows: pd.DataFrame, systems: Sequence[str]) -> None:
    """Draw the steps of recovered queries (solid) and of all (dashed)."""
    for system in systems:
        colour, own = COLOURS[system], rows[rows["system"] == system]
        recovered = own[own["measure"] == "recovered"].groupby("level")["value"].mean()
        often = recovered.index[recovered >= 0.05]
        back = own[(own["measure"] == "steps of recovered") & own["level"].isin(often)]
        curve(axis, back, style="o-", colour=colour, label=system)
        curve(axis, own[own["measure"] == "steps of all"], style="--", colour=colour)
    axis.set(ylabel="settling steps (dashed: all queries)")
    axis.legend(fontsize=7, frameon=False)


def energy_of(axis: Axes, energies: pd.DataFrame) -> None:
    """Draw the mean energy along settling, of synchronous and asynchronous updates."""
    for style, system in zip(("-", "--"), CLASSIC, strict=True):
        for colour, level in zip(OKABE_ITO, (0.1, 0.3, 0.4, 0.45), strict=False):
            kept = energies[(energies["system"] == system) & (energies["level"] == level)]
            course = kept.pivot_table(index="step", columns="draw", values="energy").ffill()
            mean = course.mean(axis=1).reindex(range(SHOWN_STEPS + 1)).ffill()
            label = f"{level:g} turned round" if style == "-" else None
            axis.plot(mean.index, mean, style, color=colour, label=label, linewidth=1.2)
    axis.set(xlabel="step (dashed: asynchronous)", ylabel="energy per unit")
    axis.legend(fontsize=7, frameon=False)


def recovery_of(axis: Axes, rows: pd.DataFrame, systems: Sequence[str]) -> None:
    """Draw the share of queries that end at their own pattern."""
    for system in systems:
        own = rows[(rows["system"] == system) & (rows["measure"] == "recovered")]
        curve(axis, own, style="o-", colour=COLOURS[system], label=system)
    axis.set(xlabel="part turned round or hidden", ylabel="share that ends at its own pattern")
    axis.set(ylim=(-0.05, 1.3), yticks=np.linspace(0, 1, 6))
    axis.legend(fontsize=7, frameon=False, ncols=2, columnspacing=1, loc="upper center")


def gains_of(axis: Axes, rows: pd.DataFrame, systems: Sequence[str]) -> None:
    """Draw what settling adds to accuracy."""
    gained = gains(rows).rename(columns={"gain": "value"})
    nearest, readout = READINGS
    lines = {"o-": ("stored", readout), "s:": ("stored", nearest), "x--": ("new", readout)}
    for system in systems:
        for style, (images, reading) in lines.items():
            chosen = (gained["images"] == images) & (gained["reading"] == reading)
            own = gained[chosen & (gained["system"] == system)]
            label = f"{system.split(',')[0]}, {images} images: {reading}"
            curve(axis, own, style=style, colour=COLOURS[system], label=label)
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.set(xlabel="part of the image hidden", ylabel="accuracy after less before settling")
    axis.set_ylim(-0.17, 0.55)
    axis.legend(fontsize=7, frameon=False)


def draw_figure(rows: pd.DataFrame, energies: pd.DataFrame) -> Figure:
    """Draw steps by level, the energy along settling, recovery, and gains in accuracy."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    (classic_axis, modern_axis, layers), (energy, recovery, gain) = figure.subplots(2, 3)
    systems = list(dict.fromkeys(rows["system"]))
    completed = [name for name in systems if name in (DIGITS, RESNET)]
    steps_of(classic_axis, rows, list(CLASSIC))
    classic_axis.set(xlabel="part of the units turned round", yscale="symlog")
    steps_of(modern_axis, rows, [name for name in systems if name.startswith("modern")])
    modern_axis.set(xlabel="length of the noise (patterns have 1)", ylim=(-0.5, 24))
    steps_of(layers, rows, completed)
    layers.set(xlabel="part of the image hidden")
    energy_of(energy, energies)
    recovery_of(recovery, rows, [*CLASSIC, *completed])
    gains_of(gain, rows, completed)
    return figure


def measure(*, quick: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure all systems; the photographs not in a quick run."""
    rows: list[Row] = []
    energies: list[Row] = []
    for draw in range(QUICK_DRAWS if quick else N_DRAWS):
        of_classic, along = classic(draw, quick=quick)
        rows += of_classic + modern(draw, betas=QUICK_BETAS if quick else BETAS)
        rows += digits(draw, n_images=QUICK_DIGITS if quick else N_DIGITS)
        energies += along
    if not quick:
        rows += photographs()
    return pd.DataFrame(rows), pd.DataFrame(energies)


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="few draws and units, no photographs")
    parser.add_argument(
        "--figure-only", action="store_true", help="from the CSVs of an earlier run"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    output = given.output or (Path("results/quick") if given.quick else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    file, along = output / f"{NAME}.csv", output / f"{NAME}_energy.csv"
    if not given.figure_only:
        for path, found in zip((file, along), measure(quick=given.quick), strict=True):
            found.to_csv(path, index=False, float_format="%.5g")
    rows = pd.read_csv(file)
    file.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    save_figure(draw_figure(rows, pd.read_csv(along)), output / NAME, formats=("svg",))
    print(table(rows))


if __name__ == "__main__":
    main()

"""Cost and memory of a training step of recurrent networks beside their matched controls.

A step is backprop through time with errors from all steps, and Adam. CPU time of one thread; the
networks of a row are timed in turn, and ratios are medians over the turns. Memory is what the
backward pass keeps (unique storage that autograd saves), and the growth of the resident set of a
fresh process over one step; "again" computes each step's inside again in the backward pass
(`Network.recomputes`).

    python speed/recurrence.py
"""

import argparse
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from learning_rules import timed
from torch import Tensor

from brainscore_lite.learning_rules import BackpropThroughTime, Batch
from brainscore_lite.networks.architectures import ARCHITECTURES
from brainscore_lite.networks.areas import PER_STEP
from brainscore_lite.networks.convnet import ConvNet

TURNS = 5
COLUMNS = (
    "network", "ms an image", "step / B", "/ depth control", "/ width control",
    "FLOPs / depth control", "MB an image kept", "peak MB", "peak MB, again", "time, again / kept",
)  # fmt: skip
_2017 = ARCHITECTURES["spoerer_2017_blt"]
_2020 = ARCHITECTURES["spoerer_2020_bl"]
#: The first five areas of Spoerer et al. (2020), a quarter as wide, on 64 pixels.
SMALL_2020 = replace(
    _2020,
    areas=tuple(replace(area, channels=area.channels // 4) for area in _2020.areas[:5]),
    image_size=64,
    preprocessing=replace(_2020.preprocessing, size=64),
    name="spoerer_2020_bl, quarter",
)
NORMED_2017 = replace(
    _2017,
    areas=tuple(replace(a, norm=PER_STEP, post_norm="none", bias=False) for a in _2017.areas),
    name="spoerer_2017_blt, norm per step",
)
NETWORKS = {each.name: (each, 100) for each in (_2017, NORMED_2017)} | {
    SMALL_2020.name: (SMALL_2020, 32)
}


def step_of(settings: ConvNet, n_images: int, *, again: bool = False) -> Callable[[], None]:
    """Return a call that takes one training step."""
    network = settings.build(torch.Generator().manual_seed(0)).train()
    network.recomputes = again
    estimator = BackpropThroughTime(supervised="all").bind(network, torch.Generator())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    images = torch.rand(n_images, *network.image_shape, generator=torch.Generator().manual_seed(1))
    batch = Batch(images, torch.arange(n_images) % settings.n_classes)

    def step() -> None:
        estimator(batch, lambda: None)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def kept_bytes(settings: ConvNet, n_images: int) -> int:
    """Return the bytes that autograd saves for one backward pass, without the parameters."""
    network = settings.build(torch.Generator().manual_seed(0)).train()
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    found: dict[int, int] = {}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    images = torch.rand(n_images, *network.image_shape)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = [step["readout"].sum() for step in network.run(images)]
    assert losses
    return sum(found.values())


def peak_growth(name: str, again: bool) -> float:
    """Return by how much the resident set grows over one step of a fresh process, in MB."""
    torch.set_num_threads(1)
    settings, n_images = NETWORKS[name]
    step_of(settings, 2, again=again)()
    step = step_of(settings, n_images, again=again)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def resident(what: str) -> float:
    """Return the resident set now (VmRSS) or its peak (VmHWM), in MB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def ratios(name: str) -> dict[str, float]:
    """Time the network, the network that recomputes, and its controls, in turn."""
    settings, n_images = NETWORKS[name]
    controls = {each: settings.matched(each) for each in ("depth", "width")}
    plain = replace(settings, lateral=False, feedback=False, n_steps=1)
    steps = {
        "recurrent": step_of(settings, n_images),
        "again": step_of(settings, n_images, again=True),
        "b": step_of(plain, n_images),
        **{each: step_of(control, n_images) for each, control in controls.items()},
    }
    turns = [{each: timed(step, 1) for each, step in steps.items()} for _ in range(TURNS)]
    found = {
        f"recurrent / {each}": median(turn["recurrent"] / turn[each] for turn in turns)
        for each in ("b", "depth", "width")
    }
    found["again / recurrent"] = median(turn["again"] / turn["recurrent"] for turn in turns)
    found["ms an image"] = median(1e3 * turn["recurrent"] / n_images for turn in turns)
    return found


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=str(__doc__).split("\n")[0]).parse_args()
    torch.set_num_threads(1)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for name, (settings, n_images) in NETWORKS.items():
        found = ratios(name)
        work = settings.costs().flops / settings.matched("depth").costs().flops
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
            peaks = [fresh.apply(peak_growth, (name, again)) for again in (False, True)]
        cells = (
            f"{found['ms an image']:.2f}",
            *(f"{found[f'recurrent / {each}']:.2f}" for each in ("b", "depth", "width")),
            f"{work:.2f}",
            f"{kept_bytes(settings, n_images) / n_images / 2**20:.2f}",
            *(f"{peak:.0f}" for peak in peaks),
            f"{found['again / recurrent']:.2f}",
        )
        print(f"| {name} ({n_images} images) | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

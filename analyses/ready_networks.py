"""Networks that need no training here: trained by others, trained earlier, untrained, pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rule_grid import run_folder
from rule_recipes import recipes
from torch import nn
from wirings import CONTROLS, WIRINGS, wired_networks

from brainscore_lite.networks import Model
from brainscore_lite.seeding import torch_generator
from brainscore_lite.studies.models import MODELS, PRETRAINED, load_model
from brainscore_lite.studies.models import UNTRAINED as NOTHING
from brainscore_lite.training import TrainedModel

AREAS = ("V1", "V2", "V4", "IT")
SEEDS = (0, 1, 2, 3, 4)
FEEDFORWARD, RECURRENT = "feedforward", "recurrent"
UNTRAINED = "untrained "
PIXELS = "pixels"
UNTRAINED_COPIES = ("squeezenet1_1", "resnet20_cifar", "resnet56_cifar")
UNTRAINED_WIRINGS = ("b", "blt")
STEM = "natural_"
CIFAR = "CIFAR-10 (JPEG copy)"
_FEEDFORWARD_WIRINGS = ("b", *(f"blt_{control}" for control in CONTROLS))


@dataclass(frozen=True, eq=False)
class ReadyNetwork:
    """A network, read or made when it is asked for.

    Parameters
    ----------
    name : str
    kind : str
        Feedforward or recurrent, also with "untrained " before it, or pixels.
    task : str
        What it was trained on.
    seed : int
        Of training, or of random weights.
    layers : tuple of str
        From input to output, without the readout of its own task.
    load : callable
        Without arguments.
    """

    name: str
    kind: str
    task: str
    seed: int
    layers: tuple[str, ...]
    load: Callable[[], Model]


def ready_networks() -> list[ReadyNetwork]:
    """List pixels, networks trained by others, and those of [cifar10_wirings] that are finished.

    Beside them stand untrained copies of some.
    """
    listed = [_from_catalogue(PIXELS, PIXELS)]
    for name, *_ in PRETRAINED:
        listed.append(_from_catalogue(name, FEEDFORWARD))
        if name in UNTRAINED_COPIES:
            listed.append(_from_catalogue(f"{name}_untrained", UNTRAINED + FEEDFORWARD))
    listed += untrained_wirings()
    for wiring in WIRINGS:
        folders = [(seed, _folder(wiring, seed)) for seed in SEEDS]
        listed += [
            ReadyNetwork(STEM + wiring, _kind(wiring), CIFAR, seed, AREAS, partial(_read, folder))
            for seed, folder in folders
            if (folder / "weights.safetensors").is_file()
        ]
    return listed


def untrained_wirings() -> list[ReadyNetwork]:
    """List B and BLT with random weights."""
    return [
        ReadyNetwork(
            f"{STEM}{wiring}_untrained",
            UNTRAINED + _kind(wiring),
            NOTHING,
            0,
            AREAS,
            partial(_made, wiring),
        )
        for wiring in UNTRAINED_WIRINGS
    ]


def n_parameters(model: Model) -> int:
    """Count what is trained in a network; 0 of one that is no module."""
    network = model.network if isinstance(model, TrainedModel) else model
    if not isinstance(network, nn.Module):
        return 0
    return sum(each.numel() for each in network.parameters())


def _from_catalogue(name: str, kind: str) -> ReadyNetwork:
    entry = MODELS[name]
    own = entry.layers if kind == PIXELS else entry.layers[:-1]
    return ReadyNetwork(name, kind, entry.task, 0, own, lambda: load_model(name).model)


def _kind(wiring: str) -> str:
    return FEEDFORWARD if wiring in _FEEDFORWARD_WIRINGS else RECURRENT


def _folder(wiring: str, seed: int) -> Path:
    return run_folder(recipes("cifar10_wirings")[f"bptt@{STEM}{wiring}"], seed)


def _read(folder: Path) -> Model:
    return TrainedModel.load(folder)


def _made(wiring: str) -> Model:
    return wired_networks()[STEM + wiring].build(torch_generator(0, "network"))

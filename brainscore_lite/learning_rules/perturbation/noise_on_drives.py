"""Passes of a network with and without noise on the drive of each area, and what is learnt of it.

The activations between areas are cut from every graph, so that a drive knows the weights that it
came through and nothing below: the only derivative ever taken is that of ``pool_out(op(.))`` to
its own weight, which is presynaptic activity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.learning_rule import trainable
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network


class Pass(NamedTuple):
    """What a pass without noise left at each node (area at a step), in the order of computation.

    Attributes
    ----------
    arriving : list of Tensor
        Through each connection, in the order of computation.
    drives : list of Tensor, each of shape (batch, ...)
    activations : list of Tensor
    scores : Tensor, shape (batch, n_classes)
        Of the readout at the last step.
    """

    arriving: list[Tensor]
    drives: list[Tensor]
    activations: list[Tensor]
    scores: Tensor


def clean_pass(network: Network, images: Tensor) -> Pass:
    """Run without noise.

    Parameters
    ----------
    network : Network
    images : Tensor, shape (batch, channels, image_size, image_size)

    Returns
    -------
    Pass
    """
    found = Pass([], [], [], images)
    of_image: dict[str, Tensor] = {}

    def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
        if connection.source != IMAGE:
            arrived = connection(activations, gain=gain)
        elif connection.name in of_image:
            arrived = of_image[connection.name]
        else:
            arrived = of_image[connection.name] = connection(activations, gain=gain)
        found.arriving.append(arrived)
        return arrived

    def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
        drive = area.drive(arriving)
        found.drives.append(drive)
        with torch.no_grad():
            found.activations.append(area.respond_to(drive.detach()))
        return found.activations[-1]

    with torch.enable_grad():
        for activations in network.run(images, carry=carry, answer=answer):
            last = activations
    return found._replace(scores=last[READOUT])


def noisy_pass(
    network: Network,
    images: Tensor,
    clean: Pass,
    *,
    noise: Sequence[Tensor | None],
    graph: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """Run once more with noise on drives, all samples of it in one batch.

    What no noise has reached (all that comes straight from the image) is taken from the clean pass.

    Parameters
    ----------
    network : Network
    images : Tensor, shape (batch, channels, image_size, image_size)
    clean : Pass
    noise : sequence of Tensor or None, each of shape (n_samples, batch, ...)
        Added to the drive, by node in the order of computation; None leaves a node as it is.
    graph : bool
        Whether drives remember the weights that they came through.

    Returns
    -------
    drives : list of Tensor, each of shape (n_samples or 1, batch, ...)
        Before noise, by node in the order of computation.
    scores : Tensor, shape (n_samples * batch, n_classes)
        Of the readout at the last step, the samples one after another.
    """
    drives: list[Tensor] = []
    calls, nodes = count(), count()
    known = {id(each) for each in (*clean.arriving, *clean.activations)}
    stacked = (-1, len(images))

    def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
        call = next(calls)
        if connection.source == IMAGE or id(activations) in known:
            return clean.arriving[call]
        return connection(activations, gain=gain)

    def answer(area: AreaModule, arriving: Sequence[Tensor]) -> Tensor:
        node = next(nodes)
        added = noise[node]
        if all(id(each) in known for each in arriving):
            drive = clean.drives[node].unflatten(0, stacked)
            if added is None:
                drives.append(drive)
                return clean.activations[node]
        else:
            drive = area.drive([each.unflatten(0, stacked) for each in arriving])
        drives.append(drive)
        with torch.no_grad():
            moved = drive.detach() if added is None else drive.detach() + added
            return area.respond_to(moved.flatten(0, 1))

    with torch.set_grad_enabled(graph):
        for activations in network.run(images, carry=carry, answer=answer):
            last = activations
    return drives, last[READOUT]


def perturbed_nodes(network: Network, clean: Pass) -> list[bool]:
    """Say which nodes noise can teach something: trained weights lead there, and on to the loss.

    Parameters
    ----------
    network : Network
    clean : Pass

    Returns
    -------
    list of bool
        By node in the order of computation.
    """
    graph = network.graph()
    order = [node for node in graph if node.area != IMAGE]
    heard = {order[-1]} if order[-1].area == READOUT else set()
    for node in reversed(order):
        if node in heard:
            heard.update(edge.parent for edge in graph[node])
    return [
        node in heard and drive.requires_grad
        for node, drive in zip(order, clean.drives, strict=True)
    ]


def draw_noise(
    drive: Tensor, n_samples: int, *, sigma: float, generator: torch.Generator
) -> Tensor:
    """Draw N(0, sigma^2) for a drive, laid out in memory as the drive is.

    Parameters
    ----------
    drive : Tensor, shape (batch, ...)
    n_samples : int
    sigma : float
    generator : torch.Generator

    Returns
    -------
    Tensor, shape (n_samples, batch, ...)
    """
    channels_last = drive.ndim == 4 and drive.is_contiguous(memory_format=torch.channels_last)
    noise = torch.empty(
        (n_samples * len(drive), *drive.shape[1:]),
        dtype=drive.dtype,
        device=generator.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )
    noise.normal_(0.0, sigma, generator=generator)
    return noise.to(drive.device).unflatten(0, (n_samples, len(drive)))


def write_products(
    network: nn.Module, drives: Sequence[Tensor], changes: Sequence[Tensor | None]
) -> None:
    """Write into ``p.grad`` the change wanted of each drive times presynaptic activity.

    Parameters
    ----------
    network : Module
    drives : sequence of Tensor
        With the graph that leads to their weights.
    changes : sequence of Tensor or None
        Ascent direction of each drive, of its shape; None where nothing is to be learnt.
    """
    parameters = trainable(network)
    pairs = [(d, c) for d, c in zip(drives, changes, strict=True) if c is not None]
    found: Iterator[Tensor | None] = iter(
        torch.autograd.grad(
            [drive for drive, _ in pairs],
            parameters,
            [change for _, change in pairs],
            allow_unused=True,
        )
    )
    for parameter, product in zip(parameters, found, strict=True):
        parameter.grad = torch.zeros_like(parameter) if product is None else product

"""Feedforward controls with as many parameters as a recurrent network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

import torch

from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Connection
from brainscore_lite.schema import ContractError

if TYPE_CHECKING:
    from brainscore_lite.networks.convnet import ConvNet

#: How far the parameters of a control may be from those of the network, as a share.
TOLERANCE = 0.03
LARGER_KERNEL = 2  # pixels that a kernel's side gains
BISECTIONS = 20  # of the factor on all widths


def matched(network: ConvNet, control: Literal["depth", "width", "kernel"]) -> ConvNet:
    """Return a feedforward control with as many weights and biases as a recurrent network.

    Equal parameters are not equal work: compare `ConvNet.costs().flops` too. Parameters of norms
    are not matched, since per-step norms have them for every step.

    Parameters
    ----------
    network : ConvNet
        With lateral or feedback connections.
    control : {"depth", "width", "kernel"}
        More convolutions in each area, as many as the weights of its lateral and feedback
        connections pay for; more channels; or kernels larger by 2 pixels, and the channels that
        then fit.

    Returns
    -------
    ConvNet
        Of one step, with the name of the network and the control.

    Raises
    ------
    ContractError
        If the network is feedforward, or no control comes within 3 % of its parameters.

    References
    ----------
    Spoerer, McClure & Kriegeskorte (2017), doi:10.3389/fpsyg.2017.01551; Spoerer et al. (2020),
    doi:10.1371/journal.pcbi.1008215.
    """
    if not network.lateral and not network.feedback_edges:
        raise ContractError(
            f"Network '{network.name}' is feedforward: it has no lateral or feedback parameters "
            f"that a control of equal {control} could match. It is its own control."
        )
    controls = {"depth": _deeper, "width": _wider, "kernel": _larger_kernels}
    if control not in controls:
        raise ContractError(
            f"There is no control '{control}'. Choose one of: {', '.join(controls)}."
        )
    wanted = network.n_parameters
    feedforward = replace(
        network,
        lateral=False,
        feedback=False,
        n_steps=1,
        unroll="engineering",
        combine="add",
        readout="step",
        tau=1.0,
        name=f"{network.name}_matched_{control}",
    )
    found = controls[control](network, feedforward, wanted)
    parameters = found.n_parameters
    if abs(parameters / wanted - 1) > TOLERANCE:
        others = [each for each in controls if each != control]
        raise ContractError(
            f"The nearest control of '{network.name}' by {control} has {parameters:,} parameters, "
            f"{parameters / wanted - 1:+.1%} of {wanted:,}; at most {TOLERANCE:.0%} is allowed. "
            f"Match by {others[0]} or {others[1]}, or change the sizes of the areas."
        )
    return found


def _deeper(network: ConvNet, feedforward: ConvNet, wanted: int) -> ConvNet:
    """Add what each area's lateral and feedback weights pay for, then step to the nearest."""
    plain = feedforward.n_parameters

    def distance(extra: Sequence[int]) -> int:
        return abs(_deepened(feedforward, extra).n_parameters - wanted)

    places = range(len(network.areas))
    extra = []
    for place, recurrent in enumerate(_recurrent_weights(network)):
        one_more = _deepened(feedforward, [int(each == place) for each in places])
        extra.append(round(recurrent / (one_more.n_parameters - plain)))
    while True:
        moved = [
            [n + by * (each == place) for each, n in enumerate(extra)]
            for place in places
            for by in (-1, 1)
        ]
        nearest = min((each for each in moved if min(each) >= 0), key=distance)
        if distance(nearest) >= distance(extra):
            return _deepened(feedforward, extra)
        extra = nearest


def _recurrent_weights(network: ConvNet) -> list[int]:
    """Count the lateral and feedback weights into each area."""
    with torch.device("meta"):
        wired = network.wired()
    into = dict.fromkeys((area.name for area in network.areas), 0)
    for name in {*wired.lateral, *wired.feedback}:
        connection = cast(Connection, wired.connections[name])
        into[connection.target] += connection.op.weight.numel()
    return list(into.values())


def _deepened(network: ConvNet, extra: Sequence[int]) -> ConvNet:
    areas: list[Area | Dense] = []
    for area, n in zip(network.areas, extra, strict=True):
        if isinstance(area, Area):
            areas.append(replace(area, depth=area.depth + n))
        else:
            inner = replace(area, pool_in=None)
            stack = [replace(inner, name=f"{area.name}_{i + 1}") for i in range(n)] + [inner]
            areas += [replace(stack[0], pool_in=area.pool_in), *stack[1:]]
    return replace(network, areas=tuple(areas))


def _wider(network: ConvNet, feedforward: ConvNet, wanted: int) -> ConvNet:
    """Find the factor on all channels and units that comes nearest."""

    def widened(factor: float) -> ConvNet:
        return replace(feedforward, areas=tuple(_widened(a, factor) for a in feedforward.areas))

    narrow, wide = 0.0, 1.0
    while widened(wide).n_parameters < wanted:
        wide *= 2
    for _ in range(BISECTIONS):
        middle = (narrow + wide) / 2
        if widened(middle).n_parameters < wanted:
            narrow = middle
        else:
            wide = middle
    both = (widened(narrow), widened(wide))
    return min(both, key=lambda each: abs(each.n_parameters - wanted))


def _widened(area: Area | Dense, factor: float) -> Area | Dense:
    if isinstance(area, Area):
        return replace(area, channels=max(1, round(area.channels * factor)))
    return replace(area, units=max(1, round(area.units * factor)))


def _larger_kernels(network: ConvNet, feedforward: ConvNet, wanted: int) -> ConvNet:
    """Enlarge the kernels, then take the channels that fit."""
    areas = tuple(_enlarged(area) for area in feedforward.areas)
    if areas == feedforward.areas:
        raise ContractError(
            f"Network '{network.name}' has no convolutional area whose kernel could grow. Match by "
            "depth or width."
        )
    return _wider(network, replace(feedforward, areas=areas), wanted)


def _enlarged(area: Area | Dense) -> Area | Dense:
    if isinstance(area, Dense):
        return area
    padding = None if area.padding is None else area.padding + LARGER_KERNEL // 2
    return replace(area, kernel=area.kernel + LARGER_KERNEL, padding=padding)

"""Which connections may join which areas, and when a signal reaches them."""

import math
from collections.abc import Mapping, Sequence

from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.model import READOUT
from brainscore_lite.schema import ContractError


def first_steps(incoming: Mapping[str, Sequence[Connection]]) -> dict[str, int]:
    """Return the first step at which a signal reaches each area; unreached areas are absent."""
    first = {IMAGE: 0}
    for _ in incoming:
        for area, connections in incoming.items():
            reached = [first[e.source] + e.delay for e in connections if e.source in first]
            if reached:
                first[area] = min(reached)
    return first


def check_wiring(areas: Sequence[str], connections: Sequence[Connection]) -> None:
    """Refuse areas of one name, and connections that join what they cannot.

    Raises
    ------
    ContractError
        If a name is taken twice or not allowed, a connection names no area or is the second of a
        pair, its delay is neither 0 nor 1, or a signal would lead back within a step.
    """
    if len(set(areas)) < len(areas):
        raise ContractError(f"Two areas have the same name: {list(areas)}. Give each its own.")
    bad = [name for name in areas if "." in name or name == IMAGE]
    if bad:
        raise ContractError(f"An area cannot be named '{bad[0]}': no dots, and not '{IMAGE}'.")
    place = {IMAGE: -1, **{name: index for index, name in enumerate(areas)}}
    names = [connection.name for connection in connections]
    for connection in connections:
        if names.count(connection.name) > 1:
            raise ContractError(
                f"Two connections are called '{connection.name}', but areas are joined by at most "
                "one in each direction. Leave one of them out."
            )
        if connection.delay not in (0, 1):
            raise ContractError(
                f"Connection '{connection.name}' has delay={connection.delay}; a signal takes 0 "
                "steps or 1. Give it delay=0 or delay=1."
            )
        missing = [end for end in (connection.source, connection.target) if end not in place]
        if missing:
            raise ContractError(
                f"Connection '{connection.name}' names an area that does not exist: '{missing[0]}'."
                f" The areas are: {', '.join(areas)}."
            )
        if connection.delay == 0 and place[connection.source] >= place[connection.target]:
            raise ContractError(
                f"Connection '{connection.name}' leads back without delay. Give it delay=1."
            )


def check_steps(name: str, areas: Sequence[str], *, n_steps: int, tau: float) -> None:
    """Refuse a network without a readout on top or steps to run, or with too short a time constant.

    Raises
    ------
    ContractError
    """
    if not areas or areas[-1] != READOUT:
        raise ContractError(
            f"Network '{name}' has the areas {list(areas)}, but the last must be the readout. Add "
            f"Dense('{READOUT}', n_classes, activation='identity')."
        )
    if n_steps < 1:
        raise ContractError(f"Network '{name}' has n_steps={n_steps}; it must run at least 1.")
    if not 1 <= tau < math.inf:
        raise ContractError(
            f"Network '{name}' has tau={tau}; a time constant is at least 1 step, which keeps "
            "nothing of the state before."
        )

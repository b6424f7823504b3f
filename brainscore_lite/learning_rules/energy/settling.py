"""Settling: areas take up what the energy makes them receive, until nothing changes any more.

A step replaces every area's state by its answer to the states before. Where no area acts on itself
and the areas fall into two groups that act only on each other, such as those of a chain, a
synchronous step repeats for one group, one step late, what it did before. These updates are left
out: a step updates one group, the next the other, and after the same number of steps the states
are the same. In this form each update minimises the energy over a group, so chains of linear
connections cannot oscillate. Those that pool by maximum can, where the largest unit keeps changing;
the residual tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from brainscore_lite.learning_rules.energy.hopfield import HopfieldEnergy, States

#: How an area answers its drive: (area, drive, states before) -> state. May overwrite the drive.
Answer = Callable[[str, Tensor, States], Tensor]


def settle(
    energy: HopfieldEnergy,
    states: States,
    answer: Answer,
    *,
    n_steps: int,
    first: Collection[str],
    moved: Collection[str] = (),
    held: Collection[str] = (),
) -> float:
    """Let the areas settle, replacing their states.

    An area is not touched before something has reached it, from the first areas or from what
    has moved before. At a fixed point this changes nothing but the time it takes.

    Parameters
    ----------
    energy : HopfieldEnergy
    states : dict of str to Tensor, each of shape (batch, ...)
        By area; updated in place. Areas that are absent have no state yet.
    answer : callable
        Gives an area's new state for its drive.
    n_steps : int
    first : collection of str
        Areas driven from outside: by the image or by an error.
    moved : collection of str
        Areas whose state differs from the one that the others have settled to.
    held : collection of str
        Areas whose state stays.

    Returns
    -------
    float
        Settling residual: root mean square change of all units in their last update.
    """
    neighbours = energy.neighbours()
    groups = _turns(neighbours, [name for name in energy.areas if name not in held], first, moved)
    reached = set(moved)
    change: dict[str, tuple[Tensor, int]] = {}
    for step in range(n_steps):
        due = [
            name
            for name in groups[step % len(groups)]
            if name in first or not reached.isdisjoint(neighbours[name])
        ]
        updated = {name: answer(name, energy.drive(name, states), states) for name in due}
        if step >= n_steps - len(groups):
            for name in due:
                change[name] = _squared_change(states.get(name), updated[name])
        states.update(updated)
        reached.update(due)
    n_values = sum(count for _, count in change.values())
    if not n_values:
        return 0.0
    return math.sqrt(torch.stack([square for square, _ in change.values()]).sum() / n_values)


def _squared_change(before: Tensor | None, after: Tensor) -> tuple[Tensor, int]:
    difference = after if before is None else after - before
    return difference.square().sum(), after.numel()


def _turns(
    neighbours: dict[str, set[str]],
    areas: list[str],
    first: Collection[str],
    moved: Collection[str],
) -> list[list[str]]:
    """Return the groups of areas that take turns, beginning with the one that is moved first.

    There are two where areas can be coloured so that only unlike ones are joined, else one.
    """
    side: dict[str, int] = {}
    start = [n for n in areas if n in first or not neighbours[n].isdisjoint(moved)]
    for root in (*start, *areas):
        if root in side:
            continue
        side[root] = 0
        waiting = [root]
        while waiting:
            name = waiting.pop()
            for other in neighbours[name] & set(areas):
                if other not in side:
                    side[other] = 1 - side[name]
                    waiting.append(other)
                elif side[other] == side[name]:
                    return [areas]
    groups = [[name for name in areas if side[name] == turn] for turn in (0, 1)]
    return [group for group in groups if group]

"""The energy of a network of areas that act on each other through symmetric connections.

E(s) = sum_l G_l(s_l) - Phi(s),    G_l' = rho_l^{-1}
Phi(s) = sum_c <s_target(c), c(s_source(c))> + sum_l <s_l, b_l>

Fixed points of ``s_l <- rho_l(dPhi/ds_l)`` are where E has no slope (Scellier & Bengio 2017,
doi:10.3389/fncom.2017.00024). The image takes the place of a state that never moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.energy.interactions import Interaction, interactions
from brainscore_lite.networks.areas import AreaModule
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.network import Network

#: Settled states by area, each of shape (batch, ...).
States = dict[str, Tensor]

#: rho, written over its argument.
RESPONSES: dict[str, Callable[[Tensor], Tensor]] = {
    "clipped_relu": lambda drive: drive.clamp_(0.0, 1.0),
    "hard_tanh": lambda drive: drive.clamp_(-1.0, 1.0),
    "identity": lambda drive: drive,
    "sigmoid": lambda drive: drive.sigmoid_(),
    "tanh": lambda drive: drive.tanh_(),
}


@dataclass(frozen=True, eq=False)
class HopfieldEnergy:
    """What the energy makes the areas of a network receive, for one batch of images.

    Weights are read when it is made. The drive that the image causes is computed once.

    Parameters
    ----------
    network : Network
    areas : tuple of str
        Those that have a state, from below to above.
    inner : tuple of Interaction
        Between two of these areas.
    outer : tuple of Interaction
        From the image.
    image : Tensor, shape (batch, channels, height, width)
    constant : mapping of str to Tensor
        What an area receives from the image and its bias, whatever the states.
    shapes : mapping of str to tuple of int
        Of the activations by area, without the batch.
    """

    network: Network
    areas: tuple[str, ...]
    inner: tuple[Interaction, ...]
    outer: tuple[Interaction, ...]
    image: Tensor
    constant: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(
        cls,
        network: Network,
        images: Tensor,
        *,
        areas: Sequence[str],
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        feedback: float = 1.0,
    ) -> tuple[HopfieldEnergy, tuple[Interaction, ...]]:
        """Return the energy of the named areas, and the interactions that lead out of them.

        Parameters
        ----------
        network : Network
        images : Tensor, shape (batch, channels, height, width)
        areas : sequence of str
        shapes : mapping of str to tuple of int, optional
            Of the activations by area, where they are known already.
        feedback : float
            Factor on what areas receive from above.
        """
        image = network.entering(images)
        shapes = network.activation_shapes() if shapes is None else shapes
        every = interactions(network, shapes, feedback=feedback)
        within = [each for each in every if each.connection.target in areas]
        outer = tuple(each for each in within if each.connection.source == IMAGE)
        inner = tuple(each for each in within if each.connection.source != IMAGE)
        leading_out = tuple(each for each in every if each.connection.target not in areas)
        constant: dict[str, Tensor] = {}
        for name in areas:
            bias = spread_bias(network, name)
            if bias is not None:
                constant[name] = bias
        for each in outer:
            target = each.connection.target
            constant[target] = each.up(image, constant.get(target))
        return cls(network, tuple(areas), inner, outer, image, constant, shapes), leading_out

    def repeated(self, real: int, *, imaginary: int = 0) -> HopfieldEnergy:
        """Return the energy of several copies of the batch, one below the other.

        Parameters
        ----------
        real : int
            Copies that receive what the image and the biases give.
        imaginary : int
            Copies after these that receive nothing constant: the imaginary parts of states, for
            connections are linear with real weights and treat both parts alike.
        """
        constant: dict[str, Tensor] = {}
        fed = {each.connection.target for each in self.outer}
        for name, given in self.constant.items():
            if name not in fed and not imaginary:
                constant[name] = given  # a bias, the same for every image
                continue
            if name not in fed:
                given = given.expand(len(self.image), *self.shapes[name])
            constant[name] = torch.cat([given] * real + [torch.zeros_like(given)] * imaginary)
        return replace(self, constant=constant)

    def linear(self, constant: Mapping[str, Tensor]) -> HopfieldEnergy:
        """Return the energy in which areas receive something else in place of image and bias."""
        return replace(self, constant=constant)

    @property
    def fed(self) -> frozenset[str]:
        """Areas that the image reaches directly."""
        return frozenset(each.connection.target for each in self.outer)

    def neighbours(self) -> dict[str, set[str]]:
        """Return the areas that each area is joined with."""
        joined: dict[str, set[str]] = {name: set() for name in self.areas}
        for each in self.inner:
            joined[each.connection.source].add(each.connection.target)
            joined[each.connection.target].add(each.connection.source)
        return joined

    def drive(self, name: str, states: States) -> Tensor:
        """Return dPhi/ds of an area, a new tensor of shape (batch, ...).

        Areas without a state yet give nothing.
        """
        total = self.constant.get(name)
        n_terms = 0
        for each in self.inner:
            source, target = each.connection.source, each.connection.target
            if target == name and source in states:
                total = each.up(states[source], total)
            elif source == name and target in states:
                total = each.down(states[target], states.get(name), total)
            else:
                continue
            n_terms += 1
        if total is None:
            raise RuntimeError(f"Nothing has reached area '{name}' yet.")
        return total if n_terms else total.clone()

    def gradient(
        self, sources: States, targets: States, clamped: States
    ) -> dict[nn.Parameter, Tensor]:
        """Return the gradient of Phi by what can be trained, bilinear in both ends.

        Parameters
        ----------
        sources, targets : dict of str to Tensor, each of shape (rows, ...)
            At the two ends of the connections between areas.
        clamped : dict of str to Tensor, each of shape (batch, ...)
            At the upper end of what does not move: the image, and the biases.

        Returns
        -------
        dict of Parameter to Tensor
            Summed over the batch; weights that are tied add up.
        """
        found: dict[nn.Parameter, Tensor] = {}
        for each in (*self.inner, *self.outer):
            source, target = each.connection.source, each.connection.target
            weight = each.connection.op.weight
            if weight.requires_grad:
                below = self.image if source == IMAGE else sources[source]
                above = clamped[target] if source == IMAGE else targets[target]
                add(found, weight, each.weight_gradient(below, above))
        for name in self.areas:
            bias = cast(AreaModule, self.network.areas[name]).bias
            if bias is not None and bias.requires_grad:
                add(found, bias, summed_by_unit(clamped[name]))
        return found


def spread_bias(network: Network, name: str) -> Tensor | None:
    """Return the bias of an area, shaped so that it can be added to its drive."""
    bias = cast(AreaModule, network.areas[name]).spread_bias
    return None if bias is None else bias.detach()


def summed_by_unit(states: Tensor) -> Tensor:
    """Sum states of shape (batch, units, ...) over the batch and over places."""
    return states.sum(dim=[0, *range(2, states.ndim)])


def add(found: dict[nn.Parameter, Tensor], parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to what was found for a parameter."""
    found[parameter] = found[parameter] + gradient if parameter in found else gradient


def potential(
    network: Network, states: Mapping[str, Tensor], *, scales: Mapping[str, float]
) -> Tensor:
    """Return Phi, summed over the batch, as it is defined: differentiable, and slow.

    Parameters
    ----------
    network : Network
    states : mapping of str to Tensor, each of shape (batch, ...)
        Of the areas and of the image.
    scales : mapping of str to float
        Areas that belong to the energy, each with the factor on its terms, usually 1.
    """
    total = states[IMAGE].new_zeros(())
    for connection in cast("list[Connection]", list(network.connections.values())):
        if connection.target in scales:
            carried = connection(states[connection.source], gain=network.gain(connection.name))
            term = (states[connection.target] * carried).sum()
            total = total + scales[connection.target] * term
    for name, scale in scales.items():
        bias = cast(AreaModule, network.areas[name]).bias
        if bias is not None:
            total = total + scale * (summed_by_unit(states[name]) * bias).sum()
    return total

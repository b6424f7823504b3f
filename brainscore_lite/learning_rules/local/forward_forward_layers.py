"""What forward-forward rules share: layers that each contrast examples, and a one-pass readout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules.learning_rule import Support, trainable
from brainscore_lite.learning_rules.linear_readout import frozen_readout
from brainscore_lite.learning_rules.local.forward_forward_goodness import Goodness, normalised
from brainscore_lite.learning_rules.stages import Stage, stages
from brainscore_lite.learning_rules.support import (
    areas_of,
    no_chain,
    normalised_by,
    support,
    trained_black_box,
    untrainable,
)
from brainscore_lite.networks.areas import BATCH_NORMS, BOUNDED_ACTIVATIONS, Area
from brainscore_lite.networks.connections import Connection, FullyConnected
from brainscore_lite.networks.model import READOUT, Step, check_layers, device_of, evaluation_mode
from brainscore_lite.networks.network import Network

Probed = Literal["normalised", "raw"]
PROBED = ("normalised", "raw")

_DECAY_OF_MEANS = 0.9
_THRESHOLD_WHERE_BOUNDED, _THRESHOLD = 0.3, 1.0


def supports_goodness(architecture: Any, *findings: str) -> Support:
    """Accept a chain of areas in which examples are apart and the length of activity is free."""
    return support(
        untrainable(architecture),
        no_chain(architecture),
        trained_black_box(architecture),
        normalised_by(
            architecture,
            BATCH_NORMS,
            why="statistics of the batch mix real and false examples",
        ),
        _length_fixed(architecture),
        *findings,
    )


def _length_fixed(architecture: Any) -> str:
    for area in areas_of(architecture)[:-1]:
        if area.post_norm in ("layer", "group"):
            return (
                f"area '{area.name}' has post_norm='{area.post_norm}', which fixes the length of "
                "its activity, and goodness is that length. Set post_norm='none'."
            )
    return ""


def frozen_one_pass_readout(architecture: Any) -> str:
    """Find that a `OnePassReadout` has nothing to train: no weights between, and a frozen own."""
    n_hidden = len(areas_of(architecture)) - 1
    return frozen_readout(architecture) if n_hidden <= 2 else ""


def threshold_for(architecture: Any) -> float:
    """Return about the mean square activity of a unit before training, given a normalised input."""
    bounded = any(area.activation in BOUNDED_ACTIVATIONS for area in areas_of(architecture)[:-1])
    return _THRESHOLD_WHERE_BOUNDED if bounded else _THRESHOLD


def weights_of(hidden: Sequence[Stage]) -> tuple[nn.Parameter, ...]:
    """Return what layers train of their own."""
    return trainable(*(part for stage in hidden for part in stage))


class PeerNormalisation(nn.Module):
    """Keep units from falling silent or ruling: draw mean activities together.

    P = strength * mean_j (mean_k r_k - r_j)^2,  r <- 0.9 r + 0.1 <h> over real examples

    Parameters
    ----------
    strength : float
        0 does nothing, at no cost.
    sizes : dict of str to int
        Units of each dense area, or channels of each convolutional one, by name.
    like : Tensor
        Gives dtype and device.
    """

    def __init__(self, strength: float, sizes: dict[str, int], like: Tensor) -> None:
        super().__init__()
        self.strength = strength
        for name, size in sizes.items() if strength else ():
            self.register_buffer(f"mean_{name}", like.new_zeros(size))

    def add_to(self, gradient: Tensor, activations: Tensor, n_real: int, *, area: str) -> None:
        """Take the mean activities on, and add dP / dh to the gradient of the real examples.

        Parameters
        ----------
        gradient, activations : Tensor, shape (batch, size, ...)
        n_real : int
        area : str
        """
        if not self.strength:
            return
        real = activations[:n_real]
        means = self.get_buffer(f"mean_{area}")
        of_batch = real.transpose(0, 1).flatten(1).mean(dim=1)
        means.mul_(_DECAY_OF_MEANS).add_(of_batch, alpha=1 - _DECAY_OF_MEANS)
        n_averaged = real.numel() // real.shape[1]
        factor = 2 * self.strength * (1 - _DECAY_OF_MEANS) / (len(means) * n_averaged)
        pull = factor * (means - means.mean())
        gradient[:n_real] += pull.view(-1, *[1] * (real.ndim - 2))


def peers_of(network: Network, strength: float) -> PeerNormalisation:
    """Return the peer normalisation of the hidden layers of a network."""
    settings = [stage.area.settings for stage in stages(network)[:-1]]
    sizes = {
        each.name: each.channels if isinstance(each, Area) else each.units for each in settings
    }
    return PeerNormalisation(strength, sizes, next(network.parameters()))


def contrast_layers(
    hidden: Sequence[Stage],
    drive: Tensor,
    *,
    n_real: int,
    goodness: Goodness,
    peers: PeerNormalisation,
) -> Tensor:
    """Write the gradient of each layer's own loss into its own weights, all in one pass.

    h_l = f_l(h_{l-1}^), where h_{l-1}^ is without a graph;  dW_l = -lr dL_l / dW_l

    Parameters
    ----------
    hidden : sequence of Stage
        From below to above.
    drive : Tensor, shape (batch, ...)
        Of the first area, with its graph; real examples first, then false ones.
    n_real : int
    goodness : Goodness
    peers : PeerNormalisation

    Returns
    -------
    Tensor, shape ()
        Sum of the layers' losses.
    """
    total = drive.new_zeros(())
    answers: list[Tensor] = []
    gradients: list[Tensor] = []
    for stage, above in zip(hidden, [*hidden[1:], None], strict=True):
        answer = stage.area.respond_to(drive)
        activations = answer.detach()
        loss, gradient = goodness.contrast(activations, n_real)
        peers.add_to(gradient, activations, n_real, area=stage.name)
        total = total + loss
        if answer.requires_grad:
            answers.append(answer)
            gradients.append(gradient)
        if above is not None:
            drive = above.drive(normalised(activations))
    if trained := weights_of(hidden):
        write(trained, torch.autograd.grad(answers, trained, gradients))
    return total


def write(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Put gradients where the optimiser finds them."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def answers_normalised(hidden: Sequence[Stage], images: Tensor) -> list[Tensor]:
    """Return h^ of each layer, each from that below, of shape (batch, ...)."""
    arriving, found = normalised(images), []
    for stage in hidden:
        arriving = normalised(stage(arriving))
        found.append(arriving)
    return found


class OnePassReadout(nn.Module):
    """A linear readout of all layers but the first, from one pass: A_2 h_2^ + ... + A_L h_L^ + b.

    The network's own readout reads the highest layer; this module holds the weights of those
    between, which start at 0.

    Parameters
    ----------
    network : Network
        A chain of areas.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        chain = stages(network)
        self.hidden = chain[:-1]
        self.own = chain[-1]
        weight = next(network.parameters())
        blank = weight.new_ones(1, *network.image_shape)
        with torch.no_grad(), evaluation_mode(network):
            layers = answers_normalised(self.hidden, blank)[1:-1]
            n_classes = self.own(self.hidden_answers(blank)[-1]).shape[1]
        between = [FullyConnected((n_classes, each[0].numel())).to(weight) for each in layers]
        self.between = nn.ModuleList(between)

    def hidden_answers(self, images: Tensor) -> list[Tensor]:
        """Return h^ of every layer that is read, of shape (batch, ...)."""
        return answers_normalised(self.hidden, images)[-len(self.hidden) + 1 :]

    def parameters_read(self) -> tuple[nn.Parameter, ...]:
        """Return the weights and the bias of the readout, the network's own among them."""
        return trainable(*self.own, self.between)

    def scores(self, answers: Sequence[Tensor]) -> Tensor:
        """Return (batch, n_classes), from what `hidden_answers` returns."""
        total = self.own(answers[-1])
        for op, answer in zip(self.between, answers[:-1], strict=True):
            total = total + op(answer)
        return total

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of images, of shape (batch, n_classes)."""
        return self.scores(self.hidden_answers(images))

    def on_fixed_features(self, images: Tensor) -> Tensor:
        """Return the same, with a graph that ends at what is read."""
        with torch.no_grad():
            answers = self.hidden_answers(images)
        return self.scores(answers)

    def train_on(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Write the gradient of the mean cross-entropy into the readout, and nothing below.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width)
        labels : int64 Tensor, shape (batch,)

        Returns
        -------
        loss : Tensor, shape ()
        scores : Tensor, shape (batch, n_classes)
        """
        scores = self.on_fixed_features(images)
        loss = functional.cross_entropy(scores, labels)
        trained = self.parameters_read()
        write(trained, torch.autograd.grad(loss, trained))
        return loss.detach(), scores.detach()


def respond_normalised(
    network: Network,
    images: Tensor,
    layers: Sequence[str] | None,
    *,
    probed: Probed,
    readout: Callable[[], Tensor],
) -> Iterator[Step]:
    """Yield the activations of a network whose areas pass on only the direction of their activity.

    Parameters
    ----------
    network : Network
    images : Tensor, shape (batch, channels, height, width)
        As they enter the network, with the neutral label written in.
    layers : sequence of str or None
    probed : {"normalised", "raw"}
        Whether activations are given as passed on, or with their length.
    readout : callable
        Returns the activations of the readout.

    Yields
    ------
    Step
    """
    chosen = check_layers(layers, network.layer_names, model=network.name)

    def carry(connection: Connection, activations: Tensor, gain: float) -> Tensor:
        return connection(normalised(activations), gain=gain)

    steps = network.run(images.to(device_of(network)), carry=carry)
    for index in range(network.n_steps):
        with evaluation_mode(network), torch.no_grad():  # not across the yield
            found = next(steps)
            answers = {name: found[name] for name in chosen if name != READOUT}
            if probed == "normalised":
                answers = {name: normalised(each) for name, each in answers.items()}
            if READOUT in chosen:
                answers[READOUT] = readout()
        yield Step(index, {name: answers[name] for name in chosen})

"""Inference: values settle between what is predicted from below and what errors demand from above.

    E = 1/2 sum_n |v_n - f_n(v_parents)|^2 + E_output

    dv_n/dt = -e_n + sum_c J_cn^T e_c,  e_n = v_n - f_n,

over the hidden nodes n of a network and their children c. All sums run within an example, so that
examples settle independently of the batch they are in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.predictive_coding.clamped_output import ClampedOutput
from brainscore_lite.learning_rules.predictive_coding.prediction_graph import (
    PredictionGraph,
    write_gradients,
)
from brainscore_lite.networks.network import Node


class Inference:
    """Values of a network on the way to the minimum of their energy, for a batch.

    Parameters
    ----------
    graph : PredictionGraph
    images : Tensor, shape (batch, channels, height, width)
        Clamped.
    step_size : float
        Of the values.
    values : mapping of Node to Tensor, optional
        Where the hidden nodes begin; by default at their predictions, layer after layer (the
        forward pass).

    Attributes
    ----------
    values, predictions, errors : dict of Node to Tensor, each of shape (batch, ...)
        Of this moment. The output has no value of its own; its error is the clamped output's.
    scores_at_start : Tensor, shape (batch, n_classes)
        What the output predicts before values move.
    residual : float
        |feedback - e| / |feedback| over all hidden nodes at the last step: 1 where nothing has
        moved, 0 at the fixed point.
    """

    def __init__(
        self,
        graph: PredictionGraph,
        images: Tensor,
        *,
        step_size: float,
        values: Mapping[Node, Tensor] | None = None,
    ) -> None:
        self.graph = graph
        self.images = images
        self.step_size = step_size
        self.residual = 0.0
        self.errors: dict[Node, Tensor] = {}
        if values is None:
            self.predictions, self.values = graph.start(images)
        else:
            self.values = {n: v.detach().clone().requires_grad_() for n, v in values.items()}
            self.predictions = graph.predict(images, self.values)
        self.scores_at_start = self.predictions[graph.output].detach()
        self._from_the_image = {node: self.predictions[node] for node in graph.first}

    def settle(self, output: ClampedOutput, *, n_steps: int) -> None:
        """Move values down their energy with the weights held.

        v_n <- v_n + step_size (feedback_n - e_n)

        Parameters
        ----------
        output : ClampedOutput
        n_steps : int
        """
        for index in range(n_steps):
            self._find_errors(output)
            sent = self.graph.send_down(self.predictions, self.values, self.errors, keep=False)
            self._move(sent, measure=index == n_steps - 1)
            self.predictions = self.graph.predict(
                self.images, self.values, known=self._from_the_image
            )
        self._find_errors(output)

    def settle_and_learn(
        self, output: ClampedOutput, parameters: Sequence[nn.Parameter], *, factor: float
    ) -> None:
        """Move values by one step, and write the gradients of the energy where they came from.

        Values and weights are pulled at the same moment: both derivatives are taken before either
        moves. Call `predict_anew` once the weights have been stepped.

        Parameters
        ----------
        output : ClampedOutput
        parameters : sequence of Parameter
        factor : float
            As in `write_gradients`.
        """
        self._find_errors(output)
        learning = [node for node in self.errors if self.predictions[node].requires_grad]
        hidden = list(self.values)
        found = torch.autograd.grad(
            [self.predictions[node] for node in learning],
            [*self.values.values(), *parameters],
            grad_outputs=[self.errors[node] for node in learning],
            materialize_grads=True,
        )
        self._move(dict(zip(hidden, found[: len(hidden)], strict=True)), measure=False)
        for parameter, gradient in zip(parameters, found[len(hidden) :], strict=True):
            parameter.grad = gradient.mul_(-factor)

    def predict_anew(self) -> None:
        """Take up weights that have changed."""
        self.predictions = self.graph.predict(self.images, self.values)

    def write_gradients(self, parameters: Sequence[nn.Parameter], *, factor: float) -> None:
        """Write the gradients of the energy at the values of this moment."""
        write_gradients(parameters, self.predictions, self.errors, factor=factor)

    def energies(self, output: ClampedOutput) -> Tensor:
        """Return the energy of each example, shape (batch,)."""
        with torch.no_grad():
            total = output.energies(self.predictions[self.graph.output])
            for node, value in self.values.items():
                error = value - self.predictions[node]
                total = total + 0.5 * error.square().flatten(1).sum(dim=1)
        return total

    @torch.no_grad()
    def _find_errors(self, output: ClampedOutput) -> None:
        self.errors = {n: value - self.predictions[n] for n, value in self.values.items()}
        self.errors[self.graph.output] = output.errors(self.predictions[self.graph.output])

    @torch.no_grad()
    def _move(self, sent: Mapping[Node, Tensor], *, measure: bool) -> None:
        unbalanced = feedback = 0.0
        for node, value in self.values.items():
            if measure:
                feedback += sent[node].square().sum().item()
                unbalanced += (sent[node] - self.errors[node]).square().sum().item()
            value.add_(sent[node], alpha=self.step_size)
            value.sub_(self.errors[node], alpha=self.step_size)
        if measure:
            self.residual = math.sqrt(unbalanced / feedback) if feedback > 0 else 0.0

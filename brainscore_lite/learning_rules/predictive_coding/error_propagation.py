"""How errors spread from the output while predictions stay fixed, in three exact ways.

With frozen Jacobians the errors obey a linear recurrence,

    e_n(t+1) = (1 - eta) e_n(t) + eta sum_c J_cn^T e_c,

over the children c of node n, with e(0) = 0 and the output's error held. Its solution sums over
the paths from the node to the output: e_n(T) = sum_k a_k(T) d_n^(k), where d_n^(k) is what
backpropagation would send along the paths of k edges, and a_k(T) is one number for all units.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.predictive_coding.prediction_graph import (
    CutPass,
    PredictionGraph,
)
from brainscore_lite.networks.network import Node

Order = Literal["synchronous", "backward"]


def arrived(n_edges: int, *, step_size: float, n_steps: int, order: Order) -> tuple[float, ...]:
    """Return the share a_k(T) of the error that has come along paths of k = 0 ... n_edges edges.

    a_0 = 1; a_k(0) = 0; a_k(t+1) = (1 - eta) a_k(t) + eta a_{k-1}(t), and with a_{k-1}(t+1) on the
    right where nodes are updated backward from the output, each with its children's new errors.

    Parameters
    ----------
    n_edges : int
    step_size : float
        eta.
    n_steps : int
        T.
    order : {"synchronous", "backward"}

    Returns
    -------
    tuple of float, length n_edges + 1

    Examples
    --------
    >>> shares = arrived(3, step_size=0.1, n_steps=20, order="synchronous")
    >>> [round(share, 3) for share in shares]
    [1.0, 0.878, 0.608, 0.323]
    """
    shares = [1.0] + [0.0] * n_edges
    for _ in range(n_steps):
        before = tuple(shares)
        for k in range(1, n_edges + 1):
            source = before if order == "synchronous" else shares
            shares[k] = (1 - step_size) * before[k] + step_size * source[k - 1]
    return tuple(shares)


def errors_by_path_length(
    graph: PredictionGraph, cut: CutPass, output_error: Tensor, *, shares: tuple[float, ...]
) -> dict[Node, Tensor]:
    """Sum the solution over path lengths: each vector-Jacobian product is taken once.

    Parameters
    ----------
    graph : PredictionGraph
    cut : CutPass
    output_error : Tensor, shape (batch, n_classes)
    shares : tuple of float
        a_k(T), for k from 0 to the graph's depth.

    Returns
    -------
    dict of Node to Tensor
        e_n(T); nodes that no error has reached are left out.
    """
    errors = {graph.output: output_error}
    wave = {graph.output: output_error}
    for share in shares[1:]:
        if share == 0.0:  # so are all that follow
            break
        wave = graph.send_down(cut.predictions, cut.values, wave, keep=True)
        for node, sent in wave.items():
            if node in errors:
                errors[node] = errors[node].add(sent, alpha=share)
            else:
                errors[node] = share * sent
    return errors


def errors_step_by_step(
    graph: PredictionGraph,
    cut: CutPass,
    output_error: Tensor,
    *,
    step_size: float,
    n_steps: int,
    order: Order,
    images: Tensor | None = None,
) -> dict[Node, Tensor]:
    """Iterate the recurrence, one vector-Jacobian product of the whole graph per step.

    Errors are updated in place; nodes that no error has reached yet cost nothing.

    Parameters
    ----------
    graph : PredictionGraph
    cut : CutPass
    output_error : Tensor, shape (batch, n_classes)
    step_size, n_steps, order
        As in `arrived`.
    images : Tensor, optional
        If given, the graph is built anew at every step, as code does that does not use that the
        Jacobians are frozen. The numbers are the same, and running statistics are left alone.

    Returns
    -------
    dict of Node to Tensor
        e_n(T); nodes that no error has reached are left out.
    """
    errors = {graph.output: output_error}
    predictions = cut.predictions
    for _ in range(n_steps):
        if images is not None:
            with running_statistics_held(graph.network):
                predictions = graph.predict(images, cut.values)
        if order == "synchronous":
            sent = graph.send_down(predictions, cut.values, errors, keep=images is None)
            _approach(errors, sent, step_size=step_size)
        else:
            _sweep_backward(graph, predictions, cut, errors, step_size=step_size)
    return errors


@contextmanager
def running_statistics_held(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the batch's statistics without keeping them."""
    tracking = [
        part
        for part in network.modules()
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.track_running_stats
    ]
    for part in tracking:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in tracking:
            part.track_running_stats = True


def _approach(errors: dict[Node, Tensor], sent: dict[Node, Tensor], *, step_size: float) -> None:
    """Move each error by a step towards what its children send: e += eta (sent - e)."""
    for node, target in sent.items():
        if node in errors:
            errors[node].lerp_(target, step_size)
        else:
            errors[node] = step_size * target


def _sweep_backward(
    graph: PredictionGraph,
    predictions: dict[Node, Tensor],
    cut: CutPass,
    errors: dict[Node, Tensor],
    *,
    step_size: float,
) -> None:
    """Update node after node from the output down, each with its children's new errors."""
    pending: dict[Node, Tensor] = {}
    for node in reversed(graph.nodes):
        if node in pending:
            _approach(errors, {node: pending.pop(node)}, step_size=step_size)
        if node in errors and graph.parents[node]:
            sent = torch.autograd.grad(
                predictions[node],
                [cut.values[parent] for parent in graph.parents[node]],
                grad_outputs=errors[node],
                retain_graph=True,
            )
            for parent, each in zip(graph.parents[node], sent, strict=True):
                pending[parent] = pending[parent] + each if parent in pending else each

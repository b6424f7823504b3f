"""Presynaptic times postsynaptic activity, of which local rules and gradients are made."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from brainscore_lite.networks.connections import Convolution, FullyConnected, Operation


def correlation(op: Operation, seen: Tensor, postsynaptic: Tensor) -> Tensor:
    """Sum presynaptic times postsynaptic activity over the batch, and over positions.

    C_ki = sum_s y_k(s) x_i(s): the gradient of the weight where y is the error of the drive.

    Parameters
    ----------
    op : Convolution, LocallyConnected or FullyConnected
    seen : Tensor, shape (batch, ...)
        Input of `op`.
    postsynaptic : Tensor, shape (batch, n_units, ...)
        Laid out as the output of `op`. Any number of units, except where each place has weights
        of its own.

    Returns
    -------
    Tensor, shape (n_units, ...)
        As the weight of `op`.
    """
    if isinstance(op, Convolution):
        shape = (postsynaptic.shape[1], *op.weight.shape[1:])
        return conv2d_weight(seen, shape, postsynaptic, stride=op.stride, padding=op.padding)
    if isinstance(op, FullyConnected):
        return postsynaptic.T @ seen.flatten(1)
    with torch.enable_grad():
        weight = op.weight.detach().requires_grad_()
        return torch.autograd.grad(op(seen, weight), weight, postsynaptic)[0]

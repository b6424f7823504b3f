"""Nudged phases: the network settles again under beta L, for several beta at once.

Where F(beta) = E + beta L at its fixed point, dL/dtheta is the slope of dF/dtheta by beta at 0.
Every variant of equilibrium propagation estimates it as a weighted sum over points beta_k:

dL/dtheta ~ sum_k c_k dF/dtheta(s^beta_k)
"""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.energy.fixed_points import FixedPointEstimator, FreePhase
from brainscore_lite.learning_rules.energy.hopfield import States, add
from brainscore_lite.learning_rules.energy.objectives import joined, stacked
from brainscore_lite.learning_rules.energy.settling import settle


class Point(NamedTuple):
    """A strength of the nudge, and the coefficient of what is measured there."""

    beta: complex
    coefficient: complex


def one_sided(beta: float) -> tuple[Point, ...]:
    """Return the difference quotient between 0 and beta, with an error of order beta."""
    return (Point(0.0, -1 / beta), Point(beta, 1 / beta))


def centered(beta: float) -> tuple[Point, ...]:
    """Return the difference quotient between -beta and beta, with an error of order beta^2."""
    return (Point(beta, 0.5 / beta), Point(-beta, -0.5 / beta))


def around_a_circle(radius: float, n_points: int) -> tuple[Point, ...]:
    """Return Cauchy's integral for the derivative at 0 as a sum over a circle.

    beta_k = r e^(i theta_k),    c_k = e^(-i theta_k) / (n r),    theta_k = 2 pi k / n

    States at conjugate points are conjugate, so only those with theta_k <= pi are settled, and
    each in between counts twice. Two points are the centered difference.
    """
    points = []
    for k in range(n_points // 2 + 1):
        on_the_line = k == 0 or 2 * k == n_points
        direction = (
            complex(1 if k == 0 else -1) if on_the_line else cmath.exp(2j * cmath.pi * k / n_points)
        )
        share = (1 if on_the_line else 2) / (n_points * radius)
        points.append(Point(radius * direction, share * direction.conjugate()))
    return tuple(points)


def nudged_gradient(
    estimator: FixedPointEstimator,
    free: FreePhase,
    targets: Tensor,
    points: Sequence[Point],
    *,
    n_steps: int,
) -> dict[nn.Parameter, Tensor]:
    """Settle at all points in one batch, and return the estimate of the gradient.

    Parameters
    ----------
    estimator : FixedPointEstimator
    free : FreePhase
        Where each nudged phase starts, and what is measured at beta = 0.
    targets : Tensor, shape (batch, n_classes)
    points : sequence of Point
    n_steps : int

    Returns
    -------
    dict of Parameter to Tensor
        Mean over the batch.
    """
    moving = [point for point in points if point.beta != 0]
    complex_valued = any(point.beta.imag for point in moving)
    n_points, n_images = len(moving), len(targets)
    energy = free.energy.repeated(n_points, imaginary=n_points if complex_valued else 0)
    states = _copied(free.states, n_points, complex_valued=complex_valued)
    beta = _column([point.beta for point in moving], n_images, targets, complex_valued)
    y = targets.repeat(n_points, 1)
    objective = free.objective

    def answer(name: str, drive: Tensor, before: States) -> Tensor:
        if name in objective.nudged:
            drive = objective.nudge(name, drive, before, beta, y)
        if not complex_valued:
            return estimator.answer(name, drive, before)
        return stacked(estimator.answer(name, joined(drive), before))

    settle(energy, states, answer, n_steps=n_steps, first=objective.nudged)
    unmoved = [point for point in points if point.beta == 0]
    coefficients = [point.coefficient / n_images for point in (*moving, *unmoved)]
    weights = _column(coefficients, n_images, targets, complex_valued)
    if unmoved:
        states = {n: torch.cat([state, free.states[n]]) for n, state in states.items()}
    found = phase_gradient(free, states, -weights)
    moved_weights = weights[: n_points * n_images] * beta
    if unmoved:
        states = {n: state[: n_points * n_images] for n, state in states.items()}
    for parameter, gradient in objective.gradient(states, y, moved_weights).items():
        add(found, parameter, gradient)
    return found


def phase_gradient(free: FreePhase, states: States, weights: Tensor) -> dict[nn.Parameter, Tensor]:
    """Return the sum of dPhi/dtheta over the rows of settled states, each with its weight.

    Parameters
    ----------
    free : FreePhase
        Its images are those of each block of rows.
    states : dict of str to Tensor, each of shape (rows, ...)
        Rows are blocks of one batch, real parts above imaginary parts where weights are complex.
    weights : Tensor, shape (rows, 1)
    """
    targets: States = {}
    clamped: States = {}
    n_images = len(free.energy.image)
    for name, state in states.items():
        weight = weights.view(-1, *(1,) * (state.ndim - 1))
        if weights.is_complex():
            weighted = stacked((weight * joined(state)).conj())
        else:
            weighted = weight * state
        targets[name] = weighted
        # The image is the same at every point, so what it meets is summed before the product.
        real = weighted[: len(weights)]
        clamped[name] = real.unflatten(0, (-1, n_images)).sum(dim=0)
    return free.energy.gradient(states, targets, clamped)


def _copied(states: States, n_points: int, *, complex_valued: bool) -> States:
    copies: States = {}
    for name, state in states.items():
        real = torch.cat([state] * n_points)
        copies[name] = torch.cat([real, torch.zeros_like(real)]) if complex_valued else real
    return copies


def _column(values: Sequence[complex], rows: int, like: Tensor, complex_valued: bool) -> Tensor:
    """Return each value for as many rows, of shape (len(values) * rows, 1)."""
    numbers = torch.tensor(values, dtype=torch.complex128)
    numbers = numbers.to(like.device)
    cast = numbers.to(torch.complex64 if like.dtype == torch.float32 else torch.complex128)
    column = cast if complex_valued else numbers.real.to(like.dtype)
    return column.repeat_interleave(rows).unsqueeze(1)

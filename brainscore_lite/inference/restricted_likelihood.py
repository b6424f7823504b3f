"""Variance components of a linear mixed model by restricted maximum likelihood (NumPy only)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]
_STARTS = (1.0, 0.01)
_LARGEST_RATIO = 1e8


class NotConvergedError(ValueError):
    """The maximum of the likelihood was not found."""


@dataclass(frozen=True, eq=False)
class RestrictedFit:
    """A mixed model at the maximum of its restricted likelihood.

    Parameters
    ----------
    coefficients : ndarray, shape (n_fixed,)
    covariance : ndarray, shape (n_fixed, n_fixed)
        Of the coefficients.
    variances : ndarray, shape (n_random,)
        Of the random effects, at least 0.
    residual : float
        Variance of the residual.
    log_likelihood : float
        The restricted one.
    """

    coefficients: Floats
    covariance: Floats
    variances: Floats
    residual: float
    log_likelihood: float


def restricted_fit(y: Floats, X: Floats, *, Z: Sequence[Floats]) -> RestrictedFit:
    """Fit y = X beta + sum_f Z_f u_f + e with u_f ~ N(0, s2_f), e ~ N(0, s2).

    With the ratios r_f = s2_f / s2, D = diag(sqrt(r_f)) over all levels, A = D Z'Z D + I and H the
    information X' V^-1 X of the coefficients (V = Z D^2 Z' + I), the restricted likelihood,
    maximised over beta and s2, is

        -2 log L = log |A| + log |H| + (n - p) (1 + log(2 pi s2)),
        s2 = (y - X beta)' V^-1 (y - X beta) / (n - p),

    which is minimised over r >= 0; only matrices of levels x levels are factorised.

    Parameters
    ----------
    y : ndarray, shape (n_rows,)
    X : ndarray, shape (n_rows, n_fixed)
        Of full rank.
    Z : sequence of ndarray, shape (n_rows, n_levels) each
        1 where a row has a level.

    Returns
    -------
    RestrictedFit

    Raises
    ------
    NotConvergedError
        If the minimum is not found from any start, or the residual vanishes.

    References
    ----------
    Bates, Maechler, Bolker & Walker (2015), doi:10.18637/jss.v067.i01.
    """
    # In an orthonormal basis, and without the part of y that it holds, nothing is lost to rounding.
    basis, triangle = np.linalg.qr(X)
    plain = basis.T @ y
    rest = y - basis @ plain
    levels = np.concatenate(Z, axis=1)
    profile = _Profile(
        ZZ=levels.T @ levels,
        ZX=levels.T @ basis,
        Zy=levels.T @ rest,
        yy=float(rest @ rest),
        n_rows=len(y),
        n_levels=np.array([block.shape[1] for block in Z]),
    )
    ratios = _minimised(profile)
    at = profile.at(ratios)
    back = solve_triangular(triangle, np.eye(len(triangle)))
    root = back @ solve_triangular(at.half, np.eye(len(at.half)), lower=True).T
    return RestrictedFit(
        coefficients=back @ (plain + at.beta),
        covariance=at.residual * root @ root.T,
        variances=at.residual * ratios,
        residual=at.residual,
        # |X'V^-1 X| in the columns of X itself, as others report it
        log_likelihood=-0.5 * at.deviance - float(np.log(np.abs(np.diagonal(triangle))).sum()),
    )


def _minimised(profile: "_Profile") -> Floats:
    """Return the ratios at the lowest minimum that the starts lead to."""
    bounds = [(0.0, _LARGEST_RATIO)] * len(profile.n_levels)
    found = [
        minimize(
            profile.slope,
            np.full(len(bounds), start),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"ftol": 1e-15, "gtol": 1e-8, "maxiter": 500},
        )
        for start in _STARTS
    ]
    best = min(found, key=lambda one: float(one.fun))
    if not np.isfinite(best.fun) or (best.x >= _LARGEST_RATIO).any():
        raise NotConvergedError(
            "no maximum of the restricted likelihood was found: the residual is about 0, so that "
            "the fixed and random effects describe every row. Name fewer of them."
        )
    ratios: Floats = best.x
    return ratios


@dataclass(frozen=True, eq=False)
class _Point:
    """The likelihood at some ratios, with the lower factor of H that it needs."""

    half: Floats
    beta: Floats
    residual: float
    deviance: float
    gradient: Floats


@dataclass(frozen=True, eq=False)
class _Profile:
    """Products of Z, X (orthonormal) and y (without X), of which the likelihood is a function."""

    ZZ: Floats
    ZX: Floats
    Zy: Floats
    yy: float
    n_rows: int
    n_levels: NDArray[np.int64]

    def slope(self, ratios: Floats) -> tuple[float, Floats]:
        """Return -2 log L and its gradient."""
        point = self.at(ratios)
        return point.deviance, point.gradient

    def at(self, ratios: Floats) -> _Point:
        """Evaluate -2 log L, and its gradient diag(Z'PZ) - (Z'Py)^2 / s2 summed over levels.

        P = V^-1 - V^-1 X H^-1 X' V^-1.
        """
        scale = np.repeat(np.sqrt(ratios), self.n_levels)
        lower = np.linalg.cholesky(scale[:, None] * self.ZZ * scale + np.eye(len(scale)))
        RZ, RX, Ry = (
            solve_triangular(lower, (scale * each.T).T, lower=True)
            for each in (self.ZZ, self.ZX, self.Zy)
        )
        half = np.linalg.cholesky(np.eye(RX.shape[1]) - RX.T @ RX)
        c = solve_triangular(half, -RX.T @ Ry, lower=True)
        freedom = self.n_rows - len(c)
        residual = max(self.yy - float(Ry @ Ry) - float(c @ c), np.finfo(float).tiny) / freedom
        logs = np.log(np.diagonal(lower)).sum() + np.log(np.diagonal(half)).sum()
        ZVX = solve_triangular(half, (self.ZX - RZ.T @ RX).T, lower=True)
        ZPZ = np.diagonal(self.ZZ) - (RZ**2).sum(axis=0) - (ZVX**2).sum(axis=0)
        ZPy = self.Zy - RZ.T @ Ry - ZVX.T @ c
        ends = np.cumsum(self.n_levels)[:-1]
        slopes = np.split(ZPZ - ZPy**2 / residual, ends)
        return _Point(
            half=half,
            beta=solve_triangular(half.T, c),
            residual=float(residual),
            deviance=float(2 * logs + freedom * (1 + np.log(2 * np.pi * residual))),
            gradient=np.array([slope.sum() for slope in slopes]),
        )

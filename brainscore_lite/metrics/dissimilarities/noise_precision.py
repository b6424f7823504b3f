"""Covariance of noise between units and its inverse, from residuals or repeated trials.

NumPy only.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.schema import ContractError

Shrinkage = Literal["shrinkage_diag", "shrinkage_eye", "diag", "full"]
Floats = NDArray[np.float64]
_ROUNDING = 64 * float(np.finfo(np.float64).eps)


def noise_precision(
    trials: ArrayLike, *, method: Shrinkage = "shrinkage_diag", dof: int | None = None
) -> Floats:
    """Estimate the inverse covariance of noise between units from repeated trials.

    Residuals are trials less the mean of their stimulus; their covariance has
    n_trials - n_stimuli degrees of freedom. See :func:`noise_covariance` for the estimators.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_units) or (..., n_time_bins)
        NaN where a trial was not recorded. With time bins each has a precision of its own.
    method : {"shrinkage_diag", "shrinkage_eye", "diag", "full"}
    dof : int, optional
        Degrees of freedom, where they are not n_trials - n_stimuli.

    Returns
    -------
    ndarray, shape (n_units, n_units) or (n_time_bins, n_units, n_units)

    Raises
    ------
    ContractError
        If nothing is repeated, units were recorded in different trials (except for "diag"), a
        unit has no noise, or the covariance has no inverse.

    References
    ----------
    Walther et al. (2016), doi:10.1016/j.neuroimage.2015.12.012.

    Examples
    --------
    >>> trials = np.random.default_rng(0).normal(size=(50, 20, 2)) * [1.0, 2.0]
    >>> noise_precision(trials, method="diag").round(1).tolist()
    [[1.0, 0.0], [0.0, 0.3]]
    """
    _check_shrinkage(method)
    values = np.asarray(trials, dtype=np.float64)
    if values.ndim == 4:
        bins = np.moveaxis(values, -1, 0)
        return np.stack([noise_precision(one, method=method, dof=dof) for one in bins])
    if values.ndim != 3 or 0 in values.shape:
        raise ContractError(
            f"trials have shape {values.shape}, expected (n_repetitions, n_stimuli, n_units) or "
            "the same with time bins, at least one of each."
        )
    if np.isinf(values).any():
        raise ContractError("trials hold infinite values. Mark trials not recorded as NaN.")
    recorded = np.isfinite(values)
    counts = recorded.sum(axis=0)
    means = np.where(recorded, values, 0.0).sum(axis=0) / np.maximum(counts, 1)
    residuals = _beyond_rounding(
        np.where(recorded, values - means, 0.0), np.where(recorded, values, 0.0)
    )
    if method == "diag":
        freedom = (counts - (counts > 0)).sum(axis=0) if dof is None else dof
        return _inverse(np.diag(_variance(residuals, freedom)), method)
    if (recorded != recorded[:, :, :1]).any():
        repetition, stimulus, unit = np.argwhere(recorded != recorded[:, :, :1])[0]
        raise ContractError(
            f"units were recorded in different trials (first: repetition {repetition}, stimulus "
            f"{stimulus}, unit {unit}), so their noise has no joint covariance. Use 'diag', or "
            "leave out those trials or units."
        )
    there = recorded[:, :, 0]
    freedom = int(there.sum() - there.any(axis=0).sum()) if dof is None else dof
    return _inverse(_covariance(residuals[there], freedom, method=method), method)


def precision_from_residuals(
    residuals: ArrayLike, *, method: Shrinkage = "shrinkage_diag", dof: int | None = None
) -> Floats:
    """Estimate the inverse covariance of noise between units from residuals of a model.

    Parameters
    ----------
    residuals : array, shape (n_residuals, n_units)
    method : {"shrinkage_diag", "shrinkage_eye", "diag", "full"}
        See :func:`noise_covariance`.
    dof : int, optional
        n_residuals - 1 by default; less for each regressor of the model they are left from.

    Returns
    -------
    ndarray, shape (n_units, n_units)

    Raises
    ------
    ContractError
        See :func:`noise_covariance`; also if the covariance has no inverse.
    """
    return _inverse(noise_covariance(residuals, method=method, dof=dof), method)


def noise_covariance(
    residuals: ArrayLike, *, method: Shrinkage = "shrinkage_diag", dof: int | None = None
) -> Floats:
    """Estimate the covariance of noise between units from residuals.

    With S the sample covariance of the centred residuals:

    * full: S.
    * diag: the variances of S alone.
    * shrinkage_eye: towards a multiple of the identity, (b2/d2) m I + (1 - b2/d2) S, with
      m = mean variance, d2 = ||S - m I||^2 and b2 the summed variance of the entries of S, at
      most d2 (Ledoit & Wolf 2004).
    * shrinkage_diag: correlations times 1 - l, l = sum of the variances of the correlations over
      the sum of their squares, within [0, 1] (Schäfer & Strimmer 2005).

    The estimators are rsatoolbox's, constants included, from two matrix products where that loops
    over residuals.

    Parameters
    ----------
    residuals : array, shape (n_residuals, n_units)
    method : {"shrinkage_diag", "shrinkage_eye", "diag", "full"}
    dof : int, optional
        n_residuals - 1 by default.

    Returns
    -------
    ndarray, shape (n_units, n_units)

    Raises
    ------
    ContractError
        If values are not finite, there are no degrees of freedom, or a unit is constant.

    References
    ----------
    Ledoit & Wolf (2004), doi:10.1016/S0047-259X(03)00096-4; Schäfer & Strimmer (2005),
    doi:10.2202/1544-6115.1175.
    """
    _check_shrinkage(method)
    values = np.asarray(residuals, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ContractError(
            f"residuals have shape {values.shape}, expected (n_residuals, n_units)."
        )
    if not np.isfinite(values).all():
        broken = ~np.isfinite(values).all(axis=0)
        raise ContractError(
            f"residuals of {int(broken.sum())} of {broken.size} units hold NaN or inf; first: unit "
            f"{int(np.argmax(broken))}. Leave those residuals or units out."
        )
    freedom = len(values) - 1 if dof is None else dof
    residuals = _beyond_rounding(values - values.mean(axis=0), values)
    return _covariance(residuals, freedom, method=method)


def _check_shrinkage(method: str) -> None:
    """Raise if the name of an estimator of the noise covariance is unknown."""
    if method not in get_args(Shrinkage):
        raise ContractError(
            f"unknown estimator of the noise '{method}'; expected one of {get_args(Shrinkage)}."
        )


def _beyond_rounding(residuals: Floats, values: Floats) -> Floats:
    """Return residuals, exactly 0 for units (last axis) of which the mean leaves rounding only."""
    others = tuple(range(values.ndim - 1))
    rounding = _ROUNDING**2 * np.square(values).sum(axis=others)
    return np.where(np.square(residuals).sum(axis=others) > rounding, residuals, 0.0)


def _variance(residuals: Floats, dof: ArrayLike) -> Floats:
    """Return each unit's variance; the last axis is units."""
    freedom = np.asarray(dof)
    if (freedom < 1).any():
        raise ContractError(
            f"{int(freedom.min())} degrees of freedom, expected at least one: noise is estimated "
            "from stimuli with two or more trials, or from two or more residuals."
        )
    squares = np.square(residuals).reshape(-1, residuals.shape[-1])
    variance: Floats = squares.sum(axis=0) / freedom
    if not variance.all():
        raise ContractError(
            f"{int((variance == 0).sum())} of {variance.size} units have no noise (first: unit "
            f"{int(np.argmin(variance))}): they answer alike in all trials. Leave those units out."
        )
    return variance


def _covariance(residuals: Floats, dof: int, *, method: Shrinkage) -> Floats:
    """Estimate the covariance of centred residuals, shape (n_residuals, n_units)."""
    variance = _variance(residuals, dof)
    if method == "diag":
        return np.diag(variance)
    sample: Floats = residuals.T @ residuals / dof
    if method == "full" or len(variance) == 1:
        return sample
    squares = np.square(residuals)
    fourth: Floats = squares.T @ squares
    if method == "shrinkage_eye":
        return _shrunk_to_identity(sample, fourth, n=len(residuals), dof=dof)
    return _shrunk_to_diagonal(sample, fourth, n=len(residuals), dof=dof)


def _shrunk_to_identity(sample: Floats, fourth: Floats, *, n: int, dof: int) -> Floats:
    biased = sample * (dof / n)
    target = np.trace(biased) / len(biased) * np.eye(len(biased))
    distance = float(np.square(biased - target).sum())
    variance = min(distance, float((fourth / n - np.square(biased)).sum() / n))
    shrinkage = variance / distance if distance > 0 else 0.0
    shrunk: Floats = (shrinkage * target + (1 - shrinkage) * biased) * (n / dof)
    return shrunk


def _shrunk_to_diagonal(sample: Floats, fourth: Floats, *, n: int, dof: int) -> Floats:
    variance = np.diagonal(sample)
    scale = np.outer(variance, variance)
    correlation = sample * (dof / (n - 1)) / np.sqrt(scale)
    uncertainty = n / dof**2 * (fourth / scale / (n - 1) - np.square(correlation))
    off = ~np.eye(len(sample), dtype=bool)
    strength = float(np.square(correlation[off]).sum())
    shrinkage = float(uncertainty[off].sum()) / strength if strength > 0 else 1.0
    return np.where(off, (1 - min(max(shrinkage, 0.0), 1.0)) * sample, sample)


def _inverse(covariance: Floats, method: Shrinkage) -> Floats:
    # Of the correlations: the units may be recorded on scales that differ by orders of magnitude.
    deviation = np.sqrt(np.diagonal(covariance))
    scale = np.outer(deviation, deviation)
    correlation = covariance / scale
    if np.linalg.matrix_rank(correlation, hermitian=True) < len(covariance):
        raise ContractError(
            f"the noise covariance of {len(covariance)} units by '{method}' has no inverse: "
            "there are too few trials for so many units. Use 'shrinkage_diag'."
        )
    return np.asarray(np.linalg.inv(correlation) / scale)

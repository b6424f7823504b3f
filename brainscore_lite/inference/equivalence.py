"""Whether a difference is small: two one-sided tests against a margin."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainscore_lite.schema import ContractError


def two_one_sided_tests(
    estimate: ArrayLike, standard_error: ArrayLike, *, margin: float, dof: ArrayLike
) -> NDArray[np.float64]:
    """Test that a difference lies within -margin and +margin.

    p = max(P(T > (d + margin) / se), P(T > (margin - d) / se)), T of Student's t-distribution. A
    small p says that the difference is smaller than the margin; a large difference test's p says
    nothing of the kind.

    Parameters
    ----------
    estimate, standard_error : array, shape (n_differences,)
    margin : float
        In the unit of the score; chosen before the scores are seen.
    dof : float or array, shape (n_differences,)

    Returns
    -------
    ndarray, shape (n_differences,)

    Raises
    ------
    ContractError
        If the margin is not positive.

    References
    ----------
    Schuirmann (1987), doi:10.1007/BF01068419.
    """
    check_margin(margin)
    difference = np.asarray(estimate, dtype=np.float64)
    error = np.asarray(standard_error, dtype=np.float64)
    room = margin - np.abs(difference)
    certain = np.where(room > 0, np.inf, -np.inf)
    statistic = np.where(error > 0, room / np.where(error > 0, error, 1.0), certain)
    return np.asarray(stats.t.sf(statistic, dof), dtype=np.float64)


def check_margin(margin: float) -> None:
    """Raise if the margin of an equivalence test is not a positive number."""
    if not margin > 0 or not np.isfinite(margin):
        raise ContractError(
            f"the margin of equivalence is {margin}, expected a positive number in the unit of "
            "the score."
        )

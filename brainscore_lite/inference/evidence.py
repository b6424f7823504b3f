"""From draws of several quantities to intervals and tests of them and of their differences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from brainscore_lite.inference.dual_bootstrap import Factors, crossed_variance
from brainscore_lite.inference.equivalence import two_one_sided_tests
from brainscore_lite.inference.multiplicity import benjamini_hochberg, contrasts, holm, max_t

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Interval = Literal["t", "percentile"]
Variance = Literal["corrected", "uncorrected"]
Degrees = Literal["smallest", "satterthwaite"]
ALONE = -1
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Evidence:
    """Quantities (scores, ceiling bounds) with how they vary under every set of factors.

    Parameters
    ----------
    estimates : ndarray, shape (n_quantities,)
    joint : ndarray, shape (n_draws, n_quantities)
        The draws that resample all factors; all finite.
    covariances : mapping of set of factors to ndarray, shape (n_quantities, n_quantities)
        Over the draws that resample these factors.
    sizes : mapping of factor to float
        See ``crossed_variance``.
    entries_free : mapping of factor to int
        Degrees of freedom of each factor.
    level : float
        Of intervals.
    interval : {"t", "percentile"}
        ``t``: estimate +- t(dof) standard errors, and t-tests. ``percentile``: quantiles of the
        draws of all factors, and the share of draws on the other side, which with several factors
        have the uncorrected variance.
    variance : {"corrected", "uncorrected"}
        ``uncorrected``: that of the draws of all factors, times n/(n-1) of the smallest.
    degrees : {"smallest", "satterthwaite"}
        Of freedom. ``smallest``: of the factor with the fewest entries, as rsatoolbox, and on the
        safe side. ``satterthwaite``: v^2 / sum_f u_f^2 / dof_f for each contrast, u_f the variance
        over draws of factor f alone times n/(n-1): a small factor that adds little counts little.
    """

    estimates: Floats
    joint: Floats
    covariances: Mapping[Factors, Floats]
    sizes: Mapping[str, float]
    entries_free: Mapping[str, int]
    level: float
    interval: Interval
    variance: Variance
    degrees: Degrees

    @property
    def method(self) -> str:
        """How intervals and p-values are made, in words."""
        n_draws = len(self.joint)
        if self.interval == "percentile":
            return f"percentiles of {n_draws} bootstrap draws"
        how = "variance n/(n-1)" if len(self.sizes) == 1 else "variance corrected for crossing"
        if self.variance == "uncorrected":
            how = "variance uncorrected"
        dof = min(self.entries_free.values())
        shown = f"t({dof})" if self.degrees == "smallest" else "t with Satterthwaite's dof"
        return f"bootstrap of {n_draws} draws, {how}, {shown}"

    def differences(self, first: Positions, second: Positions) -> Floats:
        """Return quantities, or their differences; shape (n_contrasts,)."""
        difference: Floats = contrasts(self.estimates[None], first, second)[0]
        return difference

    def standard_errors(self, first: Positions, second: Positions) -> tuple[Floats, Floats]:
        """Return the standard errors of the same, 0 where draws do not differ, and their dof.

        The correction is applied to the variance of each contrast.
        """
        variances = {
            factors: _contrast_variances(covariance, first, second)
            for factors, covariance in self.covariances.items()
        }
        if self.variance == "uncorrected":
            corrected = variances[frozenset(self.sizes)] / (1 - 1 / min(self.sizes.values()))
        else:
            corrected = crossed_variance(variances, sizes=self.sizes)
        smallest = np.full(len(first), float(min(self.entries_free.values())))
        if self.degrees == "smallest":
            return np.sqrt(corrected), smallest
        spread = np.zeros(len(first))
        for factor, dof in self.entries_free.items():
            alone = variances[frozenset({factor})] / (1 - 1 / self.sizes[factor])
            spread += alone**2 / dof
        known = spread > 0
        free = np.where(known, corrected**2 / np.where(known, spread, 1.0), smallest)
        return np.sqrt(corrected), np.maximum(free, smallest)

    def table(
        self,
        first: Positions,
        second: Positions,
        *,
        two_sided: bool = True,
        margin: float | None = None,
    ) -> pd.DataFrame:
        """Test quantities or differences against zero.

        Parameters
        ----------
        first, second : ndarray of int, shape (n_contrasts,)
            Contrast k is quantity ``first[k]`` minus ``second[k]``, or the quantity alone where
            ``second[k]`` is -1.
        two_sided : bool
            Otherwise the alternative is that the contrast is positive.
        margin : float, optional
            Also test that the contrast lies within this margin of zero.

        Returns
        -------
        DataFrame
            One row for each contrast: estimate, low, high, standard_error, dof, statistic, p,
            p_holm, p_bh, p_max_t, and with a margin p_equivalence, equivalent.
        """
        estimate = self.differences(first, second)
        error, dof = self.standard_errors(first, second)
        drawn = contrasts(self.joint, first, second) if self.interval == "percentile" else None
        statistic = _ratio(estimate, error)
        low, high = self._limits(estimate, error, dof, drawn)
        p = _p_of(statistic, dof, drawn, two_sided=two_sided)
        scores = stats.norm.isf(p / 2 if two_sided else p)
        largest = max_t(scores, self.joint, first=first, second=second, two_sided=two_sided)
        table = pd.DataFrame(
            {
                "estimate": estimate,
                "low": low,
                "high": high,
                "standard_error": error,
                "dof": dof,
                "statistic": statistic,
                "p": p,
                "p_holm": holm(p),
                "p_bh": benjamini_hochberg(p),
                # finitely many draws may put the adjusted p below the single test's
                "p_max_t": np.maximum(largest, p),
            }
        )
        if margin is not None:
            table["p_equivalence"] = (
                two_one_sided_tests(estimate, error, margin=margin, dof=dof)
                if drawn is None
                else np.maximum(_share(drawn <= -margin), _share(drawn >= margin))
            )
            table["equivalent"] = table["p_equivalence"] <= 1 - self.level
        return table

    def _limits(
        self, estimate: Floats, error: Floats, dof: Floats, drawn: Floats | None
    ) -> tuple[Floats, Floats]:
        tail = (1 - self.level) / 2
        if drawn is None:
            reach = stats.t.ppf(1 - tail, dof) * error
            return estimate - reach, estimate + reach
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        return np.asarray(low), np.asarray(high)


def _p_of(statistic: Floats, dof: Floats, drawn: Floats | None, *, two_sided: bool) -> Floats:
    if drawn is None:
        size = np.abs(statistic) if two_sided else statistic
        return np.asarray(stats.t.sf(size, dof) * (2 if two_sided else 1))
    below, above = _share(drawn <= 0), _share(drawn >= 0)
    return np.minimum(2 * np.minimum(below, above), 1.0) if two_sided else below


def covariances_of(draws: Mapping[Factors, Floats]) -> dict[Factors, Floats]:
    """Return the covariances of quantities over draws, (n_draws, n_quantities) each."""
    return {factors: np.atleast_2d(np.cov(each, rowvar=False)) for factors, each in draws.items()}


def _contrast_variances(covariance: Floats, first: Positions, second: Positions) -> Floats:
    own = np.diagonal(covariance)
    other = np.where(second == ALONE, 0.0, own[second])
    shared = np.where(second == ALONE, 0.0, covariance[first, second])
    variance = own[first] + other - 2 * shared
    return np.where(variance <= _ROUNDING * (own[first] + other), 0.0, variance)


def _ratio(estimate: Floats, error: Floats) -> Floats:
    """Divide by the standard error; without one, 0 stays 0 and the rest is certain."""
    certain = np.where(estimate == 0, 0.0, np.copysign(np.inf, estimate))
    return np.asarray(np.where(error > 0, estimate / np.where(error > 0, error, 1.0), certain))


def _share(met: NDArray[np.bool_]) -> Floats:
    """Return the share of draws, the estimate counted as one more, so that it is never 0."""
    return np.asarray((met.sum(axis=0) + 1) / (len(met) + 1), dtype=np.float64)

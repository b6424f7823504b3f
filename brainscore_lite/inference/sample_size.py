"""How many seeds, stimuli and animals a comparison needs."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import nct
from scipy.stats import t as student

from brainscore_lite.schema import ContractError

_MOST_LEVELS = 100_000


def power(
    effect: float,
    variances: Mapping[str, float],
    *,
    levels: Mapping[str, int],
    alpha: float = 0.05,
) -> float:
    """Compute the chance that a difference between two models is found.

    The squared standard error of the difference is sum over factors f of s2_f / n_f; the test is
    a two-sided t-test with Satterthwaite's degrees of freedom,

        SE^4 / sum_f [(s2_f / n_f)^2 / (n_f - 1)],

    its power that of the noncentral t distribution.

    Parameters
    ----------
    effect : float
        The difference to be found, in the unit of the scores.
    variances : mapping
        Variance of the difference from level to level of each factor the conclusion is to hold
        for: between paired seeds, between animals. For stimuli take the number of stimuli times
        the squared bootstrap standard error over stimuli, which falls as 1/n (for RDMs faster at
        first, so that a smaller pilot asks for rather too many). From a pilot study compared by
        ``compare_models``: see the example.
    levels : mapping
        How many levels of each factor are measured, each at least 2.
    alpha : float

    Returns
    -------
    float

    Raises
    ------
    ContractError
        If the factors disagree, a variance is negative or all are 0, or a factor has one level.

    References
    ----------
    Satterthwaite (1946), doi:10.2307/3002019.

    Examples
    --------
    >>> variances = {"seeds": 0.02**2, "stimuli": 640 * 0.008**2}
    >>> round(power(0.03, variances, levels={"seeds": 10, "stimuli": 640}), 2)
    0.82

    Variances from a pilot study: generalise to one factor at a time; its number of levels times
    the squared standard error of the pair is the variance from level to level. What differs from
    seed to seed and stimulus to stimulus at once is then in both, so that the power is rather too
    low than too high.

    >>> from brainscore_lite.inference.model_comparison import compare_models
    >>> from brainscore_lite.metrics import RSA
    >>> rng = np.random.default_rng(0)
    >>> recorded = rng.random((1, 780))  # the dissimilarities of 40 stimuli
    >>> pilot = {name: [recorded[0] + noise * rng.random(780) for _ in range(6)]
    ...          for name, noise in (("a", 1.0), ("b", 1.5))}
    >>> sizes = {"seeds": 6, "stimuli": 40}
    >>> variances = {}
    >>> for factor, n in sizes.items():
    ...     found = compare_models(pilot, target=recorded, metric=RSA(), paired_seeds=True,
    ...                            generalise_to={factor}, n_draws=100)
    ...     variances[factor] = n * found.pairs["standard_error"].item() ** 2
    >>> more = power_table(0.1, variances, levels={"seeds": [6, 12], "stimuli": [40]})
    >>> more["power"].is_monotonic_increasing
    True
    """
    if not np.isfinite(effect):
        raise ContractError(f"effect is {effect}, expected a finite difference.")
    _check(variances, levels, alpha)
    parts = {name: variance / levels[name] for name, variance in variances.items()}
    squared_error = sum(parts.values())
    freedom = squared_error**2 / sum(p**2 / (levels[name] - 1) for name, p in parts.items())
    critical = student.ppf(1 - alpha / 2, freedom)
    shift = abs(effect) / np.sqrt(squared_error)
    beyond = nct.sf(critical, freedom, shift) + nct.cdf(-critical, freedom, shift)
    return float(beyond)


def sample_size(
    effect: float,
    variances: Mapping[str, float],
    *,
    levels: Mapping[str, int],
    vary: str,
    wanted_power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """Find the fewest levels of one factor that give the wanted power.

    Parameters
    ----------
    effect, variances : float, mapping
        As for :func:`power`.
    levels : mapping
        Levels of the other factors, which stay; that of `vary` is not read.
    vary : str
        The factor asked about, such as "seeds".
    wanted_power : float
    alpha : float

    Returns
    -------
    int

    Raises
    ------
    ContractError
        As for :func:`power`; if the factor is unknown; or if no number of its levels is enough,
        because the other factors alone leave too much error.

    Examples
    --------
    >>> variances = {"seeds": 0.02**2, "stimuli": 640 * 0.008**2}
    >>> sample_size(0.03, variances, levels={"stimuli": 640}, vary="seeds")
    9
    """
    if vary not in variances:
        raise ContractError(f"vary is '{vary}', expected one of {tuple(variances)}.")
    if not 0 < wanted_power < 1:
        raise ContractError(f"wanted_power is {wanted_power}, expected between 0 and 1.")

    def enough(n: int) -> bool:
        return power(effect, variances, levels={**levels, vary: n}, alpha=alpha) >= wanted_power

    if not enough(_MOST_LEVELS):
        rest = {name: n for name, n in levels.items() if name != vary}
        raise ContractError(
            f"no number of {vary} up to {_MOST_LEVELS} finds a difference of {effect} with power "
            f"{wanted_power}: with {rest} the other factors leave too much error. Raise those, or "
            "look for a larger difference."
        )
    low, high = 1, _MOST_LEVELS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def power_table(
    effect: float,
    variances: Mapping[str, float],
    *,
    levels: Mapping[str, Sequence[int]],
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Tabulate the power for every combination of numbers of levels.

    Parameters
    ----------
    effect, variances : float, mapping
        As for :func:`power`.
    levels : mapping to sequence of int
        The numbers to try for each factor.
    alpha : float

    Returns
    -------
    DataFrame
        One column for each factor, ``standard_error`` and ``power``.
    """
    rows = []
    for numbers in product(*levels.values()):
        chosen = dict(zip(levels, numbers, strict=True))
        found = power(effect, variances, levels=chosen, alpha=alpha)
        error = np.sqrt(sum(variance / chosen[name] for name, variance in variances.items()))
        rows.append({**chosen, "standard_error": float(error), "power": found})
    return pd.DataFrame(rows)


def _check(variances: Mapping[str, float], levels: Mapping[str, int], alpha: float) -> None:
    if set(variances) != set(levels) or not variances:
        raise ContractError(
            f"variances are of {sorted(variances)}, levels of {sorted(levels)}; give both for the "
            "same factors, at least one."
        )
    wrong = {name: v for name, v in variances.items() if not 0 <= v < np.inf}
    if wrong or not any(variances.values()):
        raise ContractError(
            f"variances are {dict(variances)}, expected finite ones of at least 0, not all 0. A "
            "negative estimate means none was found: set it to 0."
        )
    broken = {name: n for name, n in levels.items() if n != int(n)}
    if broken:
        raise ContractError(f"levels are {broken}, expected whole numbers.")
    few = {name: n for name, n in levels.items() if n < 2}
    if few:
        raise ContractError(
            f"levels are {dict(levels)}; with one level of {', '.join(few)} nothing can be "
            "concluded about others. Leave that factor out and say 'conditional on it'."
        )
    if not 0 < alpha < 1:
        raise ContractError(f"alpha is {alpha}, expected between 0 and 1.")

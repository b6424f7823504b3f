"""Linear mixed models of scores: seeds, animals and subjects as crossed random effects."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from brainscore_lite.inference.mixed_design import MixedDesign, Seeds, random_terms
from brainscore_lite.inference.multiplicity import benjamini_hochberg, holm
from brainscore_lite.inference.restricted_likelihood import RestrictedFit, restricted_fit
from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
_BOUNDARY = 1e-6


@dataclass(frozen=True, eq=False)
class MixedModel:
    """A fitted linear mixed model.

    Parameters
    ----------
    effects : DataFrame
        One row for each fixed effect: ``term``, ``estimate``, ``standard_error``,
        ``dof``, ``statistic``, ``low``, ``high``, ``p``, ``n``, ``over``,
        ``method``.
    components : DataFrame
        One row for each random effect and the residual: ``component``, ``variance``, ``share``,
        ``n_levels``, ``boundary`` (the estimate is 0: the data show no such variance).
    covariance : ndarray, shape (n_effects, n_effects)
        Of the fixed effects.
    levels : tuple of str
        Of the compared factor, sorted (those of a categorical column in its order).
    margins : ndarray, shape (n_levels, n_effects)
        For each level the mean row of the design, were every row of the table of that level.
    compared : str
    level : float
        Coverage of the intervals.
    """

    effects: pd.DataFrame
    components: pd.DataFrame
    covariance: Floats
    levels: tuple[str, ...]
    margins: Floats
    compared: str
    level: float

    def pairs(self) -> pd.DataFrame:
        """Compare every two levels of the compared factor.

        The difference is that of the fitted scores with all other columns as they are in the
        table: with an interaction (``model * accuracy``) that at the table's mean accuracy.

        Returns
        -------
        DataFrame
            ``first``, ``second``, ``difference`` (first minus second), ``standard_error``,
            ``dof``, ``statistic``, ``low``, ``high``, ``p``, ``p_holm``, ``p_bh``,
            ``n``, ``over``, ``method``.
        """
        rows = [
            {
                "first": self.levels[i],
                "second": self.levels[j],
                **self._test(self.margins[i] - self.margins[j]),
            }
            for i, j in combinations(range(len(self.levels)), 2)
        ]
        table = pd.DataFrame(rows).rename(columns={"estimate": "difference"})
        place = list(table.columns).index("p") + 1
        p = table["p"].to_numpy()
        for name, adjusted in (("p_bh", benjamini_hochberg(p)), ("p_holm", holm(p))):
            table.insert(place, name, adjusted)
        return table

    def _test(self, contrast: Floats) -> dict[str, Any]:
        involved = self.effects[contrast != 0]
        estimate = float(contrast @ self.effects["estimate"].to_numpy())
        error = float(np.sqrt(contrast @ self.covariance @ contrast))
        tested = _tested(estimate, error, float(involved["dof"].min()), self.level)
        return {**tested, **{name: involved[name].iloc[0] for name in ("n", "over", "method")}}


def mixed_model(
    table: pd.DataFrame,
    formula: str,
    *,
    compared: str = "model",
    random: Sequence[str] = (),
    seeds: Seeds | None = None,
    seed_column: str = "seed",
    level: float = 0.95,
) -> MixedModel:
    """Fit scores as fixed effects plus crossed random effects, by restricted maximum likelihood.

    score = X beta + sum_f Z_f u_f + e,  u_f ~ N(0, s2_f), e ~ N(0, s2).

    Random factors may be crossed or nested; for the fit see
    :func:`~brainscore_lite.inference.restricted_likelihood.restricted_fit`. Tests of a fixed effect
    use t with the degrees of freedom of the random effect that contains it (containment): with
    paired seeds (M - 1)(S - 1) for M models and S seeds, with nested seeds M (S - 1), not the
    infinite ones of a z-test. A covariate is treated alike: one that is constant within subjects,
    such as their age, is tested by subjects.

    Parameters
    ----------
    table : DataFrame
        One row for each score.
    formula : str
        Of the outcome and the fixed effects, such as ``"score ~ model"`` or
        ``"score ~ model + accuracy"``.
    compared : str
        The fixed factor whose levels are compared.
    random : sequence of str
        Columns whose levels were drawn at random, such as ``"subject"``; ``"model:subject"`` for
        an interaction. With ``"subject"`` alone models differ by as much in every subject; for
        differences that hold for new subjects name both.
    seeds : {"paired", "nested"}, optional
        How the seeds of the models relate. ``paired``: seed 3 of every model has the same
        initialisation and data order, so differences are taken within seeds; adds `seed_column`
        and its interaction with `compared` (the residual itself, where each cell has one row).
        ``nested``: every model has seeds of its own; adds the interaction only.
    seed_column : str
    level : float
        Coverage of the intervals.

    Returns
    -------
    MixedModel

    Raises
    ------
    ContractError
        If columns are missing or not finite; a random effect has fewer than 5 levels (put it
        among the fixed effects: conclusions are then conditional on those levels); the formula
        does not tell the compared levels apart; fixed effects determine each other or leave
        nothing to be tested by; or rows times levels exceed 5 million (about 0.5 GB and minutes;
        average rows within cells first).
    NotConvergedError
        If the maximum of the likelihood is not found.

    References
    ----------
    Baayen, Davidson & Bates (2008), doi:10.1016/j.jml.2007.12.005; Barr, Levy, Scheepers & Tily
    (2013), doi:10.1016/j.jml.2012.11.001.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rows = [(m, s, 0.02 * (m == "b") + 0.05 * u + 0.01 * rng.normal())
    ...         for s, u in enumerate(rng.normal(size=8)) for m in "ab"]
    >>> table = pd.DataFrame(rows, columns=["model", "seed", "score"])
    >>> fitted = mixed_model(table, "score ~ model", seeds="paired")
    >>> int(fitted.pairs()["dof"].iloc[0])
    7
    """
    if not 0 < level < 1:
        raise ContractError(f"level is {level}, expected between 0 and 1.")
    terms = random_terms(compared, random, seeds, seed_column)
    design = MixedDesign.of(table, formula, compared=compared, terms=terms)
    unit = float(design.outcome.std(ddof=1))
    blocks = [design.indicators(term) for term in design.separate()]
    fit = restricted_fit(design.outcome / unit, design.fixed, Z=blocks)
    covariance = fit.covariance * unit**2
    return MixedModel(
        effects=_effects(
            design, estimates=fit.coefficients * unit, covariance=covariance, level=level
        ),
        components=_components(fit, design, unit**2),
        covariance=covariance,
        levels=design.levels,
        margins=design.margins,
        compared=compared,
        level=level,
    )


def _effects(
    design: MixedDesign, *, estimates: Floats, covariance: Floats, level: float
) -> pd.DataFrame:
    errors = np.sqrt(np.diagonal(covariance))
    common = {
        "n": len(design.outcome),
        "over": ", ".join(design.codes),
        "method": "mixed model (REML), t by containment",
    }
    rows = zip(design.names, estimates, errors, design.degrees_of_freedom(), strict=True)
    return pd.DataFrame(
        {"term": name, **_tested(float(b), float(error), float(dof), level), **common}
        for name, b, error, dof in rows
    )


def _tested(estimate: float, error: float, freedom: float, level: float) -> dict[str, float]:
    half = float(student.ppf((1 + level) / 2, freedom)) * error
    statistic = estimate / error
    return {
        "estimate": estimate,
        "standard_error": error,
        "dof": freedom,
        "statistic": statistic,
        "low": estimate - half,
        "high": estimate + half,
        "p": float(2 * student.sf(abs(statistic), freedom)),
    }


def _components(fit: RestrictedFit, design: MixedDesign, unit: float) -> pd.DataFrame:
    """Label the variances; a component with as many levels as rows is the residual itself."""
    kept = design.separate()
    found = dict(zip(kept, fit.variances * unit, strict=True))
    residual = fit.residual * unit
    within = [term for term in design.codes if term not in kept]
    label = f"residual (with {', '.join(within)})" if within else "residual"
    total = residual + sum(found.values())
    rows = [
        {
            "component": term,
            "variance": float(variance),
            "share": float(variance / total),
            "n_levels": design.counts(term),
            "boundary": bool(variance <= _BOUNDARY * residual),
        }
        for term, variance in found.items()
    ]
    last = {"component": label, "variance": residual, "share": residual / total}
    return pd.DataFrame([*rows, {**last, "n_levels": len(design.outcome), "boundary": False}])

"""Linear mixed models of scores: seeds, animals and subjects as crossed random effects."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student
from statsmodels.formula.api import mixedlm

from brainscore_lite.inference.multiplicity import benjamini_hochberg, holm
from brainscore_lite.schema import ContractError

Seeds = Literal["paired", "nested"]
Floats = NDArray[np.float64]
FEWEST_LEVELS = 5
LARGEST_DESIGN = 5_000_000
_BOUNDARY = 1e-6
_OPTIMIZERS = ("lbfgs", "bfgs", "powell")


class NotConvergedError(ValueError):
    """No optimiser found the maximum of the likelihood."""


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
        Of the compared factor, the reference level first.
    compared : str
    level : float
        Coverage of the intervals.
    """

    effects: pd.DataFrame
    components: pd.DataFrame
    covariance: Floats
    levels: tuple[str, ...]
    compared: str
    level: float

    def pairs(self) -> pd.DataFrame:
        """Compare every two levels of the compared factor.

        Returns
        -------
        DataFrame
            ``first``, ``second``, ``difference`` (first minus second), ``standard_error``,
            ``dof``, ``statistic``, ``low``, ``high``, ``p``, ``p_holm``, ``p_bh``,
            ``n``, ``over``, ``method``.
        """
        positions = {name: self._position(name) for name in self.levels}
        rows = []
        for i, first in enumerate(self.levels):
            for second in self.levels[i + 1 :]:
                contrast = np.zeros(len(self.effects))
                for name, sign in ((first, 1.0), (second, -1.0)):
                    if positions[name] is not None:
                        contrast[positions[name]] += sign
                rows.append({"first": first, "second": second, **self._test(contrast)})
        table = pd.DataFrame(rows).rename(columns={"estimate": "difference"})
        place = list(table.columns).index("p") + 1
        p = table["p"].to_numpy()
        for name, adjusted in (("p_bh", benjamini_hochberg(p)), ("p_holm", holm(p))):
            table.insert(place, name, adjusted)
        return table

    def _position(self, level: str) -> int | None:
        """Return the row of the effects that holds a level; None for the reference."""
        term = f"{self.compared}[T.{level}]"
        found = np.flatnonzero(self.effects["term"] == term)
        return int(found[0]) if found.size else None

    def _test(self, contrast: Floats) -> dict[str, Any]:
        involved = self.effects[contrast != 0].iloc[0]
        estimate = float(contrast @ self.effects["estimate"].to_numpy())
        error = float(np.sqrt(contrast @ self.covariance @ contrast))
        freedom = float(involved["dof"])
        tested = _tested(estimate, error, freedom, self.level)
        return {**tested, **{name: involved[name] for name in ("n", "over", "method")}}


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

    Every random factor is a variance component of one group that holds all rows (statsmodels'
    form for crossed effects). Tests of a fixed effect use t with the degrees of freedom of the
    random effect that contains it (containment): with paired seeds (M - 1)(S - 1) for M models
    and S seeds, with nested seeds M (S - 1), not the infinite ones of a z-test.

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
        an interaction.
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
        If columns are missing or not finite, a random effect has fewer than 5 levels (put it
        among the fixed effects: conclusions are then conditional on those levels), or rows times
        levels exceed 5 million (about 0.5 GB and minutes; average rows within cells first).
    NotConvergedError
        If no optimiser converges.

    References
    ----------
    Baayen, Davidson & Bates (2008), doi:10.1016/j.jml.2007.12.005.

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
    outcome = formula.split("~")[0].strip()
    terms = _random_terms(table, compared, random, seeds, seed_column)
    _check_table(table, formula, [outcome, compared, *_columns(terms)], outcome)
    frame = table.copy()
    codes = {}
    for number, term in enumerate(terms):
        frame[f"random_{number}"] = _combined(frame, term)
        codes[term] = f"random_{number}"
    counts = {term: int(frame[name].nunique()) for term, name in codes.items()}
    _check_levels(counts, len(frame))
    kept = {term: name for term, name in codes.items() if counts[term] < len(frame)}
    if not kept:
        raise ContractError(
            f"every row is a level of its own of {', '.join(terms) or 'no random effect'}, so "
            "nothing separates it from the residual. Name further random effects or use seeds=."
        )
    scale = float(frame[outcome].std()) or 1.0
    frame[outcome] = frame[outcome] / scale
    fit = _fitted(frame, formula, kept)
    names = list(fit.fe_params.index)
    covariance = np.asarray(fit.cov_params())[: len(names), : len(names)] * scale**2
    freedoms = _degrees_of_freedom(names, compared, counts, len(frame), frame)
    over = ", ".join(terms)
    rows = []
    for i, name in enumerate(names):
        estimate = float(fit.fe_params.iloc[i]) * scale
        tested = _tested(estimate, float(np.sqrt(covariance[i, i])), freedoms[name], level)
        method = "mixed model (REML), t by containment"
        rows.append({"term": name, **tested, "n": len(frame), "over": over, "method": method})
    return MixedModel(
        effects=pd.DataFrame(rows),
        components=_components(fit, kept, counts, scale**2),
        covariance=covariance,
        levels=tuple(sorted(table[compared].astype(str).unique())),
        compared=compared,
        level=level,
    )


def _random_terms(
    table: pd.DataFrame,
    compared: str,
    random: Sequence[str],
    seeds: Seeds | None,
    seed_column: str,
) -> tuple[str, ...]:
    if seeds is not None and seeds not in get_args(Seeds):
        raise ContractError(f"seeds is {seeds!r}, expected one of {get_args(Seeds)} or None.")
    terms = list(random)
    if seeds == "paired":
        terms.append(seed_column)
    if seeds is not None:
        terms.append(f"{compared}:{seed_column}")
    if not terms:
        raise ContractError(
            "no random effect was named. Pass random=('subject', ...) or seeds='paired' or "
            "'nested'; without random effects use statsmodels' ols."
        )
    return tuple(dict.fromkeys(terms))


def _columns(terms: Sequence[str]) -> list[str]:
    return [column for term in terms for column in term.split(":")]


def _combined(table: pd.DataFrame, term: str) -> pd.Series:
    parts = [table[column].astype(str) for column in term.split(":")]
    result = parts[0]
    for part in parts[1:]:
        result = result + ":" + part
    return result


def _check_table(table: pd.DataFrame, formula: str, columns: Sequence[str], outcome: str) -> None:
    if "~" not in formula:
        raise ContractError(f"formula is '{formula}', expected 'score ~ model'.")
    missing = [name for name in dict.fromkeys(columns) if name not in table]
    if missing:
        raise ContractError(f"the table has no column {missing}; it has {list(table.columns)}.")
    unknown = [name for name in dict.fromkeys(columns) if bool(table[name].isna().any())]
    if unknown or not np.isfinite(table[outcome].to_numpy(dtype=np.float64)).all():
        raise ContractError(
            f"columns {unknown or [outcome]} hold missing or infinite values. Drop those rows and "
            "say how many."
        )


def _check_levels(counts: Mapping[str, int], n_rows: int) -> None:
    for term, n_levels in counts.items():
        if n_levels < FEWEST_LEVELS:
            raise ContractError(
                f"random effect '{term}' has {n_levels} levels, expected at least "
                f"{FEWEST_LEVELS}: its variance cannot be estimated. Put it among the fixed "
                f"effects (score ~ model + C({term})); results are then conditional on these "
                f"{n_levels} levels."
            )
    n_levels = sum(counts.values())
    if n_rows * n_levels > LARGEST_DESIGN:
        raise ContractError(
            f"{n_rows} rows x {n_levels} random levels exceed {LARGEST_DESIGN} entries of the "
            "design, beyond which a fit takes minutes and more than 0.5 GB. Average rows within "
            "cells first."
        )


def _fitted(frame: pd.DataFrame, formula: str, kept: Mapping[str, str]) -> Any:
    """Fit with the first optimiser that converges."""
    model = mixedlm(
        formula,
        frame,
        groups=np.ones(len(frame)),
        re_formula="0",
        vc_formula={term: f"0 + C({name})" for term, name in kept.items()},
    )
    for optimizer in _OPTIMIZERS:
        with warnings.catch_warnings():
            # A variance at 0 is no failure: it is reported in `components`.
            warnings.simplefilter("ignore")
            fit = model.fit(reml=True, method=optimizer)
        if fit.converged and np.isfinite(np.asarray(fit.bse_fe)).all():
            return fit
    raise NotConvergedError(
        f"the mixed model '{formula}' with random {', '.join(kept)} did not converge with any of "
        f"{_OPTIMIZERS}. Fewer random effects, or a fixed effect that is not determined by the "
        "others, may help."
    )


def _degrees_of_freedom(
    names: Sequence[str],
    compared: str,
    counts: Mapping[str, int],
    n_rows: int,
    frame: pd.DataFrame,
) -> dict[str, float]:
    """Return those of each fixed effect, by the smallest random effect that contains it."""
    n_compared = frame[compared].astype(str).nunique()
    residual = n_rows - len(names) - sum(n - 1 for term, n in counts.items() if n < n_rows)
    containing = [residual]
    for term, n_levels in counts.items():
        if compared in term.split(":"):
            others = ":".join(part for part in term.split(":") if part != compared)
            shared = counts.get(others, 1)
            containing.append(n_levels - n_compared - (shared - 1))
    contained = max(1.0, float(min(containing)))
    free = max(1.0, float(residual))
    smallest = max(1.0, float(min(counts.values()) - 1))
    return {
        name: smallest
        if name == "Intercept"
        else contained
        if name.startswith(f"{compared}[")
        else free
        for name in names
    }


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


def _components(
    fit: Any, kept: Mapping[str, str], counts: Mapping[str, int], unit: float
) -> pd.DataFrame:
    """Label the variances; a component with as many levels as rows is the residual itself."""
    ordered = list(fit.model.exog_vc.names)
    found = dict(zip(ordered, np.asarray(fit.vcomp, dtype=np.float64) * unit, strict=True))
    residual = float(fit.scale) * unit
    within = [term for term in counts if term not in kept]
    label = f"residual (with {', '.join(within)})" if within else "residual"
    total = residual + sum(found.values())
    rows = [
        {
            "component": term,
            "variance": float(found[term]),
            "share": float(found[term] / total),
            "n_levels": counts[term],
            "boundary": bool(found[term] <= _BOUNDARY * residual),
        }
        for term in kept
    ]
    last = {"component": label, "variance": residual, "share": residual / total}
    return pd.DataFrame([*rows, {**last, "n_levels": int(fit.nobs), "boundary": False}])

"""What a mixed model is fitted to: fixed columns, random levels and their degrees of freedom."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.formula.api import ols

from brainscore_lite.schema import ContractError

Seeds = Literal["paired", "nested"]
Floats = NDArray[np.float64]
FEWEST_LEVELS = 5
LARGEST_DESIGN = 5_000_000


@dataclass(frozen=True, eq=False)
class MixedDesign:
    """The numbers of a mixed model: outcome, fixed columns and levels of the random effects.

    Parameters
    ----------
    outcome : ndarray, shape (n_rows,)
    fixed : ndarray, shape (n_rows, n_effects)
    names : tuple of str
        Of the fixed effects.
    codes : mapping of term to ndarray of int, shape (n_rows,)
        The level of each row, counted from 0.
    levels : tuple of str
        Of the compared factor, sorted (those of a categorical column in its order).
    margins : ndarray, shape (n_levels, n_effects)
        For each level of the compared factor the mean of `fixed` were all rows of that level.
    """

    outcome: Floats
    fixed: Floats
    names: tuple[str, ...]
    codes: Mapping[str, NDArray[np.int64]]
    levels: tuple[str, ...]
    margins: Floats

    @classmethod
    def of(
        cls, table: pd.DataFrame, formula: str, *, compared: str, terms: Sequence[str]
    ) -> "MixedDesign":
        """Read the design off a table.

        Raises
        ------
        ContractError
            As of :func:`~brainscore_lite.inference.mixed_models.mixed_model`.
        """
        columns = [compared, *(column for term in terms for column in term.split(":"))]
        frame = _checked(table, formula, columns)
        codes = {term: _codes(frame, term) for term in terms}
        _check_levels(codes)
        outcome, fixed, names = _read(frame, formula)
        _check_fixed(outcome, fixed, names, formula)
        values = frame[compared].astype("category").cat.categories
        every = [
            frame.assign(**{compared: pd.Series(one, frame.index, frame[compared].dtype)})
            for one in values
        ]
        margins = _margins(every, formula)
        if len(margins) < 2 or _rank(margins[1:] - margins[0]) < len(margins) - 1:
            raise ContractError(
                f"'{formula}' does not tell the {len(margins)} levels of '{compared}' apart. It "
                f"needs at least two, and to name '{compared}': numbers as C({compared}), since "
                "they are a slope otherwise."
            )
        return cls(outcome, fixed, names, codes, tuple(map(str, values)), margins)

    def counts(self, term: str) -> int:
        """Return how many levels a random effect has."""
        return int(self.codes[term].max()) + 1

    def separate(self) -> tuple[str, ...]:
        """Name the random effects that are not the residual: some level has several rows."""
        return tuple(term for term in self.codes if self.counts(term) < len(self.outcome))

    def indicators(self, term: str) -> Floats:
        """Return 1 where a row has a level; shape (n_rows, n_levels)."""
        return np.eye(self.counts(term))[self.codes[term]]

    def degrees_of_freedom(self) -> Floats:
        """Count those of each fixed effect, by containment; shape (n_effects,).

        A random effect contains a fixed one that is constant within each of its levels, such as
        the age of a subject. What its levels add to the rank of the fixed effects and of the
        random effects that are not nested in it is what the fixed effect is tested by; the
        smallest counts. Effects that vary within every random effect are tested by the residual.

        Raises
        ------
        ContractError
            If nothing is left to test an effect by.
        """
        everything = [self.indicators(term) for term in self.separate()]
        residual = len(self.outcome) - _rank(self.fixed, *everything)
        freedoms = np.full(len(self.names), residual, dtype=np.float64)
        by = ["the residual"] * len(self.names)
        for term in self.separate():
            own = self._added_rank(term)
            for i in map(int, np.flatnonzero(self._constant_within(term))):
                if freedoms[i] > own or by[i] == "the residual":
                    freedoms[i], by[i] = own, f"'{term}'"
        if (freedoms < 1).any():
            i = int(np.flatnonzero(freedoms < 1)[-1])
            raise ContractError(
                f"nothing is left to test '{self.names[i]}': it takes up all levels of {by[i]}. "
                "Measure more of them (two seeds of each model, ...), or leave one of the two out."
            )
        return freedoms

    def _added_rank(self, term: str) -> int:
        others = [
            self.indicators(other)
            for other in self.separate()
            if other != term and not self._is_nested(other, term)
        ]
        return _rank(self.fixed, *others, self.indicators(term)) - _rank(self.fixed, *others)

    def _is_nested(self, inner: str, outer: str) -> bool:
        """Whether every level of one random effect lies within a level of another."""
        pairs = np.unique(np.stack([self.codes[inner], self.codes[outer]]), axis=1)
        return int(pairs.shape[1]) == self.counts(inner)

    def _constant_within(self, term: str) -> NDArray[np.bool_]:
        rows = pd.DataFrame(self.fixed).groupby(self.codes[term])
        same = rows.max().to_numpy() == rows.min().to_numpy()
        return np.asarray(np.all(same, axis=0))


def random_terms(
    compared: str, random: Sequence[str], seeds: Seeds | None, seed_column: str
) -> tuple[str, ...]:
    """Name the random effects: those given, and those that seeds bring.

    Raises
    ------
    ContractError
        If there are none, or a setting is wrong.
    """
    if seeds is not None and seeds not in get_args(Seeds):
        raise ContractError(f"seeds is {seeds!r}, expected one of {get_args(Seeds)} or None.")
    if isinstance(random, str):
        raise ContractError(f"random is '{random}', expected a sequence: ('{random}',).")
    paired = [seed_column] if seeds == "paired" else []
    own = [f"{compared}:{seed_column}"] if seeds is not None else []
    terms = tuple(dict.fromkeys([*random, *paired, *own]))
    if not terms:
        raise ContractError(
            "no random effect was named. Pass random=('subject', ...) or seeds='paired' or "
            "'nested'; without random effects use statsmodels' ols."
        )
    return terms


def _checked(table: pd.DataFrame, formula: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return a copy with rows numbered and no unused categories, its used columns finite."""
    if not isinstance(table, pd.DataFrame):
        raise ContractError(f"table is a {type(table).__name__}, expected a DataFrame.")
    if "~" not in formula:
        raise ContractError(f"formula is '{formula}', expected 'score ~ model'.")
    missing = [name for name in dict.fromkeys(columns) if name not in table]
    if missing:
        raise ContractError(f"the table has no column {missing}; it has {list(table.columns)}.")
    words = set(re.findall(r"\w+", formula))
    used = [name for name in table if name in words or name in columns]
    values = table[used].replace([np.inf, -np.inf], np.nan)
    incomplete = values.columns[values.isna().any()].tolist()
    if incomplete or table.empty:
        raise ContractError(
            f"columns {incomplete} hold missing or infinite values in "
            f"{int(values.isna().any(axis=1).sum())} of {len(table)} rows. Drop those rows and say "
            "how many."
        )
    frame = table.reset_index(drop=True)
    categorical = frame.select_dtypes("category")
    return frame.assign(
        **{str(name): column.cat.remove_unused_categories() for name, column in categorical.items()}
    )


def _check_fixed(outcome: Floats, fixed: Floats, names: tuple[str, ...], formula: str) -> None:
    if np.ptp(outcome) == 0:
        raise ContractError(f"every outcome of '{formula}' is {outcome[0]:g}; nothing varies.")
    if _rank(fixed) < len(names):
        raise ContractError(
            f"the fixed effects {names} of '{formula}' determine each other, or a combination "
            "of levels has no row. Leave one of them out."
        )
    if "Intercept" not in names:
        raise ContractError(
            f"'{formula}' leaves the intercept out, so that its terms are no differences. "
            "Leave '0 +' or '- 1' out; levels are compared by pairs() whatever the reference."
        )


def _codes(frame: pd.DataFrame, term: str) -> NDArray[np.int64]:
    """Return the number of each row's level, or combination of levels for an interaction."""
    groups = frame.groupby(term.split(":"), observed=True)
    return np.asarray(groups.ngroup().to_numpy(), dtype=np.int64)


def _check_levels(codes: Mapping[str, NDArray[np.int64]]) -> None:
    counts = {term: int(code.max()) + 1 for term, code in codes.items()}
    for term, n_levels in counts.items():
        if n_levels < FEWEST_LEVELS:
            advice = (
                "Measure more, or average over them"
                if ":" in term
                else f"Put it among the fixed effects (score ~ model + C({term})); results are "
                f"then conditional on these {n_levels} levels"
            )
            raise ContractError(
                f"random effect '{term}' has {n_levels} levels, expected at least "
                f"{FEWEST_LEVELS}: its variance cannot be estimated. {advice}."
            )
    n_rows, n_levels = len(next(iter(codes.values()))), sum(counts.values())
    if n_rows * n_levels > LARGEST_DESIGN:
        raise ContractError(
            f"{n_rows} rows x {n_levels} random levels exceed {LARGEST_DESIGN} entries of the "
            "design, beyond which a fit takes minutes and more than 0.5 GB. Average rows within "
            "cells first."
        )
    if min(counts.values()) == n_rows:
        raise ContractError(
            f"every row is a level of its own of {', '.join(counts)}, so nothing separates it from "
            "the residual. Name further random effects or use seeds=."
        )


def _read(frame: pd.DataFrame, formula: str) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Return outcome, fixed columns and their names."""
    try:
        model = ols(formula, frame)
    except Exception as error:  # of the formula language, which names no common class
        raise ContractError(
            f"'{formula}' cannot be read with the columns {list(frame.columns)}: {error}"
        ) from error
    outcome = np.asarray(model.endog, dtype=np.float64)
    fixed = np.asarray(model.exog, dtype=np.float64)
    if outcome.ndim != 1 or not np.isfinite(outcome).all() or not np.isfinite(fixed).all():
        raise ContractError(
            f"'{formula}' gives values that are no finite numbers; the outcome has shape "
            f"{outcome.shape}, expected ({len(frame)},). Check the column types and transforms."
        )
    return outcome, fixed, tuple(model.exog_names)


def _margins(every: Sequence[pd.DataFrame], formula: str) -> Floats:
    """Average the fixed columns over each of several tables, all coded alike."""
    _, fixed, names = _read(pd.concat(every, ignore_index=True), formula)
    margins: Floats = fixed.reshape(len(every), -1, len(names)).mean(axis=1)
    return margins


def _rank(*blocks: Floats) -> int:
    """Return the rank of matrices side by side, whatever the units of their columns."""
    matrix = np.concatenate(blocks, axis=1)
    size = np.linalg.norm(matrix, axis=0)
    return int(np.linalg.matrix_rank(matrix / np.where(size > 0, size, 1.0)))

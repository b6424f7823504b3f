"""The result of a comparison of models: tidy tables that say what they generalise to."""

from dataclasses import dataclass

import pandas as pd
import xarray as xr

from brainscore_lite.inference.factors import Factor


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Estimates, pairs, tests against zero and against the ceiling.

    Every row carries an estimate, its interval, ``n``, ``over`` (the factors resampled) and
    ``method``; tests also ``statistic``, ``p``, and ``p_holm``, ``p_bh``, ``p_max_t``, adjusted
    for all tests of their table (against the ceiling: of each bound).

    Parameters
    ----------
    estimates : DataFrame
        One row for each model: model, estimate, low, high, standard_error, n, over, method.
    pairs : DataFrame
        One row for each two models: first, second, difference (first minus second), ...; with a
        margin also p_equivalence and equivalent.
    against_zero : DataFrame
        One row for each model; one-sided, above zero. Zero is chance for correlations, but not
        for cosine, Bures or biased CKA, which are positive for unrelated matrices.
    against_ceiling : DataFrame
        One row for each model and bound (``lower``, ``ceiling``): difference (model minus bound),
        two-sided, the bound as uncertain as its own draws; empty without a ceiling.
    draws : DataArray, dims (draw, quantity)
        Models and bounds under draws of all factors together.
    generalises_to, conditional_on : tuple of factor
    note : str
        What the conclusions hold for, and what was left out.
    """

    estimates: pd.DataFrame
    pairs: pd.DataFrame
    against_zero: pd.DataFrame
    against_ceiling: pd.DataFrame
    draws: xr.DataArray
    generalises_to: tuple[Factor, ...]
    conditional_on: tuple[Factor, ...]
    note: str

    def to_table(self) -> pd.DataFrame:
        """Return all rows in one tidy table.

        Returns
        -------
        DataFrame
            ``comparison`` is "score", "pair", "zero" or "ceiling"; ``estimate`` the score or the
            difference.
        """
        pairs = self.pairs.rename(columns={"difference": "estimate", "first": "model"})
        pairs = pairs.rename(columns={"second": "other"})
        ceiling = self.against_ceiling.rename(columns={"difference": "estimate", "bound": "other"})
        named = {
            "score": self.estimates,
            "pair": pairs,
            "zero": self.against_zero.assign(other="0"),
            "ceiling": ceiling,
        }
        filled = {name: table for name, table in named.items() if len(table)}
        table = pd.concat(
            [rows.assign(comparison=name) for name, rows in filled.items()], ignore_index=True
        )
        leading = [name for name in ("comparison", "model", "other") if name in table]
        return table[[*leading, *(name for name in table if name not in leading)]]

    def __str__(self) -> str:
        parts = [
            ("Scores", self.estimates),
            ("Pairs, first minus second", self.pairs),
            ("Above zero, one-sided", self.against_zero),
            ("Against the ceiling, model minus bound", self.against_ceiling),
        ]
        shown = [f"{title}\n{_shown(rows)}" for title, rows in parts if len(rows)]
        rows = self.estimates.iloc[0]
        return "\n\n".join([*shown, f"n: {rows['n']}; {rows['method']}.\n{self.note}"])


def _shown(rows: pd.DataFrame) -> str:
    kept = rows.drop(columns=["n", "over", "method"])
    text: str = kept.to_string(index=False, float_format=lambda value: f"{value:.4g}")
    return text

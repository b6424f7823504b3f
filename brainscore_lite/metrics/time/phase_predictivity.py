"""Late against early responses: how well each is predicted, as recorded and equally reliable."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.labels import kept_coords
from brainscore_lite.metrics.regression.linear_predictivity import LinearPredictivity
from brainscore_lite.metrics.reliability.split_half import split_half_reliability
from brainscore_lite.schema import ContractError, check_responses, match_stimuli
from brainscore_lite.seeding import generator

Matrix = NDArray[np.float64]
Matching = Literal["repetitions", "neuroids"]
PHASES = ("early", "late")
FEWEST_REPETITIONS = 2


def matched_repetitions(reliability: ArrayLike, n_repetitions: ArrayLike) -> NDArray[np.int64]:
    """Return how many repetitions make the average of each phase as reliable as the worst.

    An average over n trials has the reliability c = n s / (n s + 1), s the signal variance in
    units of the noise variance of a trial. As s = c / (n (1 - c)), the number that gives the
    lowest reliability c_0 of the phases is n c_0 (1 - c) / (c (1 - c_0)).

    Parameters
    ----------
    reliability : array, shape (n_phases, n_neuroids)
        Of the average over all repetitions.
    n_repetitions : array, shape (n_neuroids,)

    Returns
    -------
    ndarray of int, shape (n_phases, n_neuroids)
        Rounded, at least 2; 0 for a neuroid that is not reliable in some phase.

    Examples
    --------
    >>> matched_repetitions([[0.9, 0.5], [0.6, 0.0]], [24, 24]).tolist()
    [[4, 0], [24, 0]]
    """
    c = np.asarray(reliability, dtype=np.float64)
    n = np.broadcast_to(np.asarray(n_repetitions, dtype=np.float64), c.shape)
    usable = ((c > 0) & (c < 1)).all(axis=0)
    safe = np.where(usable, c, 0.5)
    lowest = safe.min(axis=0)
    wanted = n * lowest * (1 - safe) / (safe * (1 - lowest))
    counts = np.clip(np.rint(wanted), FEWEST_REPETITIONS, n)
    return np.where(usable, counts, 0).astype(np.int64)


def thinned(trials: ArrayLike, n_kept: ArrayLike, *, draws: np.random.Generator) -> Matrix:
    """Keep some repetitions of each stimulus, drawn at random, and blank the others.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded.
    n_kept : array of int, shape (n_neuroids,)
        At least 1; neuroids share the order in which their trials go.
    draws : Generator

    Returns
    -------
    ndarray, shape (n_repetitions, n_stimuli, n_neuroids)
    """
    values = np.asarray(trials, dtype=np.float64)
    keys = draws.random(values.shape[:2])[:, :, None]
    place = np.argsort(np.argsort(np.where(np.isnan(values), np.inf, keys), axis=0), axis=0)
    return np.where(place < np.asarray(n_kept), values, np.nan)


@dataclass(frozen=True)
class PhasePredictivity:
    """Compare how well early and late responses are predicted, at matched reliability.

    Late responses are often weaker and less reliable, and predicted less well for that alone. Both
    scores are given: as recorded, and with the reliability matched within each neuroid, by leaving
    out repetitions of the phase that is more reliable (or by leaving out neuroids).

    Parameters
    ----------
    early, late : tuple of float
        (start_ms, end_ms); the time bins within are averaged. Kar et al. compare 90-110 with
        190-210 ms.
    predictivity : LinearPredictivity
    matching : {"repetitions", "neuroids"}
        ``neuroids``: those whose reliabilities differ by `tolerance` at most.
    tolerance : float
    n_draws : int
        Random choices of repetitions, whose scores are averaged.
    n_halvings : int
        Random halvings of the repetitions, for the reliability.
    seed : int

    References
    ----------
    Kar, Kubilius, Schmidt, Issa & DiCarlo (2019), doi:10.1038/s41593-019-0392-5. Their reliability
    enters as a division; the matching is defined here.
    """

    early: tuple[float, float] = (90.0, 110.0)
    late: tuple[float, float] = (190.0, 210.0)
    predictivity: LinearPredictivity = LinearPredictivity(regression="pls")
    matching: Matching = "repetitions"
    tolerance: float = 0.05
    n_draws: int = 10
    n_halvings: int = 20
    seed: int = 0
    unit: ClassVar[str] = "pearson_r"

    def __post_init__(self) -> None:
        if self.matching not in get_args(Matching):
            raise ContractError(
                f"matching is {self.matching!r}, expected one of {get_args(Matching)}."
            )
        if self.n_draws < 1 or not self.tolerance > 0:
            raise ContractError(
                f"n_draws is {self.n_draws} and tolerance {self.tolerance}; expected at least 1 "
                "and above 0."
            )

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.Dataset:
        """Return Pearson r and reliability of each phase and neuroid, as recorded and matched.

        Parameters
        ----------
        source : DataArray, dims (stimulus, neuroid)
            Activations of one layer; of networks with steps, choose one.
        target : DataArray, dims (repetition, stimulus, neuroid, time_bin)

        Returns
        -------
        Dataset, dims (phase, neuroid)
            ``r`` and ``reliability``; ``matched_r``, ``matched_reliability`` and ``n_repetitions``
            (kept of each stimulus), NaN and 0 for neuroids that cannot be matched. r is the mean
            over splits; explained fractions are r^2 / reliability.

        Raises
        ------
        ContractError
            If a phase holds no time bin, or fewer than three neuroids can be matched.
        """
        check_responses(target)
        source, target = match_stimuli(source, target)
        phases = [self._phase(target, name) for name in PHASES]
        trials = np.stack([phase.values for phase in phases])
        reliability = np.stack([self._reliability(each) for each in trials])
        recorded = (~np.isnan(trials)).sum(axis=1).min(axis=(0, 1))
        counts = self._counts(reliability, recorded)
        kept = counts.min(axis=0) > 0
        self._check_kept(kept)
        matched = np.full((2, *reliability.shape), np.nan)
        matched[:, :, kept] = self._matched(source, phases, counts, kept)
        names = {
            "r": np.stack([self._score(source, phase) for phase in phases]),
            "reliability": reliability,
            "matched_r": matched[0],
            "matched_reliability": matched[1],
            "n_repetitions": counts,
        }
        return xr.Dataset(
            {name: (("phase", "neuroid"), values) for name, values in names.items()},
            coords={"phase": list(PHASES), **kept_coords(target, ("neuroid",))},
        )

    def _phase(self, target: xr.DataArray, name: str) -> xr.DataArray:
        """Average the time bins of a phase."""
        if "time_bin" not in target.dims:
            raise ContractError(f"target has dims {target.dims}, expected a 'time_bin' dim.")
        start, end = self.early if name == "early" else self.late
        inside = (target["start_ms"].values >= start) & (target["end_ms"].values <= end)
        if not inside.any():
            raise ContractError(
                f"no time bin lies within the {name} phase, {start:g} to {end:g} ms; bins go from "
                f"{target['start_ms'].values.min():g} to {target['end_ms'].values.max():g} ms. "
                f"Choose another with {name}=(start_ms, end_ms)."
            )
        return target.isel(time_bin=np.flatnonzero(inside)).mean("time_bin", skipna=False)

    def _reliability(self, trials: Matrix) -> Matrix:
        """Return the reliability of the average over repetitions, shape (n_neuroids,)."""
        halved = split_half_reliability(
            trials, n_splits=self.n_halvings, seed=self.seed, correction="exact"
        )
        return np.asarray(halved.mean(axis=0))

    def _score(self, source: xr.DataArray, phase: xr.DataArray) -> Matrix:
        return np.asarray(self.predictivity(source, phase).mean("split").values)

    def _counts(self, reliability: Matrix, recorded: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the repetitions to keep, shape (2, n_neuroids); 0 for neuroids to leave out."""
        if self.matching == "repetitions":
            return matched_repetitions(reliability, recorded)
        alike = np.abs(np.diff(reliability, axis=0)[0]) <= self.tolerance
        alike &= (reliability > 0).all(axis=0)
        return np.where(alike, recorded, 0) * np.ones((2, 1), dtype=np.int64)

    def _matched(
        self,
        source: xr.DataArray,
        phases: list[xr.DataArray],
        counts: NDArray[np.int64],
        kept: NDArray[np.bool_],
    ) -> Matrix:
        """Return r and reliability of the matched trials, shape (2, n_phases, n_kept)."""
        n_draws = self.n_draws if self.matching == "repetitions" else 1
        draws = generator(self.seed, "phase predictivity", "repetitions")
        total = np.zeros((2, 2, int(kept.sum())))
        for _ in range(n_draws):
            for number, phase in enumerate(phases):
                some = phase.isel(neuroid=np.flatnonzero(kept))
                fewer = some.copy(data=thinned(some.values, counts[number, kept], draws=draws))
                total[0, number] += self._score(source, fewer)
                total[1, number] += self._reliability(fewer.values)
        return total / n_draws

    def _check_kept(self, kept: NDArray[np.bool_]) -> None:
        if kept.sum() < 3:
            raise ContractError(
                f"{int(kept.sum())} of {len(kept)} neuroids can be matched, expected at least 3: "
                "the others are not reliable in some phase, or their reliabilities differ by more "
                "than the tolerance. Choose wider phases, or matching='repetitions'."
            )

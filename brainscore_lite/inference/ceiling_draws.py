"""Draws of a ceiling's bounds, beside those of the scores."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import xarray as xr

from brainscore_lite.ceilings import MeasuredCeiling
from brainscore_lite.inference.compared import Seeds, shared_targets
from brainscore_lite.inference.dual_bootstrap import Factors
from brainscore_lite.inference.resampled_scores import (
    Counts,
    FactorWeights,
    Floats,
    draw_scores,
)
from brainscore_lite.metrics.dissimilarities.comparison import Comparator
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.dissimilarities.rdm_ceiling import (
    RankPooling,
    leave_one_subject_out,
    leave_one_subject_out_resampled,
)
from brainscore_lite.schema import ContractError
from brainscore_lite.score import aggregate

BOUNDS = ("lower", "ceiling")
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class CeilingBounds:
    """The bounds of a ceiling as quantities beside the models.

    Parameters
    ----------
    ceiling : MeasuredCeiling
    names : tuple of str
        Those of ``lower`` and ``ceiling`` that it has.
    targets : ndarray, shape (n_subjects, n_pairs), or None
        The subjects' dissimilarities, where the models are compared with several subjects.
    comparison : str or None
    """

    ceiling: MeasuredCeiling
    names: tuple[str, ...]
    targets: Floats | None
    comparison: Comparator | None

    @classmethod
    def of(cls, ceiling: MeasuredCeiling, models: Mapping[str, Seeds]) -> "CeilingBounds":
        """Take the bounds that a ceiling has."""
        if not callable(getattr(ceiling, "resampled", None)):
            raise ContractError(
                f"ceiling is {ceiling!r}, expected one that was measured: "
                "LeaveOneSubjectOut().measure(recording, metric), or benchmark.noise_ceiling."
            )
        present = ceiling.values()
        names = tuple(name for name in BOUNDS if name in present)
        if not names:
            raise ContractError(
                f"the ceiling has {sorted(map(str, present))}, expected 'ceiling'. Measure it "
                "with Ceiling.measure(trials, metric)."
            )
        shared = shared_targets(models)
        several = shared is not None and shared.template.dims == ("subject",)
        return cls(
            ceiling,
            names,
            targets=shared.targets if shared is not None and several else None,
            comparison=shared.comparison if shared is not None and several else None,
        )

    def estimates(self) -> list[float]:
        """Return the aggregated bounds."""
        return [float(aggregate(part)) for part in self.parts()]

    def parts(self) -> Sequence[xr.DataArray]:
        """Return the parts of every bound."""
        values = self.ceiling.values()
        return [values[name] for name in self.names]

    def check_belongs(self, scores: xr.DataArray) -> None:
        """Raise if the bounds are not those of scores with these parts.

        Subjects' labels may differ: dissimilarities given as arrays have none.
        """
        expected = _dims_of(scores)
        for part in self.parts():
            if _dims_of(part) != expected:
                raise ContractError(
                    f"the ceiling's parts lie along {_dims_of(part)}, those of the scores along "
                    f"{expected}. Measure it on the models' recording with their metric."
                )
            if "neuroid" in expected and list(part["neuroid"]) != list(scores["neuroid"]):
                raise ContractError(
                    f"the ceiling and the scores are of different neuroids "
                    f"({part.sizes['neuroid']} and {scores.sizes['neuroid']}), or of the same in "
                    "another order. Measure it on the models' recording."
                )

    def resampled_parts(self, weights: Counts) -> Sequence[xr.DataArray]:
        """Return them under stimulus weights."""
        values = self.ceiling.resampled(weights)
        return [values[name] for name in self.names]

    def draws(self, weights: FactorWeights, chosen: Collection[Factors]) -> dict[Factors, Floats]:
        """Return the bounds under draws of each set of factors; (n_draws, n_bounds).

        Bounds between subjects are computed anew for drawn subjects, who also make up the pools.
        """
        if "subjects" not in weights.counts:
            return draw_scores({"": [self]}, weights, chosen)
        if self.targets is None or self.comparison is None:
            raise ContractError(
                "this ceiling cannot be drawn over subjects with these comparisons. Compare "
                "dissimilarities with LeaveOneSubjectOut's bounds, or leave out the ceiling."
            )
        pooling = self._pooling(self.targets, self.comparison)
        everyone = np.ones((weights.n_draws, n_stimuli_of(self.targets.shape[1])), dtype=np.int64)
        of_subjects = weights.counts["subjects"]
        results: dict[Factors, Floats] = {}
        for factors in chosen:
            lower, upper = leave_one_subject_out_resampled(
                self.targets,
                weights.counts["stimuli"] if "stimuli" in factors else everyone,
                of_subjects if "subjects" in factors else np.ones_like(of_subjects),
                comparison=self.comparison,
                rank_pooling=pooling,
            )
            bounds = {"lower": lower, "ceiling": upper}
            results[factors] = np.stack([bounds[name] for name in self.names], axis=1)
        return results

    def _pooling(self, targets: Floats, comparison: Comparator) -> RankPooling:
        """Recognise how the ceiling pools subjects."""
        for pooling in get_args(RankPooling):
            bounds = leave_one_subject_out(targets, comparison=comparison, rank_pooling=pooling)
            means = {"lower": bounds[0].mean(), "ceiling": bounds[1].mean()}
            expected = [means[name] for name in self.names]
            if np.allclose(self.estimates(), expected, rtol=0, atol=_SAME):
                found: RankPooling = pooling
                return found
        raise ContractError(
            "over subjects, the bounds of LeaveOneSubjectOut can be drawn; this ceiling's values "
            "differ from them on the models' targets. Measure it on the same recording, or leave "
            "it or 'subjects' out."
        )


def _dims_of(parts: xr.DataArray) -> tuple[str, ...]:
    """Return the dims of several subjects or neuroids."""
    return tuple(dim for dim in ("neuroid", "subject") if parts.sizes.get(dim, 1) > 1)

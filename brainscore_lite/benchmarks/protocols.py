"""Scoring as other toolkits do: what a protocol decides, and the protocols by name."""

from dataclasses import dataclass
from typing import Any
from typing import Protocol as TypingProtocol

import xarray as xr

from brainscore_lite.benchmarks.brainscore_protocol import BrainScore
from brainscore_lite.ceilings import Ceiling, LeaveOneSubjectOut
from brainscore_lite.metrics import RSA, Metric
from brainscore_lite.metrics.dissimilarities.comparison import Comparator
from brainscore_lite.metrics.dissimilarities.dissimilarity import Dissimilarity
from brainscore_lite.schema import ContractError
from brainscore_lite.score import Aggregation


class Protocol(TypingProtocol):
    """Settings that decide metric, splits, aggregation and ceiling together."""

    @property
    def label(self) -> str:
        """The last part of the benchmark's name."""
        ...

    @property
    def aggregation(self) -> Aggregation:
        """How the parts of a score become one value."""
        ...

    def target(self, recording: xr.DataArray) -> xr.DataArray:
        """Return the recording as the metric takes it."""
        ...

    def scoring(self) -> Metric:
        """Return the metric with its splits."""
        ...

    def ceiling(self, target: xr.DataArray) -> tuple[Ceiling | None, str]:
        """Return the ceiling for a recording, or why there is none."""
        ...


COMPARISONS: dict[str, Comparator] = {
    "cosine": "cosine",
    "corr": "pearson",
    "spearman": "spearman",
    "tau-a": "kendall_tau_a",
    "kendall": "kendall_tau_b",
    "tau-b": "kendall_tau_b",
    "rho-a": "rho_a",
    "cosine_cov": "whitened_cosine",
    "corr_cov": "whitened_pearson",
}
"""Rsatoolbox's names of comparisons."""


@dataclass(frozen=True)
class Rsatoolbox:
    """What rsatoolbox's ``eval_fixed`` does: a comparison with each subject, and their mean.

    Its bounds pool ranks and rank the pool again. Its tests and bootstraps are in
    ``inference.rsatoolbox_protocol``.

    Parameters
    ----------
    metric : str
        ``cosine``, ``corr``, ``spearman``, ``rho-a``, ``tau-a``, ``tau-b`` (``kendall``),
        ``cosine_cov`` or ``corr_cov``.
    dissimilarity : str
        Of the model's patterns, and of recorded responses; see :func:`rdm`.
    """

    metric: str = "cosine"
    dissimilarity: Dissimilarity = "euclidean"

    def __post_init__(self) -> None:
        if self.metric not in COMPARISONS:
            raise ContractError(
                f"unknown comparison '{self.metric}' of rsatoolbox; known: "
                f"{', '.join(COMPARISONS)}."
            )

    @property
    def label(self) -> str:
        """The last part of the benchmark's name."""
        return f"rsatoolbox_{self.metric}"

    @property
    def aggregation(self) -> Aggregation:
        """The mean over subjects."""
        return Aggregation()

    def target(self, recording: xr.DataArray) -> xr.DataArray:
        """Return the recording."""
        return recording

    def scoring(self) -> Metric:
        """Return the comparison of dissimilarities."""
        return RSA(dissimilarity=self.dissimilarity, comparison=COMPARISONS[self.metric])

    def ceiling(self, target: xr.DataArray) -> tuple[Ceiling | None, str]:
        """Return the leave-one-subject-out bounds, or why there are none."""
        if "subject" not in target.dims:
            return None, "rsatoolbox has a noise ceiling for matrices of several subjects only"
        if target.sizes["subject"] < 2:
            return None, "one matrix, no other subject to compare it with"
        return LeaveOneSubjectOut(rank_pooling="reranked"), ""


PROTOCOLS = {"brainscore": BrainScore, "rsatoolbox": Rsatoolbox}


def protocol_of(name: str, metric: Any) -> Protocol:
    """Return the protocol of a name with one of its metrics.

    Raises
    ------
    ContractError
        If there is no such protocol or metric.
    """
    if name not in PROTOCOLS:
        raise ContractError(f"unknown protocol '{name}'; known: {', '.join(PROTOCOLS)}.")
    if not isinstance(metric, str):
        raise ContractError(
            f"protocol '{name}' takes one of its own metrics by name, not {metric!r}."
        )
    protocol: Protocol = PROTOCOLS[name](metric)
    return protocol

"""Node perturbation: noise on every unit's drive, and one number back, how the loss changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import support
from brainscore_lite.learning_rules.classification import count_correct, labels_of
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.perturbation.noise_on_drives import (
    clean_pass,
    draw_noise,
    noisy_pass,
    perturbed_nodes,
    write_products,
)
from brainscore_lite.learning_rules.settings import check_choices, check_counts, check_positive
from brainscore_lite.networks.areas import BATCH_NORMS
from brainscore_lite.networks.network import Network

BASELINES = ("example", "batch", "none")
ELIGIBILITIES = ("clean", "noisy")


@dataclass(frozen=True)
class NodePerturbation:
    """Credit each unit's noise with the change of the loss that followed.

    dW_l = -lr mean_k (L_k - L) xi_lk h_{l-1}^T / sigma^2,  xi_lk ~ N(0, sigma^2) on the drive a_l

    for each example by itself, then averaged over the batch. All K samples run in one batch, and
    no derivative of any stage is used. Its mean over samples tends to the gradient as sigma -> 0.

    With Gaussian noise on the drive this is REINFORCE: xi / sigma^2 is the score of the drive's
    distribution, and the loss without noise is the baseline. ``eligibility="noisy"`` multiplies
    with the presynaptic activity of the noisy pass; the mean over samples is then the gradient of
    the noisy network's expected loss, at any sigma and for any baseline. The default multiplies
    with that of the clean pass, which needs one product for all samples.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise, in units of the drive.
    n_samples : int
        K, samples of noise per image and step.
    baseline : {"example", "batch", "none"}
        What is subtracted from the loss of a noisy example: its own loss without noise, the mean
        over the batch of those, or nothing. The first has by far the least variance.
    eligibility : {"clean", "noisy"}
        Which presynaptic activity the noise is multiplied with.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Williams (1992), doi:10.1007/BF00992696. Werfel, Xie & Seung (2005),
    doi:10.1162/089976605774320539. Fiete & Seung (2006), doi:10.1103/PhysRevLett.97.048104.

    Examples
    --------
    >>> NodePerturbation(n_samples=20).makes_local >= {"weight_transport", "derivatives"}
    True
    """

    sigma: float = 1e-3
    n_samples: int = 1
    baseline: Literal["example", "batch", "none"] = "example"
    eligibility: Literal["clean", "noisy"] = "clean"

    name: ClassVar[str] = "node_perturbation"
    family: ClassVar[str] = "perturbation"
    citation: ClassVar[str] = "Williams 1992, doi:10.1007/BF00992696"
    exactness: ClassVar[Exactness] = "bp_limit"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "derivatives"}
    )

    def __post_init__(self) -> None:
        check_positive(self, "sigma")
        check_counts(self, "n_samples")
        check_choices(self, baseline=BASELINES, eligibility=ELIGIBILITIES)

    def supports(self, architecture: Any) -> Support:
        """Accept any graph of areas, unknown stages and several steps included."""
        return support.support(
            support.untrainable(architecture),
            support.no_graph_of_areas(architecture),
            learnt_by_noise_on_drives(architecture),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no graph of areas, has no trainable weights, or normalises by the
            batch or with learnt factors.
        """
        check_support(self, network)
        return _NodePerturbationEstimator(cast(Network, network), generator, rule=self)


class _NodePerturbationEstimator(Estimator):
    network: Network

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: NodePerturbation
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the mean over samples and examples of (L_k - L) xi h^T / sigma^2."""
        labels = labels_of(batch, rule=self.rule.name)
        clean = clean_pass(self.network, batch.images)
        wanted = perturbed_nodes(self.network, clean)
        noise = [
            self.draw(drive) if noisy else None
            for drive, noisy in zip(clean.drives, wanted, strict=True)
        ]
        presynaptic_noise = self.rule.eligibility == "noisy"
        drives, scores = noisy_pass(
            self.network, batch.images, clean, noise=noise, graph=presynaptic_noise
        )
        losses = functional.cross_entropy(clean.scores, labels, reduction="none")
        factors = self.rise(scores, losses, labels)
        traces = drives if presynaptic_noise else clean.drives
        changes = [
            None if each is None else _credited(each, factors, trace)
            for each, trace in zip(noise, traces, strict=True)
        ]
        write_products(self.network, traces, changes)
        return StepInfo(loss=losses.mean().item(), n_correct=count_correct(clean.scores, labels))

    def draw(self, drive: Tensor) -> Tensor:
        """Draw the noise of a drive of shape (batch, ...): (n_samples, batch, ...)."""
        return draw_noise(
            drive, self.rule.n_samples, sigma=self.rule.sigma, generator=self.generator
        )

    def rise(self, scores: Tensor, clean: Tensor, labels: Tensor) -> Tensor:
        """Return (L_k - baseline) / (sigma^2 K B), of shape (n_samples, batch)."""
        stacked = (-1, len(labels))
        repeated = labels.expand(len(scores) // len(labels), -1).flatten()
        noisy = functional.cross_entropy(scores, repeated, reduction="none").unflatten(0, stacked)
        if self.rule.baseline == "example":
            noisy = noisy - clean
        elif self.rule.baseline == "batch":
            noisy = noisy - clean.mean()
        return noisy / (self.rule.sigma**2 * noisy.numel())


def learnt_by_noise_on_drives(architecture: Any) -> str:
    """Find what noise on drives cannot train."""
    return (
        support.normalised_by(
            architecture,
            BATCH_NORMS,
            why="statistics of the batch make the loss of an example depend on the noise of others",
        )
        or support.normalised_by(
            architecture,
            {"group", "layer"},
            why="its learnt factors lie above the drive, so that noise on the drive teaches them "
            "nothing",
        )
        or support.keeps_state(
            architecture, why="the rule compares what noise does at a step with that step alone"
        )
    )


def _credited(noise: Tensor, factors: Tensor, trace: Tensor) -> Tensor:
    """Return factor times noise, summed over samples where the trace is the same for all.

    Parameters
    ----------
    noise : Tensor, shape (n_samples, batch, ...)
    factors : Tensor, shape (n_samples, batch)
    trace : Tensor, shape (batch, ...) or (n_samples or 1, batch, ...)
        Drive whose weights are to learn.
    """
    if trace.shape == noise.shape:
        return noise * factors.view(*factors.shape, *[1] * (noise.ndim - 2))
    # Channels go last, as they lie in memory.
    summed = torch.einsum("kb,kb...->b...", factors, noise.movedim(2, -1)).movedim(-1, 1)
    return summed if trace.ndim < noise.ndim else summed[None]

"""Latent predictive learning: each area predicts its own next response, and keeps its variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.hebbian.areawise import AreawiseEstimator, chain_support
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    Phase,
    Support,
    check_support,
    trainable,
)
from brainscore_lite.learning_rules.settings import check_counts, check_not_negative, check_positive
from brainscore_lite.learning_rules.stages import Stage
from brainscore_lite.learning_rules.support import normalised_by, trained_black_box
from brainscore_lite.networks.areas import BATCH_NORMS
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

_FRAMES = 2


@dataclass(frozen=True, kw_only=True)
class LatentPredictiveLearning:
    """Let each area's response change little from frame to frame, vary, and not be redundant.

    L = p <(z - z')^2> - h <log(var_i + epsilon)>_i + d <cov_ij^2>_{i != j}

    z and z' are the responses of an area to two frames (views of an image), its maps averaged over
    positions; variance and covariance are taken over the batch in each frame and averaged over the
    frames. Nothing passes between areas: with g = dL/dz in closed form,

    g = 2 p (z - z') / (M B) - h zc / (M (B - 1) (var + epsilon)) + 2 d zc C / (M (M - 1) (B - 1))

    (M units, B images, zc = z - <z>, C the covariance without its diagonal), a synapse changes by
    -g phi'(a) x: the predictive, the Hebbian and the decorrelating part of one local rule. The
    decorrelation follows the authors' erratum to their equation 6.

    Parameters
    ----------
    predictive, hebbian, decorrelation : float
        p, h, d above.
    epsilon : float
        Keeps the Hebbian part finite.
    epochs : int, optional
        Without labels; those of the training configuration by default.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Halvagal & Zenke (2023), doi:10.1038/s41593-023-01460-y.

    Examples
    --------
    >>> LatentPredictiveLearning().requires
    frozenset({'views'})
    """

    predictive: float = 1.0
    hebbian: float = 1.0
    decorrelation: float = 10.0
    epsilon: float = 1e-4
    epochs: int | None = None

    name: ClassVar[str] = "latent_predictive_learning"
    family: ClassVar[str] = "hebbian"
    citation: ClassVar[str] = "Halvagal & Zenke 2023, doi:10.1038/s41593-023-01460-y"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"views"})
    makes_local: ClassVar[frozenset[str]] = frozenset(
        {"weight_transport", "separate_error", "distinct_phases", "update_locking"}
    )

    def __post_init__(self) -> None:
        check_not_negative(self, "predictive", "hebbian", "decorrelation")
        check_positive(self, "epsilon")
        if self.epochs is not None:
            check_counts(self, "epochs", least=0)

    def supports(self, architecture: Any) -> Support:
        """Accept chains of areas without batch normalisation."""
        return chain_support(
            architecture,
            trained_black_box(architecture),
            normalised_by(
                architecture, BATCH_NORMS, why="it would fix the variance that the rule must keep"
            ),
        )

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain of areas, normalises batches, its readout is frozen, or an
            area to be trained ends in a black box.
        """
        check_support(self, network)
        return _LatentPredictiveEstimator(cast(Network, network), generator, rule=self)


class _LatentPredictiveEstimator(AreawiseEstimator):
    rule: LatentPredictiveLearning

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: LatentPredictiveLearning
    ) -> None:
        phase = Phase(
            name=rule.name, epochs=rule.epochs, labels=False, augmented=False, views=_FRAMES
        )
        super().__init__(network, generator, rule=rule, phase=phase)

    def feature_groups(self) -> list[ParameterGroup]:
        """Return all parameters of the areas."""
        each = (self.trained(index, stage) for index, stage in enumerate(self.areas))
        return [ParameterGroup(tuple(p for parameters in each for p in parameters))]

    def trained(self, index: int, stage: Stage) -> tuple[nn.Parameter, ...]:
        """Return weights, bias and the parameters of norms."""
        return trainable(*stage)

    def learn_areas(self, batch: Batch) -> Tensor:
        """Write the updates of all areas, each from its own two responses.

        Raises
        ------
        ContractError
            If the batch does not carry two views of each image.
        """
        if batch.views is None or len(batch.views) != _FRAMES:
            given = 0 if batch.views is None else len(batch.views)
            raise ContractError(
                f"{self.rule.name}: the batch has {given} views, expected {_FRAMES} frames of each "
                "image. Let batches carry views, as its phase asks."
            )
        responses = self.network.entering(batch.views.flatten(0, 1))
        loss = responses.new_zeros(())
        for index, stage in enumerate(self.areas):
            parameters = self.trained(index, stage)
            with torch.set_grad_enabled(bool(parameters)):
                responses = stage(responses.detach())
                latent = responses.flatten(2).mean(dim=2) if responses.ndim > 2 else responses
            if not parameters:
                continue
            here, error = local_objective(latent.detach().unflatten(0, (_FRAMES, -1)), self.rule)
            loss += here
            found = torch.autograd.grad(latent, parameters, error.flatten(0, 1))
            for parameter, gradient in zip(parameters, found, strict=True):
                parameter.grad = gradient
        return loss.detach()


def local_objective(frames: Tensor, rule: LatentPredictiveLearning) -> tuple[Tensor, Tensor]:
    """Return the objective of one area and its derivative by the responses.

    Parameters
    ----------
    frames : Tensor, shape (2, batch, units)
        Responses to two successive frames.
    rule : LatentPredictiveLearning

    Returns
    -------
    loss : Tensor, shape ()
    error : Tensor, shape (2, batch, units)
    """
    _, n_images, n_units = frames.shape
    n_pairs = max(n_units * (n_units - 1), 1)
    freedom = max(n_images - 1, 1)
    change = frames[0] - frames[1]
    centred = frames - frames.mean(dim=1, keepdim=True)
    covariance = centred.mT @ centred / freedom  # (2, units, units)
    variance = covariance.diagonal(dim1=1, dim2=2) + rule.epsilon
    among = covariance - torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))
    loss = (
        rule.predictive * change.square().mean()
        - rule.hebbian * variance.log().mean()
        + rule.decorrelation * among.square().sum() / (_FRAMES * n_pairs)
    )
    by_prediction = 2 * rule.predictive / change.numel() * torch.stack([change, -change])
    by_variance = rule.hebbian / (n_units * freedom) * centred / variance[:, None]
    by_covariance = 2 * rule.decorrelation / (n_pairs * freedom) * (centred @ among)
    return loss, by_prediction - by_variance + by_covariance

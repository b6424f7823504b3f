"""Latent predictive learning: the closed form of a local objective, and no collapse."""

from typing import Any

import pytest
import torch
from torch import Tensor

from brainscore_lite.learning_rules import Batch, Estimator, LatentPredictiveLearning, VICReg
from brainscore_lite.learning_rules.hebbian.latent_predictive_learning import local_objective
from brainscore_lite.learning_rules.stages import stages
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError


def deep(**settings: Any) -> Network:
    areas = (
        Area("V1", 4, pool_out=Pool("average", 2), activation="softplus", **settings),
        Area("V2", 6, pool_in=Pool("max", 2), activation="tanh"),
        Dense("IT", 5, activation="relu"),
    )
    architecture = ConvNet(areas=areas, n_classes=2, image_size=12)
    return architecture.build(torch.Generator().manual_seed(1)).double()


@pytest.fixture
def views() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(1, 8, 3, 12, 12, generator=generator).double()
    return image + 0.3 * torch.randn(2, 8, 3, 12, 12, generator=generator).double()


def ready(rule: LatentPredictiveLearning, network: Network) -> Estimator:
    estimator = rule.bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    return estimator


def objective(rule: LatentPredictiveLearning, z: Tensor) -> Tensor:
    """The paper's three losses in plain form, the decorrelation as in its erratum."""
    total = z.new_zeros(())
    n_images, n_units = z.shape[1:]
    for here, other in ((z[0], z[1]), (z[1], z[0])):
        stopped = other.detach()
        total = total + rule.predictive * (here - stopped).square().mean()
        centred = here - here.mean(dim=0).detach()
        variance = centred.square().sum(dim=0) / (n_images - 1)
        total = total - rule.hebbian / 2 * torch.log(variance + rule.epsilon).mean()
        for i in range(n_units):
            for k in range(n_units):
                if i != k:
                    covariance = (centred[:, i] * centred[:, k]).sum() / (n_images - 1)
                    share = 2 * n_units * (n_units - 1)
                    total = total + rule.decorrelation * covariance.square() / share
    return total


@pytest.mark.parametrize(
    "rule",
    [
        LatentPredictiveLearning(),
        LatentPredictiveLearning(hebbian=0, decorrelation=0),
        LatentPredictiveLearning(predictive=0, decorrelation=0),
        LatentPredictiveLearning(predictive=0, hebbian=0),
    ],
    ids=["all", "predictive", "hebbian", "decorrelation"],
)
def test_equals_autograd_of_the_local_objectives(
    rule: LatentPredictiveLearning, views: Tensor
) -> None:
    """With the other frame, the mean and all that comes from other areas held fixed."""
    network = deep(norm="layer")
    estimator = ready(rule, network)
    estimator(Batch(views[0], views=views), lambda: None)
    written = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    assert {name for name, _ in network.named_parameters()} - set(written) == {
        "areas.readout.bias",
        "connections.IT->readout.op.weight",
    }
    responses, total = views.flatten(0, 1), views.new_zeros(())
    for stage in stages(network)[:-1]:
        responses = stage(responses.detach())
        latent = responses.flatten(2).mean(dim=2) if responses.ndim > 2 else responses
        # Both terms of the prediction carry the gradient of one frame each, so its own share is 1.
        total = total + objective(rule, latent.unflatten(0, (2, -1)))
    names, parameters = zip(*network.named_parameters(), strict=True)
    expected = torch.autograd.grad(total, parameters, allow_unused=True)
    for name, gradient in zip(names, expected, strict=True):
        if gradient is not None:
            assert torch.allclose(written[name], gradient, rtol=1e-12, atol=1e-12), name


def test_the_reported_loss_is_the_sum_of_the_objectives(views: Tensor) -> None:
    network, rule = deep(), LatentPredictiveLearning()
    reported = ready(rule, network)(Batch(views[0], views=views), lambda: None).loss
    responses, expected = views.flatten(0, 1), 0.0
    for stage in stages(network)[:-1]:
        responses = stage(responses).detach()
        latent = responses.flatten(2).mean(dim=2) if responses.ndim > 2 else responses
        z = latent.unflatten(0, (2, -1))
        expected += objective(rule, z).item() - (z[0] - z[1]).square().mean().item()
    assert reported == pytest.approx(expected, rel=1e-12)


def test_each_area_follows_vicreg_of_its_own_responses() -> None:
    """Term by term. Decorrelation is VICReg's covariance, over 2 (units - 1); the Hebbian part is
    its variance term times 2 / deviation of each unit, where that is below VICReg's 1."""
    n_units = 6
    z = torch.randn(2, 9, n_units, generator=torch.Generator().manual_seed(1)).double()
    z *= torch.linspace(0.2, 0.7, n_units, dtype=torch.float64)
    deviation = (z.var(dim=1, keepdim=True) + 1e-4).sqrt()
    assert deviation.max() < 1

    def vicreg(**weights: float) -> Tensor:
        off = {"invariance": 0.0, "variance": 0.0, "covariance": 0.0}
        at = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(VICReg(**(off | weights)).objective(*at), at)
        return gradient

    def own(**weights: float) -> Tensor:
        off = {"predictive": 0.0, "hebbian": 0.0, "decorrelation": 0.0}
        return local_objective(z, LatentPredictiveLearning(**(off | weights)))[1]

    close = {"rtol": 1e-12, "atol": 1e-14}
    torch.testing.assert_close(own(predictive=3.0), vicreg(invariance=3.0), **close)
    share = 2 * (n_units - 1)
    torch.testing.assert_close(own(decorrelation=3.0), vicreg(covariance=3.0) / share, **close)
    torch.testing.assert_close(own(hebbian=3.0), 2 * vicreg(variance=3.0) / deviation, **close)


def test_an_area_writes_nothing_below_itself(views: Tensor) -> None:
    network = deep()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("IT" in name)
    estimator = ready(LatentPredictiveLearning(), network)
    estimator(Batch(views[0], views=views), lambda: None)
    written = {name for name, p in network.named_parameters() if p.grad is not None}
    assert written == {"areas.IT.bias", "connections.V2->IT.op.weight"}


def responses_after(rule: LatentPredictiveLearning, views: Tensor) -> dict[str, float]:
    """Variance over images of each area, after training relative to before."""
    network = deep()

    def variances() -> dict[str, float]:
        (step,) = network.respond(views[0])
        return {
            name: z.flatten(2).mean(dim=2).var(dim=0).mean().item()
            if z.ndim > 2
            else z.var(dim=0).mean().item()
            for name, z in step.activations.items()
        }

    before, estimator = variances(), ready(rule, network)
    for _ in range(100):
        estimator(Batch(views[0], views=views), lambda: None)
        with torch.no_grad():
            for group in estimator.parameter_groups():
                for p in group.parameters:
                    p -= 0.02 * p.grad
    after = variances()
    return {name: after[name] / before[name] for name in ("V1", "V2", "IT")}


def test_variance_does_not_collapse_thanks_to_the_hebbian_part(views: Tensor) -> None:
    kept = responses_after(LatentPredictiveLearning(predictive=100.0), views)
    lost = responses_after(LatentPredictiveLearning(predictive=100.0, hebbian=0.0), views)
    assert all(ratio > 1 for ratio in kept.values()), kept
    assert all(ratio < 0.7 for ratio in lost.values()), lost


@pytest.mark.parametrize("given", [None, 3])
def test_asks_for_two_views(given: int | None, views: Tensor) -> None:
    wrong = None if given is None else views[:1].expand(given, -1, -1, -1, -1)
    estimator = ready(LatentPredictiveLearning(), deep())
    with pytest.raises(ContractError, match=f"the batch has {given or 0} views, expected 2 frames"):
        estimator(Batch(views[0], views=wrong), lambda: None)


def test_refuses_batch_norm_and_recurrence() -> None:
    normed = ConvNet(areas=(Area("V1", 4, post_norm="batch"),), n_classes=2, image_size=8)
    recurrent = ConvNet(areas=(Area("V1", 4),), n_classes=2, image_size=8, lateral=True, n_steps=2)
    rule = LatentPredictiveLearning()
    assert "it would fix the variance that the rule must keep" in rule.supports(normed).reason
    assert "recurrent" in rule.supports(recurrent).reason
    assert not rule.supports(torch.nn.Linear(2, 2)).ok


def test_phases_carry_views_and_no_labels() -> None:
    unsupervised, readout = (
        LatentPredictiveLearning(epochs=3).bind(deep(), torch.Generator()).phases()
    )
    assert (unsupervised.labels, unsupervised.views, unsupervised.epochs) == (False, 2, 3)
    assert (readout.labels, readout.views) == (True, 0)

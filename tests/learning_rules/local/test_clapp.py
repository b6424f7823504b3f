"""CLAPP's Hebbian updates against the gradient of its loss, and against loops over synapses."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules import CLAPP, Batch
from brainscore_lite.learning_rules.local.clapp import drawn_gaze
from brainscore_lite.learning_rules.local.greedy_estimator import GreedyEstimator
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.schema import ContractError


def bound(network: nn.Module, **settings: Any) -> GreedyEstimator:
    estimator = CLAPP(**settings).bind(network, torch.Generator().manual_seed(0))
    estimator.begin(estimator.phases()[0])
    assert isinstance(estimator, GreedyEstimator)
    return estimator


@pytest.fixture
def seen(toy: Batch) -> Batch:
    """The toy without labels, in two views."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(2, *toy.images.shape, generator=generator, dtype=torch.float64)
    return Batch(toy.images, views=toy.images + 0.3 * noise)


def gaze_of(estimator: GreedyEstimator, n: int, *, both: bool) -> Any:
    """The gaze that the estimator is about to draw."""
    copy = torch.Generator()
    copy.set_state(estimator.generator.get_state())
    return drawn_gaze(n, copy, both=both)


@pytest.mark.parametrize("saccades", ["sampled", "both"])
def test_updates_equal_the_gradient_of_the_detached_hinge_loss(
    tiny: nn.Module, seen: Batch, saccades: str
) -> None:
    """With R = W^T, to 1e-12: sum over areas of max(0, 1 - y z^T W c), areas cut off."""
    estimator = bound(tiny, retrodiction="transposed", saccades=saccades)
    (group,) = estimator.parameter_groups()
    n = len(seen.images)
    gaze = gaze_of(estimator, n, both=saccades == "both")
    losses = []
    for area, summary in estimator.summaries(seen):
        c, z = summary[0][gaze.context], summary[1][gaze.seen]
        scores = torch.einsum("bj,jk,bk->b", z, estimator.comparison(area)["predict"], c)
        losses.append((1 - gaze.stays * scores).clamp(min=0).sum() / n)
    expected = torch.autograd.grad(sum(losses), group.parameters)
    info = estimator(seen, lambda: None)
    assert info.loss == pytest.approx(sum(each.item() for each in losses))
    for parameter, gradient in zip(group.parameters, expected, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-15)


def test_updates_equal_the_hebbian_rule_synapse_by_synapse() -> None:
    """dw_ji = g [(W c)_j rho'(a_j) x_i at z + (R z)_j rho'(a_j) x_i at c], with a learned R."""
    network = ConvNet(areas=(Dense("V1", 4, activation="tanh"),), n_classes=2, image_size=2)
    network = network.build(torch.Generator().manual_seed(2)).double()
    estimator = bound(network)
    generator = torch.Generator().manual_seed(3)
    views = torch.randn(2, 6, 3, 2, 2, generator=generator, dtype=torch.float64)
    gaze = gaze_of(estimator, 6, both=False)
    assert set(gaze.stays.tolist()) == {1, -1}
    estimator(Batch(views[0], views=views), lambda: None)
    w = network.connections["image->V1"].op.weight
    predict, retrodict = (estimator.comparison("V1")[each] for each in ("predict", "retrodict"))
    dw, d_predict, d_retrodict = (torch.zeros_like(each) for each in (w, predict, retrodict))
    with torch.no_grad():
        for context, after, y in zip(*(each.tolist() for each in gaze), strict=True):
            x_c, x_z = views[0, context].flatten(), views[1, after].flatten()
            c, z = torch.tanh(w @ x_c), torch.tanh(w @ x_z)
            g = y if 1 - y * float(z @ predict @ c) > 0 else 0
            for j in range(4):
                for i in range(12):
                    at_z = (predict @ c)[j] * (1 - z[j] ** 2) * x_z[i]
                    at_c = (retrodict @ z)[j] * (1 - c[j] ** 2) * x_c[i]
                    dw[j, i] += g * (at_z + at_c) / 6
                for k in range(4):
                    d_predict[j, k] += g * z[j] * c[k] / 6
                    d_retrodict[k, j] += g * c[k] * z[j] / 6
    for parameter, update in ((w, dw), (predict, d_predict), (retrodict, d_retrodict)):
        assert update.abs().max() > 0
        torch.testing.assert_close(parameter.grad, -update, rtol=1e-12, atol=1e-14)


def stepped(estimator: GreedyEstimator, batch: Batch, n_steps: int) -> None:
    (group,) = estimator.parameter_groups()
    for _ in range(n_steps):
        estimator(batch, lambda: None)
        with torch.no_grad():
            for parameter in group.parameters:
                parameter -= 0.05 * parameter.grad
                parameter.grad = None


def difference(estimator: GreedyEstimator, area: str) -> Tensor:
    weights = estimator.comparison(area)
    return (weights["retrodict"] - weights["predict"].T).detach().clone()


def test_the_difference_between_r_and_w_transposed_never_changes(
    tiny: nn.Module, seen: Batch
) -> None:
    """Both learn the same product, so R - W^T stays as it was drawn, to 1e-13."""
    estimator = bound(tiny)
    before = {area: difference(estimator, area) for area in ("V1", "IT")}
    moved = estimator.comparison("V1")["predict"].detach().clone()
    stepped(estimator, seen, 10)
    assert (estimator.comparison("V1")["predict"] - moved).norm() > 0.1
    for area, drawn in before.items():
        assert drawn.norm() > 1
        torch.testing.assert_close(difference(estimator, area), drawn, rtol=0, atol=1e-13)


def test_nothing_is_learnt_beyond_the_margin(tiny: nn.Module, seen: Batch) -> None:
    """The broadcast factor is 0 where the prediction is right by more than 1."""
    estimator = bound(tiny)
    with torch.no_grad():
        for area in ("V1", "IT"):
            estimator.comparison(area)["predict"].copy_(
                1e3 * torch.ones_like(estimator.comparison(area)["predict"])
            )
    estimator.generator.manual_seed(0)
    gaze = gaze_of(estimator, 32, both=False)
    summaries = dict(estimator.summaries(seen))
    assert all((summary > 0).any(dim=2).all() for summary in summaries.values())
    estimator(seen, lambda: None)
    moved = gaze.stays < 0
    c = summaries["V1"][0][gaze.context][moved]
    z = summaries["V1"][1][gaze.seen][moved]
    found = estimator.comparison("V1")["predict"].grad
    torch.testing.assert_close(found, (z.T @ c / 32).detach(), rtol=1e-12, atol=1e-14)


def test_gaze_stays_on_half_of_the_images_and_never_moves_to_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    stays = []
    for _ in range(100):
        gaze = drawn_gaze(20, generator, both=False)
        assert torch.equal(gaze.context == gaze.seen, gaze.stays == 1)
        stays.append((gaze.stays == 1).double().mean().item())
    assert 0.47 < sum(stays) / 100 < 0.53
    gaze = drawn_gaze(5, generator, both=True)
    assert gaze.stays.tolist() == [1] * 5 + [-1] * 5
    assert gaze.context.tolist() == [0, 1, 2, 3, 4] * 2
    assert gaze.seen[:5].tolist() == [0, 1, 2, 3, 4]
    assert not (gaze.seen[5:] == gaze.context[5:]).any()


def test_what_it_makes_local_depends_on_the_weights_that_come_back() -> None:
    assert CLAPP().makes_local - CLAPP(retrodiction="transposed").makes_local == {
        "weight_transport"
    }


def test_refusals(tiny: nn.Module, toy: Batch) -> None:
    with pytest.raises(ContractError, match="clapp: the batch has 0 views of each image; it needs"):
        bound(tiny)(Batch(toy.images), lambda: None)
    with pytest.raises(ContractError, match="clapp: retrodiction is 'none', which is unknown"):
        CLAPP(retrodiction="none")  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="clapp: saccades is 'never', which is unknown"):
        CLAPP(saccades="never")  # type: ignore[arg-type]

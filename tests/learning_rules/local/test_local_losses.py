"""Each area follows a loss of its own, and no gradient passes between areas."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import Batch, LocalLosses, UnsupportedNetworkError
from brainscore_lite.learning_rules.local.area_losses import pooled, pooling
from brainscore_lite.learning_rules.local.local_losses import (
    AreaHead,
    LocalLossEstimator,
    similarity,
)
from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.connections import (
    IMAGE,
    Connection,
    Convolution,
    FullyConnected,
    initialise,
)
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.model import READOUT
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing
from brainscore_lite.training.measurement import layer_of

LOSSES = ("pred", "sim", "predsim")


def nothing() -> None:
    pass


def bound(network: nn.Module, loss: str = "predsim") -> LocalLossEstimator:
    estimator = LocalLosses(loss=loss).bind(network, torch.Generator().manual_seed(0))
    assert isinstance(estimator, LocalLossEstimator)
    return estimator


def wired(*, skip: bool = False, lateral: bool = False, n_steps: int = 1) -> Network:
    """V1 and IT on 8 x 8 images, with a way past IT or a loop on V1."""
    generator = torch.Generator().manual_seed(3)
    connections = [
        Connection(IMAGE, "V1", op=Convolution((4, 3, 3, 3), padding=1)),
        Connection("V1", "IT", op=FullyConnected((6, 4 * 64))),
        Connection("IT", READOUT, op=FullyConnected((2, 6))),
    ]
    if skip:
        connections.append(Connection("V1", READOUT, op=FullyConnected((2, 4 * 64))))
    if lateral:
        connections.append(Connection("V1", "V1", op=Convolution((4, 4, 3, 3), padding=1), delay=1))
    for connection in connections:
        initialise(connection.op, generator, gain=1.0)
    settings = (
        Area("V1", 4, activation="tanh"),
        Dense("IT", 6, activation="tanh"),
        Dense(READOUT, 2, activation="identity"),
    )
    return Network(
        "wired",
        [AreaModule(each) for each in settings],
        connections=connections,
        preprocessing=Preprocessing(size=8),
        n_steps=n_steps,
    ).double()


def normalised() -> nn.Module:
    areas = (
        Area("V1", 4, norm="batch"),
        Dense("IT", 6, norm="batch", activation="clipped_relu"),
    )
    network = ConvNet(areas=areas, n_classes=2, image_size=8)
    return network.build(torch.Generator().manual_seed(3)).double()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "network",
    [normalised(), wired(), wired(skip=True), wired(lateral=True, n_steps=3)],
    ids=["batch norm", "chain", "skip", "recurrent"],
)
def test_no_gradient_leaves_the_area(network: nn.Module, loss: str, toy: Batch) -> None:
    """dL_l / dw_k is no part of the graph for k != l: exactly zero; but not for k = l."""
    estimator = bound(network, loss)
    parameters = dict(estimator.named_parameters())
    losses, _ = estimator.local_losses(toy)
    assert set(losses) == {"V1", "IT", READOUT}
    for area, own in losses.items():
        found = torch.autograd.grad(
            own, [*parameters.values()], allow_unused=True, retain_graph=True
        )
        for name, gradient in zip(parameters, found, strict=True):
            outside = layer_of(name, ["V1", "IT", READOUT]) != area
            assert (gradient is None) == outside, f"loss of {area}, {name}"
            assert outside or gradient.abs().max() > 0


def test_without_detaching_a_gradient_leaves_the_area(toy: Batch) -> None:
    """The law above can fail: through the plain network the loss of IT reaches V1."""
    network = wired()
    estimator = bound(network)
    (activations,) = network.run(toy.images)
    wanted = similarity(functional.one_hot(toy.labels, 2).double())
    loss = estimator.heads["IT"](activations["IT"], toy.labels, wanted)
    (gradient,) = torch.autograd.grad(loss, [network.connections["image->V1"].op.weight])
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_the_update_is_the_gradient_of_each_area_s_own_loss(
    tiny: nn.Module, toy: Batch, loss: str
) -> None:
    estimator = bound(tiny, loss)
    losses, scores = estimator.local_losses(toy)
    parameters = [*estimator.parameters()]
    own = [torch.autograd.grad(each, parameters, allow_unused=True) for each in losses.values()]
    info = estimator(toy, nothing)
    for parameter, *gradients in zip(parameters, *own, strict=True):
        (expected,) = [each for each in gradients if each is not None]
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-12, atol=1e-15)
    assert info.loss == pytest.approx(sum(each.item() for each in losses.values()))
    assert info.n_correct == int((scores.argmax(1) == toy.labels).sum())


def directly(x: Tensor) -> Tensor:
    """Similarity by its definition, pair by pair."""
    rows = [(each - each.mean()).tolist() for each in x]
    found = torch.zeros(len(x), len(x), dtype=x.dtype)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            product = sum(a * b for a, b in zip(one, other, strict=True))
            norms = math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))
            found[i, j] = product / norms
    return found


def test_similarity_equals_its_definition() -> None:
    generator = torch.Generator().manual_seed(1)
    units = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    maps = torch.randn(5, 4, 3, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(similarity(units), directly(units), rtol=1e-12, atol=1e-13)
    spread = torch.tensor([[m.std().item() for m in image] for image in maps], dtype=torch.float64)
    torch.testing.assert_close(similarity(maps), directly(spread), rtol=1e-12, atol=1e-13)
    points = maps[:, :, :1, :1]
    torch.testing.assert_close(similarity(points), similarity(points.flatten(1)))


def test_similarity_of_labels_is_one_within_a_class_and_negative_between() -> None:
    targets = functional.one_hot(torch.tensor([0, 1, 0, 2]), 4).double()
    found = similarity(targets)
    assert found[0, 2].item() == pytest.approx(1)
    assert found[0, 1].item() == pytest.approx(-1 / 3)  # -1 / (n_classes - 1)


@pytest.mark.parametrize("shape", [(6,), (4, 4, 4)])
def test_losses_equal_their_definitions(shape: tuple[int, ...]) -> None:
    """predsim is (1 - w) pred + w sim of the same heads, each as written down."""
    generator = torch.Generator().manual_seed(1)
    activations = torch.randn(8, *shape, generator=generator, dtype=torch.float64)
    labels = torch.arange(8) % 3
    wanted = similarity(functional.one_hot(labels, 3).double())
    rule = LocalLosses(similarity_weight=0.7, pooled_units=16)
    head = AreaHead(shape, 3, rule=rule, generator=generator).double()
    averaged = activations if len(shape) == 1 else functional.avg_pool2d(activations, 2).flatten(1)
    scores = averaged @ head.classify.weight.T
    pred = -scores.log_softmax(dim=1)[torch.arange(8), labels].mean()
    compared = (
        activations @ head.compare.weight.T
        if len(shape) == 1
        else functional.conv2d(activations, head.compare.weight, padding=1).std(dim=(2, 3))
    )
    sim = (directly(compared) - directly(functional.one_hot(labels, 3).double())).square().mean()
    found = head(activations, labels, wanted)
    torch.testing.assert_close(found, 0.3 * pred + 0.7 * sim, rtol=1e-12, atol=1e-13)


def test_steps_of_a_recurrent_network_are_cut_off_from_each_other(toy: Batch) -> None:
    """The loss of V1 is the mean over the steps, and its gradient passes through one of them."""
    network = wired(lateral=True, n_steps=3)
    estimator = bound(network)
    estimator(toy, nothing)
    weight = network.connections["V1->V1"].op.weight
    bottom_up = network.connections["image->V1"].op.weight
    wanted = similarity(functional.one_hot(toy.labels, 2).double())
    before, losses = None, []
    for _ in range(3):
        drive = functional.conv2d(toy.images, bottom_up, padding=1)
        if before is not None:
            drive = drive + functional.conv2d(before.detach(), weight, padding=1)
        before = torch.tanh(drive + network.areas["V1"].bias[:, None, None])
        losses.append(estimator.heads["V1"](before, toy.labels, wanted))
    expected = torch.autograd.grad(sum(losses) / 3, [weight])[0]
    torch.testing.assert_close(weight.grad, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_silent_areas_give_finite_updates(tiny: nn.Module, toy: Batch, loss: str) -> None:
    """Maps without spread have no direction; the update is then 0, not NaN."""
    with torch.no_grad():
        tiny.areas["V1"].bias -= 100
    estimator = bound(tiny, loss)
    estimator(toy, nothing)
    assert all(torch.isfinite(p.grad).all() for p in estimator.parameters())


def test_heads_read_as_few_numbers_as_asked_for() -> None:
    assert pooling((7,), 2) == 1
    assert pooling((16, 14, 14), 4000) == 1
    assert pooling((16, 14, 14), 2048) == 2
    assert pooling((16, 14, 14), 256) == 4
    assert pooled(torch.zeros(1, 16, 14, 14), 4).shape == (1, 256)
    assert pooling((16, 14, 14), 3) == 14
    ramp = torch.arange(3.0).expand(1, 1, 3, 3)
    assert pooled(ramp, 2).tolist() == [[0.5, 2.0, 0.5, 2.0]]  # those at the edge too


def test_only_the_heads_of_its_loss_exist(tiny: nn.Module) -> None:
    found = {
        loss: {name.split(".")[1] for name, _ in bound(tiny, loss).heads.named_parameters()}
        for loss in LOSSES
    }
    assert found == {"pred": {"classify"}, "sim": {"compare"}, "predsim": {"classify", "compare"}}


def test_refusals(tiny: nn.Module, toy: Batch) -> None:
    with pytest.raises(ContractError, match="local_losses_sim: the batch has no labels"):
        bound(tiny, "sim")(Batch(toy.images), nothing)
    with pytest.raises(ContractError, match="loss is 'both', which is unknown"):
        LocalLosses(loss="both")  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=r"similarity_weight is 1\.5, expected a number from 0"):
        LocalLosses(similarity_weight=1.5)
    with pytest.raises(UnsupportedNetworkError, match="a Linear is no graph of areas"):
        LocalLosses().bind(nn.Linear(2, 2), torch.Generator())

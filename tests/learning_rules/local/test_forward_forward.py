"""Forward-forward: what each layer learns, what it passes on, and how labels are read."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import Batch, Estimator, UnsupportedNetworkError
from brainscore_lite.learning_rules.local import ForwardForward
from brainscore_lite.learning_rules.local.forward_forward_goodness import (
    GOODNESS_KINDS,
    Goodness,
    normalised,
)
from brainscore_lite.learning_rules.local.forward_forward_labels import (
    LabelCode,
    LabelsAs,
    labelled_drive,
    waves,
    wrong_labels,
)
from brainscore_lite.learning_rules.local.forward_forward_layers import PeerNormalisation
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

DENSE = ConvNet(
    areas=tuple(Dense(f"hidden{level}", 12) for level in (1, 2, 3)),
    n_classes=4,
    image_size=6,
    in_channels=1,
    name="dense",
)
CONVOLUTIONAL = ConvNet(
    areas=(
        Area("V1", 4, pool_out=Pool("average", 2), activation="clipped_relu"),
        Area("V2", 5, activation="clipped_relu"),
        Dense("IT", 7, activation="clipped_relu"),
    ),
    n_classes=4,
    image_size=8,
    name="convolutional",
)

LOCAL = ConvNet(
    areas=(
        Area("V1", 3, kernel=5, shared=False, activation="relu"),
        Area("V2", 4, kernel=3, stride=2, shared=False, activation="relu"),
        Area("IT", 3, shared=False, activation="relu"),
    ),
    n_classes=4,
    image_size=8,
    name="local_receptive_fields",
)
each_architecture = pytest.mark.parametrize(
    "architecture", [DENSE, CONVOLUTIONAL, LOCAL], ids=lambda each: each.name
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(architecture: ConvNet) -> Network:
    return architecture.build(generator(1)).double()


def bound(rule: ForwardForward, architecture: ConvNet) -> Estimator:
    return rule.bind(built(architecture), generator(2))


def batch(architecture: ConvNet, n: int = 6) -> Batch:
    shape = (n, architecture.in_channels, architecture.image_size, architecture.image_size)
    images = torch.randn(shape, generator=generator(3), dtype=torch.float64)
    return Batch(images, torch.arange(n) % architecture.n_classes)


def naive_layers(estimator: Estimator, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Activities of every layer, from images with their labels written in, by definition."""
    arriving, found = normalised(estimator.code(images, labels)), []
    for stage in estimator.hidden:
        found.append(stage(arriving))
        arriving = normalised(found[-1])
    return found


def naive_losses(estimator: Estimator, given: Batch, wrong: Tensor) -> list[Tensor]:
    """Losses by layer in one graph, nothing detached, with theta = d and temperature 1."""
    pairs = zip(
        naive_layers(estimator, given.images, given.labels),
        naive_layers(estimator, given.images, wrong),
        strict=True,
    )
    losses = []
    for real, false in pairs:
        theta = real[0].numel() * estimator.goodness.threshold
        above_real = real.flatten(1).square().sum(dim=1) - theta
        above_false = false.flatten(1).square().sum(dim=1) - theta
        both = functional.logsigmoid(torch.cat([above_real, -above_false]))
        losses.append(-both.mean())
    return losses


def drawn_wrong(estimator: Estimator, given: Batch) -> Tensor:
    """Wrong labels that the estimator will draw next."""
    ahead = copy.deepcopy(estimator.generator.get_state())
    clone = torch.Generator()
    clone.set_state(ahead)
    return wrong_labels(given.labels, estimator.n_classes, generator=clone)


@each_architecture
def test_gradient_of_each_layer_is_that_of_its_own_loss_alone(architecture: ConvNet) -> None:
    """dL_l / dW_l by autograd through the whole network, and dL_l / dW_k = 0 for k != l."""
    estimator, given = (
        bound(ForwardForward(peer_normalisation=0.0), architecture),
        batch(architecture),
    )
    losses = naive_losses(estimator, given, drawn_wrong(estimator, given))
    info = estimator(given, lambda: None)
    assert info.loss == pytest.approx(sum(losses).item(), rel=1e-12)
    for stage, loss in zip(estimator.hidden, losses, strict=True):
        own = [stage.connection.op.weight, stage.area.bias]
        for parameter, gradient in zip(
            own, torch.autograd.grad(loss, own, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-14)


def test_loss_of_one_layer_moves_no_other() -> None:
    """With other weights in one layer, the gradients of those below are the same to the bit."""
    given = batch(DENSE)
    first, second = (bound(ForwardForward(), DENSE) for _ in range(2))
    with torch.no_grad():
        second.hidden[2].connection.op.weight.mul_(-1.7)
    for each in (first, second):
        each(given, lambda: None)
    for height in (0, 1):
        pair = [each.hidden[height].connection.op.weight.grad for each in (first, second)]
        assert torch.equal(*pair)
    changed = [each.hidden[2].connection.op.weight.grad for each in (first, second)]
    assert not torch.allclose(*changed)


def test_a_layers_own_update_leaves_the_direction_that_it_passes_on() -> None:
    """Hinton 2022: on the example itself the update scales the activity and does not turn it."""
    stage = bound(ForwardForward(), DENSE).hidden[1]
    arriving = normalised(torch.rand(1, 12, generator=generator(4), dtype=torch.float64))
    before = stage(arriving)
    goodness = Goodness("sum_of_squares", threshold=1.0)
    _, gradient = goodness.contrast(before.detach(), n_real=1)
    own = [stage.connection.op.weight, stage.area.bias]
    found = torch.autograd.grad(before, own, gradient)
    with torch.no_grad():
        for parameter, each in zip(own, found, strict=True):
            parameter -= 0.1 * each
        after = stage(arriving)
    assert after.norm() > 1.01 * before.norm()
    cosine = functional.cosine_similarity(before, after).item()
    assert cosine == pytest.approx(1.0, abs=1e-14)


def test_length_of_activity_is_not_passed_on() -> None:
    estimator, given = bound(ForwardForward(), DENSE), batch(DENSE)
    h1 = naive_layers(estimator, given.images, given.labels)[0]
    second = estimator.hidden[1]
    scaled = second(normalised(37.5 * h1))
    torch.testing.assert_close(second(normalised(h1)), scaled, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(
        normalised(h1).square().mean(dim=1), torch.ones(len(h1), dtype=torch.float64)
    )


def test_a_silent_layer_stays_silent() -> None:
    assert not normalised(torch.zeros(2, 5)).any()


@each_architecture
def test_prediction_is_the_goodness_of_each_label_above_the_first_layer(
    architecture: ConvNet,
) -> None:
    estimator, given = bound(ForwardForward(), architecture), batch(architecture)
    expected = []
    for label in range(4):
        layers = naive_layers(estimator, given.images, torch.full((6,), label))
        expected.append(sum(each.flatten(1).square().mean(dim=1) for each in layers[1:]))
    scores = estimator.predict(given.images)
    torch.testing.assert_close(scores, torch.stack(expected, dim=1), rtol=1e-10, atol=1e-12)


def test_prediction_does_not_depend_on_the_batch() -> None:
    estimator, given = bound(ForwardForward(), CONVOLUTIONAL), batch(CONVOLUTIONAL, 300)
    together = estimator.predict(given.images)
    torch.testing.assert_close(estimator.predict(given.images[:5]), together[:5])


@pytest.mark.parametrize("method", ["average", "max"])
def test_first_layer_is_shared_between_labels_exactly(method: str) -> None:
    """Images and label patterns pass once where the connection is linear, and together else."""
    v1 = dataclasses.replace(CONVOLUTIONAL.areas[0], pool_out=Pool(method, 2))
    architecture = dataclasses.replace(CONVOLUTIONAL, areas=(v1, *CONVOLUTIONAL.areas[1:]))
    for written in ("pixels", "waves"):
        estimator = bound(ForwardForward(labels_as=written), architecture)
        given = batch(architecture)
        shown = torch.stack([given.labels, (given.labels + 1) % 4])
        stage = estimator.hidden[0]
        both = estimator.code(given.images.repeat(2, 1, 1, 1), shown.flatten())
        torch.testing.assert_close(
            labelled_drive(stage, given.images, shown, code=estimator.code),
            stage.drive(normalised(both)),
            rtol=1e-11,
            atol=1e-12,
        )


@pytest.mark.parametrize("kind", GOODNESS_KINDS)
@pytest.mark.parametrize("minimised", [False, True])
@pytest.mark.parametrize("temperature", [None, 1.0])
def test_gradient_of_the_contrast_is_that_of_autograd(
    kind: str, minimised: bool, temperature: float | None
) -> None:
    """The closed form, against a definition written out: log-likelihood of real and false."""
    goodness = Goodness(kind, 0.4, temperature, minimised)
    h = torch.rand(6, 3, 2, 2, generator=generator(5), dtype=torch.float64, requires_grad=True)
    each = {
        "sum_of_squares": h.square(),
        "mean_of_squares": h.square() / 12,
        "absolute": h.abs(),
        "t_density": torch.log(1 + h.square()),
    }[kind]
    theta = 0.4 if kind == "mean_of_squares" else 0.4 * 12
    natural = 12**-0.5 if kind == "mean_of_squares" else 12**0.5
    logit = (each.sum(dim=(1, 2, 3)) - theta) / (temperature or natural)
    probability = torch.sigmoid(-logit if minimised else logit)
    expected = -torch.cat([probability[:2].log(), (1 - probability[2:]).log()]).mean()
    loss, gradient = goodness.contrast(h.detach(), n_real=2)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=1e-14)
    (by_autograd,) = torch.autograd.grad(expected, h)
    torch.testing.assert_close(gradient, by_autograd, rtol=1e-10, atol=1e-14)
    per_unit = each.sum(dim=(1, 2, 3)) / (1 if kind == "mean_of_squares" else 12)
    torch.testing.assert_close(goodness.evidence(h), (-1 if minimised else 1) * per_unit)


def test_sum_and_mean_of_squares_decide_alike_at_their_own_temperatures() -> None:
    h = torch.rand(6, 12, generator=generator(5), dtype=torch.float64)
    total, mean = (
        Goodness(kind, 0.4, None).contrast(h, 3) for kind in ("sum_of_squares", "mean_of_squares")
    )
    torch.testing.assert_close(total, mean)


def test_unknown_goodness_is_refused() -> None:
    with pytest.raises(ContractError, match="goodness 'entropy' is unknown"):
        Goodness("entropy", 1.0)  # type: ignore[arg-type]


def test_peer_normalisation_pulls_mean_activities_together() -> None:
    peers = PeerNormalisation(0.5, {"V2": 3}, torch.zeros(1, dtype=torch.float64))
    h = torch.rand(6, 3, 2, 2, generator=generator(6), dtype=torch.float64, requires_grad=True)
    means = 0.1 * h[:4].mean(dim=(0, 2, 3))  # running means start at 0
    expected = 0.5 * (means.mean() - means).square().mean()
    (by_autograd,) = torch.autograd.grad(expected, h)
    gradient = torch.zeros_like(h)
    peers.add_to(gradient, h.detach(), 4, area="V2")
    torch.testing.assert_close(gradient, by_autograd, rtol=1e-12, atol=1e-16)
    torch.testing.assert_close(peers.mean_V2, means.detach())
    assert not gradient[4:].any()


def test_wrong_labels_are_all_the_others_alike() -> None:
    labels = torch.arange(5).repeat(4000)
    wrong = wrong_labels(labels, 5, generator=generator(7))
    counts = torch.zeros(5, 5).index_put_((labels, wrong), torch.ones(1), accumulate=True)
    assert not counts.diagonal().any()
    assert counts[~torch.eye(5, dtype=torch.bool)].sub(1000).abs().max() < 150  # 5 s.d.


def test_hard_negatives_follow_the_readout() -> None:
    estimator = bound(ForwardForward(negatives="hard"), DENSE)
    scores = torch.tensor([[9.0, 2.0, 2.0 + 1.0986122886681098, -50.0]]).expand(4000, -1).double()
    wrong = estimator._wrong(torch.zeros(4000, dtype=torch.int64), scores)
    shares = torch.bincount(wrong, minlength=4) / 4000
    assert shares[0] == 0
    # clamped at 1e-6, and 1 : 3 otherwise
    assert shares[1].item() == pytest.approx(0.25, abs=0.035)
    assert shares[3] < 0.02
    assert ForwardForward(negatives="hard").makes_local < ForwardForward().makes_local


def test_pixels_carry_the_label_and_the_rest_of_the_image_stays() -> None:
    network = built(DENSE)
    code = LabelCode(network, 4, written="pixels", strength=1.0)
    given = batch(DENSE)
    shown = code(given.images, given.labels)
    black, white = -2.0, 2.0  # of the gray preprocessing
    first = shown[:, 0, 0, :4]
    expected = torch.where(functional.one_hot(given.labels, 4) == 1, white, black)
    torch.testing.assert_close(first, expected.double())
    assert torch.equal(shown.flatten(1)[:, 4:], given.images.flatten(1)[:, 4:])
    neutral = code(given.images)[:, 0, 0, :4]
    torch.testing.assert_close(neutral, torch.full_like(neutral, -1.0))


def test_waves_reach_every_place_and_differ_between_classes() -> None:
    patterns = waves(10, 28)
    windows = patterns.unfold(2, 8, 4).unfold(3, 8, 4)
    assert windows.square().mean(dim=(-1, -2)).min() > 0.2
    flat = functional.normalize(patterns.flatten(1), dim=1)
    between = (flat @ flat.T).fill_diagonal_(0)
    assert between.abs().max() < 0.3


def test_labels_are_written_as_the_architecture_needs() -> None:
    rule = ForwardForward()
    assert (rule.written(DENSE), rule.written(CONVOLUTIONAL)) == ("pixels", "waves")
    assert rule.written(built(CONVOLUTIONAL)) == "waves"
    assert ForwardForward(labels_as="pixels").written(CONVOLUTIONAL) == "pixels"


@pytest.mark.parametrize("probed", ["normalised", "raw"])
def test_responds_under_the_neutral_label(probed: str) -> None:
    estimator, given = bound(ForwardForward(probed=probed), DENSE), batch(DENSE)
    arriving = normalised(estimator.code(given.images))
    (step,) = estimator.respond(given.images)
    for stage in estimator.hidden:
        activity = stage(arriving)
        arriving = normalised(activity)
        expected = arriving if probed == "normalised" else activity
        torch.testing.assert_close(step.activations[stage.name], expected)
    torch.testing.assert_close(step.activations["readout"], estimator.predict(given.images))


def test_a_lesion_reaches_the_probed_dynamics() -> None:
    estimator, given = bound(ForwardForward(), DENSE), batch(DENSE)
    with estimator.network.lesioned({"hidden1->hidden2": 0.0}):
        (step,) = estimator.respond(given.images, ["hidden1", "hidden2"])
    assert step.activations["hidden1"].any()
    assert not step.activations["hidden2"].any()


def test_readout_reads_all_layers_but_the_first_and_teaches_none() -> None:
    estimator = bound(ForwardForward(prediction="readout"), DENSE)
    given = batch(DENSE)
    reference = bound(ForwardForward(), DENSE)
    for each in (estimator, reference):
        info = each(given, lambda: None)
    assert info.n_correct is None
    for stage, other in zip(estimator.hidden, reference.hidden, strict=True):
        pair = (stage.connection.op.weight.grad, other.connection.op.weight.grad)
        assert torch.equal(*pair)
    with torch.no_grad():
        for op in estimator.readout.between:
            op.weight.normal_(generator=generator(8))
    arriving = normalised(estimator.code(given.images))
    answers = []
    for stage in estimator.hidden:
        arriving = normalised(stage(arriving))
        answers.append(arriving)
    own = estimator.network.connections["hidden3->readout"].op.weight
    expected = answers[1] @ estimator.readout.between[0].weight.T + answers[2] @ own.T
    torch.testing.assert_close(estimator.predict(given.images), expected)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"norm": "batch"}, "area 'hidden1' has norm='batch', but statistics of the batch mix"),
        ({"post_norm": "layer"}, "which fixes the length of its activity, and goodness is that"),
    ],
)
def test_refuses_what_mixes_examples_or_fixes_lengths(changed: dict, reason: str) -> None:
    first = dataclasses.replace(DENSE.areas[0], **changed)
    architecture = dataclasses.replace(DENSE, areas=(first, *DENSE.areas[1:]))
    with pytest.raises(UnsupportedNetworkError, match=reason):
        bound(ForwardForward(), architecture)


def test_refuses_more_labels_than_pixels() -> None:
    architecture = dataclasses.replace(DENSE, n_classes=37)
    with pytest.raises(UnsupportedNetworkError, match=r"its 37 labels need a pixel each.*'waves'"):
        bound(ForwardForward(), architecture)
    assert ForwardForward(labels_as="waves").supports(architecture).ok


@pytest.mark.parametrize("strength", [0, -1.0, float("inf"), "strong"])
def test_refuses_a_label_without_strength(strength: Any) -> None:
    with pytest.raises(ContractError, match=f"label_strength is {strength}, expected a number ab"):
        ForwardForward(label_strength=strength)
    assert ForwardForward(label_strength=2).label_strength == 2


def test_needs_labels() -> None:
    with pytest.raises(ContractError, match="forward_forward: the batch has no labels"):
        bound(ForwardForward(), DENSE)(Batch(batch(DENSE).images), lambda: None)


@pytest.mark.parametrize("minimised", [False, True])
@pytest.mark.parametrize("kind", GOODNESS_KINDS)
def test_every_goodness_learns(kind: str, minimised: bool, toy: Batch) -> None:
    architecture = ConvNet(
        areas=(Dense("hidden1", 16), Dense("hidden2", 16)), n_classes=2, image_size=8
    )
    rule = ForwardForward(goodness=kind, minimised=minimised, temperature=None)
    estimator = bound(rule, architecture)
    optimizer = torch.optim.Adam(estimator.parameter_groups()[0].parameters, lr=0.01)
    for _ in range(60):
        estimator(toy, lambda: None)
        optimizer.step()
    correct = estimator.predict(toy.images).argmax(dim=1) == toy.labels
    assert correct.double().mean() > 0.95


def gratings(n: int, seed: int) -> Batch:
    """Four orientations with random phases, in noise: what is where does not tell the class."""
    noise = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    angle = torch.pi * labels / 4
    phase = 2 * torch.pi * torch.rand(n, generator=noise)
    across = torch.arange(12.0)
    x = angle.cos().view(-1, 1, 1) * across + angle.sin().view(-1, 1, 1) * across.view(-1, 1)
    images = (2 * torch.pi * x / 5 + phase.view(-1, 1, 1)).cos()
    images = images + 0.5 * torch.randn(images.shape, generator=noise)
    return Batch(images.unsqueeze(1), labels)


@pytest.mark.parametrize(("written", "sees"), [("pixels", 0.2), ("waves", 1.0)])
def test_share_of_places_whose_window_sees_the_label(written: str, sees: float) -> None:
    """Labels on four pixels reach the windows around them; waves reach them all."""
    network = built(CONVOLUTIONAL)
    code = LabelCode(network, 4, written=written, strength=1.0)
    given, convolve = batch(CONVOLUTIONAL), network.connections["image->V1"].op
    one, other = (convolve(code(given.images, (given.labels + k) % 4)) for k in (0, 1))
    changed = ((one - other).abs().amax(dim=(0, 1)) > 1e-6).double().mean()
    assert changed <= sees if written == "pixels" else changed == sees


def accuracy_on_gratings(written: LabelsAs) -> float:
    channels = (8, 16, 32)
    pools = (Pool("average", 2), Pool("average", 2), None)
    areas = tuple(
        Area(f"conv{size}", size, pool_out=pool, activation="clipped_relu")
        for size, pool in zip(channels, pools, strict=True)
    )
    architecture = ConvNet(areas=areas, n_classes=4, image_size=12, in_channels=1)
    rule = ForwardForward(labels_as=written, label_strength=1.0, temperature=None)
    estimator = rule.bind(architecture.build(generator(1)), generator(2))
    optimizer = torch.optim.Adam(estimator.parameter_groups()[0].parameters, lr=0.003)
    training, test = gratings(2000, seed=1), gratings(400, seed=2)
    for _ in range(8):
        for chosen in torch.randperm(2000, generator=generator(3)).split(50):
            estimator(Batch(training.images[chosen], training.labels[chosen]), lambda: None)
            optimizer.step()
    correct = estimator.predict(test.images).argmax(dim=1) == test.labels
    return correct.double().mean().item()


@pytest.mark.slow
def test_convolutions_learn_better_from_labels_over_the_whole_image() -> None:
    """Pitfall: labels on a few pixels pass through few windows of a convolution."""
    over_the_image, on_pixels = (accuracy_on_gratings(each) for each in ("waves", "pixels"))
    assert over_the_image > 0.88
    assert over_the_image - on_pixels > 0.1

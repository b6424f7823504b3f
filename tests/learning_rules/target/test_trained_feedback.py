"""Feedback with a loss of its own: towards Gauss and Newton (direct), or towards the transpose."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import Backprop, Batch, Estimator
from brainscore_lite.learning_rules.slopes import SLOPES
from brainscore_lite.learning_rules.target import (
    DirectDifferenceTargetPropagation,
    LocalDifferenceReconstruction,
)
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network

MLP = ConvNet(
    areas=(Dense("V4", 12, activation="tanh"), Dense("IT", 8, activation="tanh")),
    n_classes=3,
    image_size=4,
)
CNN = ConvNet(
    areas=(
        Area("V1", 4, pool_out=Pool("average", 2), activation="clipped_relu"),
        Area("V2", 6, pool_in=Pool("average", 2), shared=False, activation="elu"),
        Dense("V4", 9, activation="sigmoid"),
        Dense("IT", 7, activation="softplus"),
    ),
    n_classes=3,
    image_size=12,
)


def built(architecture: ConvNet, *, seed: int = 1) -> Network:
    return architecture.build(torch.Generator().manual_seed(seed)).double()


def batch_for(network: Network, *, size: int = 16) -> Batch:
    side = network.image_size
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(size, 3, side, side, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(size) % 3)


def bound(rule: object, network: nn.Module) -> Estimator:
    estimator = rule.bind(network, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    estimator.begin(estimator.phases()[-1])
    return estimator


def update(estimator: Estimator, batch: Batch) -> dict[str, Tensor]:
    estimator(batch, lambda: None)
    named = estimator.network.named_parameters()
    found = {name: p.grad.clone() for name, p in named if p.grad is not None}
    estimator.zero_grad(set_to_none=True)
    return found


def train_feedback(estimator: Estimator, batch: Batch, *, n_steps: int, lr: float) -> None:
    """Let the feedback alone learn, its learning rate falling to 0."""
    parameters = list(estimator.pathway.parameters())  # type: ignore[union-attr]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    activations = activations_of(estimator.network, batch)  # type: ignore[arg-type]
    for index in range(n_steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - index / n_steps)
        loss = estimator.pathway.loss(activations, estimator.generator)  # type: ignore
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()


def activations_of(network: Network, batch: Batch) -> list[Tensor]:
    return [each.detach() for each in next(network.run(batch.images)).values()]


def angle(a: Tensor, b: Tensor) -> float:
    """Angle between all numbers of two tensors, in degrees."""
    cosine = functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine.item()))))


def jacobian(function: object, at: Tensor) -> Tensor:
    """Jacobian for each example, of shape (batch, out, in)."""
    found = torch.func.vmap(torch.func.jacrev(lambda x: function(x[None])[0]))(at)  # type: ignore
    return found.flatten(1, -at.ndim).flatten(2) if at.ndim > 2 else found


@pytest.mark.parametrize("step", [1e-3, 0.1, 1.0])
def test_transposed_weights_make_it_backprop(step: float) -> None:
    """J_g = J_f^T: V = W, over the sizes of the pooled windows; at any step, to 1e-10."""
    network = built(CNN)
    batch = batch_for(network)
    estimator = bound(LocalDifferenceReconstruction(output_step=step), network)
    windows = (4, 1, 1, 1)
    with torch.no_grad():
        for inverse, stage, window in zip(
            estimator.pathway.inverses,  # type: ignore[union-attr, arg-type]
            estimator.stages[1:],  # type: ignore[union-attr, index]
            windows,
            strict=True,
        ):
            inverse.weight.copy_(stage.connection.op.weight / window)
    gradient = update(bound(Backprop(), network), batch)
    found = update(estimator, batch)
    for name in gradient:
        assert torch.allclose(found[name], gradient[name], rtol=1e-9, atol=1e-12), name


def test_the_local_loss_measures_the_distance_to_the_transpose() -> None:
    """For small noise its mean is |J_g - J_f^T|^2 - |J_f|^2, within 2 % over 4000 draws."""
    network = built(MLP)
    batch = batch_for(network, size=4)
    estimator = bound(LocalDifferenceReconstruction(noise=1e-4), network)
    activations = activations_of(network, batch)
    expected = torch.zeros((), dtype=torch.float64)
    for index, (stage, inverse) in enumerate(
        zip(estimator.stages[1:], estimator.pathway.inverses, strict=True),
        start=1,  # type: ignore
    ):
        up = jacobian(stage, activations[index])
        slope = SLOPES[stage.area.settings.activation](activations[index + 1])
        down = inverse.weight.T * slope[:, None]
        distance = ((down - up.mT) ** 2).sum((1, 2)) - (up**2).sum((1, 2))
        expected = expected + distance.mean()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        many = [a.repeat(4000, *(1 for _ in a.shape[1:])) for a in activations]
        found = estimator.pathway.loss(many, generator)  # type: ignore[union-attr]
    assert found.item() == pytest.approx(expected.item(), rel=0.02)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_feedback_learns_the_transposed_jacobian(seed: int) -> None:
    """Angles of J_g and J_f^T fall from about 90 degrees below 25 in every stage, not in order."""
    network = built(MLP, seed=seed)
    batch = batch_for(network)
    estimator = bound(LocalDifferenceReconstruction(), network)
    activations = activations_of(network, batch)

    def angles() -> list[float]:
        found = []
        for index, (stage, inverse) in enumerate(
            zip(estimator.stages[1:], estimator.pathway.inverses, strict=True),
            start=1,  # type: ignore
        ):
            up = jacobian(stage, activations[index])
            slope = SLOPES[stage.area.settings.activation](activations[index + 1])
            found.append(angle(inverse.weight.T * slope[:, None], up.mT))
        return found

    assert all(60 < each < 120 for each in angles())
    train_feedback(estimator, batch, n_steps=600, lr=0.02)
    assert all(each < 25 for each in angles())


def test_no_steepness_is_told_from_normalised_outputs() -> None:
    """Behind a `post_norm` r leaves the range of the activation, where r (1 - r) means nothing."""
    areas = (
        Dense("V4", 12, activation="sigmoid", post_norm="layer"),
        Dense("IT", 8, activation="sigmoid", post_norm="layer"),
    )
    network = built(ConvNet(areas=areas, n_classes=3, image_size=4))
    batch = batch_for(network)
    estimator = bound(LocalDifferenceReconstruction(), network)
    activations = activations_of(network, batch)
    (down,) = estimator.pathway.inverses[:1]  # type: ignore[union-attr, index]
    error = torch.randn(16, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    lowest, above = estimator.pathway.targets(activations, error, 0.1)  # type: ignore[union-attr]
    assert torch.allclose(lowest - activations[1], down(above - activations[2]), atol=1e-14)
    train_feedback(estimator, batch, n_steps=600, lr=0.02)
    gradient = update(bound(Backprop(), network), batch)
    found = update(estimator, batch)
    for connection in network.connections:
        name = f"connections.{connection}.op.weight"
        assert angle(found[name], gradient[name]) < 35, name


@pytest.mark.slow
def test_trained_feedback_aligns_the_update_with_the_gradient() -> None:
    """Every layer of the convolutional network, with pooling before and after: below 45 degrees."""
    network = built(CNN)
    batch = batch_for(network)
    estimator = bound(LocalDifferenceReconstruction(), network)
    gradient = update(bound(Backprop(), network), batch)
    names = [name for name in gradient if name.endswith("weight")]
    train_feedback(estimator, batch, n_steps=800, lr=0.02)
    after = update(estimator, batch)
    for name in names:
        assert angle(after[name], gradient[name]) < 45, name


def linear_network() -> Network:
    areas = (Dense("V4", 6, activation="identity"), Dense("IT", 5, activation="identity"))
    return built(ConvNet(areas=areas, n_classes=3, image_size=4))


def jacobians_to_readout(network: Network) -> list[Tensor]:
    readout = network.connections["IT->readout"].op.weight.detach()
    return [readout @ network.connections["V4->IT"].op.weight.detach(), readout]


@pytest.mark.parametrize("damping", [0.1, 1.0])
def test_direct_feedback_is_least_at_the_damped_step_of_gauss_and_newton(damping: float) -> None:
    """The mean gradient vanishes at Q = J^T (J J^T + damping)^-1 of a linear network."""
    network = linear_network()
    batch = batch_for(network)
    estimator = bound(DirectDifferenceTargetPropagation(damping=damping), network)
    activations = [
        a.repeat(4000, *(1 for _ in a.shape[1:])) for a in activations_of(network, batch)
    ]
    weights = list(estimator.pathway.weights)  # type: ignore[union-attr, arg-type]

    def slope() -> Tensor:
        generator = torch.Generator().manual_seed(3)
        loss = estimator.pathway.loss(activations, generator)  # type: ignore[union-attr]
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    anywhere = slope().norm()
    with torch.no_grad():
        for weight, up in zip(weights, jacobians_to_readout(network), strict=True):
            damped = up @ up.T + damping * torch.eye(3, dtype=torch.float64)
            weight.copy_(up.T @ torch.linalg.inv(damped))
    assert slope().norm() < 0.02 * anywhere


def test_trained_direct_feedback_leaves_the_null_space_of_the_jacobian() -> None:
    """The share of t_l - r_l that cannot move the output: most of it before, a tenth after."""
    network = linear_network()
    batch = batch_for(network)
    estimator = bound(DirectDifferenceTargetPropagation(damping=0.1), network)
    activations = activations_of(network, batch)
    error = activations[-1].softmax(1) - functional.one_hot(batch.labels, 3)

    def share_unseen() -> list[float]:
        shares = []
        targets = estimator.pathway.targets(activations, error, 1.0)  # type: ignore[union-attr]
        for up, target, here in zip(
            jacobians_to_readout(network), targets, activations[1:], strict=False
        ):
            moved = (target - here).detach()
            unseen = moved - moved @ torch.linalg.pinv(up) @ up
            shares.append((unseen.norm() / moved.norm()).item())
        return shares

    before = share_unseen()
    train_feedback(estimator, batch, n_steps=600, lr=0.05)
    after = share_unseen()
    assert min(before) > 0.4
    assert max(after) < 0.1


def test_direct_feedback_follows_gauss_and_newton_more_than_the_gradient() -> None:
    """After training, targets lie closer to damped Gauss-Newton targets than to the gradient."""
    network = built(MLP)
    batch = batch_for(network)
    rule = DirectDifferenceTargetPropagation(damping=0.1)
    estimator = bound(rule, network)
    train_feedback(estimator, batch, n_steps=600, lr=0.05)
    activations = activations_of(network, batch)
    error = activations[-1].softmax(1) - functional.one_hot(batch.labels, 3)
    targets = estimator.pathway.targets(activations, error, 1.0)  # type: ignore[union-attr]
    for lower, target in enumerate(targets, start=1):

        def above(signal: Tensor, start: int = lower) -> Tensor:
            for stage in estimator.stages[start:]:  # type: ignore[union-attr, index]
                signal = stage(signal)
            return signal

        up = jacobian(above, activations[lower])
        damped = up @ up.mT + rule.damping * torch.eye(3, dtype=torch.float64)
        newton = -(up.mT @ torch.linalg.solve(damped, error[:, :, None])).squeeze(2)
        gradient = -(up.mT @ error[:, :, None]).squeeze(2)
        moved = target - activations[lower]
        assert angle(moved, newton) < 30
        assert angle(moved, newton) < angle(moved, gradient)


def test_noisy_copies_climb_together_as_they_would_alone() -> None:
    """One stacked pass equals one pass for each area, to 1e-12."""
    network = built(CNN)
    batch = batch_for(network, size=3)
    rule = DirectDifferenceTargetPropagation()
    estimator = bound(rule, network)
    activations = activations_of(network, batch)
    found = estimator.pathway.loss(activations, torch.Generator().manual_seed(1))  # type: ignore
    generator = torch.Generator().manual_seed(1)
    noises = [torch.randn(a.shape, generator=generator, dtype=a.dtype) for a in activations[1:-1]]
    expected = torch.zeros((), dtype=torch.float64)
    weights = estimator.pathway.weights  # type: ignore[union-attr]
    for lower, (xi, weight) in enumerate(zip(noises, weights, strict=True), start=1):  # type: ignore
        signal = activations[lower] + rule.noise * xi
        for stage in estimator.stages[lower:]:  # type: ignore[union-attr, index]
            signal = stage(signal)
        back = (signal - activations[-1]) @ weight.T / rule.noise
        expected = expected + ((back - xi.flatten(1)) ** 2).sum() / 3
        expected = expected + rule.damping * (weight**2).sum()
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_feedback_survives_a_checkpoint(tiny: nn.Module, toy: Batch) -> None:
    for rule in (LocalDifferenceReconstruction(), DirectDifferenceTargetPropagation()):
        first = bound(rule, copy.deepcopy(tiny))
        first(toy, lambda: None)
        second = bound(rule, copy.deepcopy(tiny))
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        one, two = update(first, toy), update(second, toy)
        assert all(torch.equal(one[name], two[name]) for name in one)

"""Target propagation and its difference correction: limits, exact identities, refusals."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import Backprop, Batch, Estimator, UnsupportedNetworkError
from brainscore_lite.learning_rules.target import (
    DifferenceTargetPropagation,
    DirectDifferenceTargetPropagation,
    LocalDifferenceReconstruction,
    TargetPropagation,
)
from brainscore_lite.learning_rules.target.inverses import Inverse
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.black_box import put_black_box
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

RULES = (
    TargetPropagation(),
    DifferenceTargetPropagation(),
    DirectDifferenceTargetPropagation(),
    LocalDifferenceReconstruction(),
)
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
TRANSPORT_FREE = [rule for rule in RULES if "weight_transport" in rule.makes_local]

#: Square weights and an activation that can be undone: every stage above the first is invertible.
INVERTIBLE = ConvNet(
    areas=(Dense("V4", 4, activation="tanh"), Dense("IT", 4, activation="tanh")),
    n_classes=4,
    image_size=4,
)
CNN = ConvNet(
    areas=(
        Area("V1", 4, kernel=5, pool_out=Pool("average", 2), activation="elu"),
        Area("V2", 6, pool_in=Pool("max", 3, 2), stride=2, activation="tanh"),
        Dense("IT", 9, activation="relu"),
    ),
    n_classes=3,
    image_size=15,
)


def built(architecture: ConvNet, *, seed: int = 1) -> Network:
    return architecture.build(torch.Generator().manual_seed(seed)).double()


def batch_for(network: Network, *, n_classes: int = 3, size: int = 8) -> Batch:
    side = network.image_size
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(size, 3, side, side, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(size) % n_classes)


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


def cosine(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    a = torch.cat([found[name].flatten() for name in expected])
    b = torch.cat([expected[name].flatten() for name in expected])
    return (a @ b / (a.norm() * b.norm())).item()


class PerfectInverse(nn.Module):
    """f^-1 of a stage of a square matrix, a bias and tanh or no activation."""

    def __init__(self, network: Network, upper: str) -> None:
        super().__init__()
        (connection,) = [each for each in network.connections.values() if each.target == upper]
        self.inverse = torch.linalg.inv(connection.op.weight.detach())
        self.bias = network.areas[upper].bias.detach()
        self.activated = upper != "readout"

    def forward(self, activations: Tensor) -> Tensor:
        drive = torch.atanh(activations) if self.activated else activations
        return (drive - self.bias) @ self.inverse.T


def with_perfect_inverses(rule: object, network: Network) -> Estimator:
    estimator = bound(rule, network)
    for index, upper in enumerate(("IT", "readout")):
        estimator.pathway.inverses[index] = PerfectInverse(network, upper)  # type: ignore
    return estimator


def invertible() -> tuple[Network, Batch]:
    network = built(INVERTIBLE, seed=3)
    with torch.no_grad():  # well conditioned, so that targets stay in the range of tanh
        for name in ("V4->IT", "IT->readout"):
            network.connections[name].op.weight += 1.5 * torch.eye(4, dtype=torch.float64)
    return network, batch_for(network, n_classes=4)


def errors_and_jacobians(network: Network, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """e for each image, and d readout / d area for each image."""
    activations = next(network.run(batch.images))
    scores = activations["readout"]
    error = scores.softmax(1) - functional.one_hot(batch.labels, scores.shape[1])
    readout, it = network.connections["IT->readout"].op.weight, activations["IT"]
    above = readout.expand(len(it), -1, -1)
    steep = torch.diag_embed(1 - it**2)
    below = above @ steep @ network.connections["V4->IT"].op.weight
    return error.detach(), {"V4": below.detach(), "IT": above.detach()}


def test_targets_of_an_invertible_network_are_steps_of_gauss_and_newton() -> None:
    """t_l - r_l = -step J^-1 e: to first order in the step, with errors of its square."""
    network, batch = invertible()
    error, jacobians = errors_and_jacobians(network, batch)
    activations = next(network.run(batch.images))
    wrong = []
    for step in (1e-4, 1e-5):
        estimator = with_perfect_inverses(TargetPropagation(output_step=step), network)
        targets = estimator.targets(batch.images, batch.labels)  # type: ignore[operator]
        for area, target in zip(("V4", "IT"), targets, strict=False):
            expected = -step * torch.linalg.solve(jacobians[area], error)
            moved = target - activations[area]
            wrong.append(((moved - expected).norm() / expected.norm()).item())
    assert wrong[1] < 1e-9  # the readout is linear: no step is too large there
    assert wrong[3] < 1e-9
    assert wrong[0] < 0.01
    assert wrong[2] == pytest.approx(wrong[0] / 10, rel=0.1)


def test_linear_invertible_networks_give_gauss_and_newton_exactly() -> None:
    """With no activation t_l - r_l = -step J^-1 e to 1e-12; a step of 1e-3 is known to 1e-13 r."""
    areas = (Dense("V4", 4, activation="identity"), Dense("IT", 4, activation="identity"))
    network = built(ConvNet(areas=areas, n_classes=4, image_size=4), seed=3)
    batch = batch_for(network, n_classes=4)
    estimator = bound(TargetPropagation(output_step=1e-3), network)
    for index, upper in enumerate(("IT", "readout")):
        exact = PerfectInverse(network, upper)
        exact.activated = False
        estimator.pathway.inverses[index] = exact  # type: ignore
    readout = network.connections["IT->readout"].op.weight.detach()
    middle = network.connections["V4->IT"].op.weight.detach()
    activations = next(network.run(batch.images))
    scores = activations["readout"].detach()
    error = scores.softmax(1) - functional.one_hot(batch.labels, 4)
    targets = estimator.targets(batch.images, batch.labels)  # type: ignore[operator]
    expected = -1e-3 * torch.linalg.solve(readout @ middle, error.T).T
    moved = targets[0] - activations["V4"].detach()
    assert ((moved - expected).norm() / expected.norm()).item() < 1e-12


def test_target_propagation_is_not_backprop() -> None:
    network, batch = invertible()
    gradient = update(bound(Backprop(), network), batch)
    estimator = with_perfect_inverses(TargetPropagation(output_step=1e-3), network)
    below = {name: g for name, g in gradient.items() if "readout" not in name}
    assert cosine(update(estimator, batch), below) < 0.5


def test_perfect_inverses_make_the_difference_correction_vanish() -> None:
    network, batch = invertible()
    plain = with_perfect_inverses(TargetPropagation(output_step=1e-2), network)
    rule = DifferenceTargetPropagation(output_step=1e-2, penultimate="feedback")
    corrected = with_perfect_inverses(rule, network)
    pairs = zip(
        plain.targets(batch.images, batch.labels),  # type: ignore[operator]
        corrected.targets(batch.images, batch.labels),  # type: ignore[operator]
        strict=True,
    )
    assert all(torch.allclose(t, c, rtol=1e-11, atol=1e-12) for t, c in pairs)


@pytest.mark.parametrize("penultimate", ["gradient", "feedback"])
def test_difference_targets_stay_where_the_target_above_does(penultimate: str) -> None:
    """t_l = r_l to the last bits, however poor the inverse; without the correction it is not."""
    network = built(CNN)
    batch = batch_for(network)
    rule = DifferenceTargetPropagation(penultimate=penultimate)  # type: ignore[arg-type]
    estimator = bound(rule, network)
    activations = [each.detach() for each in next(network.run(batch.images)).values()]
    no_error = torch.zeros_like(activations[-1])
    pathway = estimator.pathway
    targets = pathway.targets(activations, no_error, 1.0)  # type: ignore[operator, union-attr]
    pairs = zip(targets, activations[1:-1], strict=True)
    assert all(torch.allclose(t, r, rtol=0, atol=1e-14) for t, r in pairs)
    plain = bound(TargetPropagation(), network).pathway
    without = plain.targets(activations, no_error, 1.0)  # type: ignore[operator, union-attr]
    assert all(
        (t - r).norm() > r.norm() / 10 for t, r in zip(without, activations[1:], strict=False)
    )


def test_the_penultimate_target_is_the_gradient_itself() -> None:
    network = built(CNN)
    batch = batch_for(network)
    gradient = update(bound(Backprop(), network), batch)
    found = update(bound(DifferenceTargetPropagation(), network), batch)
    for name in gradient:
        if "IT" in name.rpartition("->")[2] or "readout" in name:
            assert torch.allclose(found[name], gradient[name], rtol=1e-10, atol=1e-13), name


def trained_feedback(rule: object, network: Network, batch: Batch, n_steps: int) -> Estimator:
    estimator = bound(rule, network)
    optimizer = torch.optim.Adam(estimator.pathway.parameters(), lr=0.01)  # type: ignore
    activations = [each.detach() for each in next(network.run(batch.images)).values()]
    for _ in range(n_steps):
        loss = estimator.pathway.loss(activations, estimator.generator)  # type: ignore
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return estimator


@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3))])
def test_trained_inverses_bring_the_update_within_a_right_angle_of_the_gradient(seed: int) -> None:
    areas = (Dense("V2", 12, activation="tanh"), Dense("V4", 10, activation="tanh"))
    network = built(
        ConvNet(areas=(*areas, Dense("IT", 8, activation="tanh")), n_classes=3, image_size=4),
        seed=seed,
    )
    batch = batch_for(network, size=32)
    rule = DifferenceTargetPropagation(output_step=0.05)
    estimator = trained_feedback(rule, network, batch, 400)
    gradient = update(bound(Backprop(), network), batch)
    found = update(estimator, batch)
    for area in ("V2", "V4", "IT", "readout"):
        names = [n for n in gradient if n.endswith(f"->{area}.op.weight")]
        assert cosine(found, {n: gradient[n] for n in names}) > 0.1, area


def test_inverses_learn_to_reconstruct() -> None:
    """|g(f(r)) - r|^2 of invertible stages falls below a tenth."""
    network, batch = invertible()
    activations = [each.detach() for each in next(network.run(batch.images)).values()]

    def missed(estimator: Estimator) -> float:
        generator = torch.Generator().manual_seed(9)
        return estimator.pathway.loss(activations, generator).item()  # type: ignore

    rule = TargetPropagation(noise=0.01)
    trained = trained_feedback(rule, network, batch, 300)
    assert missed(trained) < 0.1 * missed(bound(rule, network))


@pytest.mark.parametrize("shared", [True, False])
def test_with_the_forward_weight_an_inverse_is_the_adjoint_of_a_stage(shared: bool) -> None:
    """<W x, y> = <x, W^T y> for windows of any stride and padding, to 1e-12."""
    for stride, kernel, side in ((1, 3, 7), (2, 3, 8), (2, 5, 9), (3, 4, 11)):
        area = Area(
            "V1",
            5,
            kernel=kernel,
            stride=stride,
            activation="identity",
            bias=False,
            shared=shared,
        )
        network = built(ConvNet(areas=(area,), n_classes=2, image_size=side))
        estimator = bound(TargetPropagation(), network)
        stage = estimator.stages[0]  # type: ignore[union-attr]
        back = Inverse(stage, (3, side, side), generator=torch.Generator())
        with torch.no_grad():
            back.weight.copy_(stage.connection.op.weight)
        x = batch_for(network).images
        up = stage(x)
        y = torch.randn(up.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
        assert (up * y).sum().item() == pytest.approx((x * back(y)).sum().item(), rel=1e-12)


@each_rule
def test_the_readout_is_trained_by_its_gradient_at_any_step(rule: object) -> None:
    network = built(CNN)
    batch = batch_for(network)
    gradient = update(bound(Backprop(), network), batch)
    found = update(bound(rule, network), batch)
    names = [name for name in gradient if "readout" in name]
    assert len(names) == 2
    for name in names:
        assert torch.allclose(found[name], gradient[name], rtol=1e-12, atol=1e-14)


@each_rule
def test_steps_inside_the_batch_move_feedback_weights_only(rule: object) -> None:
    network = built(CNN)
    batch = batch_for(network)
    estimator = bound(dataclasses.replace(rule, feedback_steps=4), network)  # type: ignore
    inside = []

    def step() -> None:
        inside.append({n for n, p in estimator.named_parameters() if p.grad is not None})
        estimator.zero_grad(set_to_none=True)

    estimator(batch, step)
    assert len(inside) == 3
    assert all(name.startswith("pathway.") for names in inside for name in names)
    assert all(p.grad is not None for p in estimator.parameters())


@each_rule
def test_feedback_is_trained_first_and_without_labels(rule: object) -> None:
    network = built(CNN)
    batch = batch_for(network)
    estimator = bound(dataclasses.replace(rule, feedback_epochs=2), network)  # type: ignore
    first, last = estimator.phases()
    assert (first.name, first.epochs, first.labels) == ("feedback", 2, False)
    assert last.labels
    before = copy.deepcopy(estimator.network.state_dict())
    estimator.begin(first)
    (group,) = estimator.parameter_groups()
    assert group.lr_multiplier == rule.feedback_lr_multiplier  # type: ignore[attr-defined]
    info = estimator(Batch(batch.images), lambda: None)
    assert math.isfinite(info.loss)
    assert all(p.grad is None for p in estimator.network.parameters())
    assert all(p.grad is not None for p in group.parameters)
    assert all(torch.equal(before[n], t) for n, t in estimator.network.state_dict().items())


@pytest.mark.parametrize("rule", TRANSPORT_FREE, ids=lambda rule: rule.name)
def test_targets_do_not_read_forward_weights(rule: object) -> None:
    """With the same activations, other weights in all stages above leave the targets the same."""
    network = built(CNN)
    batch = batch_for(network)
    estimator = bound(rule, network)
    activations = [each.detach() for each in next(network.run(batch.images)).values()]
    error = activations[-1].softmax(1)
    before = estimator.pathway.targets(activations, error, 0.1)  # type: ignore
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(3))
    after = estimator.pathway.targets(activations, error, 0.1)  # type: ignore
    assert all(torch.equal(b, a) for b, a in zip(before, after, strict=True))


def test_difference_target_propagation_says_when_it_transports_weights() -> None:
    assert "weight_transport" not in DifferenceTargetPropagation().makes_local
    assert "weight_transport" in DifferenceTargetPropagation(penultimate="feedback").makes_local


@each_rule
def test_refuses_batch_normalisation_and_what_is_no_chain(rule: object) -> None:
    normalised = ConvNet(areas=(Area("V1", 4, norm="batch"),), n_classes=2, image_size=4)
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"area 'V1' has norm='batch', but statistics of the batch would make an example's "
        r"target depend on the others\. Set norm='none'\.$",
    ):
        bound(rule, built(normalised))
    loops = ConvNet(areas=(Area("V1", 4),), n_classes=2, image_size=4, lateral=True, n_steps=2)
    reason = rule.supports(loops).reason  # type: ignore[attr-defined]
    assert "it is recurrent, and the rule needs a chain of areas" in reason
    assert "no graph of areas" in rule.supports(nn.Linear(2, 2)).reason  # type: ignore
    unknown = put_black_box(built(CNN), "V2", torch.sign)
    assert "is a black box, through which no derivative" in rule.supports(unknown).reason  # type: ignore


@each_rule
def test_refuses_settings_without_a_meaning(rule: object) -> None:
    kind = type(rule)
    with pytest.raises(ContractError, match="output_step is 0, expected a number above 0"):
        kind(output_step=0)  # type: ignore[call-arg]
    with pytest.raises(ContractError, match="noise is -1, expected a number above 0"):
        kind(noise=-1)  # type: ignore[call-arg]
    with pytest.raises(ContractError, match="feedback_steps is 0, expected a whole number"):
        kind(feedback_steps=0)  # type: ignore[call-arg]
    with pytest.raises(ContractError, match="feedback_epochs is -1, expected a whole number"):
        kind(feedback_epochs=-1)  # type: ignore[call-arg]


def test_refuses_unlabelled_training_and_other_unknown_settings(
    tiny: nn.Module, toy: Batch
) -> None:
    with pytest.raises(ContractError, match=r"target_propagation: the batch has no labels"):
        bound(TargetPropagation(), tiny)(Batch(toy.images), lambda: None)
    with pytest.raises(ContractError, match="penultimate is 'none', which is unknown"):
        DifferenceTargetPropagation(penultimate="none")  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="damping is -1, expected a number of at least 0"):
        DirectDifferenceTargetPropagation(damping=-1)


@each_rule
def test_trains_a_network_of_one_area(rule: object) -> None:
    network = built(ConvNet(areas=(Dense("IT", 5),), n_classes=3, image_size=4))
    found = update(bound(rule, network), batch_for(network))
    assert all(torch.isfinite(each).all() for each in found.values())

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    BackpropThroughTime,
    Batch,
    EligibilityTraces,
    Estimator,
    LearningRule,
    RealTimeRecurrentLearning,
    UnsupportedNetworkError,
)
from brainscore_lite.networks import ElmanNetwork, wrap
from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.connections import Connection, Convolution, FullyConnected, initialise
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing
from brainscore_lite.training import alignment

EYE = Preprocessing(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture
def elman() -> ElmanNetwork:
    generator = torch.Generator().manual_seed(0)
    return ElmanNetwork(7, 2, generator=generator, preprocessing=EYE, tau=1.5).double()


@pytest.fixture
def lateral() -> Network:
    """An area with lateral connections over four steps, and a readout."""
    areas = [
        AreaModule(Area("V1", 3, activation="tanh")),
        AreaModule(Dense("readout", 2, activation="identity")),
    ]
    connections = [
        Connection("image", "V1", op=Convolution((3, 3, 3, 3), padding=1)),
        Connection("V1", "V1", op=Convolution((3, 3, 3, 3), padding=1), delay=1),
        Connection("V1", "readout", op=FullyConnected((2, 3 * 64))),
    ]
    generator = torch.Generator().manual_seed(0)
    for connection in connections:
        initialise(connection.op, generator, gain=1.0)
    network = Network("lateral", areas, connections=connections, preprocessing=EYE, n_steps=4)
    return network.double()


def written(rule: LearningRule, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    estimator = rule.bind(network, torch.Generator().manual_seed(1))
    network.zero_grad()
    estimator(batch, lambda: None)
    return {name: p.grad.clone() for name, p in network.named_parameters()}


def relative_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    difference = sum((found[name] - expected[name]).square().sum() for name in expected)
    return float((difference / sum(each.square().sum() for each in expected.values())).sqrt())


def cosine(found: Tensor, expected: Tensor) -> float:
    return functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0).item()


def through_time(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The gradient by autograd of the unrolled equations, written out."""
    parameters = dict(network.named_parameters())
    loss = functional.cross_entropy(network(batch.images), batch.labels)
    found = torch.autograd.grad(loss, list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


def test_elman_network_equals_its_equations(elman: ElmanNetwork, toy: Batch) -> None:
    hidden = torch.zeros(32, 7, dtype=torch.float64)
    for row in range(8):
        drive = hidden @ elman.recurrent.T + elman.bias
        drive = drive + toy.images[:, :, row, :].flatten(1) @ elman.input.T
        hidden = hidden - (hidden - torch.tanh(drive)) / 1.5
    assert torch.allclose(elman(toy.images), elman.readout(hidden), rtol=0, atol=1e-14)
    steps = list(elman.respond(toy.images))
    assert len(steps) == elman.n_steps == 8
    assert torch.allclose(steps[-1].activations["hidden"], hidden, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["elman", "lateral"])
def test_bptt_equals_autograd(name: str, request: pytest.FixtureRequest, toy: Batch) -> None:
    network = request.getfixturevalue(name)
    found = written(BackpropThroughTime(), network, toy)
    assert relative_error(found, through_time(network, toy)) < 1e-14


@pytest.mark.parametrize("name", ["elman", "lateral"])
def test_bptt_with_errors_at_all_steps_follows_their_mean(
    name: str, request: pytest.FixtureRequest, toy: Batch
) -> None:
    network, rule = request.getfixturevalue(name), BackpropThroughTime(supervised="all")
    found = written(rule, network, toy)
    network.zero_grad()
    losses = [functional.cross_entropy(step, toy.labels) for step in readouts(network, toy.images)]
    torch.stack(losses).mean().backward()
    expected = {name: p.grad.clone() for name, p in network.named_parameters()}
    assert relative_error(found, expected) < 1e-14
    assert relative_error(found, through_time(network, toy)) > 1e-3
    assert rule.exactness == "approximate"
    angles = alignment(rule.bind(network, torch.Generator()), toy)
    assert all(cosine == pytest.approx(1, abs=1e-12) for cosine in angles.values())


def readouts(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The readout at every step, written out."""
    if isinstance(network, Network):
        return [step["readout"] for step in network.run(images)]
    hidden, found = network.start(len(images)), []
    for row in network.rows(images):
        hidden = network.advance(hidden, row)
        found.append(network.readout(hidden))
    return found


def test_errors_at_all_steps_have_no_horizon() -> None:
    with pytest.raises(ContractError, match="horizon counts back from the last step"):
        BackpropThroughTime(horizon=2, supervised="all")


def test_bptt_equals_finite_differences(elman: ElmanNetwork, toy: Batch) -> None:
    found = written(BackpropThroughTime(), elman, toy)
    generator = torch.Generator().manual_seed(3)
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in elman.named_parameters()
    }
    slope = sum(float((found[name] * direction[name]).sum()) for name in direction)

    def loss_at(distance: float) -> float:
        moved = {n: p.detach() + distance * direction[n] for n, p in elman.named_parameters()}
        scores = torch.func.functional_call(elman, moved, toy.images)
        return functional.cross_entropy(scores, toy.labels).item()

    assert (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5 == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("supervised", ["last", "all"])
def test_rtrl_equals_bptt(elman: ElmanNetwork, toy: Batch, supervised: str) -> None:
    """Carrying derivatives forward gives what sending errors back gives: 3e-16 in the reference."""
    found = written(RealTimeRecurrentLearning(supervised=supervised), elman, toy)
    if supervised == "last":
        expected = through_time(elman, toy)
    else:
        elman.zero_grad()
        hidden, losses = elman.start(32), []
        for row in elman.rows(toy.images):
            hidden = elman.advance(hidden, row)
            losses.append(functional.cross_entropy(elman.readout(hidden), toy.labels))
        torch.stack(losses).mean().backward()
        expected = {name: p.grad.clone() for name, p in elman.named_parameters()}
    assert relative_error(found, expected) < 1e-14


@pytest.mark.parametrize("supervised", ["last", "all"])
def test_rtrl_is_aligned_with_the_loss_that_it_follows(
    elman: ElmanNetwork, toy: Batch, supervised: str
) -> None:
    """With errors at all steps that is their mean, of another gradient than the last one's."""
    estimator = RealTimeRecurrentLearning(supervised=supervised).bind(elman, torch.Generator())
    angles = alignment(estimator, toy)
    assert set(angles) >= {"readout"}
    assert all(cosine == pytest.approx(1, abs=1e-12) for cosine in angles.values())
    info = estimator(toy, lambda: None)
    assert estimator.loss(toy).item() == pytest.approx(info.loss, rel=1e-12)
    assert estimator.loss(Batch(toy.images)) is None
    found, last = written(estimator.rule, elman, toy), through_time(elman, toy)
    exact = min(cosine(found[name], last[name]) for name in found) > 1 - 1e-12
    assert exact == (estimator.rule.exactness == "bp") == (supervised == "last")


def test_snap1_equals_bptt_where_units_are_not_connected(elman: ElmanNetwork, toy: Batch) -> None:
    with torch.no_grad():
        elman.recurrent.copy_(torch.diag(torch.linspace(-1, 1, 7)))
    found = written(EligibilityTraces("snap1"), elman, toy)
    assert relative_error(found, through_time(elman, toy)) < 1e-14


def test_snap1_is_an_approximation_where_they_are(elman: ElmanNetwork, toy: Batch) -> None:
    """The cosine to the gradient is above 0 and strictly below 1; the readout is exact."""
    found, expected = written(EligibilityTraces("snap1"), elman, toy), through_time(elman, toy)
    for name in ("recurrent", "input"):
        assert 0 < cosine(found[name], expected[name]) < 0.999
    for name in ("readout.weight", "readout.bias"):
        assert torch.allclose(found[name], expected[name], rtol=1e-12, atol=1e-15)


def test_rflo_equals_bptt_without_recurrence_and_with_symmetric_feedback(
    elman: ElmanNetwork, toy: Batch
) -> None:
    with torch.no_grad():
        elman.recurrent.zero_()
    estimator = EligibilityTraces("rflo").bind(elman, torch.Generator())
    with torch.no_grad():
        estimator.feedback.copy_(elman.readout.weight)
    elman.zero_grad()
    estimator(toy, lambda: None)
    found = {name: p.grad.clone() for name, p in elman.named_parameters()}
    assert relative_error(found, through_time(elman, toy)) < 1e-14


def test_rflo_and_e_prop_differ_by_the_connection_of_a_unit_with_itself(
    elman: ElmanNetwork, toy: Batch
) -> None:
    different = [written(EligibilityTraces(name), elman, toy) for name in ("rflo", "e_prop")]
    assert relative_error(*different) > 1e-3
    with torch.no_grad():
        elman.recurrent.fill_diagonal_(0.0)
    same = [written(EligibilityTraces(name), elman, toy) for name in ("rflo", "e_prop")]
    assert relative_error(*same) < 1e-15


@pytest.mark.parametrize("name", ["elman", "lateral"])
def test_truncation_beyond_the_sequence_changes_nothing(
    name: str, request: pytest.FixtureRequest, toy: Batch
) -> None:
    network = request.getfixturevalue(name)
    found = written(BackpropThroughTime(horizon=network.n_steps), network, toy)
    assert relative_error(found, through_time(network, toy)) < 1e-14
    shorter = written(BackpropThroughTime(horizon=2), network, toy)
    assert relative_error(shorter, through_time(network, toy)) > 1e-3


def test_a_horizon_of_one_step_takes_what_came_before_as_given(
    elman: ElmanNetwork, lateral: Network, toy: Batch
) -> None:
    *_, before, last = elman.rows(toy.images)
    with torch.no_grad():
        hidden = elman.start(32)
        for row in [*elman.rows(toy.images)][:-1]:
            hidden = elman.advance(hidden, row)
    elman.zero_grad()
    scores = elman.readout(elman.advance(hidden, last))
    functional.cross_entropy(scores, toy.labels).backward()
    expected = {name: p.grad.clone() for name, p in elman.named_parameters()}
    assert relative_error(written(BackpropThroughTime(horizon=1), elman, toy), expected) < 1e-14

    with torch.no_grad():
        *_, before, _ = lateral.run(toy.images)
    lateral.zero_grad()
    arriving = [
        lateral.connections["image->V1"](toy.images),
        lateral.connections["V1->V1"](before["V1"]),
    ]
    read = lateral.connections["V1->readout"](lateral.areas["V1"](arriving))
    functional.cross_entropy(lateral.areas["readout"]([read]), toy.labels).backward()
    expected = {name: p.grad.clone() for name, p in lateral.named_parameters()}
    assert relative_error(written(BackpropThroughTime(horizon=1), lateral, toy), expected) < 1e-14


def test_learns_through_lateral_connections(
    lateral: Network, toy: Batch, trained_on_toy: Callable[..., list[float]]
) -> None:
    estimator: Estimator = BackpropThroughTime(horizon=2).bind(lateral, torch.Generator())
    trained_on_toy(estimator, 40)
    assert (estimator.predict(toy.images).argmax(1) == toy.labels).double().mean() > 0.95


def test_refuses_what_it_cannot_train(tiny: nn.Module) -> None:
    generator = torch.Generator()
    with pytest.raises(UnsupportedNetworkError, match="for an ElmanNetwork only, and this is a Ne"):
        RealTimeRecurrentLearning().bind(tiny, generator)
    large = ElmanNetwork(65, 2, generator=generator, preprocessing=EYE)
    with pytest.raises(UnsupportedNetworkError, match=r"65 recurrent units.*Use 'snap1'"):
        RealTimeRecurrentLearning().bind(large, generator)
    assert EligibilityTraces().supports(large).ok
    foreign = wrap(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), ["1"], EYE, name="foreign")
    with pytest.raises(UnsupportedNetworkError, match="train it with 'backprop'"):
        BackpropThroughTime().bind(foreign, generator)
    with pytest.raises(ContractError, match="horizon is 0, expected a whole number of at"):
        BackpropThroughTime(horizon=0)
    with pytest.raises(ContractError, match="trace is 'kernel', which is unknown"):
        EligibilityTraces("kernel")
    with pytest.raises(ContractError, match="at least one unit"):
        ElmanNetwork(0, 2, generator=generator, preprocessing=EYE)
    with pytest.raises(ContractError, match=r"takes images of shape \(batch, 3, 8, 8\)"):
        large.rows(torch.zeros(1, 3, 8, 9))


@pytest.mark.parametrize("trace", ["e_prop", "rflo", "snap1"])
def test_random_feedback_does_not_read_the_readout(
    elman: ElmanNetwork, toy: Batch, trace: str
) -> None:
    """A change of the readout that no activity sees moves the update of SnAp-1 alone."""
    few = Batch(toy.images[:3], toy.labels[:3])
    seen = [*elman.respond(few.images)][-1].activations["hidden"]
    unseen = torch.eye(7, dtype=seen.dtype) - torch.linalg.pinv(seen) @ seen
    before = written(EligibilityTraces(trace), elman, few)
    with torch.no_grad():
        elman.readout.weight += unseen[:2]
    after = written(EligibilityTraces(trace), elman, few)
    same = torch.allclose(before["recurrent"], after["recurrent"], rtol=1e-9, atol=1e-12)
    assert same == (trace != "snap1")


@pytest.mark.parametrize("rule", [RealTimeRecurrentLearning(), EligibilityTraces("e_prop")])
@pytest.mark.parametrize("frozen", ["recurrent", "input", "bias", "readout.weight", "readout.bias"])
def test_what_is_frozen_gets_no_gradient_and_changes_none(
    rule: LearningRule, frozen: str, elman: ElmanNetwork, toy: Batch
) -> None:
    expected = written(rule, elman, toy)
    elman.get_parameter(frozen).requires_grad_(False)
    estimator = rule.bind(elman, torch.Generator().manual_seed(1))
    elman.zero_grad()
    estimator(toy, lambda: None)
    listed = {id(p) for group in estimator.parameter_groups() for p in group.parameters}
    for name, parameter in elman.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in listed) == (name != frozen)
        if name != frozen:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-12, atol=1e-15)

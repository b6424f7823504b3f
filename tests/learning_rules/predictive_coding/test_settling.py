"""Predictive coding whose values settle: strict, incremental and nudged."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.configuration import from_json, to_json
from brainscore_lite.learning_rules import Batch, LearningRule, UnsupportedNetworkError
from brainscore_lite.learning_rules.predictive_coding import (
    IncrementalPredictiveCoding,
    NudgedPredictiveCoding,
    PredictiveCoding,
)
from brainscore_lite.learning_rules.predictive_coding.clamped_output import ClampedLoss, HeldOutput
from brainscore_lite.learning_rules.predictive_coding.inference import Inference
from brainscore_lite.learning_rules.predictive_coding.prediction_graph import PredictionGraph
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

each_network = pytest.mark.parametrize(
    "name", ["dense_chain", "convolutional_chain", "skipping", "recurrent", "recurrent_maps"]
)
#: Steps of 0.3 after which values have settled: of the chains here, and of unrolled networks.
SETTLED = 300
SETTLED_IN_TIME = 150
SETTLING = (PredictiveCoding(), IncrementalPredictiveCoding(), NudgedPredictiveCoding())
each_settling_rule = pytest.mark.parametrize("rule", SETTLING, ids=lambda rule: rule.name)


def inference_of(network: Network, batch: Batch, **settings) -> Inference:
    settings = {"step_size": 0.1, **settings}
    return Inference(PredictionGraph(network), batch.images, **settings)


@each_network
def test_energy_falls_at_every_step_of_every_example(name: str, network_called, images) -> None:
    inference = inference_of(network_called(name), images)
    output = ClampedLoss(images.labels, "cross_entropy")
    energies = [inference.energies(output)]
    for _ in range(25):
        inference.settle(output, n_steps=1)
        energies.append(inference.energies(output))
    at_start = functional.cross_entropy(inference.scores_at_start, images.labels, reduction="none")
    assert torch.allclose(energies[0], at_start)
    falls = -torch.stack(energies).diff(dim=0)
    assert (falls > 0).all()


def test_settles_and_learns_by_the_equations(chain, images, update_of) -> None:
    """Values and weights against a chain written out by hand, and autograd of the energy."""
    network = chain()
    layers = [
        lambda below, area=area, link=link: area([link(below)])
        for area, link in zip(network.areas.values(), network.connections.values(), strict=True)
    ]
    beta, eta, n_steps = 0.7, 0.2, 9

    def energy(values: list[Tensor]) -> Tensor:
        below = [images.images, *values]
        inner = [v - f(r) for f, r, v in zip(layers, below, values, strict=False)]
        loss = functional.cross_entropy(layers[-1](values[-1]), images.labels, reduction="sum")
        return 0.5 * sum(e.square().sum() for e in inner) + beta * loss

    values: list[Tensor] = []
    for f in layers[:-1]:
        values.append(f(values[-1] if values else images.images).detach())
    for _ in range(n_steps):
        leaves = [value.requires_grad_() for value in values]
        slopes = torch.autograd.grad(energy(leaves), leaves)
        values = [(v - eta * s).detach() for v, s in zip(leaves, slopes, strict=True)]
    expected = torch.autograd.grad(energy(values), list(network.parameters()))
    found = update_of(PredictiveCoding(eta, n_steps, beta), network, images)
    for (name, _), gradient in zip(network.named_parameters(), expected, strict=True):
        assert torch.allclose(found[name], gradient / (beta * 6), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["dense_chain", "skipping", "recurrent"])
def test_at_the_fixed_point_feedback_balances_errors(name: str, network_called, images) -> None:
    inference = inference_of(network_called(name), images, step_size=0.3)
    output = ClampedLoss(images.labels, "cross_entropy")
    inference.settle(output, n_steps=1)
    assert inference.residual == pytest.approx(1.0)
    inference.settle(output, n_steps=300)
    assert inference.residual < 1e-5


def test_settles_to_the_same_point_from_elsewhere(chain, images) -> None:
    output = ClampedLoss(images.labels, "cross_entropy")
    inference = inference_of(chain(), images, step_size=0.3)
    inference.settle(output, n_steps=300)
    elsewhere = {node: v + 0.3 for node, v in inference.values.items()}
    other = inference_of(chain(), images, step_size=0.3, values=elsewhere)
    other.settle(output, n_steps=300)
    for node, value in inference.values.items():
        assert torch.allclose(other.values[node], value, atol=1e-6)


@each_network
def test_without_a_target_the_forward_pass_is_the_minimum(
    name: str, network_called, images
) -> None:
    """So predictions and probed responses are those of the network."""
    network = network_called(name)
    inference = inference_of(network, images)
    before = {node: value.detach().clone() for node, value in inference.values.items()}
    inference.settle(HeldOutput(inference.scores_at_start), n_steps=30)
    assert all(torch.equal(inference.values[node], before[node]) for node in before)
    (*_, step) = PredictiveCoding().bind(network, torch.Generator()).respond(images.images)
    for node, value in before.items():
        if node.step == step.index:
            assert torch.equal(step.activations[node.area], value)


@pytest.mark.parametrize("name", ["dense_chain", "convolutional_chain", "recurrent"])
def test_becomes_backprop_in_proportion_to_beta(
    name: str, network_called, images, update_of, backprop_of, relative_error
) -> None:
    """rel .31/.035/.0036/.00036 at beta = 1/.1/.01/.001 on another network: O(beta)."""
    network = network_called(name)
    expected = backprop_of(network, images)
    n_steps = SETTLED if network.n_steps == 1 else SETTLED_IN_TIME
    errors = {
        beta: relative_error(
            update_of(PredictiveCoding(0.3, n_steps, beta), network, images), expected
        )
        for beta in (1.0, 0.1, 0.01, 0.001)
    }
    assert errors[1.0] > 0.02
    assert errors[0.001] < 2e-3
    for beta in (0.1, 0.01):
        assert errors[beta] / errors[beta / 10] == pytest.approx(10, rel=0.2)


@each_settling_rule
def test_examples_settle_independently_of_their_batch(
    rule: LearningRule, chain, images, update_of
) -> None:
    """The update of a batch is the mean over its examples alone: losses are per example."""
    network = chain()
    whole = update_of(rule, network, images)
    alone = [
        update_of(rule, network, Batch(images.images[i : i + 1], images.labels[i : i + 1]))
        for i in range(6)
    ]
    for name, gradient in whole.items():
        mean = torch.stack([each[name] for each in alone]).mean(dim=0)
        assert torch.allclose(gradient, mean, rtol=1e-10, atol=1e-14)


def test_a_mean_over_the_batch_would_pass_for_backprop(
    chain, images, update_of, backprop_of, relative_error
) -> None:
    """Scaling the clamped error by 1 / B is beta = 1 / B, silently nearer to the gradient."""
    network = chain()
    expected = backprop_of(network, images)
    of_example, of_mean = (
        relative_error(update_of(PredictiveCoding(0.3, SETTLED, beta), network, images), expected)
        for beta in (1.0, 1 / 6)
    )
    assert of_mean < 0.3 * of_example


def test_too_few_steps_look_unlike_backprop_for_the_wrong_reason(
    chain, images, update_of, backprop_of, relative_error
) -> None:
    """At beta = 1/16 the distance to backprop falls with T, and the residual tells."""
    network = chain()
    expected = backprop_of(network, images)
    distances, residuals = [], []
    for n_steps in (20, 100, 500):
        rule = PredictiveCoding(0.1, n_steps, 1 / 16)
        distances.append(relative_error(update_of(rule, network, images), expected))
        info = rule.bind(network, torch.Generator())(images, lambda: None)
        residuals.append(info.settling_residual)
    assert distances[0] > 2 * distances[1] > 4 * distances[2]
    assert residuals[0] > 4 * residuals[1] > 40 * residuals[2]


def stepped(rule: LearningRule, network: Network, batch: Batch, lr: float) -> dict[str, Tensor]:
    """What a batch changes of each weight under plain gradient steps, over -lr."""
    before = {name: p.detach().clone() for name, p in network.named_parameters()}

    def step() -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= lr * parameter.grad
                parameter.grad = None

    rule.bind(network, torch.Generator())(batch, step)
    step()
    return {name: (before[name] - p.detach()) / lr for name, p in network.named_parameters()}


@pytest.mark.parametrize("name", ["dense_chain", "skipping", "recurrent"])
def test_incremental_energy_falls_at_every_step(
    name: str, network_called, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and weights both go down the same energy, with plain gradient steps of the weights."""
    output = ClampedLoss(images.labels, "cross_entropy")
    seen: list[float] = []
    move = Inference.settle_and_learn

    def watched(self: Inference, *arguments, **settings) -> None:
        seen.append(self.energies(output).sum().item())
        move(self, *arguments, **settings)

    monkeypatch.setattr(Inference, "settle_and_learn", watched)
    stepped(IncrementalPredictiveCoding(0.1, 20), network_called(name), images, lr=0.05)
    assert len(seen) == 20
    assert all(later < earlier for earlier, later in pairwise(seen))


def strict_updates(network: Network, batch: Batch, n_updates: int, eta: float) -> dict[str, Tensor]:
    """Sum the updates of predictive coding after 0, 1, ... n_updates - 1 steps."""
    total: dict[str, Tensor] = {}
    for n_steps in range(n_updates):
        inference = inference_of(network, batch, step_size=eta)
        inference.settle(ClampedLoss(batch.labels, "cross_entropy"), n_steps=n_steps)
        inference.write_gradients(list(network.parameters()), factor=1 / len(batch.labels))
        for name, parameter in network.named_parameters():
            total[name] = total.get(name, 0) + parameter.grad
    network.zero_grad(set_to_none=True)
    return total


def test_incremental_becomes_strict_as_the_weights_stand_still(
    network_called, images, update_of, relative_error
) -> None:
    """T lr -> 0: the sum of strict updates, exactly at lr = 0 and in proportion to lr near it."""
    rule = IncrementalPredictiveCoding(0.2, 8)
    expected = strict_updates(network_called("skipping"), images, 8, 0.2)
    assert relative_error(update_of(rule, network_called("skipping"), images), expected) < 1e-13
    errors = [
        relative_error(stepped(rule, network_called("skipping"), images, lr), expected)
        for lr in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.3)


def test_incremental_mean_tends_to_the_settled_update(
    chain, images, update_of, relative_error
) -> None:
    """With the weights held, the transient's share of the mean falls as 1 / T."""
    network = chain()
    expected = update_of(PredictiveCoding(0.3, 300), network, images)

    def error(n_steps: int) -> float:
        total = update_of(IncrementalPredictiveCoding(0.3, n_steps), network, images)
        return relative_error({name: each / n_steps for name, each in total.items()}, expected)

    assert error(200) < 0.1
    assert error(100) / error(200) == pytest.approx(2, rel=0.05)


def test_incremental_leaves_the_last_step_to_the_loop(chain, images) -> None:
    n_lent = 0

    def step() -> None:
        nonlocal n_lent
        n_lent += 1

    network = chain()
    IncrementalPredictiveCoding(n_steps=7).bind(network, torch.Generator())(images, step)
    assert n_lent == 6
    assert all(parameter.grad is not None for parameter in network.parameters())


def nudged_errors(network, images, update_of, backprop_of, relative_error, **settings):
    expected = backprop_of(network, images)
    n_steps = SETTLED if network.n_steps == 1 else SETTLED_IN_TIME
    return [
        relative_error(
            update_of(
                NudgedPredictiveCoding(beta=beta, step_size=0.3, n_steps=n_steps, **settings),
                network,
                images,
            ),
            expected,
        )
        for beta in (0.1, 0.01)
    ]


@pytest.mark.parametrize(
    ("name", "nudging", "order"),
    [
        ("dense_chain", "positive", 1),
        ("dense_chain", "negative", 1),
        ("dense_chain", "centered", 2),
        ("recurrent", "centered", 2),
    ],
)
def test_bias_of_nudging_falls_with_beta(
    name: str,
    nudging: str,
    order: int,
    network_called,
    images,
    update_of,
    backprop_of,
    relative_error,
) -> None:
    """As in equilibrium propagation: O(beta) one-sided, O(beta^2) centered."""
    errors = nudged_errors(
        network_called(name), images, update_of, backprop_of, relative_error, nudging=nudging
    )
    assert errors[0] / errors[1] == pytest.approx(10**order, rel=0.25)
    assert errors[1] < {1: 3e-2, 2: 5e-4}[order]


def test_holding_the_output_value_does_not_become_backprop(
    chain, images, update_of, backprop_of, relative_error
) -> None:
    """The published form: the held output is as stiff at any beta, so a difference remains."""
    errors = nudged_errors(
        chain(), images, update_of, backprop_of, relative_error, nudging="centered", form="value"
    )
    assert errors[1] > 0.1
    assert errors[1] == pytest.approx(errors[0], rel=0.1)


def test_negative_squared_error_has_no_minimum_under_strong_weights(chain, images) -> None:
    """From beta |W|^2 = 1 values and gradients grow with the steps; the residual shows it."""

    def settled(squared_norm: float, n_steps: int, **settings: str) -> tuple[float, float]:
        network = chain(hidden=1)
        weight = network.connections["h1->readout"].op.weight
        with torch.no_grad():
            weight *= math.sqrt(squared_norm / 0.5) / torch.linalg.matrix_norm(weight, 2)
        rule = NudgedPredictiveCoding(nudging="negative", n_steps=n_steps, **settings)
        info = rule.bind(network, torch.Generator())(images, lambda: None)
        return weight.grad.norm().item(), info.settling_residual

    growing = {"output_loss": "squared_error"}
    gradients, residuals = zip(*(settled(1.5, n, **growing) for n in (50, 100, 200)), strict=True)
    assert all(later > 5 * earlier for earlier, later in pairwise(gradients))
    assert residuals[-1] == pytest.approx(1 - 1 / 1.5, rel=1e-2)
    for squared_norm, bounded in (
        (0.5, growing),
        (1.5, {"output_loss": "cross_entropy"}),
        (1.5, {**growing, "form": "value"}),
    ):
        (before, _), (after, residual) = (settled(squared_norm, n, **bounded) for n in (100, 200))
        assert after == pytest.approx(before, rel=1e-2)
        assert residual < 1e-3


def test_nudged_forms_meet_predictive_coding(chain, images, update_of, relative_error) -> None:
    """Added to the energy with a plus sign; or held all the way at the label."""
    network = chain()
    settings = {"step_size": 0.2, "n_steps": 15}
    for nudged, strict in (
        (
            NudgedPredictiveCoding("positive", 0.3, **settings),
            PredictiveCoding(beta=0.3, **settings),
        ),
        (
            NudgedPredictiveCoding("positive", 1.0, "value", 0.2, 15, "squared_error"),
            PredictiveCoding(output_loss="squared_error", **settings),
        ),
    ):
        found, expected = (update_of(rule, network, images) for rule in (nudged, strict))
        assert relative_error(found, expected) < 1e-13


def test_nudged_variants_have_names_and_limits_of_their_own() -> None:
    rules = [
        NudgedPredictiveCoding(nudging, form=form)
        for nudging in ("positive", "negative", "centered")
        for form in ("energy", "value")
    ]
    assert len({rule.name for rule in rules}) == 6
    for rule in rules:
        assert rule.exactness == ("bp_limit" if rule.form == "energy" else "approximate")
        assert from_json(to_json(rule), types=(NudgedPredictiveCoding,)) == rule


def test_target_alignment_is_higher_than_backprop_s(chain, images, update_of) -> None:
    """One small step moves the output more directly towards the target (Song et al. 2024).

    Each example alone, squared error; mean cosine between the output's move and what it lacks.
    """
    strict = PredictiveCoding(0.3, 100, 1.0, "squared_error")
    limit = PredictiveCoding(0.3, 100, 1e-4, "squared_error")
    cosines: dict[float, list[float]] = {1.0: [], 1e-4: []}
    for seed in range(2):
        network = chain(activation="identity", seed=seed)
        for i in range(3):
            one = Batch(images.images[i : i + 1], images.labels[i : i + 1])
            for rule in (strict, limit):
                before = network(one.images).detach()
                update = update_of(rule, network, one)
                moved = {n: p.detach() - 1e-4 * update[n] for n, p in network.named_parameters()}
                after = torch.func.functional_call(network, moved, one.images)
                lack = functional.one_hot(one.labels, 3) - before
                cosines[rule.beta].append(functional.cosine_similarity(after - before, lack).item())
    gain = torch.tensor(cosines[1.0]) - torch.tensor(cosines[1e-4])
    assert gain.mean() > 0.01
    assert gain.median() > 0


@each_settling_rule
def test_reports_the_forward_pass_and_the_residual(rule: LearningRule, chain, images) -> None:
    network = chain()
    scores = network(images.images)
    info = rule.bind(network, torch.Generator())(images, lambda: None)
    loss = functional.cross_entropy(scores, images.labels).item()
    assert info.loss == pytest.approx(loss, rel=1e-12)
    assert info.n_correct == int((scores.argmax(1) == images.labels).sum())
    if isinstance(rule, IncrementalPredictiveCoding):  # weights do not wait for values to settle
        assert info.settling_residual is None
        return
    assert math.isfinite(info.settling_residual)
    assert info.settling_residual > 0


@each_settling_rule
def test_refuses_batch_norm_and_foreign_modules(rule: LearningRule, images) -> None:
    normed = ConvNet(areas=(Dense("h", 4, norm="batch"),), n_classes=3, image_size=4, in_channels=1)
    sentence = "area 'h' has norm='batch', but it makes the energy .* Set norm='none'"
    assert not rule.supports(normed).ok
    with pytest.raises(UnsupportedNetworkError, match=sentence):
        rule.bind(normed.build(torch.Generator()), torch.Generator())
    with pytest.raises(UnsupportedNetworkError, match=r"no graph of areas .* 'backprop'"):
        rule.bind(torch.nn.Linear(3, 2), torch.Generator())
    assert rule.supports(ConvNet(areas=(Dense("h", 4),), n_classes=3, image_size=4)).ok


@each_settling_rule
def test_refuses_batches_without_labels(rule: LearningRule, chain, images) -> None:
    estimator = rule.bind(chain(), torch.Generator())
    unlabelled = Batch(images.images)
    assert estimator.loss(unlabelled) is None
    with pytest.raises(ContractError, match=f"^{rule.name}: the batch has no labels"):
        estimator(unlabelled, lambda: None)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: PredictiveCoding(step_size=0),
            "step_size is 0, expected a number above",
        ),
        (lambda: PredictiveCoding(n_steps=0), "n_steps is 0, expected a whole number"),
        (lambda: PredictiveCoding(beta=0), "beta is 0, expected a number above 0"),
        (lambda: PredictiveCoding(output_loss="hinge"), "output_loss is 'hinge'"),
        (lambda: IncrementalPredictiveCoding(n_steps=0), "n_steps is 0, expected a whole number"),
        (lambda: NudgedPredictiveCoding("up"), "nudging is 'up', .* positive, negative, centered"),
        (lambda: NudgedPredictiveCoding(form="clamp"), "form is 'clamp', .* energy, value"),
    ],
)
def test_refuses_settings_out_of_range(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        make()

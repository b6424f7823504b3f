"""With fixed predictions it is backprop: on chains at any T, elsewhere in a limit."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import Backprop, Batch, UnsupportedNetworkError
from brainscore_lite.learning_rules.predictive_coding import (
    FixedPredictionCoding,
    ZeroDivergenceInferenceLearning,
)
from brainscore_lite.learning_rules.predictive_coding.error_propagation import arrived
from brainscore_lite.learning_rules.predictive_coding.fixed_prediction import STEPS_THAT_REACH_ALL
from brainscore_lite.learning_rules.predictive_coding.prediction_graph import PredictionGraph
from brainscore_lite.networks.architectures import ARCHITECTURES
from brainscore_lite.networks.areas import Area, Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.training.measurement import alignment, layer_of

each_network = pytest.mark.parametrize(
    "name",
    [
        "dense_chain",
        "convolutional_chain",
        "skipping",
        "recurrent",
        "delayed_recurrent",
        "recurrent_maps",
    ],
)
each_order = pytest.mark.parametrize("order", ["synchronous", "backward"])
each_chain = pytest.mark.parametrize("name", ["dense_chain", "convolutional_chain"])


@each_network
@pytest.mark.parametrize("method", ["closed_form", "linearised", "naive"])
def test_one_backward_sweep_at_step_size_1_is_backprop(
    name: str, method: str, network_called, images, update_of, backprop_of, relative_error
) -> None:
    """On any graph, backprop through time on an unrolled one with shared weights: rel < 1e-12."""
    network = network_called(name)
    rule = FixedPredictionCoding(step_size=1, n_steps=1, order="backward", method=method)
    found = update_of(rule, network, images)
    assert relative_error(found, backprop_of(network, images)) < 1e-14


@each_network
def test_synchronous_order_needs_one_step_per_edge(
    name: str, network_called, images, update_of, backprop_of, relative_error
) -> None:
    """Errors at distance d arrive at step d: exact after `depth` steps, and not before."""
    network = network_called(name)
    depth = PredictionGraph(network).depth
    expected = backprop_of(network, images)

    def error(n_steps: int) -> float:
        rule = FixedPredictionCoding(step_size=1, n_steps=n_steps, method="linearised")
        return relative_error(update_of(rule, network, images), expected)

    assert error(depth) < 1e-14
    assert error(depth + 3) < 1e-14
    assert error(depth - 1) > 1e-6


@each_network
@each_order
@pytest.mark.parametrize(("step_size", "n_steps"), [(0.1, 20), (0.3, 2)])
def test_three_methods_give_the_same_numbers(
    name: str,
    order: str,
    step_size: float,
    n_steps: int,
    network_called,
    images,
    update_of,
    relative_error,
) -> None:
    network = network_called(name)
    by_method = [
        update_of(
            FixedPredictionCoding(step_size=step_size, n_steps=n_steps, order=order, method=method),
            network,
            images,
        )
        for method in ("naive", "linearised", "closed_form")
    ]
    assert relative_error(by_method[1], by_method[0]) < 1e-12
    assert relative_error(by_method[2], by_method[0]) < 1e-12


@each_order
def test_three_methods_leave_the_same_running_statistics(
    order: str, images, update_of, relative_error
) -> None:
    areas = (Area("c", 3, norm="batch"), Dense("h", 6, norm="batch", activation="tanh"))
    settings = ConvNet(areas=areas, n_classes=3, image_size=4, in_channels=1)
    found, kept = [], []
    for method in ("naive", "linearised", "closed_form"):
        network = settings.build(torch.Generator().manual_seed(0)).double()
        rule = FixedPredictionCoding(n_steps=5, order=order, method=method)
        found.append(update_of(rule, network, images))
        kept.append(dict(network.named_buffers()))
    assert relative_error(found[1], found[0]) < 1e-12
    assert relative_error(found[2], found[0]) < 1e-12
    assert kept[0]["areas.c.norm.num_batches_tracked"] == 1
    for name, buffer in kept[0].items():
        assert torch.equal(buffer, kept[1][name])
        assert torch.equal(buffer, kept[2][name])


def test_iterates_the_recurrence_of_its_docstring(network_called, images, update_of) -> None:
    """e_n(t+1) = (1 - eta) e_n(t) + eta sum_c J_cn^T e_c(t), with J by hand on a skip graph."""
    network = network_called("skipping")
    weight = {name: each.op.weight.detach() for name, each in network.connections.items()}
    bias = {name: area.bias.detach() for name, area in network.areas.items()}
    names = ["image", "a", "b", "c", "readout"]
    r = {"image": images.images.flatten(1)}
    for i, target in enumerate(names[1:], 1):
        drive = sum(r[s] @ weight[f"{s}->{target}"].T for s in names[:i]) + bias[target]
        r[target] = drive if target == "readout" else torch.tanh(drive)
    e = {name: torch.zeros_like(r[name]) for name in names[1:]}
    e["readout"] = functional.one_hot(images.labels, 3) - torch.softmax(r["readout"], dim=1)
    slope = {name: 1 - r[name] ** 2 for name in names[1:4]} | {"readout": 1.0}
    eta, n_steps = 0.2, 7
    for _ in range(n_steps):
        sent = {
            name: sum((e[c] * slope[c]) @ weight[f"{name}->{c}"] for c in names[i + 1 :])
            for i, name in enumerate(names[:-1])
        }
        for name in ("a", "b", "c"):
            e[name] = (1 - eta) * e[name] + eta * sent[name]
    found = update_of(FixedPredictionCoding(eta, n_steps), network, images)
    for i, target in enumerate(names[1:], 1):
        for source in names[:i]:
            expected = -(e[target] * slope[target]).T @ r[source] / 6
            gradient = found[f"connections.{source}->{target}.op.weight"]
            assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("order", ["synchronous", "backward"])
def test_shares_have_a_closed_form(order: str) -> None:
    """Synchronous: a_k(T) = P(at least k of T coins of bias eta); as published for T = 20."""
    shares = arrived(3, step_size=0.1, n_steps=20, order=order)
    for k, share in enumerate(shares):
        flips = 20 if order == "synchronous" else 20 + k - 1
        fewer = sum(math.comb(flips, j) * 0.1**j * 0.9 ** (flips - j) for j in range(k))
        assert share == pytest.approx(1 - fewer, rel=1e-12)
    if order == "synchronous":
        assert [round(share, 3) for share in shares] == [1.0, 0.878, 0.608, 0.323]


@pytest.mark.parametrize("n_steps", [3, 20, 100])
@pytest.mark.parametrize("method", ["closed_form", "linearised"])
@each_chain
def test_on_a_chain_each_layer_points_along_the_gradient_at_any_t(
    name: str, method: str, n_steps: int, network_called, images, update_of, backprop_of
) -> None:
    """The scale a_l(T) is one number for all weights of a layer, to 1e-13."""
    network = network_called(name)
    found = update_of(FixedPredictionCoding(n_steps=n_steps, method=method), network, images)
    expected = backprop_of(network, images)
    shares = arrived(3, step_size=0.1, n_steps=n_steps, order="synchronous")
    names = list(network.areas)
    for parameter, gradient in expected.items():
        share = shares[3 - names.index(layer_of(parameter, names))]
        assert torch.allclose(found[parameter], share * gradient, rtol=1e-13, atol=1e-16)
    estimator = FixedPredictionCoding(n_steps=n_steps, method=method).bind(
        network, torch.Generator()
    )
    assert all(cosine > 1 - 1e-12 for cosine in alignment(estimator, images).values())


@pytest.mark.parametrize(
    ("settings", "exactness"),
    [
        ({"n_steps": 200}, "bp"),
        ({"n_steps": 20}, "bp"),
        ({"n_steps": 19}, "approximate"),
        ({"n_steps": 1, "order": "backward"}, "bp"),
        ({"output_loss": "squared_error"}, "approximate"),
    ],
)
def test_is_backprop_with_steps_enough_for_any_chain_trained_here(
    settings: dict[str, Any], exactness: str
) -> None:
    assert FixedPredictionCoding(**settings).exactness == exactness
    for architecture in ARCHITECTURES.values():
        assert len(architecture.areas) < STEPS_THAT_REACH_ALL


@each_chain
def test_the_difference_to_backprop_falls_with_t_as_the_scales_say(
    name: str, network_called, images, update_of, backprop_of, relative_error
) -> None:
    """eta = .1: below 1, 1e-2, 1e-6 at T = 20, 100, 200, and what the scales predict."""
    network = network_called(name)
    expected = backprop_of(network, images)
    names = list(network.areas)
    for n_steps, bound in ((20, 1.0), (100, 1e-2), (200, 1e-6)):
        shares = arrived(3, step_size=0.1, n_steps=n_steps, order="synchronous")
        predicted = {
            p: shares[3 - names.index(layer_of(p, names))] * g for p, g in expected.items()
        }
        found = update_of(FixedPredictionCoding(n_steps=n_steps), network, images)
        error = relative_error(found, expected)
        assert error == pytest.approx(relative_error(predicted, expected), rel=1e-6)
        assert error < bound


@pytest.mark.parametrize("name", ["skipping", "recurrent", "recurrent_maps"])
def test_elsewhere_t_matters_and_backprop_is_the_limit(
    name: str, network_called, images, update_of, backprop_of, relative_error
) -> None:
    """With paths of unequal length a layer's direction changes with T; BPTT as T grows."""
    network = network_called(name)
    assert not PredictionGraph(network).levelled
    estimator = FixedPredictionCoding(n_steps=20).bind(network, torch.Generator())
    assert min(alignment(estimator, images).values()) < 1 - 1e-6
    found = update_of(FixedPredictionCoding(n_steps=600), network, images)
    assert relative_error(found, backprop_of(network, images)) < 1e-12


def test_with_equal_paths_unrolled_time_is_still_one_sweep(network_called) -> None:
    assert PredictionGraph(network_called("delayed_recurrent")).levelled


def test_squared_error_is_backprop_of_the_squared_error(chain, images, update_of) -> None:
    network = chain()
    rule = FixedPredictionCoding(
        step_size=1, n_steps=1, order="backward", output_loss="squared_error"
    )
    found = update_of(rule, network, images)
    target = functional.one_hot(images.labels, 3).double()
    loss = 0.5 * (network(images.images) - target).square().sum() / 6
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    for (name, _), gradient in zip(network.named_parameters(), gradients, strict=True):
        assert torch.allclose(found[name], gradient, rtol=1e-12, atol=1e-15)
    estimator = rule.bind(network, torch.Generator())
    assert estimator.loss(images).item() == pytest.approx(loss.item())


def test_a_lesioned_connection_carries_no_error(
    network_called, images, update_of, backprop_of, relative_error
) -> None:
    network = network_called("skipping")
    with network.lesioned({"b->readout": 0.0, "a->c": 0.5}):
        for method in ("closed_form", "linearised", "naive"):
            rule = FixedPredictionCoding(step_size=0.5, n_steps=100, method=method)
            found = update_of(rule, network, images)
            assert relative_error(found, backprop_of(network, images)) < 1e-12


def test_frozen_weights_are_left_out(chain, images, update_of, backprop_of) -> None:
    network = chain()
    network.connections["image->h1"].requires_grad_(False)
    network.areas["h1"].requires_grad_(False)
    for method in ("closed_form", "linearised"):
        found = update_of(FixedPredictionCoding(method=method), network, images)
        assert found.keys() == backprop_of(network, images).keys()


@each_chain
def test_zero_divergence_inference_learning_is_backprop(
    name: str, network_called, images, update_of, backprop_of, relative_error
) -> None:
    network = network_called(name)
    found = update_of(ZeroDivergenceInferenceLearning(), network, images)
    assert relative_error(found, backprop_of(network, images)) < 1e-14


def strict_dynamics(network: Network, batch: Batch, *, learns_at: list[int]) -> dict[str, Tensor]:
    """Run all layers at step size 1 from the forward pass; layer l learns at step learns_at[l]."""
    x, labels = batch.images, batch.labels
    areas, links = list(network.areas.values()), list(network.connections.values())
    top = len(areas) - 1

    def f(layer: int, below: Tensor) -> Tensor:
        return areas[layer]([links[layer](below)])

    v = [x]
    for layer in range(top):
        v.append(f(layer, v[-1]).detach())
    gradients: dict[str, Tensor] = {}
    for t in range(max(learns_at) + 1):
        leaves = [each.detach().requires_grad_() for each in v]
        predictions = [f(layer, leaves[layer]) for layer in range(top + 1)]
        e = [leaves[layer + 1].detach() - predictions[layer].detach() for layer in range(top)]
        answer = torch.softmax(predictions[top].detach(), dim=1)
        e.append(functional.one_hot(labels, answer.shape[1]) - answer)
        for layer in range(top + 1):
            if learns_at[layer] != t:
                continue
            names = [
                f"connections.{links[layer].name}.op.weight",
                f"areas.{areas[layer].name}.bias",
            ]
            weights = [links[layer].op.weight, areas[layer].bias]
            pulled = torch.autograd.grad(
                predictions[layer], weights, grad_outputs=e[layer], retain_graph=True
            )
            gradients |= {n: -g / len(x) for n, g in zip(names, pulled, strict=True)}
        for layer in range(1, top + 1):
            (sent,) = torch.autograd.grad(predictions[layer], leaves[layer], grad_outputs=e[layer])
            v[layer] = v[layer] + sent - e[layer - 1]
    return gradients


@each_chain
def test_zero_divergence_shortcut_equals_the_whole_dynamics(
    name: str, network_called, images, update_of, relative_error
) -> None:
    network = network_called(name)
    found = update_of(ZeroDivergenceInferenceLearning(), network, images)
    assert relative_error(found, strict_dynamics(network, images, learns_at=[3, 2, 1, 0])) < 1e-14


@pytest.mark.parametrize("learns_at", [[4, 3, 2, 1], [3, 3, 3, 3], [0, 1, 2, 3], [3, 1, 2, 0]])
def test_any_other_order_breaks_zero_divergence(
    learns_at: list[int], chain, images, backprop_of, relative_error
) -> None:
    network = chain()
    wrong = strict_dynamics(network, images, learns_at=learns_at)
    assert relative_error(wrong, backprop_of(network, images)) > 0.05


def test_same_gradient_but_not_the_same_bits_in_float32(network_called, images, update_of) -> None:
    """Equality is asserted in float64; trained in float32, networks only stay close."""
    pair = {}
    for rule in (Backprop(), FixedPredictionCoding(1.0, 1, "backward", "linearised")):
        network = network_called("convolutional_chain").float()
        batch = Batch(images.images.float(), images.labels)
        for _ in range(40):
            gradients = update_of(rule, network, batch)
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    parameter -= 0.2 * gradients[name]
        pair[rule.name] = torch.cat([p.detach().flatten() for p in network.parameters()])
    one, other = pair.values()
    assert torch.allclose(one, other, rtol=1e-2, atol=1e-3)


def test_reports_loss_correct_images_and_how_far_it_settled(chain, images) -> None:
    network = chain()
    for method in ("closed_form", "linearised"):
        rule = FixedPredictionCoding(n_steps=20, method=method)
        info = rule.bind(network, torch.Generator())(images, lambda: None)
        scores = network(images.images)
        loss = functional.cross_entropy(scores, images.labels).item()
        assert info.loss == pytest.approx(loss, rel=1e-12)
        assert info.n_correct == int((scores.argmax(1) == images.labels).sum())
        share = arrived(3, step_size=0.1, n_steps=20, order="synchronous")[3]
        assert info.settling_residual == pytest.approx(1 - share)


Make = Callable[[], FixedPredictionCoding]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: FixedPredictionCoding(step_size=0),
            r"step_size is 0, expected a number above",
        ),
        (lambda: FixedPredictionCoding(n_steps=0), r"n_steps is 0, expected a whole number"),
        (lambda: FixedPredictionCoding(order="down"), r"order is 'down', .* synchronous, backward"),
        (lambda: FixedPredictionCoding(method="fast"), r"method is 'fast', .* closed_form, lin"),
        (lambda: FixedPredictionCoding(output_loss="hinge"), r"output_loss is 'hinge'.* squared_"),
    ],
)
def test_refuses_settings_out_of_range(make: Make, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        make()


def test_refuses_what_is_no_graph_or_no_chain(network_called, images) -> None:
    foreign = torch.nn.Linear(3, 2)
    with pytest.raises(UnsupportedNetworkError, match=r"no graph of areas .* 'backprop'"):
        FixedPredictionCoding().bind(foreign, torch.Generator())
    with pytest.raises(UnsupportedNetworkError, match="not joined in one single line"):
        ZeroDivergenceInferenceLearning().bind(network_called("skipping"), torch.Generator())
    unlabelled = Batch(images.images)
    for rule in (FixedPredictionCoding(), ZeroDivergenceInferenceLearning()):
        estimator = rule.bind(network_called("dense_chain"), torch.Generator())
        assert estimator.loss(unlabelled) is None
        with pytest.raises(ContractError, match="has no labels"):
            estimator(unlabelled, lambda: None)

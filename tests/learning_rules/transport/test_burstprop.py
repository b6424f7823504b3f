"""Burst-dependent learning."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    BurstDependent,
    Estimator,
    FeedbackAlignment,
    UnsupportedNetworkError,
)
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

Written = Callable[[Estimator, Batch], dict[str, Tensor]]
Gradient = Callable[[nn.Module, Batch], dict[str, Tensor]]
Compare = Callable[[dict[str, Tensor], dict[str, Tensor]], float]


def bound(network: nn.Module, *, seed: int = 5, **settings: float | str) -> Estimator:
    return BurstDependent(**settings).bind(network, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "largest"), [("mlp", 0.02), ("cnn", 0.2), ("recurrent", 0.02)])
def test_tends_to_backprop_as_the_square_of_the_amplitude(
    name: str,
    largest: float,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
    relative_error: Compare,
) -> None:
    """A hundredth of the error for a tenth of the amplitude, with Y = W^T and p0 = 1/2.

    The norms of the convolutional network enlarge errors, and so what is left of them.
    """
    network = make_network(name, "sigmoid")
    expected = gradient(network, few)
    errors = [
        relative_error(
            written(bound(network, amplitude=amplitude, feedback="symmetric"), few), expected
        )
        for amplitude in (1.0, 0.1, 0.01)
    ]
    assert errors[0] < largest
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.2)
    assert errors[2] == pytest.approx(errors[1] / 100, rel=0.05)


def test_tends_to_feedback_alignment_through_random_weights(
    make_network: Callable[..., Network], few: Batch, written: Written, relative_error: Compare
) -> None:
    network = make_network("cnn", "clipped_relu")
    found = written(bound(network, amplitude=1e-4), few)
    aligned = FeedbackAlignment().bind(network, torch.Generator().manual_seed(5))
    assert relative_error(found, written(aligned, few)) < 1e-6


@pytest.mark.parametrize("p0", [0.5, 0.2])
def test_equals_bursts_by_hand(
    p0: float, make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    """u = phi'(a)/e * (Y d), p = sigmoid(4 u + logit p0), d = (p - p0) e, to 1e-13."""
    network = make_network("mlp", "sigmoid")
    estimator = bound(network, p0=p0, amplitude=2.0)
    found = written(estimator, few)
    state = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    names = ["image", *network.areas]
    e = [few.images.flatten(1)]
    for below, area in zip(names[:-1], names[1:], strict=True):  # noqa: RUF007
        a = e[-1] @ state[f"connections.{below}->{area}.op.weight"].T + state[f"areas.{area}.bias"]
        e.append(a.softmax(1) if area == "readout" else a.sigmoid())
    d = 2.0 * (functional.one_hot(few.labels, 3) - e[-1])
    for layer in range(4, 0, -1):
        name = f"{names[layer - 1]}->{names[layer]}"
        expected = -d.T @ e[layer - 1] / (2.0 * len(few.labels))
        error = (found[f"connections.{name}.op.weight"] - expected).norm() / expected.norm()
        assert error < 1e-13
        if layer > 1:
            u = (1 - e[layer - 1]) * (d @ estimator.feedback(network.connections[name]))
            p = torch.sigmoid(4 * u + torch.logit(torch.tensor(p0, dtype=torch.float64)))
            assert p.min() > 0
            assert p.max() < 1
            d = (p - p0) * e[layer - 1]


def test_nothing_is_learned_where_bursts_are_as_likely_as_without_teaching(
    make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    """p = p0 makes dW = 0: below a Y of 0 every update is exactly 0."""
    network = make_network("cnn", "clipped_relu")
    estimator = bound(network)
    with torch.no_grad():
        estimator.feedback(network.connections["IT->readout"]).zero_()
    found = written(estimator, few)
    assert all((g == 0).all() for name, g in found.items() if "readout" not in name)
    assert (found["connections.IT->readout.op.weight"] != 0).any()


def test_each_image_is_taught_with_the_whole_amplitude(
    make_network: Callable[..., Network], few: Batch, written: Written, relative_error: Compare
) -> None:
    """The update of a batch is the mean of its images' updates, though bursts saturate."""
    estimator = bound(make_network("cnn", "clipped_relu"), amplitude=5.0)
    alone = [
        written(estimator, Batch(few.images[i : i + 1], few.labels[i : i + 1])) for i in range(6)
    ]
    expected = {name: sum(each[name] for each in alone) / 6 for name in alone[0]}
    assert relative_error(written(estimator, few), expected) < 1e-13


def test_silent_areas_send_no_bursts(
    make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    """No events, no bursts, and no 0 / 0."""
    network = make_network("mlp", "relu")
    with torch.no_grad():
        network.areas["V4"].bias.fill_(-100.0)
    found = written(bound(network), few)
    assert all(torch.isfinite(g).all() for g in found.values())
    assert (found["areas.V4.bias"] == 0).all()


def test_exactness_and_locality_follow_the_feedback() -> None:
    assert BurstDependent().exactness == "approximate"
    assert BurstDependent(feedback="symmetric").exactness == "bp_limit"
    assert BurstDependent(feedback="symmetric", p0=0.3).exactness == "approximate"
    assert "weight_transport" in BurstDependent().makes_local
    assert "weight_transport" not in BurstDependent(feedback="symmetric").makes_local


def test_refuses_what_cannot_be_a_rate(make_network: Callable[..., Network]) -> None:
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"^burstprop cannot train this network: area 'V1' has activation='tanh', but the rate"
        r" of its events cannot be negative\. Choose one of: clipped_relu, relu, sigmoid, softplus",
    ):
        bound(make_network("mlp", "tanh"))
    settings = ConvNet(areas=(Dense("IT", 4, post_norm="layer"),), n_classes=3, image_size=8)
    assert (
        BurstDependent()
        .supports(settings)
        .reason.endswith("Set post_norm='none', or normalise before the activation.")
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"amplitude": 0.0}, r"amplitude is 0\.0, expected a number above 0\."),
        ({"p0": 1.0}, r"p0 is 1\.0, expected a number above 0 and below 1\."),
        (
            {"feedback": "none"},
            r"feedback is 'none', which is unknown\. Choose one of: random, symmetric\.",
        ),
        ({"scale": 0}, "scale is 0, expected a number above 0"),
    ],
)
def test_refuses_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(ContractError, match=f"^burstprop: {message}"):
        BurstDependent(**settings)

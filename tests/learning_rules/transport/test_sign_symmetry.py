"""Sign-symmetry: uSF, brSF, frSF."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    Estimator,
    SignSymmetry,
    UnsupportedNetworkError,
)
from brainscore_lite.learning_rules.transport.transported_errors import (
    crossed,
    follow_error,
    initial_deviation,
)
from brainscore_lite.networks.architectures import MATCHED_CNN, MATCHED_MLP
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError
from brainscore_lite.training.measurement import alignment

Written = Callable[[Estimator, Batch], dict[str, Tensor]]
Gradient = Callable[[nn.Module, Batch], dict[str, Tensor]]
Compare = Callable[[dict[str, Tensor], dict[str, Tensor]], float]

each_variant = pytest.mark.parametrize("variant", ["usf", "brsf", "frsf"])


def bound(variant: str, network: nn.Module, *, seed: int = 5, scale: float = 1.0) -> Estimator:
    return SignSymmetry(variant, scale).bind(network, torch.Generator().manual_seed(seed))


def degrees_between(one: Tensor, other: Tensor) -> float:
    cosine = functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)
    return math.degrees(math.acos(cosine.item()))


@each_variant
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_is_backprop_where_the_weights_have_the_magnitudes_of_the_feedback(
    variant: str,
    name: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
    relative_error: Compare,
) -> None:
    """W = sign(W) * M makes B = W^T."""
    network = make_network(name)
    estimator = bound(variant, network)
    before = estimator.generator.get_state()
    with torch.no_grad():
        for connection in crossed(network):
            connection.op.weight.copy_(estimator.feedback(connection))
    estimator.generator.set_state(before)  # brSF draws the same magnitudes again
    assert relative_error(written(estimator, few), gradient(network, few)) < 1e-15


@pytest.mark.parametrize("variant", ["usf", "brsf"])
def test_feedback_is_the_same_at_all_steps_of_a_batch(
    variant: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    relative_error: Compare,
) -> None:
    """Through time the rule is feedback alignment with the B of the batch."""
    network = make_network("recurrent")
    estimator = bound(variant, network)
    before = estimator.generator.get_state()
    feedback = {each.name: estimator.feedback(each) for each in crossed(network)}
    estimator.generator.set_state(before)
    found = written(estimator, few)
    follow_error(network, few, feedback_of=lambda each: feedback[each.name], rule="expected")
    assert relative_error(found, {n: p.grad for n, p in network.named_parameters()}) < 1e-15


@each_variant
def test_signs_are_those_of_the_current_weights(
    variant: str, make_network: Callable[..., Network], few: Batch, descend: Callable[..., None]
) -> None:
    network = make_network("cnn")
    estimator = bound(variant, network)
    before = {each.name: each.op.weight.sign() for each in crossed(network)}
    descend(estimator, few, n_steps=20, lr=1.0)
    now = {each.name: each.op.weight.sign() for each in crossed(network)}
    assert any((now[name] != before[name]).any() for name in now)
    for connection in crossed(network):
        assert torch.equal(estimator.feedback(connection).sign(), now[connection.name])


def test_magnitudes_are_one_number_or_fixed_or_drawn_for_each_batch(
    make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    network = make_network("cnn")
    connection = network.connections["IT->readout"]
    uniform, anew, fixed = (bound(variant, network) for variant in ("usf", "brsf", "frsf"))
    assert torch.allclose(uniform.feedback(connection).abs(), torch.tensor(1 / 7**0.5).double())
    assert torch.equal(fixed.feedback(connection), fixed.feedback(connection))
    assert not torch.equal(anew.feedback(connection), anew.feedback(connection))
    name = "connections.V4->IT.op.weight"
    for estimator, repeats in ((uniform, True), (fixed, True), (anew, False)):
        first, second = (written(estimator, few)[name] for _ in range(2))
        assert torch.equal(first, second) == repeats


@pytest.mark.parametrize("variant", ["brsf", "frsf"])
def test_random_magnitudes_are_uniform_and_independent(variant: str) -> None:
    """Quantiles of U(0, sqrt(3) s), and no correlation of neighbours, which share a draw."""
    network = MATCHED_MLP.build(torch.Generator().manual_seed(0)).double()
    connection = network.connections["hidden1->hidden2"]
    magnitudes = bound(variant, network).feedback(connection).abs().flatten()
    bound_above = math.sqrt(3) * initial_deviation(network, connection)
    levels = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    assert torch.allclose(torch.quantile(magnitudes, levels) / bound_above, levels, atol=0.01)
    assert magnitudes.max() <= bound_above
    for apart in (1, 2):
        pairs = torch.stack((magnitudes[:-apart], magnitudes[apart:]))
        assert abs(torch.corrcoef(pairs)[0, 1]) < 0.02


def test_uniform_feedback_draws_nothing(
    make_network: Callable[..., Network], few: Batch, written: Written
) -> None:
    """Its angle to the gradient is settled by the network alone."""
    network = make_network("cnn")
    one, other = (written(bound("usf", network, seed=seed), few) for seed in (1, 2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_uniform_feedback_does_not_know_the_scale_of_the_weights(
    make_network: Callable[..., Network],
) -> None:
    network = make_network("mlp")
    estimator = bound("usf", network)
    before = {each.name: estimator.feedback(each) for each in crossed(network)}
    with torch.no_grad():
        for connection in crossed(network):
            connection.op.weight *= 17.0
    assert all(
        torch.equal(estimator.feedback(each), before[each.name]) for each in crossed(network)
    )


@pytest.mark.parametrize(
    ("variant", "cosine"),
    [
        ("usf", math.sqrt(2 / math.pi)),
        ("brsf", math.sqrt(1.5 / math.pi)),
        ("frsf", math.sqrt(1.5 / math.pi)),
    ],
)
def test_fresh_feedback_is_as_far_from_the_weights_as_signs_are(
    variant: str, cosine: float
) -> None:
    """E|w| / rms(w) = sqrt(2 / pi) of a Gaussian, 37.1 degrees; times sqrt(3) / 2 of M, 46.3."""
    network = MATCHED_MLP.build(torch.Generator().manual_seed(0)).double()
    connection = network.connections["hidden1->hidden2"]
    found = degrees_between(bound(variant, network).feedback(connection), connection.op.weight)
    assert found == pytest.approx(math.degrees(math.acos(cosine)), abs=0.5)


@each_variant
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_angle_to_the_gradient_is_bounded_from_the_start(variant: str, seed: int) -> None:
    """Below 60 and 45 degrees (uSF), or 75 and 60 (random magnitudes); 0 in the readout."""
    network = MATCHED_MLP.build(torch.Generator().manual_seed(seed)).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(64, 1, 28, 28, generator=generator, dtype=torch.float64)
    found = alignment(bound(variant, network), Batch(images, torch.arange(64) % 10))
    largest = (60, 45) if variant == "usf" else (75, 60)
    assert found["readout"] == pytest.approx(1, abs=1e-12)
    assert found["hidden1"] > math.cos(math.radians(largest[0]))
    assert found["hidden2"] > math.cos(math.radians(largest[1]))


@each_variant
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_angle_is_bounded_in_convolutions_too(variant: str, seed: int) -> None:
    """Of blobs whose place tells the class. Sums over places, where parts of the gradient cancel,
    leave wider angles than in dense areas: below 75, 60, 45, or 90, 70, 55 degrees."""
    network = MATCHED_CNN.build(torch.Generator().manual_seed(seed)).double()
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(64) % 10
    places = 4 + 20 * torch.rand(10, 2, generator=generator, dtype=torch.float64)
    centres = places[labels] + torch.randn(64, 2, generator=generator, dtype=torch.float64)
    pixels = torch.cartesian_prod(*[torch.arange(28, dtype=torch.float64)] * 2).view(28, 28, 2)
    square = (pixels - centres[:, None, None]).square().sum(dim=3)
    found = alignment(bound(variant, network), Batch(torch.exp(-square / 18)[:, None], labels))
    largest = (75, 60, 45) if variant == "usf" else (90, 70, 55)
    assert found["readout"] == pytest.approx(1, abs=1e-12)
    for area, degrees in zip(("conv1", "conv2", "hidden"), largest, strict=True):
        assert found[area] > math.cos(math.radians(degrees)), area


def test_a_weight_of_zero_sends_nothing_back(make_network: Callable[..., Network]) -> None:
    network = make_network("mlp")
    with torch.no_grad():
        network.connections["V4->IT"].op.weight[2, 3] = 0
    assert bound("usf", network).feedback(network.connections["V4->IT"])[2, 3] == 0


def test_variants_have_their_own_names() -> None:
    assert SignSymmetry().name == "sign_symmetry_usf"
    assert SignSymmetry("brsf").name == "sign_symmetry_brsf"
    with pytest.raises(
        ContractError, match=r"variant is 'xsf', which is unknown\. Choose one of: usf, brsf, frsf"
    ):
        SignSymmetry("xsf")  # type: ignore[arg-type]


def test_refusals() -> None:
    with pytest.raises(UnsupportedNetworkError, match=r"^sign_symmetry_usf cannot train this netw"):
        bound("usf", nn.Linear(3, 2))
    with pytest.raises(ContractError, match=r"^sign_symmetry_frsf: scale is -1, expected a number"):
        SignSymmetry("frsf", scale=-1)

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
from brainscore_lite.learning_rules.transport.transported_errors import crossed
from brainscore_lite.networks.architectures import MATCHED_CNN, MATCHED_MLP
from brainscore_lite.networks.convnet import ConvNet
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
@pytest.mark.parametrize("name", ["mlp", "cnn", "recurrent"])
def test_is_backprop_where_magnitudes_are_those_of_the_feedback(
    variant: str,
    name: str,
    make_network: Callable[..., Network],
    few: Batch,
    written: Written,
    gradient: Gradient,
    relative_error: Compare,
) -> None:
    """W = sign(W) * M makes B = W^T: the rule is backprop, to rounding."""
    network = make_network(name)
    twin = bound(variant, network)
    with torch.no_grad():
        for connection in crossed(network):
            if connection.name != "IT->V1" or name != "recurrent":
                connection.op.weight.copy_(twin.feedback(connection))
    if variant == "frsf" and name == "recurrent":
        tied = [twin.magnitudes.get_buffer(n) for n in ("V1->V1", "IT->V1")]
        tied[1].copy_(tied[0])
    if variant == "brsf":  # draws again what it drew for `feedback`
        if name == "recurrent":
            return
        twin.generator.manual_seed(5)
    assert relative_error(written(twin, few), gradient(network, few)) < 1e-14


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
    [("usf", math.sqrt(2 / math.pi)), ("brsf", 2 / math.pi), ("frsf", 2 / math.pi)],
)
def test_fresh_feedback_is_as_far_from_the_weights_as_signs_are(
    variant: str, cosine: float
) -> None:
    """E|w| / rms(w) = sqrt(2 / pi) of a Gaussian, 37.1 degrees; squared with Gaussian M, 50.5."""
    network = MATCHED_MLP.build(torch.Generator().manual_seed(0)).double()
    connection = network.connections["hidden1->hidden2"]
    found = degrees_between(bound(variant, network).feedback(connection), connection.op.weight)
    assert found == pytest.approx(math.degrees(math.acos(cosine)), abs=0.5)


@each_variant
@pytest.mark.parametrize("architecture", [MATCHED_MLP, MATCHED_CNN], ids=["mlp", "cnn"])
def test_angle_to_the_gradient_is_bounded_from_the_start(
    variant: str, architecture: ConvNet
) -> None:
    """Fresh networks are within 65 degrees (uSF) or 75 (random magnitudes); 0 in the readout."""
    network = architecture.build(torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(64, 1, 28, 28, generator=generator, dtype=torch.float64)
    found = alignment(bound(variant, network), Batch(images, torch.arange(64) % 10))
    assert found.pop("readout") == pytest.approx(1, abs=1e-12)
    assert len(found) == len(architecture.areas)
    assert min(found.values()) > math.cos(math.radians(65 if variant == "usf" else 75))


def test_a_weight_of_zero_sends_nothing_back(make_network: Callable[..., Network]) -> None:
    network = make_network("mlp")
    with torch.no_grad():
        network.connections["V4->IT"].op.weight[2, 3] = 0
    assert bound("usf", network).feedback(network.connections["V4->IT"])[2, 3] == 0


def test_variants_have_their_own_names() -> None:
    assert SignSymmetry().name == "sign_symmetry_usf"
    assert SignSymmetry("brsf").name == "sign_symmetry_brsf"
    with pytest.raises(
        ContractError, match=r"^sign symmetry: there is no variant 'xsf'\. Choose one of: usf, brsf"
    ):
        SignSymmetry("xsf")  # type: ignore[arg-type]


def test_refusals() -> None:
    with pytest.raises(UnsupportedNetworkError, match=r"^sign_symmetry_usf cannot train this netw"):
        bound("usf", nn.Linear(3, 2))
    with pytest.raises(ContractError, match=r"^sign_symmetry_frsf: scale is -1, expected a pos"):
        SignSymmetry("frsf", scale=-1)

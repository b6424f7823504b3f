"""SoftHebb: what its update is, where it leads, and what it must not know."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules import Batch, Estimator, SoftHebb
from brainscore_lite.learning_rules.hebbian import PUBLISHED_CNN, SOFTHEBB_CNN, SOFTHEBB_MLP
from brainscore_lite.learning_rules.hebbian.softhebb_networks import DENSE_SOFTHEBB, MIXTURE_MLP
from brainscore_lite.networks.areas import ACTIVATIONS, Area, Dense
from brainscore_lite.networks.connections import Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

UNITS = 5
#: The form of 2022, with plain steps: the gradient of a mixture model.
MIXTURE: dict[str, Any] = {"anti_hebbian": False, "rescaled": False, "norm_power": 0.0}


def dense(units: int = UNITS) -> Network:
    settings = ConvNet(areas=(Dense("units", units),), n_classes=2, image_size=3, in_channels=1)
    return settings.build(torch.Generator().manual_seed(3)).double()


def ready(rule: SoftHebb, network: Network) -> Estimator:
    estimator = rule.bind(network, torch.Generator())
    estimator.begin(estimator.phases()[0])
    return estimator


def weight_of(network: Network, name: str = "image->units") -> torch.nn.Parameter:
    return network.connections[name].op.weight


def steps(estimator: Estimator, images: Tensor, *, lr: float, n_steps: int) -> list[float]:
    losses = []
    for _ in range(n_steps):
        losses.append(estimator(Batch(images), lambda: None).loss)
        with torch.no_grad():
            for group in estimator.parameter_groups():
                for p in group.parameters:
                    p -= lr * group.lr_multiplier * p.grad
    return losses


@pytest.fixture
def clusters() -> Tensor:
    """Images of unit norm around five directions."""
    generator = torch.Generator().manual_seed(4)
    centres = functional.normalize(torch.randn(UNITS, 9, generator=generator).double())
    noise = 0.1 * torch.randn(40, UNITS, 9, generator=generator).double()
    return functional.normalize((centres + noise).flatten(0, 1)).view(-1, 1, 3, 3)


def definition(rule: SoftHebb, weight: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    """Sum the update over samples, one by one, up to rescaling."""
    scale = torch.ones(())
    if rule.biases == "standardise":
        x = x - x.mean(dim=0)
        scale = x.square().mean().sqrt()
        x = x / scale
    w, inverse = scale * weight, rule.inverse_temperatures[0]
    change = torch.zeros_like(w)
    for sample in x:
        u = w @ sample
        y = functional.softmax(inverse * (u + bias if rule.biases == "prior" else u), dim=0)
        sign = -torch.ones_like(u) if rule.anti_hebbian else torch.ones_like(u)
        sign[y.argmax()] = 1
        change += (sign * y)[:, None] * (sample - u[:, None] * w / rule.radius**2)
    change /= change.abs().max() if rule.rescaled else len(x)
    distance = (w.norm(dim=1, keepdim=True) - rule.radius).abs()
    change *= (distance + 1e-10) ** rule.norm_power
    return change / scale


@pytest.mark.parametrize("biases", ["standardise", "prior", "none"])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("convolutional", [True, False])
def test_the_update_is_the_rule_summed_sample_by_sample(
    biases: Any, plain: bool, convolutional: bool
) -> None:
    area = (
        Area("units", UNITS, stride=2, pool_in=Pool("max", 2), pool_out=Pool("average", 2))
        if convolutional
        else Dense("units", UNITS)
    )
    network = ConvNet(areas=(area,), n_classes=2, image_size=8).build(torch.Generator()).double()
    generator = torch.Generator().manual_seed(6)
    images = torch.rand(6, 3, 8, 8, generator=generator).double() + 0.5
    with torch.no_grad():
        network.areas["units"].bias.normal_(generator=generator)
    bias = network.areas["units"].bias.detach().clone()
    settings = MIXTURE if plain else {}
    rule = SoftHebb(biases=biases, radius=0.7, inverse_temperatures=(0.4,), **settings)
    estimator = ready(rule, network)
    estimator(Batch(images), lambda: None)
    x = images.flatten(1)
    if convolutional:
        pooled = functional.max_pool2d(images, 2)
        x = functional.unfold(pooled, 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
    weight = weight_of(network)
    expected = definition(rule, weight.detach().flatten(1), x, bias)
    assert torch.allclose(-weight.grad.flatten(1), expected, rtol=1e-9, atol=1e-12)


def test_without_anti_hebb_it_is_the_gradient_of_a_mixture_on_the_sphere(clusters: Tensor) -> None:
    """And the biases follow the gradient by the log prior, over the prior."""
    inverse = 6.0
    rule = SoftHebb(biases="prior", inverse_temperatures=(inverse,), initial_norm=1.0, **MIXTURE)
    network = dense()
    estimator = ready(rule, network)
    weight, bias = weight_of(network), network.areas["units"].bias
    share = functional.softmax(torch.arange(UNITS).double() / 4, dim=0)
    with torch.no_grad():
        bias.copy_(share.log() / inverse)
    loss = estimator(Batch(clusters), lambda: None).loss
    w, b = weight.detach().clone().requires_grad_(), bias.detach().clone().requires_grad_()
    direction = w / w.norm(dim=1, keepdim=True)  # a sphere: only tangential change counts
    prior = functional.log_softmax(inverse * b, dim=0)
    logits = inverse * clusters.flatten(1) @ direction.T + prior
    cross_entropy = -logits.logsumexp(dim=1).mean() / inverse
    by_weight, by_bias = torch.autograd.grad(cross_entropy, [w, b])
    assert loss == pytest.approx(cross_entropy.item(), rel=1e-12)
    assert torch.allclose(weight.grad, by_weight, rtol=1e-10, atol=1e-14)
    assert torch.allclose(bias.grad, by_bias / (inverse * share), rtol=1e-10, atol=1e-14)


def test_the_cross_entropy_of_the_mixture_falls(clusters: Tensor) -> None:
    rule = SoftHebb(biases="prior", inverse_temperatures=(6.0,), initial_norm=1.0, **MIXTURE)
    network = dense()
    estimator = ready(rule, network)
    with torch.no_grad():
        network.areas["units"].bias.fill_(-torch.log(torch.tensor(UNITS)) / 6)
    losses = steps(estimator, clusters, lr=0.1, n_steps=200)
    assert all(after < before for before, after in itertools.pairwise(losses))
    assert losses[-1] < losses[0] - 0.1
    assert torch.allclose(weight_of(network).norm(dim=1), torch.ones(UNITS).double(), atol=1e-2)


@pytest.mark.parametrize("initial_norm", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("radius", [1.0, 2.0])
def test_the_norm_of_the_weights_goes_to_the_radius(
    initial_norm: float, radius: float, clusters: Tensor
) -> None:
    rule = SoftHebb(biases="none", radius=radius, initial_norm=initial_norm, **MIXTURE)
    network = dense()
    with torch.no_grad():
        weight_of(network).abs_()
    steps(ready(rule, network), clusters.abs(), lr=1.0, n_steps=400)
    norms = weight_of(network).norm(dim=1)
    assert torch.allclose(norms, torch.full((UNITS,), radius).double(), rtol=1e-3)


def test_losers_change_their_sign(clusters: Tensor) -> None:
    one = clusters[:1]
    signed, plain = (dense() for _ in range(2))
    for network, anti_hebbian in ((signed, True), (plain, False)):
        rule = SoftHebb(**(MIXTURE | {"anti_hebbian": anti_hebbian}), biases="none")
        ready(rule, network)(Batch(one), lambda: None)
    winner = (weight_of(plain).detach() @ one.flatten()).argmax()
    expected = -weight_of(plain).grad
    expected[winner] *= -1
    assert torch.allclose(weight_of(signed).grad, expected, rtol=1e-12)
    assert weight_of(plain).grad.norm(dim=1).min() > 0


def test_a_unit_learns_more_slowly_the_nearer_its_norm_is_to_the_radius(clusters: Tensor) -> None:
    network = dense()
    with torch.no_grad():
        weight_of(network)[0] /= weight_of(network)[0].norm()
    plain, adaptive = copy.deepcopy(network), copy.deepcopy(network)
    ready(SoftHebb(norm_power=0.0, biases="none"), plain)(Batch(clusters), lambda: None)
    ready(SoftHebb(norm_power=0.5, biases="none"), adaptive)(Batch(clusters), lambda: None)
    assert weight_of(plain).grad.abs().max() == 1
    ratio = weight_of(adaptive).grad.norm(dim=1) / weight_of(plain).grad.norm(dim=1)
    expected = (weight_of(network).detach().norm(dim=1) - 1).abs().sqrt()
    assert torch.allclose(ratio, expected, atol=1e-4)
    assert ratio[0] < 1e-4


def test_labels_and_areas_above_have_no_say_and_no_graph_is_built() -> None:
    areas = (Area("V1", 4, pool_out=Pool("average", 2)), Dense("IT", UNITS))
    settings = ConvNet(areas=areas, n_classes=2, image_size=8)
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(6)).double()
    written = []

    def refuse(_: Tensor) -> None:
        raise AssertionError("a graph was built")

    for labels in (None, torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)):
        network = settings.build(torch.Generator().manual_seed(1)).double()
        if labels is not None:  # and other weights above
            with torch.no_grad():
                weight_of(network, "V1->IT").add_(labels[0] + 1)
        estimator = ready(SoftHebb(), network)
        with torch.autograd.graph.saved_tensors_hooks(refuse, refuse):
            estimator(Batch(images, labels), lambda: None)
        written.append(weight_of(network, "image->V1").grad)
    assert torch.equal(written[0], written[1])
    assert torch.equal(written[0], written[2])


def test_standardised_biases_follow_the_mean_and_the_norm_the_deviation(clusters: Tensor) -> None:
    """The area then sees its input as batch normalisation with one deviation would give it."""
    images = 3 * clusters.abs() + 2
    network = dense()
    rule = SoftHebb(lrs=(0.05,), norm_power=0.0, anti_hebbian=False, inverse_temperatures=(0.5,))
    estimator = ready(rule, network)
    steps(estimator, images, lr=0.05, n_steps=200)
    steps(estimator, images, lr=0.002, n_steps=200)
    weight, x = weight_of(network).detach(), images.flatten(1)
    drive = x @ weight.T + network.areas["units"].bias.detach()
    assert torch.allclose(drive.mean(dim=0), torch.zeros(UNITS).double(), atol=0.02)
    deviation = (x - x.mean(dim=0)).square().mean().sqrt()
    norms = deviation * weight.norm(dim=1)
    assert torch.allclose(norms, torch.ones(UNITS).double(), atol=0.05)


def test_learning_rates_and_temperatures_go_by_area() -> None:
    areas = tuple(Dense(f"area{i}", 4, bias=i != 1) for i in range(3))
    settings = ConvNet(areas=areas, n_classes=2, image_size=3, in_channels=1)
    estimator = ready(SoftHebb(lrs=(0.08, 0.02)), settings.build(torch.Generator()))
    assert estimator.phases()[0].lr == 0.08
    weights, biases = (
        [g.lr_multiplier for g in estimator.parameter_groups() if g.parameters[0].ndim == ndim]
        for ndim in (2, 1)
    )
    assert weights == [1.0, 0.25, 0.25]
    assert biases == [1.25, 1.25]


@pytest.mark.parametrize(
    "settings",
    [
        {"lrs": ()},
        {"lrs": 0.1},
        {"lrs": ("a",)},
        {"lrs": (0.1, float("nan"))},
        {"inverse_temperatures": (1.0, 0.0)},
    ],
)
def test_refuses_what_is_no_tuple_of_positive_numbers(settings: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="expected a tuple of one positive number or more"):
        SoftHebb(**settings)


@pytest.mark.parametrize("settings", [{"radius": 0.0}, {"initial_norm": 0.0}, {"epochs": -1}])
def test_refuses_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match=f"softhebb: {next(iter(settings))} is"):
        SoftHebb(**settings)


def test_the_published_networks_are_supported() -> None:
    assert PUBLISHED_CNN.supports(SOFTHEBB_CNN).ok
    assert MIXTURE_MLP.supports(SOFTHEBB_MLP).ok
    network = SOFTHEBB_CNN.build(torch.Generator())
    estimator = ready(PUBLISHED_CNN, network)
    assert [len(p.parameters) for p in estimator.parameter_groups()] == [1, 1, 1]
    norms = weight_of(network, "conv1->conv2").flatten(1).norm(dim=1)
    assert torch.allclose(norms, torch.full((384,), 25.0))


def test_settings_for_dense_areas_keep_bounded_units_within_their_bounds() -> None:
    """And the defaults, which are those of convolutions, do not."""
    areas = (Dense("hidden", 32, activation="clipped_relu"),)
    settings = ConvNet(areas=areas, n_classes=2, image_size=28, in_channels=1)
    generator = torch.Generator().manual_seed(7)
    prototypes = torch.rand(8, 1, 7, 7, generator=generator).double()
    which = torch.randint(8, (256,), generator=generator)
    images = prototypes.repeat_interleave(4, 2).repeat_interleave(4, 3)[which]
    images += 0.1 * torch.randn(images.shape, generator=generator).double()
    saturated = []
    for rule in (DENSE_SOFTHEBB, SoftHebb()):
        network = settings.build(torch.Generator().manual_seed(1)).double()
        steps(ready(rule, network), images, lr=rule.lrs[0], n_steps=150)
        *_, answers = network.run(images)
        saturated.append((answers["hidden"] >= 1).double().mean().item())
    assert saturated[0] < 0.1 < saturated[1]


def test_norms_of_batches_take_in_no_more_while_the_readout_learns() -> None:
    areas = (Area("V1", 4, activation="triangle_0.7", post_norm="batch"), Dense("IT", UNITS))
    network = ConvNet(areas=areas, n_classes=2, image_size=8).build(torch.Generator()).double()
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(6)).double()
    estimator = SoftHebb().bind(network, torch.Generator()).train()
    norm = network.areas["V1"].post_norm
    seen = []
    for phase in estimator.phases():
        estimator.begin(phase)
        estimator(Batch(images, torch.arange(6) % 2), lambda: None)
        seen.append(norm.running_mean.clone())
    assert seen[0].abs().max() > 0
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize(("name", "power"), [("triangle", 1.0), ("triangle_0.7", 0.7)])
def test_the_triangle_passes_on_what_exceeds_the_mean(name: str, power: float) -> None:
    drive = torch.tensor([[1.0, 2, 6]]).double()
    expected = torch.tensor([[0, 0, 3.0]]).double() ** power
    assert torch.allclose(ACTIVATIONS[name]()(drive), expected)

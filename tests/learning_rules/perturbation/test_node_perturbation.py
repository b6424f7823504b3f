"""Node perturbation: unbiased, with the variance that theory gives it, on any graph of areas."""

import copy
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Batch,
    Estimator,
    NodePerturbation,
    UnsupportedNetworkError,
    WeightPerturbation,
)
from brainscore_lite.learning_rules.perturbation.noise_on_drives import (
    clean_pass,
    perturbed_nodes,
)
from brainscore_lite.networks import put_black_box
from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError

BatchFor = Callable[..., Batch]
Gradient = Callable[[nn.Module, Batch], Tensor]
Estimate = Callable[[Estimator, Batch], Tensor]

#: One gray pixel, two units, two classes: four drives, so that all noise can be integrated over.
FOUR_DRIVES = ConvNet(
    areas=(Dense("IT", 2, activation="tanh"),), n_classes=2, image_size=1, in_channels=1
)


def bound(rule: NodePerturbation | WeightPerturbation, network: nn.Module) -> Estimator:
    return rule.bind(copy.deepcopy(network), torch.Generator().manual_seed(7))


def loss_with(network: Network, batch: Batch, noise: list[Tensor]) -> Tensor:
    """Loss of each example, with noise of shape (batch, ...) on the drive of each node."""
    added = iter(noise)

    def answer(area: AreaModule, arriving: list[Tensor]) -> Tensor:
        return area.respond_to(area.drive(arriving) + next(added))

    for activations in network.run(batch.images, answer=answer):
        scores = activations["readout"]
    return functional.cross_entropy(scores, batch.labels, reduction="none")


def along_each_drive(network: Network, batch: Batch, sigma: float) -> list[Tensor]:
    """Noise +- sigma sqrt(N) e_i, i = 1..N, by node: its mean of xi xi^T is sigma^2, as drawn."""
    clean = clean_pass(network, batch.images)
    wanted = perturbed_nodes(network, clean)
    sizes = [d[0].numel() if w else 0 for d, w in zip(clean.drives, wanted, strict=True)]
    total = sum(sizes)
    basis = torch.eye(total, dtype=torch.float64) * sigma * total**0.5
    both = torch.cat([basis, -basis])
    return [
        part.view(2 * total, 1, *drive.shape[1:]).expand(-1, *drive.shape).contiguous()
        for part, drive in zip(both.split(sizes, dim=1), clean.drives, strict=True)
        if part.shape[1]
    ]


def deal(monkeypatch: pytest.MonkeyPatch, estimator: Estimator, noise: list[Tensor]) -> None:
    """Let an estimator use this noise, node by node, in place of drawn noise."""
    dealt: Iterator[Tensor] = iter(noise)
    monkeypatch.setattr(estimator, "draw", lambda drive: next(dealt))


@pytest.mark.parametrize("eligibility", ["clean", "noisy"])
def test_noise_along_every_drive_in_turn_gives_the_gradient(
    network: Network,
    eligibility: str,
    batch_for: BatchFor,
    gradient: Gradient,
    estimate: Estimate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unbiased: the mean over a full set of directions is backprop's, through time as well."""
    batch = batch_for(network, 3)
    rule = NodePerturbation(sigma=1e-6, eligibility=eligibility)  # type: ignore[arg-type]
    estimator = bound(rule, network)
    deal(monkeypatch, estimator, along_each_drive(network, batch, 1e-6))
    expected = gradient(network, batch)
    assert ((estimate(estimator, batch) - expected).norm() / expected.norm()).item() < 1e-7


def test_cosine_and_slope_follow_the_number_of_samples(
    chain: Network, batch_for: BatchFor, gradient: Gradient, estimate: Estimate
) -> None:
    """Slope <g, ĝ>/<g, g> -> 1, and cos = 1 / sqrt(1 + v / K) with v from theory."""
    batch = batch_for(chain, 12)
    g = gradient(chain, batch)
    v = square_error_of_one_sample(chain, batch) / (g @ g).item()
    assert v < 88  # a K of 1e4 comes to .9956 or closer, as in the reference
    for n_samples, tolerance in ((100, 0.05), (1000, 0.01), (10_000, 0.001)):
        rule = NodePerturbation(sigma=1e-5, n_samples=n_samples)
        found = estimate(bound(rule, chain), batch)
        cosine = functional.cosine_similarity(g, found, dim=0).item()
        assert cosine == pytest.approx((1 + v / n_samples) ** -0.5, abs=tolerance)
    assert cosine > 0.9956
    found = estimate(bound(NodePerturbation(sigma=1e-5, n_samples=50_000), chain), batch)
    assert (g @ found / (g @ g)).item() == pytest.approx(1, abs=0.009)


@pytest.mark.parametrize("n_samples", [1, 10])
def test_few_samples_are_as_far_off_as_theory_says(
    n_samples: int,
    chain: Network,
    batch_for: BatchFor,
    gradient: Gradient,
    estimate: Estimate,
) -> None:
    """Over repeated draws: mean slope 1, and mean |ĝ - g|^2 = v |g|^2 / K."""
    batch = batch_for(chain, 12)
    g = gradient(chain, batch)
    v = square_error_of_one_sample(chain, batch) / (g @ g).item()
    estimator = bound(NodePerturbation(sigma=1e-5, n_samples=n_samples), chain)
    found = torch.stack([estimate(estimator, batch) for _ in range(1000 // n_samples)])
    slopes = found @ g / (g @ g)
    standard_error = slopes.std().item() / len(slopes) ** 0.5
    assert standard_error < 0.06
    assert slopes.mean().item() == pytest.approx(1, abs=4 * standard_error)
    square = (found - g).square().sum(dim=1).mean() / (g @ g)
    assert square.item() == pytest.approx(v / n_samples, rel=0.1)


def square_error_of_one_sample(network: Network, batch: Batch) -> float:
    """Sum over weights of the variance at K = 1, sigma -> 0.

    The estimate from an example is (delta . z) z_l h^T with z ~ N(0, 1) for every node, and the
    covariance of (delta . z) z is |delta|^2 1 + delta delta^T.
    """
    clean = clean_pass(network, batch.images)
    silence = [torch.zeros_like(d, requires_grad=True) for d in clean.drives]
    deltas = torch.autograd.grad(loss_with(network, batch, silence).sum(), silence)
    whole = sum((delta**2).sum(dim=1) for delta in deltas)
    below = [batch.images.flatten(1), *clean.activations[:-1]]
    total = torch.zeros((), dtype=torch.float64)
    for delta, h in zip(deltas, below, strict=True):
        presynaptic = (h**2).sum(dim=1) + 1  # the bias
        total += ((whole * delta.shape[1] + (delta**2).sum(dim=1)) * presynaptic).sum()
    return total.item() / len(batch.images) ** 2


def test_beats_weight_perturbation_at_equal_samples(
    chain: Network, batch_for: BatchFor, gradient: Gradient, estimate: Estimate
) -> None:
    batch = batch_for(chain, 12)
    g = gradient(chain, batch)
    square_errors = {
        rule.name: (estimate(bound(rule, chain), batch) - g).square().sum().item()
        for rule in (
            NodePerturbation(sigma=1e-5, n_samples=100),
            WeightPerturbation(sigma=1e-5, n_samples=100),
        )
    }
    assert square_errors["node_perturbation"] < 0.6 * square_errors["weight_perturbation"]


@pytest.mark.parametrize("baseline", ["batch", "none"])
def test_the_baseline_must_be_of_the_example(
    baseline: str, chain: Network, batch_for: BatchFor, gradient: Gradient, estimate: Estimate
) -> None:
    """Any other leaves a variance that grows as 1 / sigma^2; all are unbiased."""
    batch = batch_for(chain, 12)
    g = gradient(chain, batch)

    def square_error(**settings: object) -> float:
        rule = NodePerturbation(n_samples=100, **settings)  # type: ignore[arg-type]
        return (estimate(bound(rule, chain), batch) - g).square().sum().item()

    own = {sigma: square_error(sigma=sigma) for sigma in (0.1, 0.01)}
    other = {sigma: square_error(sigma=sigma, baseline=baseline) for sigma in own}
    assert own[0.01] == pytest.approx(own[0.1], rel=0.3)
    assert other[0.01] > 50 * other[0.1]
    assert other[0.01] > 300 * own[0.01]


def quadrature(sigma: float, n_points: int = 12) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite points of four independent N(0, sigma^2) and their weights."""
    x, w = np.polynomial.hermite_e.hermegauss(n_points)
    points = torch.tensor(list(product(x, repeat=4)), dtype=torch.float64) * sigma
    weights = torch.tensor(list(product(w / w.sum(), repeat=4)), dtype=torch.float64).prod(dim=1)
    return points, weights


def expected_update(rule: NodePerturbation, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Relative distance of the mean update to the gradient of the expected loss, and of the loss.

    The mean over noise is taken by quadrature over all four drives of the network.
    """
    network = FOUR_DRIVES.build(torch.Generator().manual_seed(3)).double()
    batch = Batch(torch.full((1, 1, 1, 1), 0.8, dtype=torch.float64), torch.tensor([1]))
    points, weights = quadrature(rule.sigma)
    estimator = bound(rule, network)
    deal(monkeypatch, estimator, [points[:, None, :2], points[:, None, 2:]])
    rise = estimator.rise
    monkeypatch.setattr(
        estimator, "rise", lambda *given: rise(*given) * weights[:, None] * len(weights)
    )
    estimator(batch, lambda: None)
    found = torch.cat([p.grad.flatten() for p in estimator.network.parameters()])
    many = Batch(batch.images.expand(len(points), -1, -1, -1), batch.labels.expand(len(points)))
    losses = loss_with(network, many, [points[:, :2], points[:, 2:]])
    parameters = list(network.parameters())
    smoothed = torch.autograd.grad(losses @ weights, parameters)
    plain = torch.autograd.grad(
        functional.cross_entropy(network(batch.images), batch.labels), parameters
    )
    distances = []
    for target in (smoothed, plain):
        g = torch.cat([each.flatten() for each in target])
        distances.append(((found - g).norm() / g.norm()).item())
    return distances[0], distances[1]


@pytest.mark.parametrize("baseline", ["example", "batch", "none"])
def test_is_reinforce_on_the_noisy_network(baseline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """E[(L - b) xi h^T] / sigma^2 is the gradient of E[L] at any sigma, for any baseline b."""
    rule = NodePerturbation(sigma=0.3, baseline=baseline, eligibility="noisy")  # type: ignore[arg-type]
    to_expected, to_plain = expected_update(rule, monkeypatch)
    assert to_expected < 1e-8
    assert to_plain > 1e-3


def test_clean_eligibility_has_a_bias_of_second_order(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = expected_update(NodePerturbation(sigma=0.3), monkeypatch)[1]
    narrow = expected_update(NodePerturbation(sigma=0.03), monkeypatch)[1]
    assert wide > 1e-3
    assert wide / narrow == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("eligibility", ["clean", "noisy"])
def test_samples_in_one_batch_equal_samples_one_by_one(
    network: Network,
    eligibility: str,
    batch_for: BatchFor,
    estimate: Estimate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The shared clean pass and the stacked samples change no number."""
    batch, sigma, n_samples = batch_for(network, 4), 0.1, 5
    rule = NodePerturbation(sigma, n_samples, eligibility=eligibility)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(5)
    clean = clean_pass(network, batch.images)
    noise = [
        sigma * torch.randn(n_samples, *d.shape, generator=generator, dtype=d.dtype)
        for d in clean.drives
    ]
    wanted = perturbed_nodes(network, clean)
    estimator = bound(rule, network)
    deal(monkeypatch, estimator, [n for n, w in zip(noise, wanted, strict=True) if w])
    found = estimate(estimator, batch)

    total = torch.zeros_like(found)
    for k in range(n_samples):
        mine = [n[k] if w else torch.zeros_like(n[k]) for n, w in zip(noise, wanted, strict=True)]
        silence = [torch.zeros_like(each) for each in mine]
        with torch.no_grad():
            rise = loss_with(network, batch, mine) - loss_with(network, batch, silence)
        traced = mine if eligibility == "noisy" else silence
        total += products_of(network, batch, noise=traced, credit=mine, rise=rise)
    torch.testing.assert_close(
        found, total / (sigma**2 * n_samples * len(batch.images)), rtol=1e-9, atol=1e-12
    )


def products_of(
    network: Network, batch: Batch, *, noise: list[Tensor], credit: list[Tensor], rise: Tensor
) -> Tensor:
    """Sum over nodes of rise * credit times presynaptic activity in the pass with `noise`."""
    index = iter(range(len(noise)))
    total = torch.zeros((), dtype=torch.float64)

    def answer(area: AreaModule, arriving: list[Tensor]) -> Tensor:
        nonlocal total
        node = next(index)
        drive = area.drive(arriving)
        total = total + (rise @ (drive * credit[node]).flatten(1)).sum()
        return area.respond_to(drive + noise[node]).detach()

    for _ in network.run(batch.images, answer=answer):
        pass
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, [*network.parameters()])])


def test_the_image_is_carried_once_for_all_samples(
    chain: Network, batch_for: BatchFor, estimate: Estimate
) -> None:
    calls: list[int] = []
    estimator = bound(NodePerturbation(n_samples=3), chain)
    first = estimator.network.connections["image->V4"]
    first.register_forward_hook(lambda *_: calls.append(1))
    estimate(estimator, batch_for(chain))
    assert len(calls) == 1


def test_noise_goes_only_where_it_can_teach(network: Network, batch_for: BatchFor) -> None:
    """Not on frozen areas below, nor on readouts of earlier steps, which the loss does not hear."""
    lowest = next(iter(network.areas))
    for name, parameter in network.named_parameters():
        frozen = f"->{lowest}." in name or f"areas.{lowest}." in name
        parameter.requires_grad_(not frozen)
    wanted = perturbed_nodes(network, clean_pass(network, batch_for(network).images))
    last = [name != lowest for name in network.areas]
    earlier = [name not in (lowest, "readout") for name in network.areas]
    assert wanted == [*earlier * (network.n_steps - 1), *last]


def test_frozen_areas_below_are_neither_perturbed_nor_run_again(
    chain: Network, batch_for: BatchFor, gradient: Gradient, estimate: Estimate
) -> None:
    batch = batch_for(chain, 12)
    chain.areas["V4"].requires_grad_(False)
    chain.connections["image->V4"].requires_grad_(False)
    estimator = bound(NodePerturbation(sigma=1e-5, n_samples=3000), chain)
    calls: list[int] = []
    estimator.network.connections["V4->IT"].register_forward_hook(lambda *_: calls.append(1))
    found, g = estimate(estimator, batch), gradient(chain, batch)
    assert functional.cosine_similarity(found, g, dim=0) > 0.98
    assert len(calls) == 1
    assert estimator.network.connections["image->V4"].op.weight.grad is None


def test_learns_on_both_sides_of_a_black_box(
    tiny: Network, trained_on_toy: Callable[..., list[float]], toy: Batch
) -> None:
    """A staircase has no derivative; with wide noise its steps can be felt."""
    put_black_box(tiny, "V1", lambda activations: (4 * activations).round() / 4)
    before = tiny.connections["image->V1"].op.weight.detach().clone()
    rule = NodePerturbation(sigma=0.1, n_samples=10)
    estimator = rule.bind(tiny, torch.Generator().manual_seed(0))
    losses = trained_on_toy(estimator, 60)
    assert losses[-1] < 0.3 * losses[0]
    assert (estimator.predict(toy.images).argmax(dim=1) == toy.labels).double().mean() > 0.95
    assert (tiny.connections["image->V1"].op.weight - before).norm() > 0.1 * before.norm()


def test_runs_where_autograd_is_off(tiny: Network, toy: Batch, estimate: Estimate) -> None:
    with torch.no_grad():
        off = estimate(bound(NodePerturbation(), tiny), toy)
    assert torch.equal(off, estimate(bound(NodePerturbation(), tiny), toy))


@pytest.mark.parametrize(
    ("norm", "why"),
    [
        ("batch", r"the loss of an example depend on the noise of others\. Set norm='none'\.$"),
        ("group", r"its learnt factors lie above the drive, .* Set norm='none'\.$"),
    ],
)
def test_refuses_norms_that_noise_cannot_train(norm: str, why: str) -> None:
    settings = ConvNet(areas=(Area("V1", 4, norm=norm),), n_classes=2, image_size=8)
    with pytest.raises(UnsupportedNetworkError, match=why):
        NodePerturbation().bind(settings.build(torch.Generator()), torch.Generator())
    assert not NodePerturbation().supports(settings).ok


def test_refuses_what_is_no_graph_of_areas() -> None:
    with pytest.raises(UnsupportedNetworkError, match="a Linear is no graph of areas"):
        NodePerturbation().bind(nn.Linear(2, 2), torch.Generator())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sigma": 0.0}, r"node_perturbation: sigma is 0\.0, expected a number above 0\."),
        (
            {"n_samples": 0},
            r"node_perturbation: n_samples is 0, expected a whole number",
        ),
        (
            {"baseline": "mean"},
            r"baseline is 'mean', which is unknown\. Choose one of: example, batch, none\.",
        ),
        ({"eligibility": "late"}, "eligibility is 'late', which is unknown"),
    ],
)
def test_refuses_settings_out_of_range(settings: dict, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        NodePerturbation(**settings)


def test_refuses_a_batch_without_labels(tiny: Network, toy: Batch) -> None:
    with pytest.raises(ContractError, match="node_perturbation: the batch has no labels"):
        bound(NodePerturbation(), tiny)(Batch(toy.images), lambda: None)


def test_state_holds_every_weight_once(tiny: Network) -> None:
    names = list(bound(NodePerturbation(), tiny).state_dict())
    assert sum(name.endswith("image->V1.op.weight") for name in names) == 1

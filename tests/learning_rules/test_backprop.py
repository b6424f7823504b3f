import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.learning_rules import (
    Backprop,
    Batch,
    Estimator,
    UnsupportedNetworkError,
)
from brainscore_lite.networks.areas import Dense
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.schema import ContractError


def bound(network: nn.Module) -> Estimator:
    return Backprop().bind(network, torch.Generator().manual_seed(0))


def nothing() -> None:
    pass


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def test_equals_errors_sent_back_by_hand() -> None:
    """delta_l = phi'(a_l) * (W_{l+1}^T delta_{l+1}) and dW_l = delta_l h_{l-1}^T, to 1e-13."""
    network = ConvNet(
        areas=(Dense("V4", 7, activation="tanh"), Dense("IT", 5, activation="tanh")),
        n_classes=3,
        image_size=2,
    ).build(torch.Generator().manual_seed(0))
    network.double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 3, 2, 2, generator=generator, dtype=torch.float64)
    labels = torch.arange(6) % 3
    bound(network)(Batch(images, labels), nothing)

    found = {name: p.grad for name, p in network.named_parameters() if name.endswith("weight")}
    weights = [p.detach() for name, p in network.named_parameters() if name.endswith("weight")]
    biases = [p.detach() for name, p in network.named_parameters() if name.endswith("bias")]
    h = [images.flatten(1)]
    for weight, bias in zip(weights[:2], biases[:2], strict=True):
        h.append(torch.tanh(h[-1] @ weight.T + bias))
    p = torch.softmax(h[-1] @ weights[2].T + biases[2], dim=1)
    delta = (p - functional.one_hot(labels, 3)) / len(labels)
    for layer in (2, 1, 0):
        expected = delta.T @ h[layer]
        assert relative_error(list(found.values())[layer], expected) < 1e-13
        delta = (1 - h[layer] ** 2) * (delta @ weights[layer])


def test_equals_finite_differences(tiny: nn.Module, toy: Batch) -> None:
    """Along a random direction: (L(w + e v) - L(w - e v)) / 2e equals <g, v>, to 1e-6."""
    estimator = bound(tiny)
    estimator(toy, nothing)
    generator = torch.Generator().manual_seed(3)
    parameters = list(tiny.parameters())
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum(float((p.grad * v).sum()) for p, v in zip(parameters, direction, strict=True))

    def loss_at(distance: float) -> float:
        with torch.no_grad():
            for parameter, v in zip(parameters, direction, strict=True):
                parameter += distance * v
            loss = functional.cross_entropy(tiny(toy.images), toy.labels).item()
            for parameter, v in zip(parameters, direction, strict=True):
                parameter -= distance * v
        return loss

    step = 1e-6
    measured = (loss_at(step) - loss_at(-step)) / (2 * step)
    assert measured == pytest.approx(slope, rel=1e-6)


def test_reports_loss_and_correct_images(tiny: nn.Module, toy: Batch) -> None:
    info = bound(tiny)(toy, nothing)
    scores = tiny(toy.images)
    assert info.loss == pytest.approx(functional.cross_entropy(scores, toy.labels).item())
    assert info.n_correct == int((scores.argmax(1) == toy.labels).sum())


def test_refuses_a_network_without_trainable_weights(tiny: nn.Module) -> None:
    tiny.requires_grad_(False)
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"^backprop cannot train this network: none of its weights can be trained\. Use the "
        r"rule 'untrained', or set requires_grad",
    ):
        bound(tiny)
    assert Backprop().supports(tiny).reason.startswith("none of its weights")


def test_refuses_a_batch_without_labels(tiny: nn.Module, toy: Batch) -> None:
    with pytest.raises(ContractError, match="the batch has no labels"):
        bound(tiny)(Batch(toy.images), nothing)

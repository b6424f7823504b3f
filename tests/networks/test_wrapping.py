"""Foreign modules by hooks."""

import pytest
import torch
from torch import Tensor, nn

from brainscore_lite.networks.wrapping import wrap
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

EYE = Preprocessing(size=8)


class Recurrent(nn.Module):
    """Calls `cell` three times and `head` once; `spare` never."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Conv2d(3, 3, 3, padding=1)
        self.shrinking = nn.MaxPool2d(2)
        self.head = nn.Flatten()
        self.spare = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        state = images
        for _ in range(3):
            state = self.cell(state)
        return self.head(self.shrinking(self.shrinking(state)))


class Splitting(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, -images


class Stateful(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, int]]:
        return images, {"step": 1}


class Dictionary(nn.Module):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"images": images}


class Broken(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("broken inside")


class First(nn.Module):
    """Passes on the first of what the part returns."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, images: Tensor) -> Tensor:
        outcome = self.part(images)
        return next(iter(outcome.values())) if isinstance(outcome, dict) else outcome[0]


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def n_hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


def test_layers_give_their_outputs_in_the_order_asked() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    model = wrap(module, ["0", "1"], EYE, name="net", field_degrees=8.0)
    (step,) = model.respond(images(), ["1", "0"])
    assert tuple(step.activations) == ("1", "0")
    torch.testing.assert_close(step.activations["0"], module[0](images()))
    assert (model.image_size, model.n_steps, model.field_degrees) == (8, 1, 8.0)


def test_outputs_are_copies_that_operations_in_place_do_not_reach() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    with torch.inference_mode():
        (step,) = wrap(module, ["0", "1"], EYE, name="net").respond(images())
    assert float(step.activations["0"].min()) < 0 <= float(step.activations["1"].min())


def test_hooks_are_removed() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3))
    list(wrap(module, ["0"], EYE, name="net").respond(images()))
    assert n_hooks(module) == 0


def test_hooks_are_removed_and_mode_restored_after_an_error() -> None:
    module = nn.Sequential(nn.ReLU(), Broken()).train()
    with pytest.raises(RuntimeError, match="broken inside"):
        list(wrap(module, ["0"], EYE, name="net").respond(images()))
    assert n_hooks(module) == 0
    assert module.training


def test_modules_run_in_evaluation_mode_and_are_restored() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).train()
    (step,) = wrap(module, ["0"], EYE, name="net").respond(images())
    assert torch.equal(step.activations["0"], images())
    assert all(part.training for part in module.modules())
    assert not module[1].running_mean.any()


def test_repeated_calls_become_steps_on_request() -> None:
    module = Recurrent()
    model = wrap(module, ["cell", "head"], EYE, name="net", n_steps=3)
    steps = list(model.respond(images()))
    assert [tuple(step.activations) for step in steps] == [("cell", "head"), ("cell",), ("cell",)]
    again = module.cell(steps[0].activations["cell"])
    torch.testing.assert_close(steps[1].activations["cell"], again)


def test_repeated_calls_are_refused_without_a_request() -> None:
    with pytest.raises(ContractError, match=r"'cell'.*called 3 times.*Give n_steps=3"):
        list(wrap(Recurrent(), ["cell"], EYE, name="net").respond(images()))


def test_calls_of_unequal_shape_are_no_steps() -> None:
    with pytest.raises(ContractError, match="'shrinking' of model 'net' changes its shape from"):
        list(wrap(Recurrent(), ["shrinking"], EYE, name="net", n_steps=2).respond(images()))


def test_a_layer_that_is_never_called_is_named() -> None:
    with pytest.raises(ContractError, match="'spare' of model 'net' is not called"):
        list(wrap(Recurrent(), ["spare"], EYE, name="net").respond(images()))


def test_a_tuple_with_one_tensor_gives_that_tensor() -> None:
    (step,) = wrap(First(Stateful()), ["part"], EYE, name="net").respond(images())
    assert torch.equal(step.activations["part"], images())


@pytest.mark.parametrize(("part", "says"), [(Splitting(), "tuple with 2"), (Dictionary(), "dict")])
def test_other_outputs_are_refused(part: nn.Module, says: str) -> None:
    with pytest.raises(ContractError, match=f"'part' of model 'net' returns a {says}"):
        list(wrap(First(part), ["part"], EYE, name="net").respond(images()))


def test_unknown_layer_lists_near_names() -> None:
    module = nn.ModuleDict({"features": nn.Sequential(nn.ReLU(), nn.ReLU())})
    with pytest.raises(ContractError, match=r"no submodule 'feature\.1'\. Near names: features\.1"):
        wrap(module, ["feature.1"], EYE, name="net")


def test_no_layer_and_no_step_are_refused() -> None:
    with pytest.raises(ContractError, match="No layer of model 'net' was named"):
        wrap(nn.Sequential(nn.ReLU()), [], EYE, name="net")
    with pytest.raises(ContractError, match="n_steps=0; it must be at least 1"):
        wrap(nn.Sequential(nn.ReLU()), ["0"], EYE, name="net", n_steps=0)


def test_the_memory_layout_does_not_change_the_numbers() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    found = []
    for channels_last in (False, True):
        model = wrap(module, ["0", "2"], EYE, name="net", channels_last=channels_last)
        found += [step.activations for step in model.respond(images())]
    for layer, activations in found[0].items():
        torch.testing.assert_close(found[1][layer], activations, atol=1e-5, rtol=1e-4)

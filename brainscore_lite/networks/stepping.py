"""What modules that are no graph of areas share: checked images, and a response step by step."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from brainscore_lite.networks.model import Step, evaluation_mode
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing


def check_images(images: Tensor, eye: Preprocessing, *, model: str) -> None:
    """Refuse images of another shape than the preprocessing makes.

    Parameters
    ----------
    images : Tensor
    eye : Preprocessing
    model : str
        Name of the network, for the message.

    Raises
    ------
    ContractError
        If the shape is not (batch, n_channels, size, size).
    """
    expected = (eye.n_channels, eye.size, eye.size)
    if images.ndim != 4 or tuple(images.shape[1:]) != expected:
        raise ContractError(
            f"Network '{model}' takes images of shape (batch, {expected[0]}, {expected[1]}, "
            f"{expected[2]}), not {tuple(images.shape)}. Prepare them with its preprocessing."
        )


def in_evaluation(
    module: nn.Module, steps: Iterator[Mapping[str, Tensor]], layers: Sequence[str]
) -> Iterator[Step]:
    """Yield the named layers step by step, each step computed in evaluation mode.

    The mode is restored before every yield: the caller may stop or train there.

    Parameters
    ----------
    module : Module
    steps : iterator of mappings of str to Tensor
        Activations by layer, computed as they are asked for; a layer that no signal has reached is
        absent.
    layers : sequence of str

    Yields
    ------
    Step
    """
    index = 0
    while True:
        with evaluation_mode(module):
            activations = next(steps, None)
        if activations is None:
            return
        yield Step(index, {layer: activations[layer] for layer in layers if layer in activations})
        index += 1

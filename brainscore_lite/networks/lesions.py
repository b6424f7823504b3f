"""Networks with lesions for good, with the statistics of their norms taken again."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from brainscore_lite.networks.model import device_of
from brainscore_lite.networks.network import Network
from brainscore_lite.schema import ContractError


def lesioned_copy(
    network: Network,
    gains: Mapping[str, float],
    *,
    images: Tensor | None = None,
    batch_size: int = 100,
) -> Network:
    """Copy a network with lesions that last, and let its batch norms see images anew.

    What a lesion does to a network with batch norms is mostly that their statistics no longer fit:
    report it raw (`images` not given), with statistics taken again, and beside a network trained
    without the connections.

    Parameters
    ----------
    network : Network
        It stays as it is.
    gains : mapping of str to float
        Factor by connection; ``dict.fromkeys(network.feedback, 0.0)`` for all feedback.
    images : Tensor, shape (n_images, channels, image_size, image_size), optional
        Training images, as the network's preprocessing makes them. Running means and variances
        become the averages over batches of them, all steps of a shared norm taken together.
    batch_size : int
        Images of a batch. Those left over after the last whole batch are not used, unless there
        are fewer than one batch.

    Returns
    -------
    Network
        In evaluation mode.

    Raises
    ------
    ContractError
        If a connection is unknown, or there are fewer than two images.

    Examples
    --------
    >>> from brainscore_lite.networks import Area, ConvNet
    >>> areas = (Area("V1", 4),)
    >>> settings = ConvNet(areas=areas, n_classes=2, image_size=8, lateral=True, n_steps=2)
    >>> network = settings.build(torch.Generator().manual_seed(0))
    >>> lesioned_copy(network, {"V1->V1": 0.0}).gain("V1->V1")
    0.0
    """
    lesioned = copy.deepcopy(network).eval()
    lesioned.lesion(gains)
    if images is None:
        return lesioned
    if len(images) < 2:
        raise ContractError(
            f"{len(images)} images have no variance for the norms of '{network.name}'. Give some "
            "hundred training images."
        )
    batch_norm = nn.modules.batchnorm._BatchNorm
    norms = [each for each in lesioned.modules() if isinstance(each, batch_norm)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # an average over all batches
        norm.train()
    with torch.no_grad():
        for batch in images.split(batch_size):
            if len(batch) == batch_size or len(images) < batch_size:
                for _ in lesioned.run(batch.to(device_of(network))):
                    pass
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    return lesioned.eval()

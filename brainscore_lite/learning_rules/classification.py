"""What all supervised rules ask of a batch and of the readout: labels, hits, errors."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from brainscore_lite.learning_rules.learning_rule import Batch
from brainscore_lite.schema import ContractError


def labels_of(batch: Batch, *, rule: str) -> Tensor:
    """Return the labels of a batch, of shape (batch,).

    Parameters
    ----------
    batch : Batch
    rule : str
        Name, for the message.

    Raises
    ------
    ContractError
        If the batch has none.
    """
    if batch.labels is None:
        raise ContractError(f"{rule}: the batch has no labels. Give it labelled images.")
    return batch.labels


def count_correct(scores: Tensor, labels: Tensor) -> int:
    """Count the images whose class has the largest score.

    Parameters
    ----------
    scores : Tensor, shape (batch, n_classes)
    labels : int64 Tensor, shape (batch,)
    """
    return int((scores.detach().argmax(dim=1) == labels).sum())


def one_hot(labels: Tensor, *, like: Tensor) -> Tensor:
    """Return the unit vector of each class, of the shape and type of the scores.

    Parameters
    ----------
    labels : int64 Tensor, shape (batch,)
    like : Tensor, shape (batch, n_classes)
    """
    return functional.one_hot(labels, like.shape[1]).to(like.dtype)


def cross_entropy_error(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of each example's cross-entropy: softmax(scores) - one_hot(labels).

    Parameters
    ----------
    scores : Tensor, shape (batch, n_classes)
    labels : int64 Tensor, shape (batch,)

    Returns
    -------
    Tensor, shape (batch, n_classes)
    """
    return scores.softmax(dim=1) - one_hot(labels, like=scores)

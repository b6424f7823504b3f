"""Architectures, front ends, trained networks, and the wrapping of foreign modules."""

from brainscore_lite.networks.architectures import ALEXNET, ARCHITECTURES, SMALL_CNN
from brainscore_lite.networks.areas import ACTIVATIONS, Area, Dense
from brainscore_lite.networks.black_box import BlackBox, put_black_box
from brainscore_lite.networks.connections import Connection, Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.costs import Costs
from brainscore_lite.networks.elman import ElmanNetwork
from brainscore_lite.networks.gabor import GaborEnergy, GaborNetwork
from brainscore_lite.networks.model import Model, Step
from brainscore_lite.networks.network import Edge, Network, Node
from brainscore_lite.networks.pixels import Pixels
from brainscore_lite.networks.pretrained import (
    efficientnet_lite0,
    resnet_cifar,
    squeezenet1_1,
)
from brainscore_lite.networks.wrapping import WrappedModel, wrap

__all__ = [
    "ACTIVATIONS",
    "ALEXNET",
    "ARCHITECTURES",
    "SMALL_CNN",
    "Area",
    "BlackBox",
    "Connection",
    "ConvNet",
    "Costs",
    "Dense",
    "Edge",
    "ElmanNetwork",
    "GaborEnergy",
    "GaborNetwork",
    "Model",
    "Network",
    "Node",
    "Pixels",
    "Pool",
    "Step",
    "WrappedModel",
    "efficientnet_lite0",
    "put_black_box",
    "resnet_cifar",
    "squeezenet1_1",
    "wrap",
]

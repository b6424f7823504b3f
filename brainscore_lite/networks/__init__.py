"""Architectures, front ends, trained networks, and the wrapping of foreign modules."""

from brainscore_lite.networks.architectures import ALEXNET, ARCHITECTURES, SMALL_CNN
from brainscore_lite.networks.areas import ACTIVATIONS, Area, Dense
from brainscore_lite.networks.attention import AttendingModel, feature_tuning
from brainscore_lite.networks.attractors import (
    Hopfield,
    LayerAttractor,
    ModernHopfield,
    retrieve,
)
from brainscore_lite.networks.black_box import BlackBox, put_black_box
from brainscore_lite.networks.connections import Connection, Pool
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.cornet import (
    CORNET_R,
    CORNET_RT,
    CORNET_S,
    CORNET_Z,
    CORnetR,
    CORnetS,
    CORnetZ,
)
from brainscore_lite.networks.costs import Costs
from brainscore_lite.networks.elman import ElmanNetwork
from brainscore_lite.networks.front_ends import HMAX, VOneNet
from brainscore_lite.networks.gabor import GaborEnergy, GaborNetwork
from brainscore_lite.networks.gated import (
    HORIZONTAL_GRU,
    NAYEBI_INTERMEDIATE,
    NAYEBI_SHALLOW,
    CellArea,
    ConvRNN,
    HorizontalGRU,
)
from brainscore_lite.networks.model import Model, Step
from brainscore_lite.networks.network import Edge, Network, Node
from brainscore_lite.networks.pixels import Pixels
from brainscore_lite.networks.predictive import PCN, PredictiveFeedback, PredNet
from brainscore_lite.networks.pretrained import (
    efficientnet_lite0,
    resnet_cifar,
    squeezenet1_1,
)
from brainscore_lite.networks.sequences import SequenceNetwork
from brainscore_lite.networks.wrapping import WrappedModel, wrap

__all__ = [
    "ACTIVATIONS",
    "ALEXNET",
    "ARCHITECTURES",
    "CORNET_R",
    "CORNET_RT",
    "CORNET_S",
    "CORNET_Z",
    "HMAX",
    "HORIZONTAL_GRU",
    "NAYEBI_INTERMEDIATE",
    "NAYEBI_SHALLOW",
    "PCN",
    "SMALL_CNN",
    "Area",
    "AttendingModel",
    "BlackBox",
    "CORnetR",
    "CORnetS",
    "CORnetZ",
    "CellArea",
    "Connection",
    "ConvNet",
    "ConvRNN",
    "Costs",
    "Dense",
    "Edge",
    "ElmanNetwork",
    "GaborEnergy",
    "GaborNetwork",
    "Hopfield",
    "HorizontalGRU",
    "LayerAttractor",
    "Model",
    "ModernHopfield",
    "Network",
    "Node",
    "Pixels",
    "Pool",
    "PredNet",
    "PredictiveFeedback",
    "SequenceNetwork",
    "Step",
    "VOneNet",
    "WrappedModel",
    "efficientnet_lite0",
    "feature_tuning",
    "put_black_box",
    "resnet_cifar",
    "retrieve",
    "squeezenet1_1",
    "wrap",
]

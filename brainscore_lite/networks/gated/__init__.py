"""Networks of gated cells: Nayebi's convolutional recurrent networks, and the horizontal GRU."""

from brainscore_lite.networks.gated.cells import (
    ConvGRU,
    ConvLSTM,
    Feedforward,
    SimpleRNN,
    TimeDecay,
)
from brainscore_lite.networks.gated.convrnn import (
    NAYEBI_INTERMEDIATE,
    NAYEBI_SHALLOW,
    CellArea,
    ConvRNN,
    ConvRNNNetwork,
)
from brainscore_lite.networks.gated.hgru import HORIZONTAL_GRU, HorizontalGRU, HorizontalGRUNetwork
from brainscore_lite.networks.gated.reciprocal import (
    MEDIAN_RECIPROCAL_GATED,
    Gate,
    ReciprocalGated,
)

__all__ = [
    "HORIZONTAL_GRU",
    "MEDIAN_RECIPROCAL_GATED",
    "NAYEBI_INTERMEDIATE",
    "NAYEBI_SHALLOW",
    "CellArea",
    "ConvGRU",
    "ConvLSTM",
    "ConvRNN",
    "ConvRNNNetwork",
    "Feedforward",
    "Gate",
    "HorizontalGRU",
    "HorizontalGRUNetwork",
    "ReciprocalGated",
    "SimpleRNN",
    "TimeDecay",
]

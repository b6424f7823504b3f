"""Models of early vision: a V1 for the front of a network, and HMAX."""

from brainscore_lite.networks.front_ends.hmax import HMAX
from brainscore_lite.networks.front_ends.vonenet import VOneNet

__all__ = ["HMAX", "VOneNet"]

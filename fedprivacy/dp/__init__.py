"""The stages with privacy meaning."""

from fedprivacy.dp.adaptive import (
    CountWithin,
    GeometricClip,
    count_ratio,
    count_share,
    vector_multiplier,
)
from fedprivacy.dp.clipping import Clip, ClipLayers, NonFinite
from fedprivacy.dp.noise import DiscreteGaussian, Skellam, event_of
from fedprivacy.dp.perunit import PerUnit

__all__ = [
    "Clip",
    "ClipLayers",
    "CountWithin",
    "DiscreteGaussian",
    "GeometricClip",
    "NonFinite",
    "PerUnit",
    "Skellam",
    "count_ratio",
    "count_share",
    "event_of",
    "vector_multiplier",
]

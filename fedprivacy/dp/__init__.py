"""The stages with privacy meaning."""

from fedprivacy.dp.clipping import Clip
from fedprivacy.dp.noise import DiscreteGaussian, Skellam, event_of
from fedprivacy.dp.perunit import PerUnit

__all__ = ["Clip", "DiscreteGaussian", "PerUnit", "Skellam", "event_of"]

"""The stages with privacy meaning."""

from fedprivacy.dp.clipping import Clip
from fedprivacy.dp.perunit import PerUnit

__all__ = ["Clip", "PerUnit"]

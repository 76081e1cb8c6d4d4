"""Torch models on one client: one gradient a unit, and DP-SGD for one example (extra `torch`).

The module imports without the extra; what needs it raises `MissingExtra`.
"""

from fedprivacy.torch.gradients import parameters_of
from fedprivacy.torch.statement import DpSgd, LocalTraining
from fedprivacy.torch.training import Trained, train_privately
from fedprivacy.torch.units import UnitGradients, unit_gradients

__all__ = [
    "DpSgd",
    "LocalTraining",
    "Trained",
    "UnitGradients",
    "parameters_of",
    "train_privately",
    "unit_gradients",
]

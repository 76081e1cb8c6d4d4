"""From privacy events to epsilon: accountants, a filter, a planner. Pure."""

from fedprivacy.accounting.accountant import Accountant, Bound, Method, epsilon_of
from fedprivacy.accounting.figures import downwards, upwards
from fedprivacy.accounting.filter import RdpFilter
from fedprivacy.accounting.planner import Cost, NoiseModel, Workload, noise_for, rounds_within

__all__ = [
    "Accountant",
    "Bound",
    "Cost",
    "Method",
    "NoiseModel",
    "RdpFilter",
    "Workload",
    "downwards",
    "epsilon_of",
    "noise_for",
    "rounds_within",
    "upwards",
]

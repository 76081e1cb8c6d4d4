"""What an adversary still gets: known attacks on real rounds, and the empirical auditor."""

from fedprivacy.attacks.auditing import Auditor
from fedprivacy.attacks.result import AttackResult, Measured
from fedprivacy.attacks.scenario import Scenario
from fedprivacy.attacks.threats import ThreatModel
from fedprivacy.attacks.view import CanaryScores, RoundView, View

__all__ = [
    "AttackResult",
    "Auditor",
    "CanaryScores",
    "Measured",
    "RoundView",
    "Scenario",
    "ThreatModel",
    "View",
]

"""How much privacy a mechanism is seen to spend, from the scores of canaries."""

from fedprivacy.attacks.auditing.auditor import Auditor
from fedprivacy.attacks.auditing.one_shot import Estimate, one_shot_estimate

__all__ = ["Auditor", "Estimate", "one_shot_estimate"]

"""A round, from the plan that everyone agrees on to the record of what happened."""

from fedprivacy.rounds.client import RoundClient
from fedprivacy.rounds.guarantee import Guarantee
from fedprivacy.rounds.member import RoundMember
from fedprivacy.rounds.messages import (
    Envelope,
    Invitation,
    MemberEnvelope,
    Refusal,
    Settled,
    Summons,
)
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.policy import ClientPolicy
from fedprivacy.rounds.record import RoundRecord, RunRecord
from fedprivacy.rounds.round_plan import RoundPlan
from fedprivacy.rounds.server import RoundServer

__all__ = [
    "ClientPolicy",
    "Envelope",
    "Guarantee",
    "Invitation",
    "MemberEnvelope",
    "Plan",
    "Refusal",
    "RoundClient",
    "RoundMember",
    "RoundPlan",
    "RoundRecord",
    "RoundServer",
    "RunRecord",
    "Settled",
    "Summons",
]

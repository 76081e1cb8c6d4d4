"""Protocols that compute one thing, the sum of integer vectors, behind one contract."""

from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.contract import (
    SERVER,
    Aborted,
    Adversary,
    ClientParty,
    CommitteeParty,
    CommitteePlan,
    CommitteeProtocol,
    Done,
    Effect,
    Mark,
    Persist,
    Send,
    SendChunk,
    ServerParty,
    Source,
    SummingProtocol,
    SumPlan,
)
from fedprivacy.secagg.masking import SecAgg, SecAggPlus
from fedprivacy.secagg.plain import Plain
from fedprivacy.secagg.work import Work

__all__ = [
    "PROTOCOLS",
    "SERVER",
    "Aborted",
    "Adversary",
    "ClientParty",
    "Cohort",
    "CommitteeParty",
    "CommitteePlan",
    "CommitteeProtocol",
    "Done",
    "Effect",
    "Mark",
    "Membership",
    "Persist",
    "Plain",
    "SecAgg",
    "SecAggPlus",
    "Send",
    "SendChunk",
    "ServerParty",
    "Source",
    "SumPlan",
    "SummingProtocol",
    "Work",
]

PROTOCOLS: dict[str, SummingProtocol] = {p.name: p for p in (Plain(), SecAgg(), SecAggPlus())}
"""Every protocol by its name in a plan."""

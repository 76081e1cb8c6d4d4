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
    CommitteeServerParty,
    Done,
    Effect,
    Mark,
    Persist,
    Send,
    SendChunk,
    SendToMember,
    ServerParty,
    Source,
    SummingProtocol,
    SumPlan,
)
from fedprivacy.secagg.masking import SecAgg, SecAggPlus
from fedprivacy.secagg.oneshot import OneShot
from fedprivacy.secagg.plain import Plain
from fedprivacy.secagg.work import Work

__all__ = [
    "COMMITTEES",
    "PROTOCOLS",
    "SERVER",
    "Aborted",
    "Adversary",
    "ClientParty",
    "Cohort",
    "CommitteeParty",
    "CommitteePlan",
    "CommitteeProtocol",
    "CommitteeServerParty",
    "Done",
    "Effect",
    "Mark",
    "Membership",
    "OneShot",
    "Persist",
    "Plain",
    "SecAgg",
    "SecAggPlus",
    "Send",
    "SendChunk",
    "SendToMember",
    "ServerParty",
    "Source",
    "SumPlan",
    "SummingProtocol",
    "Work",
]

COMMITTEES: dict[str, CommitteeProtocol] = {p.name: p for p in (OneShot(),)}
"""The protocols that open their sums with a committee."""
PROTOCOLS: dict[str, SummingProtocol] = {p.name: p for p in (Plain(), SecAgg(), SecAggPlus())}
PROTOCOLS |= COMMITTEES
"""Every protocol by its name in a plan."""

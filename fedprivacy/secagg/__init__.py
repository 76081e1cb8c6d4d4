"""Protocols that compute one thing, the sum of integer vectors, behind one contract."""

from fedprivacy.secagg.ceremony import Admission, GroupKey
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
    SharedKeyProtocol,
    Source,
    SummingProtocol,
    SumPlan,
)
from fedprivacy.secagg.homomorphic import BFV, CKKS, CKKS8192
from fedprivacy.secagg.masking import SecAgg, SecAggPlus
from fedprivacy.secagg.oneshot import OneShot
from fedprivacy.secagg.plain import Plain
from fedprivacy.secagg.work import Work

__all__ = [
    "BFV",
    "CKKS",
    "CKKS8192",
    "COMMITTEES",
    "PROTOCOLS",
    "SERVER",
    "SHARED_KEYS",
    "Aborted",
    "Admission",
    "Adversary",
    "ClientParty",
    "Cohort",
    "CommitteeParty",
    "CommitteePlan",
    "CommitteeProtocol",
    "CommitteeServerParty",
    "Done",
    "Effect",
    "GroupKey",
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
    "SharedKeyProtocol",
    "Source",
    "SumPlan",
    "SummingProtocol",
    "Work",
]

COMMITTEES: dict[str, CommitteeProtocol] = {p.name: p for p in (OneShot(),)}
"""The protocols that open their sums with a committee."""
SHARED_KEYS: dict[str, SharedKeyProtocol] = {p.name: p for p in (BFV(), CKKS(), CKKS8192())}
"""The protocols whose clients share a secret key; they need the extra `he`."""
PROTOCOLS: dict[str, SummingProtocol] = {p.name: p for p in (Plain(), SecAgg(), SecAggPlus())}
PROTOCOLS |= COMMITTEES
PROTOCOLS |= SHARED_KEYS
"""Every protocol by its name in a plan."""

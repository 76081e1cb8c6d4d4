"""One-shot aggregation: a message a client, a server that adds, a committee that opens the sum."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import ClassVar

from fedprivacy.crypto import Directory, Identity
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.oneshot.client import RAND_BYTES, OneShotClient
from fedprivacy.secagg.oneshot.member import MEMBER_RAND_BYTES, CommitteeMember
from fedprivacy.secagg.oneshot.parameters import (
    OneShotParameters,
    choose_parameters,
    parameters_of,
)
from fedprivacy.secagg.oneshot.server import OneShotServer

__all__ = [
    "CommitteeMember",
    "OneShot",
    "OneShotClient",
    "OneShotParameters",
    "OneShotServer",
    "choose_parameters",
    "parameters_of",
]


class OneShot:
    """One-shot aggregation; not in the registry yet, since no plan names a committee."""

    name: ClassVar[str] = "oneshot"
    adversaries: ClassVar[frozenset[Adversary]] = frozenset({Adversary.MALICIOUS})
    rand_bytes: ClassVar[int] = RAND_BYTES
    member_rand_bytes: ClassVar[int] = MEMBER_RAND_BYTES
    sparse: ClassVar[bool] = False

    @staticmethod
    def server(
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
        committee: Cohort | None = None,
    ) -> OneShotServer:
        if committee is None:
            raise ConfigurationError("one-shot aggregation needs a committee: name one")
        return OneShotServer(plan, cohort, committee, directory)

    @staticmethod
    def client(
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> OneShotClient:
        return OneShotClient(
            plan, membership, identity=identity, directory=directory, floor=floor, rand=rand
        )

    @staticmethod
    def member(
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> CommitteeMember:
        return CommitteeMember(
            plan, membership, identity=identity, directory=directory, floor=floor, rand=rand
        )

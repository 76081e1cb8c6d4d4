"""One-shot aggregation: a message a client, a server that adds, a committee that opens the sum."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import ClassVar

from fedprivacy.crypto import Directory, Identity
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.oneshot.client import RAND_BYTES, OneShotClient, OneShotState
from fedprivacy.secagg.oneshot.member import CommitteeMember
from fedprivacy.secagg.oneshot.member_state import MEMBER_RAND_BYTES, MemberState
from fedprivacy.secagg.oneshot.parameters import (
    MAX_COMMITTEE,
    OneShotParameters,
    choose_parameters,
    parameters_of,
)
from fedprivacy.secagg.oneshot.server import OneShotServer
from fedprivacy.secagg.oneshot.sizes import (
    count_member_work,
    count_work,
    download_sizes,
    upload_sizes,
)
from fedprivacy.wire import decode

__all__ = [
    "MAX_COMMITTEE",
    "CommitteeMember",
    "OneShot",
    "OneShotClient",
    "OneShotParameters",
    "OneShotServer",
    "choose_parameters",
    "parameters_of",
]


class OneShot:
    """One-shot aggregation's entry in the registry."""

    name: ClassVar[str] = "oneshot"
    claim: ClassVar[str] = "oneshot-hiding"
    adversaries: ClassVar[frozenset[Adversary]] = frozenset({Adversary.MALICIOUS})
    rand_bytes: ClassVar[int] = RAND_BYTES
    member_rand_bytes: ClassVar[int] = MEMBER_RAND_BYTES
    sparse: ClassVar[bool] = False
    upload_sizes = staticmethod(upload_sizes)
    download_sizes = staticmethod(download_sizes)
    work = staticmethod(count_work)
    member_work = staticmethod(count_member_work)

    @staticmethod
    def check(plan: SumPlan) -> None:
        parameters_of(plan)

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
    def resume(
        state: bytes,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
    ) -> OneShotClient:
        found = decode(OneShotState, state, limit=len(state))
        client = OneShotClient(
            plan, membership, identity=identity, directory=directory, floor=floor, rand=found.rand
        )
        client.show(found.committee)
        return client

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

    @staticmethod
    def resume_member(
        state: bytes,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
    ) -> CommitteeMember:
        found = decode(MemberState, state, limit=len(state))
        # Once its inputs are closed, a member has no key any more.
        rand = found.rand or bytes(MEMBER_RAND_BYTES)
        member = CommitteeMember(
            plan, membership, identity=identity, directory=directory, floor=floor, rand=rand
        )
        member.wake(found)
        return member

"""The complete graph of SecAgg: everyone deals to everyone, and all sign one survivor set.

Source: Bonawitz et al., CCS 2017, figure 4, with the parts of the malicious setting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar

from fedprivacy.crypto import Directory, SigningKey, verify
from fedprivacy.errors import PeerError, Reason
from fedprivacy.randomness import Rng
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.secagg.masking.keys import SURVIVORS_LABEL, session_id, signed_survivors
from fedprivacy.secagg.masking.messages import (
    ConsistencySignature,
    Roster,
    RosterEntry,
    SurvivorSignature,
    UnmaskRequest,
)
from fedprivacy.secagg.masking.neighbours import KeyOf, Neighbours, check_ascending
from fedprivacy.secagg.masking.roster import check_entries
from fedprivacy.wire import encode

__all__ = ["CompleteClient", "CompleteServer"]


class CompleteClient:
    """`floor` is the client's own least number of members in any set."""

    shown_in: ClassVar[type[Roster]] = Roster

    def __init__(self, plan: SumPlan, directory: Directory | None, floor: int) -> None:
        self._plan = plan
        self._directory = directory
        # What the plan promises holds beside the client's own floor: the server keeps neither.
        self.least = max(plan.floor, floor)

    def accept(self, shown: Roster, own: RosterEntry) -> Neighbours:
        """> [BIK+17, round 1] assert |U1| >= t, all keys differ, all signatures hold."""
        size, most = len(shown.entries), self._plan.cohort_size
        if not self.least <= size <= most:
            detail = f"{size} members where {self.least} to {most} are allowed"
            raise PeerError(Reason.ROSTER_SIZE, detail)
        check_entries(self._plan, shown.entries, own, directory=self._directory)
        return Neighbours(session_id(self._plan, shown.entries), shown.entries)

    def answers_for(self, survivors: Sequence[str]) -> tuple[str, ...]:
        return tuple(survivors)

    def sign(
        self, key: SigningKey, session: bytes, signer: int, survivors: Sequence[int]
    ) -> ConsistencySignature:
        # > [BIK+17, round 3] sigma'_u <- SIG.sign(d_u^SK, U3)
        statement = signed_survivors(session, self._plan.broadcast, survivors)
        return ConsistencySignature(key.sign(SURVIVORS_LABEL, *statement))

    def check_request(
        self,
        request: UnmaskRequest,
        session: bytes,
        member: int,
        survivors: Sequence[int],
        key_of: KeyOf,
    ) -> None:
        """> [BIK+17, round 4] assert U4 subset of U3, |U4| >= t, every signature is over U3."""
        signers = [s.signer for s in request.signatures]
        check_ascending(signers)
        statement = signed_survivors(session, self._plan.broadcast, survivors)
        for relayed in request.signatures:
            key = key_of(relayed.signer)
            if key is None or not verify(key, relayed.signature, SURVIVORS_LABEL, *statement):
                detail = f"member {relayed.signer} has not signed these survivors"
                raise PeerError(Reason.CONSISTENCY_SIGNATURE, detail)
        if len(signers) < self._plan.threshold:
            detail = f"{len(signers)} signatures where {self._plan.threshold} are needed"
            raise PeerError(Reason.CONSISTENCY_QUORUM, detail)


class CompleteServer:
    """Everyone is around everyone; nothing is drawn."""

    signed_in: ClassVar[type[ConsistencySignature]] = ConsistencySignature

    def __init__(self, plan: SumPlan, directory: Directory | None, *, rng: Rng) -> None:
        self._plan = plan
        self._directory = directory
        self._session = b""
        self._names: dict[int, str] = {}
        self._members: tuple[int, ...] = ()
        self._roster = b""
        self._signatures: dict[int, bytes] = {}

    def arrange(self, entries: Sequence[RosterEntry]) -> bytes:
        self._members = tuple(entry.membership.index for entry in entries)
        self._names = {e.membership.index: e.membership.client_id for e in entries}
        self._roster = encode(Roster(tuple(entries)))
        self._session = session_id(self._plan, entries)
        return self._session

    def shown_to(self, member: int) -> bytes:
        return self._roster

    def around(self, member: int) -> tuple[int, ...]:
        return self._members

    def is_enough(self, member: int, present: Collection[int]) -> bool:
        # A phase closes with enough members only, and all of them are around.
        return True

    def survivors_for(self, member: int, survivors: frozenset[int]) -> tuple[int, ...]:
        return tuple(sorted(survivors))

    def take_signatures(
        self, signer: int, message: ConsistencySignature, survivors: frozenset[int]
    ) -> None:
        key = self._directory.key_of(self._names[signer]) if self._directory else None
        statement = signed_survivors(self._session, self._plan.broadcast, sorted(survivors))
        if key is None or not verify(key, message.signature, SURVIVORS_LABEL, *statement):
            raise PeerError(Reason.CONSISTENCY_SIGNATURE, "not a signature over the survivors")
        self._signatures[signer] = message.signature

    def requests(self, signers: frozenset[int]) -> Iterator[tuple[int, bytes]]:
        signatures = tuple(SurvivorSignature(i, self._signatures[i]) for i in sorted(signers))
        request = encode(UnmaskRequest(signatures))
        return ((i, request) for i in sorted(signers))

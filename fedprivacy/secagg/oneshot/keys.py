"""What a session of one-shot aggregation derives, hashes and signs.

The session hashes the round's plan and the committee's roster of signed keys: two plans, or two
rosters, share no polynomial, no key and no signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fedprivacy.crypto import Directory, derive, is_weak, verify
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.secagg.masking.neighbours import check_ascending
from fedprivacy.secagg.oneshot.messages import CommitteeEntry
from fedprivacy.secagg.oneshot.parameters import committee_of
from fedprivacy.wire import digest, merkle_root

__all__ = [
    "INPUT_LABEL",
    "KEY_LABEL",
    "SURVIVORS_LABEL",
    "CiphertextDigest",
    "box_context",
    "box_key",
    "check_key",
    "check_roster",
    "polynomial_seed",
    "session_id",
    "signed_input",
    "signed_key",
    "signed_survivors",
]

KEY_LABEL = "oneshot/committee-key"
INPUT_LABEL = "oneshot/input"
SURVIVORS_LABEL = "oneshot/survivors"


def _index(i: int) -> bytes:
    return i.to_bytes(4, "big")


def session_id(plan: SumPlan, entries: Sequence[CommitteeEntry]) -> bytes:
    """H(round id || Merkle root of the committee's signed roster), entries by ascending index."""
    return digest("oneshot/session", plan.round_id, merkle_root([e.leaf() for e in entries]))


def polynomial_seed(session: bytes) -> bytes:
    """The public seed of the session's polynomials: no two sessions have one in common."""
    return digest("oneshot/polynomials", session)


def signed_key(plan: SumPlan, index: int, seal_key: bytes) -> tuple[bytes, ...]:
    """What a member's identity signs over its key for this attempt."""
    return plan.round_id, _index(index), seal_key


def signed_input(
    session: bytes, index: int, agreement_key: bytes, ciphertext: bytes
) -> tuple[bytes, ...]:
    """What a client's identity signs: whose ciphertext it is, and whose boxes."""
    return session, _index(index), agreement_key, ciphertext


def signed_survivors(
    session: bytes, broadcast: bytes, survivors: Sequence[int]
) -> tuple[bytes, ...]:
    """What a member's identity signs before it helps to open their sum."""
    return session, broadcast, b"".join(_index(i) for i in survivors)


def box_key(session: bytes, shared: bytes, client: int, member: int) -> bytes:
    """The key of the one box that this client seals for this member."""
    context = _index(client) + _index(member)
    return derive(shared, salt=session, label="oneshot/box", context=context)


def box_context(session: bytes, client: int, member: int, ciphertext: bytes) -> bytes:
    """What a box is bound to besides its key: also to the ciphertext whose key it shares."""
    return digest("oneshot/box", session, _index(client) + _index(member), ciphertext)


class CiphertextDigest:
    """SHA-256 of a client's packed ciphertext, chunk by chunk, bound to the round and the client.

    Boxes and signatures rest on it, so a checksum would not do.
    """

    def __init__(self, plan: SumPlan, index: int) -> None:
        self._state = hashlib.sha256(digest("oneshot/ciphertext", plan.round_id, _index(index)))

    def update(self, data: bytes | memoryview) -> None:
        self._state.update(data)

    def value(self) -> bytes:
        return self._state.digest()


def check_key(
    plan: SumPlan,
    index: int,
    name: str,
    seal_key: bytes,
    signature: bytes,
    directory: Directory | None,
) -> None:
    """Raise unless a member's key is signed by its enrolled identity for this very attempt.

    `PeerError`: `NOT_ENROLLED`, `KEY_SIGNATURE`, `WEAK_KEY`.
    """
    identity = directory.key_of(name) if directory is not None else None
    if identity is None:
        raise PeerError(Reason.NOT_ENROLLED, f"{name} is not enrolled", (name,))
    if not verify(identity, signature, KEY_LABEL, *signed_key(plan, index, seal_key)):
        raise PeerError(Reason.KEY_SIGNATURE, f"{name}'s key is not signed for this round", (name,))
    if is_weak(seal_key):
        raise PeerError(Reason.WEAK_KEY, f"{name} has a key of small order", (name,))


def check_roster(
    plan: SumPlan, entries: Sequence[CommitteeEntry], directory: Directory | None
) -> None:
    """Raise unless these are distinct members of the committed committee, at least t of them.

    `PeerError`: `NON_CANONICAL`, `ROSTER_SIZE`, `DUPLICATE_MEMBER`, `COHORT_PROOF`, and those of
    `check_key`.
    """
    committee = committee_of(plan)
    check_ascending([entry.membership.index for entry in entries])
    if not committee.threshold <= len(entries) <= committee.size:
        detail = f"{len(entries)} members where {committee.threshold} to {committee.size} may be"
        raise PeerError(Reason.ROSTER_SIZE, detail)
    names = {entry.membership.client_id for entry in entries}
    if min(len(names), len({entry.seal_key for entry in entries})) < len(entries):
        raise PeerError(Reason.DUPLICATE_MEMBER, "two members share a name or a key")
    for entry in entries:
        who = entry.membership
        if not who.proves(committee.root, committee.size):
            detail = f"{who.client_id} is not proven to be in the committed committee"
            raise PeerError(Reason.COHORT_PROOF, detail)
        if committee.members and who.client_id != committee.members[who.index]:
            detail = f"{who.client_id} is not the member that the plan names"
            raise PeerError(Reason.COHORT_PROOF, detail)
        check_key(plan, who.index, who.client_id, entry.seal_key, entry.signature, directory)

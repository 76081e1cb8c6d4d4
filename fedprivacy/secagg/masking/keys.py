"""What a session derives and signs: ids, commitments, channel keys and mask seeds.

Everything here is bound to the session, which hashes the round's plan and the roster of signed
keys: two rosters, or two plans, share no key, no seed and no signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from fedprivacy.crypto import derive
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.secagg.masking.messages import RosterEntry
from fedprivacy.wire import digest, merkle_root

__all__ = [
    "INCLUSION_LABEL",
    "KEYS_LABEL",
    "SURVIVORS_LABEL",
    "Secret",
    "acknowledgement_commitment",
    "box_key",
    "pairwise_seed",
    "ring_session_id",
    "seed_commitment",
    "self_seed",
    "session_id",
    "share_commitment",
    "signed_inclusion",
    "signed_keys",
    "signed_survivors",
]

INCLUSION_LABEL = "secagg/inclusion"
KEYS_LABEL = "secagg/keys"
SURVIVORS_LABEL = "secagg/survivors"


class Secret(IntEnum):
    """The secrets that a client shares among the members, in the order in which they are listed."""

    MASK_KEY = 0
    SEED = 1


def _index(i: int) -> bytes:
    return i.to_bytes(4, "big")


def session_id(plan: SumPlan, entries: Sequence[RosterEntry]) -> bytes:
    """H(round id || Merkle root of the signed roster); entries by ascending index."""
    return digest("session", plan.round_id, merkle_root([entry.leaf() for entry in entries]))


def ring_session_id(plan: SumPlan, size: int, root: bytes) -> bytes:
    """H(round id || size || Merkle root of the signed roster in the order of the ring).

    The round's id covers the degree, so root and size fix the graph.
    """
    return digest("session-ring", plan.round_id, _index(size), root)


def signed_keys(plan: SumPlan, index: int, seal_key: bytes, mask_key: bytes) -> tuple[bytes, ...]:
    """What a member's identity signs over its round keys."""
    return plan.round_id, _index(index), seal_key, mask_key


def signed_survivors(
    session: bytes, broadcast: bytes, survivors: Sequence[int]
) -> tuple[bytes, ...]:
    """What a survivor's identity signs before it helps to unmask."""
    return session, broadcast, b"".join(_index(i) for i in survivors)


def signed_inclusion(
    session: bytes, broadcast: bytes, signer: int, member: int
) -> tuple[bytes, ...]:
    """What a survivor's identity signs over each neighbour that it was shown to survive."""
    return session, broadcast, _index(signer), _index(member)


def box_key(session: bytes, shared: bytes, dealer: int, recipient: int) -> bytes:
    """The key of the one box that this dealer seals for this recipient."""
    context = _index(dealer) + _index(recipient)
    return derive(shared, salt=session, label="secagg/box", context=context)


def pairwise_seed(session: bytes, shared: bytes, one: int, other: int) -> bytes:
    """The seed of the mask that two members have in common."""
    context = _index(min(one, other)) + _index(max(one, other))
    return derive(shared, salt=session, label="secagg/pairwise-mask", context=context)


def self_seed(session: bytes, seed: bytes, index: int) -> bytes:
    """The seed of a member's own mask."""
    return derive(seed, salt=session, label="secagg/self-mask", context=_index(index))


def seed_commitment(session: bytes, index: int, seed: bytes) -> bytes:
    """What a recovered seed is checked against; a mask key is checked against its public half."""
    return digest("secagg/seed-commitment", session, _index(index), seed)


def acknowledgement_commitment(
    session: bytes, dealer: int, recipient: int, acknowledgement: bytes
) -> bytes:
    """A dealer's commitment to what it will reveal once it has masked with this recipient."""
    return digest(
        "secagg/acknowledgement", session, _index(dealer), _index(recipient), acknowledgement
    )


def share_commitment(
    session: bytes, secret: Secret, dealer: int, recipient: int, share: bytes, salt: bytes
) -> bytes:
    """A dealer's salted commitment to one share for one recipient."""
    kind = secret.to_bytes(1, "big")
    return digest(
        "secagg/share-commitment", session, kind, _index(dealer), _index(recipient), share, salt
    )

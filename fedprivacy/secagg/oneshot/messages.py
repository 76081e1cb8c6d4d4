"""The messages of one-shot aggregation, in the order in which they are sent.

Ciphertexts travel in `MaskedChunk`; survivors, and the signatures over them, as in masking.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fedprivacy.crypto import OVERHEAD_BYTES
from fedprivacy.secagg.cohort import DEPTH, MAX_COHORT, ClientId, Digest, Membership
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.secagg.oneshot.parameters import MAX_COMMITTEE, OneShotParameters
from fedprivacy.secagg.uploads import MAX_CHUNK_BYTES
from fedprivacy.wire import Message, Record, encode

__all__ = [
    "FLOOR_BYTES",
    "CommitteeEntry",
    "CommitteeKey",
    "CommitteeRoster",
    "InputsClosed",
    "KeyShare",
    "KeySum",
    "SealedInput",
    "ShareOpened",
    "UnopenedShares",
    "box_bytes",
    "client_limit",
    "server_limit",
    "share_bytes",
]

FLOOR_BYTES = 4
_ELEMENT_BYTES = 4
_MOST_SHARE_BYTES = 1 << 20

Index = Annotated[int, Meta(ge=0, lt=MAX_COHORT)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Box = Annotated[bytes, Meta(max_length=_MOST_SHARE_BYTES)]
Indices = Annotated[tuple[Index, ...], Meta(max_length=MAX_COHORT)]
Share = Annotated[bytes, Meta(max_length=_MOST_SHARE_BYTES)]


class CommitteeKey(Message, frozen=True, tag="committee-key"):
    """Member, phase keys: the public key for this attempt that shares are sealed to, signed."""

    seal_key: Key
    signature: Signature


class CommitteeEntry(Record, frozen=True):
    """One member of the committee as clients and the other members see it."""

    membership: Membership
    seal_key: Key
    signature: Signature

    def leaf(self) -> bytes:
        """What the session's hash covers of this entry."""
        who = self.membership
        return encode(CommitteeLeaf(who.index, who.client_id, self.seal_key, self.signature))


class CommitteeLeaf(Record, frozen=True):
    """An entry without the proof of its place."""

    index: Index
    client_id: ClientId
    seal_key: Key
    signature: Signature


class CommitteeRoster(Message, frozen=True, tag="committee-roster"):
    """Server, phase input: every member that advertised a key, by ascending index."""

    entries: Annotated[tuple[CommitteeEntry, ...], Meta(max_length=MAX_COMMITTEE)]


class SealedInput(Message, frozen=True, tag="sealed-input"):
    """Client, phase input: closes the ciphertext, with a share of its key for each member.

    The boxes are in the order of the roster.
    """

    ciphertext: Digest
    agreement_key: Key
    signature: Signature
    boxes: Annotated[tuple[Box, ...], Meta(max_length=MAX_COMMITTEE)]


class KeyShare(Message, frozen=True, tag="key-share"):
    """Server, phase input: to a member, a client's share for it, as soon as the input is whole."""

    membership: Membership
    ciphertext: Digest
    agreement_key: Key
    signature: Signature
    box: Box


class ShareOpened(Message, frozen=True, tag="share-opened"):
    """Member, phase input: the client's share opens for it."""

    client: Index


class InputsClosed(Message, frozen=True, tag="inputs-closed"):
    """Server, phase opening: of these clients each member has a share by now, ascending."""

    clients: Indices


class UnopenedShares(Message, frozen=True, tag="unopened-shares"):
    """Member, phase opening: the clients whose share does not open for it, ascending."""

    clients: Indices


class KeySum(Message, frozen=True, tag="key-sum"):
    """Member, phase opening the sum: the sum of the survivors' shares, in words as shares are."""

    share: Share

    def __repr__(self) -> str:
        # t of these, in t logs, would give the sum of the keys away.
        return "KeySum()"


def share_bytes(parameters: OneShotParameters) -> int:
    """The bytes of one share of a key."""
    return _ELEMENT_BYTES * parameters.key_elements


def box_bytes(parameters: OneShotParameters) -> int:
    """The bytes of a box: the client's floor, the share, the tag."""
    return FLOOR_BYTES + share_bytes(parameters) + OVERHEAD_BYTES


_ENTRY_BYTES = 64 + 64 + 3 * 34 + 66 + 34 * DEPTH


def server_limit(plan: SumPlan, parameters: OneShotParameters) -> int:
    """The most bytes that an honest server sends in one message."""
    committee = MAX_COMMITTEE if plan.committee is None else plan.committee.size
    share = _ENTRY_BYTES + box_bytes(parameters) + 128
    return 256 + max(committee * _ENTRY_BYTES, share, 5 * plan.cohort_size)


def client_limit(plan: SumPlan, parameters: OneShotParameters) -> int:
    """The most bytes that an honest client or member sends in one message."""
    committee = MAX_COMMITTEE if plan.committee is None else plan.committee.size
    boxes = committee * (box_bytes(parameters) + 8)
    return 256 + max(MAX_CHUNK_BYTES, boxes, 5 * plan.cohort_size)

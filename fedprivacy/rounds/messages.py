"""What a round says around its protocol's own messages."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fedprivacy.crypto.directory import MAX_BYTES as MAX_DIRECTORY
from fedprivacy.errors import Reason
from fedprivacy.ledger import HEAD_LIMIT
from fedprivacy.rounds.round_plan import RoundPlan
from fedprivacy.secagg import Membership
from fedprivacy.secagg.cohort import Digest
from fedprivacy.wire import Message

__all__ = [
    "ENVELOPE_LIMIT",
    "INVITATION_LIMIT",
    "SUMMONS_LIMIT",
    "Envelope",
    "Invitation",
    "MemberEnvelope",
    "MemberRefusal",
    "Refusal",
    "Settled",
    "Summons",
    "begins_attempt",
    "is_of_committee",
    "is_summons",
    "reason_of",
]

MAX_BROADCAST = (1 << 32) - (1 << 20)
MAX_BODY = (1 << 31) - (1 << 10)
"""More than any protocol's longest message in the largest cohort; each has a limit of its own."""

INVITATION_LIMIT = MAX_BROADCAST + MAX_DIRECTORY + (1 << 16)
"""The last part is room for the round's plan and the member's place."""
SUMMONS_LIMIT = MAX_DIRECTORY + (1 << 16)
ENVELOPE_LIMIT = 1 << 31


class Invitation(Message, frozen=True, tag="invitation"):
    """Server to one client: this attempt's plan, the client's place, and what to train on.

    `directory` is empty where identities play no part. `ledger` is a signed head of the server's
    ledger, and empty where no budget is kept. The plan has the hash of `broadcast` and the head.
    """

    round_plan: RoundPlan
    membership: Membership
    directory: Annotated[bytes, Meta(max_length=MAX_DIRECTORY)]
    broadcast: Annotated[bytes, Meta(max_length=MAX_BROADCAST)]
    ledger: Annotated[bytes, Meta(max_length=HEAD_LIMIT)]


class Envelope(Message, frozen=True, tag="envelope"):
    """A message of the protocol, and the attempt that it belongs to."""

    round_id: Digest
    body: Annotated[bytes, Meta(max_length=MAX_BODY)]

    def __repr__(self) -> str:
        # The body may hold shares that are for the recipient alone.
        return f"Envelope(round_id={self.round_id!r}, {len(self.body)} bytes)"


class Settled(Message, frozen=True, tag="settled"):
    """Server to one client: its ledger's signed head, after this attempt was settled in it.

    The client's receipt. There is no answer to it, and whoever does not get it loses nothing.
    """

    round_id: Digest
    ledger: Annotated[bytes, Meta(max_length=HEAD_LIMIT)]


class Refusal(Message, frozen=True, tag="refusal"):
    """Client to server: it takes no (further) part in this attempt, for a registered reason."""

    round_id: Digest
    reason: Annotated[int, Meta(ge=1, le=255)]


_INVITED = b"\xaainvitation"
"""The tag as MessagePack has it, after the array's head."""


def begins_attempt(message: bytes) -> bool:
    """Whether a message says that it is an invitation; nothing else about it is checked."""
    return message[1:].startswith(_INVITED)


class Summons(Message, frozen=True, tag="summons"):
    """Server to one member of the committee: this attempt's plan, and the member's place in it.

    As an invitation, but for the broadcast: a member trains nothing.
    """

    round_plan: RoundPlan
    membership: Membership
    directory: Annotated[bytes, Meta(max_length=MAX_DIRECTORY)]
    ledger: Annotated[bytes, Meta(max_length=HEAD_LIMIT)]


class MemberEnvelope(Message, frozen=True, tag="member-envelope"):
    """A message of the protocol to or from a member of the committee, in this attempt."""

    round_id: Digest
    body: Annotated[bytes, Meta(max_length=MAX_BODY)]

    def __repr__(self) -> str:
        return f"MemberEnvelope(round_id={self.round_id!r}, {len(self.body)} bytes)"


class MemberRefusal(Message, frozen=True, tag="member-refusal"):
    """Member to server: as a member it takes no (further) part in this attempt."""

    round_id: Digest
    reason: Annotated[int, Meta(ge=1, le=255)]


_OF_COMMITTEE = tuple(
    msgspec.msgpack.encode(kind.__struct_config__.tag)
    for kind in (Summons, MemberEnvelope, MemberRefusal)
)


def is_summons(message: bytes) -> bool:
    """Whether a message says that it summons a member; nothing else about it is checked."""
    return message[1:32].startswith(_OF_COMMITTEE[0])


def is_of_committee(message: bytes) -> bool:
    """Whether it is between the server and a member: who is a client as well is told in time.

    By the message's tag alone, which stands behind one byte: nothing else is checked.
    """
    return message[1:32].startswith(_OF_COMMITTEE)


def reason_of(refusal: Refusal | MemberRefusal) -> Reason:
    """The reason in a refusal; an unregistered code counts as `FAILED`."""
    try:
        return Reason(refusal.reason)
    except ValueError:
        return Reason.FAILED

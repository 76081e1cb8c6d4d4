"""What a member of the committee is between two messages, as one message to itself.

It holds the shares that were dealt to it, and goes nowhere but into a sealed state.
"""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta

from fedprivacy.secagg.cohort import MAX_COHORT, ClientId
from fedprivacy.secagg.oneshot.messages import CommitteeEntry, Index, Indices, Share
from fedprivacy.secagg.oneshot.parameters import MAX_COMMITTEE
from fedprivacy.wire import Message, Record

__all__ = ["MEMBER_RAND_BYTES", "SLEEPING", "DealtState", "MemberPhase", "MemberState"]

MEMBER_RAND_BYTES = 32


class MemberPhase(enum.Enum):
    """What the member has done; the value is the name of the phase it is in."""

    NEW = "new"
    ADVERTISED = "keys"
    HOLDING = "input"
    TOLD = "opening"
    ANSWERING = "answering"
    SIGNED = "consistency"
    ENDED = "ended"
    FAILED = "failed"


SLEEPING = (MemberPhase.ADVERTISED, MemberPhase.HOLDING, MemberPhase.TOLD, MemberPhase.SIGNED)
"""The phases between two messages."""


class DealtState(Record, frozen=True):
    """A client that dealt to this member; without a share, where it did not open."""

    index: Index
    client_id: ClientId
    floor: Annotated[int, Meta(ge=0, lt=1 << 32)]
    share: Share

    def __repr__(self) -> str:
        return f"DealtState({self.index}, {self.client_id})"


class MemberState(Message, frozen=True, tag="committee-member-state"):
    """The member's phase, its key until the inputs are closed, and what it was shown and dealt.

    Roster, clients and survivors are by ascending index, and empty before they are known.
    """

    phase: MemberPhase
    rand: Annotated[bytes, Meta(max_length=MEMBER_RAND_BYTES)]
    roster: Annotated[tuple[CommitteeEntry, ...], Meta(max_length=MAX_COMMITTEE)]
    dealt: Annotated[tuple[DealtState, ...], Meta(max_length=MAX_COHORT)]
    survivors: Indices

    def __repr__(self) -> str:
        return f"MemberState({self.phase.value})"

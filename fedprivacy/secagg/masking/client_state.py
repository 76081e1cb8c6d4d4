"""What a client of masked aggregation is between two messages, as one message to itself.

It holds every secret that the client still needs, and goes nowhere but into a sealed state.
"""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta

from fedprivacy.secagg.cohort import MAX_COHORT, ClientId
from fedprivacy.secagg.masking.client_secrets import RAND_BYTES
from fedprivacy.secagg.masking.messages import ACKNOWLEDGEMENT_BYTES, Index
from fedprivacy.secagg.masking.shares import HeldShares
from fedprivacy.wire import DIGEST_BYTES, Message, Record

__all__ = ["ClientPhase", "MaskingState", "PeerState"]


class ClientPhase(enum.Enum):
    """What the client has done; the value is the name of the phase it is in."""

    NEW = "new"
    ADVERTISED = "keys"
    DEALT = "shares"
    HOLDING = "input"
    SENDING = "sending"
    SENT = "sent"
    SIGNED = "consistency"
    ANSWERING = "unmasking"
    ENDED = "ended"
    FAILED = "failed"


_MaybeKey = Annotated[bytes, Meta(max_length=32)]
_Members = Annotated[tuple[Index, ...], Meta(max_length=MAX_COHORT)]


class PeerState(Record, frozen=True):
    """One member that the client has to do with, itself included; empty is what it needs no more.

    `mask_key` and `acknowledgement` are needed until the input is gone, `channel` until the boxes
    are opened, `held` from then on.
    """

    index: Index
    client_id: ClientId
    mask_key: _MaybeKey
    channel: _MaybeKey
    acknowledgement: Annotated[bytes, Meta(max_length=ACKNOWLEDGEMENT_BYTES)]
    held: HeldShares | None

    def __repr__(self) -> str:
        return f"PeerState({self.index}, {self.client_id})"


class MaskingState(Message, frozen=True, tag="masking-state"):
    """The client's phase, its secrets, and its peers by ascending index."""

    phase: ClientPhase
    rand: Annotated[bytes, Meta(min_length=RAND_BYTES, max_length=RAND_BYTES)]
    session: Annotated[bytes, Meta(max_length=DIGEST_BYTES)] = b""
    peers: Annotated[tuple[PeerState, ...], Meta(max_length=MAX_COHORT)] = ()
    unopened: _Members = ()
    survivors: _Members = ()

    def __repr__(self) -> str:
        return f"MaskingState({self.phase.value})"

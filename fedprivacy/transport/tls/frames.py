"""Frames: a length, a kind and a body; and what the two sides say of themselves first.

A frame is `length` (4 bytes, big-endian, of what follows), `kind` (1 byte) and the body. The
length is held against a limit before anything of that size is allocated. A message of the round
travels as one `MESSAGE` frame, which names its place and its whole size, and as many `PIECE` frames
as it takes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from fedprivacy.errors import PeerError, Reason
from fedprivacy.wire import Message, decode, encode

__all__ = [
    "FRAME_LIMIT",
    "HEAD_BYTES",
    "HELLO_LIMIT",
    "PIECE_BYTES",
    "VERSION",
    "Close",
    "Frame",
    "Hello",
    "Kind",
    "Role",
    "Welcome",
    "ack",
    "body_size",
    "closed_for",
    "closing",
    "first_piece",
    "frame",
    "opened_piece",
    "place_of",
    "told",
]

VERSION = 1
HEAD_BYTES = 5
PIECE_BYTES = 1 << 16
"""Bytes of a message in one frame, at most."""
_PLACE_BYTES, _SIZE_BYTES = 8, 4
FRAME_LIMIT = 1 + _PLACE_BYTES + _SIZE_BYTES + PIECE_BYTES
HELLO_LIMIT = 256
"""Before the peer has said who it is, and for all frames that carry no message."""


class Kind(enum.IntEnum):
    """What a frame is; codes are never reused."""

    HELLO = 1
    WELCOME = 2
    MESSAGE = 3
    PIECE = 4
    ACK = 5
    PING = 6
    CLOSE = 7


class Role(enum.Enum):
    """As what a peer connects."""

    CLIENT = "client"
    """Where it is drawn for a committee, or is named in one, it is a member as well."""
    MEMBER = "member"
    """Of the committee that the plan names, and nothing else."""


_Sixteen = Annotated[bytes, Meta(min_length=16, max_length=16)]
_Place = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Hello(Message, frozen=True, tag="hello"):
    """A client's first frame: the session that it begins or resumes."""

    version: Annotated[int, Meta(ge=0, lt=1 << 16)]
    role: Literal["client", "member"]
    session: _Sixteen
    """Drawn by the client; a process that starts anew draws another."""
    received: _Place
    """Messages of this session that are here in full: the next one to send follows them."""


class Welcome(Message, frozen=True, tag="welcome"):
    """The server's first frame."""

    version: Annotated[int, Meta(ge=0, lt=1 << 16)]
    run: _Sixteen
    resumed: Annotated[int, Meta(ge=0, le=1)]
    """One: the session is known; zero: whatever the client has under way is lost."""
    received: _Place
    heartbeat: Annotated[int, Meta(ge=1, le=600_000)]
    """Milliseconds after which a side that has nothing to say sends a ping."""
    window: Annotated[int, Meta(ge=1, lt=1 << 32)]
    """Bytes that may be under way, not yet acknowledged, towards the server."""


class Close(Message, frozen=True, tag="close"):
    """Either side's last frame; zero: the run is over, else a registered reason."""

    reason: Annotated[int, Meta(ge=0, le=255)]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came."""

    kind: Kind
    body: bytes = field(repr=False)


def frame(kind: Kind, *parts: bytes | memoryview) -> bytes:
    """The bytes of a frame."""
    size = 1 + sum(map(len, parts))
    return b"".join((size.to_bytes(4, "big"), bytes((kind,)), *parts))


def body_size(head: bytes, *, limit: int) -> tuple[Kind, int]:
    """A frame's kind and the size of its body, from its first five bytes.

    Raises `PeerError`: `OVERSIZED` for a length above the limit, `MALFORMED` for no length and for
    a kind that is not registered.
    """
    size = int.from_bytes(head[:4], "big")
    if not size:
        raise PeerError(Reason.MALFORMED, "a frame without a kind")
    if head[4] not in Kind.__members__.values():
        raise PeerError(Reason.MALFORMED, f"a frame of kind {head[4]}")
    kind = Kind(head[4])
    limit = limit if kind in (Kind.MESSAGE, Kind.PIECE) else min(limit, HELLO_LIMIT)
    if size > limit:
        raise PeerError(Reason.OVERSIZED, f"a frame of {size} bytes where {limit} are allowed")
    return kind, size - 1


def first_piece(place: int, message: memoryview) -> bytes:
    """The frame that begins a message."""
    head = place.to_bytes(_PLACE_BYTES, "big") + len(message).to_bytes(_SIZE_BYTES, "big")
    return frame(Kind.MESSAGE, head, message[:PIECE_BYTES])


def opened_piece(body: bytes) -> tuple[int, int, memoryview]:
    """The place, the whole size and the first piece in such a frame's body."""
    if len(body) < _PLACE_BYTES + _SIZE_BYTES:
        raise PeerError(Reason.MALFORMED, "a message without place or size")
    place = int.from_bytes(body[:_PLACE_BYTES], "big")
    size = int.from_bytes(body[_PLACE_BYTES : _PLACE_BYTES + _SIZE_BYTES], "big")
    return place, size, memoryview(body)[_PLACE_BYTES + _SIZE_BYTES :]


def ack(place: int) -> bytes:
    """The frame that says that all messages up to this place were dealt with."""
    return frame(Kind.ACK, place.to_bytes(_PLACE_BYTES, "big"))


def place_of(body: bytes) -> int:
    """The place in such a frame's body."""
    if len(body) != _PLACE_BYTES:
        raise PeerError(Reason.MALFORMED, "an acknowledgement of no place")
    return int.from_bytes(body, "big")


def told(message: Hello | Welcome) -> bytes:
    """The frame of a side's first word."""
    return frame(Kind.HELLO if isinstance(message, Hello) else Kind.WELCOME, encode(message))


def closing(reason: Reason | None) -> bytes:
    """The frame of a side's last word; None: the run is over."""
    return frame(Kind.CLOSE, encode(Close(0 if reason is None else reason.value)))


def closed_for(body: bytes) -> Reason | None:
    """The reason in such a frame's body; a code that is not registered counts as `FAILED`."""
    code = decode(Close, body, limit=HELLO_LIMIT).reason
    if code == 0:
        return None
    try:
        return Reason(code)
    except ValueError:
        return Reason.FAILED

"""Messages as MessagePack arrays with exactly one encoding each.

A message is a frozen struct, written as an array: its kind, then its fields in order. Decoding
refuses what the schema does not name, what is too long, what is left over, and every encoding but
the one that `encode` would have produced. Each field of variable length states its bound, so that
nothing is allocated on a peer's word alone. A last field of type `memoryview` is read without a
copy: it is a view of the message's bytes.
"""

from __future__ import annotations

import threading
from types import UnionType
from typing import Any, TypeVar, overload

import msgspec

from fedprivacy.errors import PeerError, Reason

__all__ = ["Message", "Record", "blob_size", "decode", "encode"]

M = TypeVar("M", bound="Message")

_ENCODER = msgspec.msgpack.Encoder()
_LOCAL = threading.local()
_MOST_KEPT = 1 << 20  # bytes of a message that is encoded again in place
_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The base of what only travels inside a message: an array of its fields."""


class Message(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind"
):
    """The base of everything that goes over the wire; a subclass names its `tag`."""


def encode(message: Message | Record) -> bytes:
    """The canonical bytes of a message or a record."""
    return _ENCODER.encode(message)


def blob_size(count: int) -> int:
    """The bytes that a field of `count` bytes takes."""
    return count + len(_blob_head(count))


def _blob_head(count: int) -> bytes:
    """What stands before `count` bytes: MessagePack's bin 8, bin 16 and bin 32."""
    width, kind = (
        (1, b"\xc4") if count < 1 << 8 else (2, b"\xc5") if count < 1 << 16 else (4, b"\xc6")
    )
    return kind + count.to_bytes(width, "big")


@overload
def decode(kind: type[M], data: bytes, *, limit: int) -> M: ...
@overload
def decode(kind: UnionType, data: bytes, *, limit: int) -> Any: ...
def decode(kind: type[M] | UnionType, data: bytes, *, limit: int) -> M | Any:
    """The message of type (or union of types) `kind` whose canonical encoding is `data`.

    `limit` is the most bytes that an honest peer would send. Raises `PeerError` and nothing else:
    `OVERSIZED`, `MALFORMED`, `NON_CANONICAL`.
    """
    if len(data) > limit:
        raise PeerError(Reason.OVERSIZED, f"{len(data)} bytes where at most {limit} are allowed")
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS.setdefault(kind, msgspec.msgpack.Decoder(kind))
    try:
        message = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # The library's text quotes types and positions, never the values.
        raise PeerError(Reason.MALFORMED, str(error)) from None
    if not _is_canonical(message, data):
        raise PeerError(Reason.NON_CANONICAL, "the encoding is not the canonical one")
    return message


def _is_canonical(message: Message, data: bytes) -> bool:
    last = message.__struct_fields__[-1]
    if isinstance(view := getattr(message, last), memoryview):
        # It is the end of the data: what stands before it, its length included, decides.
        empty = _ENCODER.encode(msgspec.structs.replace(message, **{last: b""}))
        return data.startswith(empty[: -blob_size(0)] + _blob_head(len(view)))
    if len(data) > _MOST_KEPT:
        return _ENCODER.encode(message) == data
    # Into memory that is there already: for a long message, fresh pages cost most of it.
    if not hasattr(_LOCAL, "buffer"):
        _LOCAL.buffer = bytearray(_MOST_KEPT)
    buffer: bytearray = _LOCAL.buffer
    _ENCODER.encode_into(message, buffer)
    return buffer == data

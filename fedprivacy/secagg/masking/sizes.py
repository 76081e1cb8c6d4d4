"""What masked aggregation costs a client in bytes, from the very messages that it sends."""

from __future__ import annotations

from collections.abc import Iterator

from fedprivacy.secagg.contract import Adversary
from fedprivacy.secagg.masking.messages import (
    BOX_BYTES,
    SALT_BYTES,
    SHARE_BYTES,
    ConsistencySignature,
    KeyAdvertisement,
    MaskedInput,
    OpenedShare,
    SealedBox,
    SealedShares,
    UnmaskShares,
)
from fedprivacy.secagg.uploads import chunk_sizes
from fedprivacy.wire import Message, Record, encode

__all__ = ["upload_sizes"]

_32 = bytes(32)
_64 = bytes(64)


def upload_sizes(
    adversary: Adversary, *, members: int, length: int, modulus_bits: int
) -> Iterator[tuple[str, int]]:
    """Phase and bytes of each message that one client sends when nobody is lost.

    Fewer members have fewer rows: losses only make it less. What other members do can add to it
    in one place: a client names those whose boxes it could not open, at most 5 bytes each.
    """
    signs = adversary is not Adversary.HONEST_BUT_CURIOUS
    yield "keys", len(encode(KeyAdvertisement(_32, _32, _64 if signs else b"")))
    box = SealedBox(0, bytes(BOX_BYTES), _64)
    yield "shares", _with_rows(SealedShares(_32, ()), members, box)
    for size in chunk_sizes(length, modulus_bits):
        yield "input", size
    yield "input", len(encode(MaskedInput(_32, ())))
    if signs:
        yield "consistency", len(encode(ConsistencySignature(_64)))
    share = OpenedShare(0, bytes(SHARE_BYTES), bytes(SALT_BYTES))
    yield "unmasking", _with_rows(UnmaskShares(()), members, share)


def _with_rows(message: Message, members: int, row: Record) -> int:
    """The size of a message, here without its rows, with one row for each of 0, 1, ...

    A row's index, zero in `row`, takes one byte to five.
    """
    indices = len(encode(MaskedInput(_32, tuple(range(members))))) - len(
        encode(MaskedInput(_32, ()))
    )
    return len(encode(message)) + indices + members * (len(encode(row)) - 1)

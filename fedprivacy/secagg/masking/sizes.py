"""What masked aggregation costs a client in bytes, from the very messages that it sends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedprivacy.crypto import CHECKSUM_BYTES
from fedprivacy.secagg.contract import Adversary
from fedprivacy.secagg.masking.messages import (
    BOX_BYTES,
    SALT_BYTES,
    SHARE_BYTES,
    ConsistencySignature,
    Inclusion,
    InclusionSignatures,
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
_CHECKSUM = bytes(CHECKSUM_BYTES)
_64 = bytes(64)


def upload_sizes(
    adversary: Adversary, *, members: int, degree: int, length: int, modulus_bits: int
) -> Iterator[tuple[str, int]]:
    """Phase and bytes of each message that one client sends when nobody is lost.

    Fewer members have fewer rows: losses only make it less. What other members do can add to it
    in one place: a client names those whose boxes it could not open, at most 5 bytes each. On a
    sparse graph the indices of neighbours, any in the cohort, are taken at their longest.
    """
    met = range(members - min(degree + 1, members), members) if degree else range(members)
    signs = adversary is not Adversary.HONEST_BUT_CURIOUS
    yield "keys", len(encode(KeyAdvertisement(_32, _32, _64 if signs else b"")))
    box = SealedBox(0, bytes(BOX_BYTES), _64)
    yield "shares", _with_rows(SealedShares(_32, ()), met, box)
    for size in chunk_sizes(length, modulus_bits):
        yield "input", size
    yield "input", len(encode(MaskedInput(_CHECKSUM, ())))
    if signs and degree:
        inclusion = Inclusion(0, _64)
        yield "consistency", _with_rows(InclusionSignatures(()), met[1:], inclusion)
    elif signs:
        yield "consistency", len(encode(ConsistencySignature(_64)))
    share = OpenedShare(0, bytes(SHARE_BYTES), bytes(SALT_BYTES))
    yield "unmasking", _with_rows(UnmaskShares(()), met, share)


def _with_rows(message: Message, indices: Sequence[int], row: Record) -> int:
    """The size of a message, here without its rows, with one row for each of these indices.

    A row's index, zero in `row`, takes one byte to five.
    """
    listed = len(encode(MaskedInput(_CHECKSUM, tuple(indices)))) - len(
        encode(MaskedInput(_CHECKSUM, ()))
    )
    return len(encode(message)) + listed + len(indices) * (len(encode(row)) - 1)

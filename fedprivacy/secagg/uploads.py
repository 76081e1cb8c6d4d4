"""A vector on its way: bit-packed chunks in order, then a closing message with their digest.

The server spools an upload apart and hands it over whole; a client that dies in the middle leaves
nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fedprivacy.arithmetic import pack, packed_size, unpack
from fedprivacy.errors import PeerError, Reason
from fedprivacy.wire import Digester, Message, blob_size, encode

__all__ = [
    "CHUNK_VALUES",
    "MAX_CHUNK_BYTES",
    "MaskedChunk",
    "PackedUpload",
    "Spool",
    "chunk_sizes",
    "chunk_slices",
]

CHUNK_VALUES = 1 << 16
"""Values in every chunk but the last; a multiple of 64, so that each chunk ends on a byte."""
MAX_CHUNK_BYTES = packed_size(CHUNK_VALUES, 64)
_LABEL = "upload"


class MaskedChunk(Message, frozen=True, tag="masked-chunk"):
    """Values `[sequence * CHUNK_VALUES, ...)` of an upload, bit-packed."""

    sequence: Annotated[int, Meta(ge=0, lt=1 << 32)]
    data: Annotated[bytes, Meta(min_length=1, max_length=MAX_CHUNK_BYTES)]


def chunk_slices(length: int) -> Iterator[slice]:
    """The slices of a vector that go into one chunk each."""
    for start in range(0, length, CHUNK_VALUES):
        yield slice(start, min(start + CHUNK_VALUES, length))


def chunk_sizes(length: int, bits: int) -> Iterator[int]:
    """The bytes of each message in which such a vector is uploaded, the closing one apart."""
    for sequence, part in enumerate(chunk_slices(length)):
        around = len(encode(MaskedChunk(sequence, b""))) - blob_size(0)
        yield around + blob_size(packed_size(part.stop - part.start, bits))


class PackedUpload:
    """A client's side: packs chunk after chunk and keeps the running digest."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._sequence = 0
        self._digester = Digester(_LABEL)

    def chunk(self, values: NDArray[np.uint64]) -> bytes:
        """The next chunk as a message; `values` are `(<= CHUNK_VALUES,)` residues mod 2**bits."""
        data = pack(values, self._bits)
        self._digester.update(data)
        message = encode(MaskedChunk(self._sequence, data))
        self._sequence += 1
        return message

    def digest(self) -> bytes:
        return self._digester.digest()


class Spool:
    """The server's side of one client's upload."""

    def __init__(self, length: int, bits: int) -> None:
        self._sizes = [packed_size(s.stop - s.start, bits) for s in chunk_slices(length)]
        self._chunks: list[bytes] = []
        self._digester = Digester(_LABEL)
        self._length = length
        self._bits = bits

    def take(self, chunk: MaskedChunk) -> None:
        """Keep the next chunk; raises `PeerError(CHUNK_ORDER)` for any other."""
        expected = len(self._chunks)
        if chunk.sequence != expected or expected >= len(self._sizes):
            raise PeerError(Reason.CHUNK_ORDER, f"chunk {chunk.sequence} where {expected} is next")
        if len(chunk.data) != self._sizes[expected]:
            raise PeerError(
                Reason.CHUNK_ORDER,
                f"chunk {expected} has {len(chunk.data)} bytes, not {self._sizes[expected]}",
            )
        self._digester.update(chunk.data)
        self._chunks.append(chunk.data)

    def fold_into(self, total: NDArray[Any], digest: bytes) -> None:
        """Add the complete upload to the running sum, with wrap-around, and forget it.

        `total` is `(length,)` of the word type of the modulus. Raises `PeerError` and leaves it
        untouched where a chunk is missing, the digest differs or padding is not zero.
        """
        if len(self._chunks) != len(self._sizes):
            raise PeerError(
                Reason.CHUNK_ORDER, f"{len(self._chunks)} of {len(self._sizes)} chunks arrived"
            )
        if self._digester.digest() != digest:
            raise PeerError(Reason.DIGEST, "the upload does not have the announced digest")
        slices = list(chunk_slices(self._length))
        try:
            # Only the last chunk can have padding: check it before anything is added.
            last = self._values(len(slices) - 1, slices[-1])
        except ValueError as error:
            raise PeerError(Reason.PADDING, str(error)) from None
        for i, part in enumerate(slices[:-1]):
            total[part] += self._values(i, part).astype(total.dtype)
        total[slices[-1]] += last.astype(total.dtype)
        self._chunks.clear()

    def _values(self, i: int, part: slice) -> NDArray[np.uint64]:
        return unpack(self._chunks[i], part.stop - part.start, self._bits)

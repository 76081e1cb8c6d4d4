"""Vectors on their way: bit-packed chunks in order, then a closing message with a checksum.

The server spools an upload apart and adds it to the running sum when it is there whole; a client
that dies in the middle leaves nothing behind.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO, Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fedprivacy.arithmetic import PackedSum, pack, packed_size
from fedprivacy.crypto import CHECKSUM_BYTES, Checksum
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.wire import Message, blob_size, digest, encode

__all__ = [
    "CHUNK_VALUES",
    "MAX_CHUNK_BYTES",
    "Check",
    "MaskedChunk",
    "PackedUpload",
    "Uploads",
    "chunk_sizes",
    "chunk_slices",
]

CHUNK_VALUES = 1 << 16
"""Values in every chunk but the last; a multiple of 64, so that each chunk ends on a word."""
MAX_CHUNK_BYTES = packed_size(CHUNK_VALUES, 64)
Check = Annotated[bytes, Meta(min_length=CHECKSUM_BYTES, max_length=CHECKSUM_BYTES)]

_LEAST_MEMORY = 1 << 20  # bytes of unfinished uploads that are kept in memory whatever the sum


class MaskedChunk(Message, frozen=True, tag="masked-chunk"):
    """Values `[sequence * CHUNK_VALUES, ...)` of an upload, bit-packed."""

    sequence: Annotated[int, Meta(ge=0, lt=1 << 32)]
    data: Annotated[bytes, Meta(min_length=1, max_length=MAX_CHUNK_BYTES)]

    def __repr__(self) -> str:
        # Without masks, these are a client's own values.
        return f"MaskedChunk(sequence={self.sequence}, {len(self.data)} bytes)"


def chunk_slices(length: int) -> Iterator[slice]:
    """The slices of a vector that go into one chunk each."""
    for start in range(0, length, CHUNK_VALUES):
        yield slice(start, min(start + CHUNK_VALUES, length))


def chunk_sizes(length: int, bits: int) -> Iterator[int]:
    """The bytes of each message in which such a vector is uploaded, the closing one apart."""
    for sequence, part in enumerate(chunk_slices(length)):
        around = len(encode(MaskedChunk(sequence, b""))) - blob_size(0)
        yield around + blob_size(packed_size(part.stop - part.start, bits))


def _checksum(plan: SumPlan, index: int) -> Checksum:
    """Of this member's upload. The key is no secret: nobody gains by deceiving with an upload of
    its own, and the channel says whose it is."""
    return Checksum(digest("upload", plan.round_id), index)


class PackedUpload:
    """A client's side: packs chunk after chunk and keeps the running checksum."""

    def __init__(self, plan: SumPlan, index: int) -> None:
        self._bits = plan.modulus_bits
        self._sequence = 0
        self._checksum = _checksum(plan, index)

    def chunk(self, values: NDArray[np.unsignedinteger]) -> bytes:
        """The next chunk as a message; `values` are `(<= CHUNK_VALUES,)` residues mod 2**bits."""
        data = pack(values, self._bits)
        self._checksum.update(data)
        message = encode(MaskedChunk(self._sequence, data))
        self._sequence += 1
        return message

    def checksum(self) -> bytes:
        """Of all chunks, once."""
        return self._checksum.value()


class Uploads:
    """The server's side: the sum of the uploads that are complete, and the others apart.

    `total` is kept packed. Unfinished uploads take at most as much memory again, whatever their
    number; beyond that they are in a file without a name.
    """

    def __init__(self, plan: SumPlan) -> None:
        self._plan = plan
        self.total = PackedSum(plan.length, plan.modulus_bits)
        self._spools: dict[int, _Spool] = {}
        one_sum = packed_size(plan.length, plan.modulus_bits)
        # A little less than the sum, for what is under way.
        self._room = max(one_sum - one_sum // 16, _LEAST_MEMORY)

    def take(self, index: int, chunk: MaskedChunk) -> None:
        """Keep a member's next chunk; raises `PeerError(CHUNK_ORDER)` for any other."""
        spool = self._spools.get(index)
        if spool is None:
            spool = self._spools.setdefault(index, _Spool(self._plan, index))
        spool.check(chunk)
        in_memory = sum(s.in_memory for s in self._spools.values())
        spool.put(chunk.data, spill=in_memory + len(chunk.data) > self._room)

    def fold(self, index: int, checksum: bytes) -> None:
        """Add a member's complete upload to the sum, and forget it.

        Raises `PeerError` and leaves the sum untouched where a chunk is missing (`CHUNK_ORDER`),
        the checksum differs (`DIGEST`) or padding is not zero (`PADDING`).
        """
        spool = self._spools.pop(index, None)
        if spool is None:
            raise PeerError(Reason.CHUNK_ORDER, "an upload without chunks")
        spool.check_whole(checksum)
        for start, data in spool.chunks():
            self.total.add_packed(start, data)

    def drop(self, index: int) -> None:
        """Forget what a member has sent of an upload."""
        self._spools.pop(index, None)

    def clear(self) -> None:
        """Forget every unfinished upload."""
        self._spools.clear()


class _Spool:
    """One unfinished upload: its chunks in memory, from some chunk on in a file."""

    def __init__(self, plan: SumPlan, index: int) -> None:
        self._sizes = [
            packed_size(s.stop - s.start, plan.modulus_bits) for s in chunk_slices(plan.length)
        ]
        self._spare_bits = -plan.length * plan.modulus_bits % 8
        self._checksum = _checksum(plan, index)
        self._memory: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._count = 0
        self._last_byte = 0
        self.in_memory = 0

    def check(self, chunk: MaskedChunk) -> None:
        """Raise `PeerError(CHUNK_ORDER)` for any chunk but the next."""
        expected = self._count
        if chunk.sequence != expected or expected >= len(self._sizes):
            raise PeerError(Reason.CHUNK_ORDER, f"chunk {chunk.sequence} where {expected} is next")
        if len(chunk.data) != self._sizes[expected]:
            detail = f"chunk {expected} has {len(chunk.data)} bytes, not {self._sizes[expected]}"
            raise PeerError(Reason.CHUNK_ORDER, detail)

    def put(self, data: bytes, *, spill: bool) -> None:
        """Keep a chunk; in the file if `spill`, as all that follow it then are."""
        self._checksum.update(data)
        self._last_byte = data[-1]
        self._count += 1
        if self._file is None and spill:
            # Open as long as the spool is there.
            self._file = tempfile.TemporaryFile(prefix="fedprivacy-")  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        if self._file is not None:
            self._file.write(data)
        else:
            self._memory.append(data)
            self.in_memory += len(data)

    def check_whole(self, checksum: bytes) -> None:
        """Raise `PeerError` unless all chunks are there, as announced, with clean padding."""
        if self._count != len(self._sizes):
            detail = f"{self._count} of {len(self._sizes)} chunks arrived"
            raise PeerError(Reason.CHUNK_ORDER, detail)
        if self._checksum.value() != checksum:
            raise PeerError(Reason.DIGEST, "the upload does not have the announced checksum")
        if self._spare_bits and self._last_byte >> (8 - self._spare_bits):
            raise PeerError(Reason.PADDING, "bits after the last value are not zero")

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Each chunk with the index of its first value; a chunk read is forgotten."""
        if self._file is not None:
            self._file.seek(0)
        held = iter(self._memory)
        for sequence, size in enumerate(self._sizes):
            data = next(held, None)
            if data is None:
                data = self._file.read(size) if self._file is not None else b""
            yield sequence * CHUNK_VALUES, data

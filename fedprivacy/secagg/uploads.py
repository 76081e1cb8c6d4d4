"""Vectors on their way: bit-packed chunks in order, then a closing message with a checksum.

The server spools an upload apart and adds it to the running sum when it is there whole; a client
that dies in the middle leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import IO, Annotated, Generic, Protocol, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fedprivacy.arithmetic import PackedSum, pack, packed_size
from fedprivacy.crypto import CHECKSUM_BYTES, Checksum
from fedprivacy.errors import PeerError, Reason, RoundAborted
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.wire import Message, blob_size, digest, encode

__all__ = [
    "CHUNK_VALUES",
    "MAX_CHUNK_BYTES",
    "Check",
    "DigestOf",
    "MaskedChunk",
    "PackedUpload",
    "RunningDigest",
    "Uploads",
    "UploadsInto",
    "checksum_of",
    "chunk_sizes",
    "chunk_slices",
    "disk",
]

CHUNK_VALUES = 1 << 16
"""Values in every chunk but the last; a multiple of 64, so that each chunk ends on a word."""
MAX_CHUNK_BYTES = packed_size(CHUNK_VALUES, 64)
Check = Annotated[bytes, Meta(min_length=CHECKSUM_BYTES, max_length=CHECKSUM_BYTES)]

_LEAST_MEMORY = 1 << 22  # bytes of unfinished uploads that are kept in memory whatever the sum


class MaskedChunk(Message, frozen=True, tag="masked-chunk"):
    """Values `[sequence * CHUNK_VALUES, ...)` of an upload, bit-packed."""

    sequence: Annotated[int, Meta(ge=0, lt=1 << 32)]
    data: Annotated[memoryview, Meta(min_length=1, max_length=MAX_CHUNK_BYTES)]
    """Of the message as it came: what is kept of a chunk is never copied."""

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
        around = len(encode(MaskedChunk(sequence, memoryview(b"")))) - blob_size(0)
        yield around + blob_size(packed_size(part.stop - part.start, bits))


class RunningDigest(Protocol):
    """Of an upload, fed chunk by chunk."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def value(self) -> bytes: ...


DigestOf = Callable[[SumPlan, int], RunningDigest]
"""By plan and the index of the member that uploads."""


def checksum_of(plan: SumPlan, index: int) -> Checksum:
    """Of this member's upload. The key is no secret: nobody gains by deceiving with an upload of
    its own, and the channel says whose it is."""
    return Checksum(digest("upload", plan.round_id), index)


class PackedUpload:
    """A client's side: packs chunk after chunk and keeps the running checksum, or `digest_of`."""

    def __init__(self, plan: SumPlan, index: int, digest_of: DigestOf = checksum_of) -> None:
        self._bits = plan.modulus_bits
        self._sequence = 0
        self._checksum = digest_of(plan, index)

    def chunk(self, values: NDArray[np.unsignedinteger]) -> bytes:
        """The next chunk as a message; `values` are `(<= CHUNK_VALUES,)` residues mod 2**bits."""
        data = pack(values, self._bits)
        self._checksum.update(data)
        message = encode(MaskedChunk(self._sequence, memoryview(data)))
        self._sequence += 1
        return message

    def checksum(self) -> bytes:
        """Of all chunks, once."""
        return self._checksum.value()


class RunningSum(Protocol):
    """To which uploads are added, chunk by chunk."""

    def add_packed(self, start: int, data: bytes | memoryview, /) -> None: ...


_Sum = TypeVar("_Sum", bound=RunningSum)


class UploadsInto(Generic[_Sum]):
    """The server's side: the sum of the uploads that are complete, and the others apart.

    Unfinished uploads take at most `room` bytes of memory, whatever their number; what is beyond
    that lies in one file without a name.
    """

    def __init__(self, plan: SumPlan, digest_of: DigestOf, total: _Sum, *, room: int) -> None:
        self._plan = plan
        self._digest_of = digest_of
        self.total = total
        self._spools: dict[int, _Spool] = {}
        self._overflow = _Overflow(packed_size(CHUNK_VALUES, plan.modulus_bits))
        self._in_memory = 0
        self._room = room

    def take(self, index: int, chunk: MaskedChunk) -> None:
        """Keep a member's next chunk.

        Raises `PeerError(CHUNK_ORDER)` for any other, and `RoundAborted(FAILED)` where the disk
        does not take it.
        """
        spool = self._spools.get(index)
        if spool is None:
            fresh = _Spool(self._plan, self._digest_of(self._plan, index))
            spool = self._spools.setdefault(index, fresh)
        spool.check(chunk)
        # Nothing is noted of a chunk before it is kept.
        if self._in_memory + len(chunk.data) > self._room:
            spool.note(chunk.data, self._overflow.put(chunk.data))
        else:
            spool.note(chunk.data, chunk.data)
            self._in_memory += len(chunk.data)

    def check(self, index: int, checksum: bytes) -> None:
        """Raise as `fold` does, and forget the upload, unless it could be added now.

        For digests whose value can be asked for more than once.
        """
        spool = self._spools.get(index)
        if spool is None:
            raise PeerError(Reason.CHUNK_ORDER, "an upload without chunks")
        try:
            spool.check_whole(checksum)
        except PeerError:
            self.drop(index)
            raise

    def fold(self, index: int, checksum: bytes) -> None:
        """Add a member's complete upload to the sum, and forget it.

        Raises `PeerError` and leaves the sum untouched where a chunk is missing (`CHUNK_ORDER`),
        the checksum differs (`DIGEST`) or padding is not zero (`PADDING`); `RoundAborted(FAILED)`
        where the disk does not give back what it took.
        """
        spool = self._spools.get(index)
        if spool is None:
            raise PeerError(Reason.CHUNK_ORDER, "an upload without chunks")
        try:
            spool.check_whole(checksum)
            for sequence, (kept, size) in enumerate(zip(spool.chunks, spool.sizes, strict=True)):
                data = self._overflow.get(kept, size) if isinstance(kept, int) else kept
                self.total.add_packed(sequence * CHUNK_VALUES, data)
        finally:
            self.drop(index)

    def drop(self, index: int) -> None:
        """Forget what a member has sent of an upload."""
        spool = self._spools.pop(index, None)
        for kept in spool.chunks if spool else ():
            if isinstance(kept, int):
                self._overflow.free(kept)
            else:
                self._in_memory -= len(kept)

    def clear(self) -> None:
        """Forget every unfinished upload."""
        for index in tuple(self._spools):
            self.drop(index)


class Uploads(UploadsInto[PackedSum]):
    """With the sum in memory, packed, and unfinished uploads in as much again, or 4 MiB."""

    def __init__(self, plan: SumPlan, digest_of: DigestOf = checksum_of) -> None:
        one_sum = packed_size(plan.length, plan.modulus_bits)
        total = PackedSum(plan.length, plan.modulus_bits)
        # A little less than the sum, for what is under way.
        room = max(one_sum - one_sum // 10, _LEAST_MEMORY)
        super().__init__(plan, digest_of, total, room=room)


class _Spool:
    """One unfinished upload: of each chunk the bytes, or where they lie in the file."""

    def __init__(self, plan: SumPlan, checksum: RunningDigest) -> None:
        self.sizes = [
            packed_size(s.stop - s.start, plan.modulus_bits) for s in chunk_slices(plan.length)
        ]
        self.chunks: list[memoryview | int] = []
        self._spare_bits = -plan.length * plan.modulus_bits % 8
        self._checksum = checksum
        self._last_byte = 0

    def check(self, chunk: MaskedChunk) -> None:
        """Raise `PeerError(CHUNK_ORDER)` for any chunk but the next."""
        expected = len(self.chunks)
        if chunk.sequence != expected or expected >= len(self.sizes):
            raise PeerError(Reason.CHUNK_ORDER, f"chunk {chunk.sequence} where {expected} is next")
        if len(chunk.data) != self.sizes[expected]:
            detail = f"chunk {expected} has {len(chunk.data)} bytes, not {self.sizes[expected]}"
            raise PeerError(Reason.CHUNK_ORDER, detail)

    def note(self, data: memoryview, kept: memoryview | int) -> None:
        """Count the next chunk, which is kept in memory or at this place of the file."""
        self._checksum.update(data)
        self._last_byte = data[-1]
        self.chunks.append(kept)

    def check_whole(self, checksum: bytes) -> None:
        """Raise `PeerError` unless all chunks are there, as announced, with clean padding."""
        if len(self.chunks) != len(self.sizes):
            detail = f"{len(self.chunks)} of {len(self.sizes)} chunks arrived"
            raise PeerError(Reason.CHUNK_ORDER, detail)
        if self._checksum.value() != checksum:
            raise PeerError(Reason.DIGEST, "the upload does not have the announced checksum")
        if self._spare_bits and self._last_byte >> (8 - self._spare_bits):
            raise PeerError(Reason.PADDING, "bits after the last value are not zero")


class _Overflow:
    """Chunks in a file without a name, in places of one size that are used again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._file: IO[bytes] | None = None
        self._free: list[int] = []
        self._places = 0

    def put(self, data: memoryview) -> int:
        """Where the bytes now lie."""
        place = self._free[-1] if self._free else self._places
        with disk():
            file = self._opened()
            file.seek(place * self._size)
            if file.write(data) != len(data):
                raise OSError("the disk took a part only")
        if self._free:
            self._free.pop()
        else:
            self._places += 1
        return place

    def get(self, place: int, size: int) -> bytes:
        """The bytes that were put there."""
        with disk():
            file = self._opened()
            file.seek(place * self._size)
            data = file.read(size)
            if len(data) != size:
                raise OSError("the file is shorter than what was written")
            return data

    def free(self, place: int) -> None:
        """Let other chunks take the place."""
        self._free.append(place)

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            # Unbuffered: a write that fails fails at once. Open as long as this object is there.
            self._file = tempfile.TemporaryFile(prefix="fedprivacy-", buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        return self._file


@contextlib.contextmanager
def disk() -> Iterator[None]:
    """The server's own disk ends the round for everyone; it is no peer's fault."""
    try:
        yield
    except OSError as error:
        detail = f"an upload could not be kept: {error.strerror or error}"
        raise RoundAborted(Reason.FAILED, detail) from None

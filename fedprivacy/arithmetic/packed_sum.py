"""A running sum of packed vectors, itself packed: what a server keeps of all uploads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic.packing import WHOLE, pack, packed_size, unpack
from fedprivacy.arithmetic.residues import check_bits, from_residues, word_dtype

__all__ = ["RUN_VALUES", "PackedSum"]

RUN_VALUES = 64
"""Values after which a packed vector of any width is at the end of a 64-bit word."""

_PAGE = 1 << 21  # bytes of the largest pages that numpy asks for
_BLOCK_RUNS = 1024  # runs at a time: some words of each operand stay in the cache

_Words = NDArray[np.uint64]


class PackedSum:
    """`length` sums mod 2**bits, packed as `pack` does, all zero at first.

    Packed vectors are added word by word: the top bit of each value is set aside, so that no carry
    leaves a value, and put in by exclusive or, which is addition without a carry. Source: Warren,
    "Hacker's Delight", 2nd edition, section 2-18, here with values that cross words.

    Reads like an array of the sums, `total[a:b]` int64, as representatives around zero.
    """

    def __init__(self, length: int, bits: int) -> None:
        check_bits(bits)
        self.bits = bits
        self._length = length
        self._room, self._words = _room(length, bits)
        self._lanes = _Lanes(bits)

    def __len__(self) -> int:
        return self._length

    def add_packed(self, start: int, data: bytes | memoryview) -> None:
        """Add packed values from value `start` on, a multiple of `RUN_VALUES`, in place."""
        if spare := -len(data) % 8:
            data = bytes(data) + bytes(spare)
        more = np.frombuffer(data, dtype="<u8")
        at = start // RUN_VALUES * self.bits
        total = self._words[at : at + len(more)]
        if self.bits in WHOLE:
            lanes = total.view(WHOLE[self.bits])
            lanes += more.view(lanes.dtype)
            return
        self._lanes.add(total, more)

    def replace(self, start: int, residues: NDArray[np.unsignedinteger[Any]]) -> None:
        """Put other sums in [0, 2**bits) in the place of those from `start` on.

        From a multiple of `RUN_VALUES` to another, or to the end.
        """
        packed = np.frombuffer(pack(residues, self.bits), dtype=np.uint8)
        self._bytes(start, start + len(residues))[:] = packed

    def load(self, data: bytes) -> None:
        """Put packed sums in the place of the first ones; those behind them are zero."""
        words = self._words.view(np.uint8)
        words[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        words[len(data) :] = 0

    def packed(self, part: slice) -> bytes:
        """The packed sums of a slice from a multiple of `RUN_VALUES` to another, or to the end."""
        return self._bytes(part.start, part.stop).tobytes()

    def words(self) -> NDArray[Any]:
        """`(length,)` words of `word_dtype(bits)` to write the sums to, in the same memory.

        What is written from the front up to a multiple of `RUN_VALUES` overwrites no packed sum
        behind it; what is packed before it is lost.
        """
        return self._room.view(word_dtype(self.bits))[: self._length]

    def _bytes(self, start: int, stop: int) -> NDArray[np.uint8]:
        first = start // RUN_VALUES * self.bits * 8
        return self._words.view(np.uint8)[first : first + packed_size(stop - start, self.bits)]

    def residues(self, start: int, stop: int) -> NDArray[Any]:
        """`(stop - start,)` sums in [0, 2**bits), from a multiple of `RUN_VALUES` on."""
        end = min(-(-stop // RUN_VALUES) * RUN_VALUES, self._length)
        return unpack(self._bytes(start, end).data, end - start, self.bits)[: stop - start]

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        start, stop, step = part.indices(self._length)
        stop = max(start, stop)
        # From the run in which the slice begins.
        before = start % RUN_VALUES
        values = from_residues(self.residues(start - before, stop), self.bits)
        return values[before::step]

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self[:].astype(np.int64 if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"PackedSum({self._length} values mod 2**{self.bits})"


def _room(length: int, bits: int) -> tuple[_Words, _Words]:
    """Zeroed memory for the sums in words of their own, and that of the packed ones at its end.

    What lies before the packed sums is not touched, and takes no memory, until words are written.
    """
    packed, unpacked = -(-length * bits // 64), -(-length * word_dtype(bits).itemsize // 8)
    before = max(unpacked - packed, 0)
    spare = _PAGE // 8 if packed > _PAGE // 8 else 0
    room: _Words = np.zeros(before + packed + spare, dtype="<u8")
    if spare:
        # A page of which a part is touched takes memory whole: the packed sums begin with one.
        before += -(room.ctypes.data + 8 * before) % _PAGE // 8
    return room, room[before : before + packed]


class _Lanes:
    """Adds words of packed values to others."""

    def __init__(self, bits: int) -> None:
        run = sum(1 << (i * bits + bits - 1) for i in range(RUN_VALUES))
        words = np.frombuffer(run.to_bytes(bits * 8, "little"), dtype="<u8")
        self._tops = np.tile(words, _BLOCK_RUNS)
        """The top bit of each value in a block of runs."""
        self._rest = ~self._tops
        # Room for what is made on the way: fresh memory would cost as much.
        self._low = np.empty(len(self._tops), dtype=np.uint64)
        self._added = np.empty(len(self._tops), dtype=np.uint64)
        self._carry = np.empty(len(self._tops), dtype=np.bool_)

    def add(self, total: _Words, more: _Words) -> None:
        """Add in place; both begin with a run and end with one, or with the vector."""
        for first in range(0, len(total), len(self._tops)):
            last = first + len(self._tops)
            self._add_block(total[first:last], more[first:last])

    def _add_block(self, total: _Words, more: _Words) -> None:
        count = len(total)
        tops, rest = self._tops[:count], self._rest[:count]
        low, added, carry = self._low[:count], self._added[:count], self._carry[:count]
        added[:] = more  # which may lie at any address: sums of such words are slow
        np.bitwise_and(total, rest, out=low)
        total ^= added
        total &= tops
        added &= rest
        added += low
        # Out of a word, into the value that goes on in the next one.
        np.less(added, low, out=carry)
        added[1:] += carry[:-1]
        total ^= added

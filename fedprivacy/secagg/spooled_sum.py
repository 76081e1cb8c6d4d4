"""A running sum in a file: what a server holds of it in memory does not grow with its length."""

from __future__ import annotations

import tempfile
import weakref
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import RUN_VALUES, PackedSum, pack, packed_size, unpack
from fedprivacy.secagg.uploads import CHUNK_VALUES, disk

__all__ = ["MOST_IN_MEMORY", "SpooledSum", "sum_of"]

MOST_IN_MEMORY = 1 << 26
"""Bytes of a packed sum, and of unfinished uploads beside it; what is larger lies in a file."""


class SpooledSum:
    """`length` sums mod 2**bits, packed as `PackedSum` packs them, in a file without a name.

    Memory is that of one chunk. Raises `RoundAborted(FAILED)` where the disk does not take it.
    """

    def __init__(self, length: int, bits: int) -> None:
        self.bits = bits
        self._length = length
        self._window = PackedSum(CHUNK_VALUES, bits)
        with disk():
            # Unbuffered, as unfinished uploads are; what was never written reads as zeros.
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="fedprivacy-", buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
            self._file.truncate(packed_size(length, bits))

    def __len__(self) -> int:
        return self._length

    def add_packed(self, start: int, data: bytes | memoryview) -> None:
        """Add a chunk of packed values from value `start` on, a multiple of `RUN_VALUES`."""
        at = self._offset(start)
        self._window.load(self._read(at, len(data)))
        self._window.add_packed(0, data)
        # The window is one chunk: the sum's last one may be shorter.
        self._write(at, self._window.packed(slice(0, CHUNK_VALUES))[: len(data)])

    def replace(self, start: int, residues: NDArray[np.unsignedinteger[Any]]) -> None:
        """As `PackedSum.replace`."""
        self._write(self._offset(start), pack(residues, self.bits))

    def residues(self, start: int, stop: int) -> NDArray[Any]:
        """As `PackedSum.residues`."""
        end = min(-(-stop // RUN_VALUES) * RUN_VALUES, self._length)
        data = self._read(self._offset(start), packed_size(end - start, self.bits))
        return unpack(data, end - start, self.bits)[: stop - start]

    def _offset(self, start: int) -> int:
        return start // RUN_VALUES * self.bits * (RUN_VALUES // 8)

    def _read(self, at: int, size: int) -> bytes:
        with disk():
            self._file.seek(at)
            data = self._file.read(size)
            if len(data) != size:
                raise OSError("the file is shorter than what was written")
            return data

    def _write(self, at: int, data: bytes) -> None:
        with disk():
            self._file.seek(at)
            if self._file.write(data) != len(data):
                raise OSError("the disk took a part only")

    def __repr__(self) -> str:
        return f"SpooledSum({self._length} values mod 2**{self.bits})"


def sum_of(length: int, bits: int) -> PackedSum | SpooledSum:
    """A sum of zeros: in memory, or in a file where it is larger than `MOST_IN_MEMORY`."""
    if packed_size(length, bits) > MOST_IN_MEMORY:
        return SpooledSum(length, bits)
    return PackedSum(length, bits)

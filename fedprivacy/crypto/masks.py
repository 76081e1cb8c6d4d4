"""The mask generator: a seed expands to uniform residues that are added to a vector in passing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import word_dtype
from fedprivacy.randomness import Keystream

__all__ = ["MaskStream"]

_CHUNK_BYTES = 1 << 18  # keystream at a time: it is added while it lies in the cache


class MaskStream:
    """The mask of one 32-byte seed, consumed once, from coordinate `start` (of 16) to the last.

    The mask of a coordinate is the next little-endian word of the AES-256-CTR keystream, of the
    width of `word_dtype(bits)`. Sums wrap at the word; the caller reduces them mod 2**bits at the
    end, where the mask is uniform because 2**bits divides the word's modulus. However the vector is
    cut into consecutive chunks, the mask is the same. With many seeds on a vector larger than the
    cache, go through all seeds for each chunk of some 2**16 coordinates (1.2 times as fast at 10**7
    coordinates as one seed after the other, `benchmarks/bench_masks.py`).

    Source: Bonawitz et al., CCS 2017, section 3 (PRG) and section 4 (masking with one-time pads).
    """

    __slots__ = ("_dtype", "_stream")

    def __init__(self, seed: bytes, bits: int, start: int = 0) -> None:
        self._dtype = word_dtype(bits)
        self._stream = Keystream(seed, start * self._dtype.itemsize)

    def add_to(self, accumulator: NDArray[np.unsignedinteger[Any]]) -> None:
        """Adds the mask of the next `len(accumulator)` coordinates, in place."""
        self._apply(np.add, accumulator)

    def subtract_from(self, accumulator: NDArray[np.unsignedinteger[Any]]) -> None:
        """Takes off the mask of the next `len(accumulator)` coordinates, in place."""
        self._apply(np.subtract, accumulator)

    def _apply(self, operation: np.ufunc, accumulator: NDArray[Any]) -> None:
        if accumulator.dtype != self._dtype or accumulator.ndim != 1:
            raise ValueError(f"an accumulator is one-dimensional, of dtype {self._dtype}")
        step = _CHUNK_BYTES // self._dtype.itemsize
        words = np.empty(min(step, len(accumulator)), dtype=self._dtype)
        for start in range(0, len(accumulator), step):
            part = accumulator[start : start + step]
            mask = words[: len(part)]
            self._stream.fill(mask)
            operation(part, mask, out=part)

    def __repr__(self) -> str:
        return f"MaskStream(dtype={self._dtype.str})"

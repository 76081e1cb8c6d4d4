"""Residues modulo 2**bits, in which the sums of masked integers are taken."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_BITS",
    "Residues",
    "check_bits",
    "from_residues",
    "modulus_bits",
    "to_residues",
    "word_dtype",
]

MAX_BITS = 62
"""The widest modulus: a sum of two residues still fits a signed 64-bit word."""


def check_bits(bits: int) -> None:
    """Raises `ValueError` unless 1 <= bits <= `MAX_BITS`."""
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"{bits} bits are outside [1, {MAX_BITS}]")


def modulus_bits(bound: int) -> int:
    """The least b >= 1 with 2**b >= 2 * bound + 1, so that sums in [-bound, bound] survive.

    The result may exceed `MAX_BITS`; the caller knows the remedy.
    """
    if bound < 0:
        raise ValueError(f"a bound of {bound} is negative")
    return max(1, (2 * bound).bit_length())


def word_dtype(bits: int) -> np.dtype[Any]:
    """The smallest little-endian unsigned word that holds `bits` bits.

    2**bits divides the word's own modulus, so that sums may wrap and be reduced at the end.
    """
    check_bits(bits)
    for size in (1, 2, 4):
        if bits <= 8 * size:
            return np.dtype(f"<u{size}")
    return np.dtype("<u8")


def to_residues(values: NDArray[np.int64], bits: int) -> NDArray[np.uint64]:
    """Signed integers as residues in [0, 2**bits); two's complement, so any int64 is taken."""
    check_bits(bits)
    return values.view(np.uint64) & np.uint64((1 << bits) - 1)


def from_residues(residues: NDArray[np.unsignedinteger[Any]], bits: int) -> NDArray[np.int64]:
    """The representatives in [-2**(bits-1), 2**(bits-1)); bits above the modulus are dropped.

    Any unsigned dtype: an accumulator of `word_dtype(bits)` needs no reduction before.
    """
    check_bits(bits)
    if residues.dtype == np.uint32 and bits <= 32:
        # The same in words of half the size.
        half = np.uint32(32 - bits)
        small: NDArray[np.int32] = np.left_shift(residues, half).view(np.int32)
        small >>= np.int32(half)
        return small.astype(np.int64)
    shift = 64 - bits
    # The sign bit of the residue becomes that of the word, and the way back copies it downwards.
    values: NDArray[np.int64]
    values = np.left_shift(residues, np.uint64(shift), dtype=np.uint64).view(np.int64)
    values >>= shift
    return values


class Residues:
    """Words whose bits above 2**bits do not count, read like an array of int64 around zero."""

    def __init__(self, words: NDArray[Any], bits: int) -> None:
        self._words = words
        self._bits = bits

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        return from_residues(self._words[part], self._bits)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self[:].astype(np.int64 if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"Residues({len(self)} values mod 2**{self._bits})"

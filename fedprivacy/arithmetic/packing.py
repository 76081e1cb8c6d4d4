"""Integers of a few bits each as a dense string of bits, and back.

Value i occupies bits [i * bits, (i + 1) * bits) of a little-endian bit string: bit k is bit k % 8
of byte k // 8. The bits after the last value are zero.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic.residues import check_bits

__all__ = ["pack", "packed_size", "unpack"]

_BLOCK = 1 << 14  # values at a time: a block and its words stay in the L2 cache
_WHOLE = {8: "<u1", 16: "<u2", 32: "<u4"}  # widths at which packing is a cast


def packed_size(count: int, bits: int) -> int:
    """The bytes that `count` values of `bits` bits take."""
    return (count * bits + 7) // 8


def _layout(bits: int) -> tuple[int, int]:
    """The shortest run of values that ends on a word's end: how many values, how many words."""
    common = gcd(bits, 64)
    return 64 // common, bits // common


def pack(values: NDArray[np.unsignedinteger[Any]], bits: int) -> bytes:
    """The `packed_size(len(values), bits)` bytes of a `(count,)` array of any unsigned dtype.

    Raises `ValueError` for a value of 2**bits or more, and for bits outside [1, 62].
    """
    check_bits(bits)
    if len(values) and int(values.max()) >> bits:
        raise ValueError(f"a value does not fit {bits} bits")
    if bits in _WHOLE:
        return values.astype(_WHOLE[bits]).tobytes()
    per_group, words_per_group = _layout(bits)
    groups = -(-len(values) // per_group)
    words = np.zeros((groups, words_per_group), dtype="<u8")
    step = _BLOCK // per_group
    for first in range(0, groups, step):
        block = words[first : first + step]
        _pack_block(values[first * per_group : (first + step) * per_group], block, bits)
    return words.tobytes()[: packed_size(len(values), bits)]


def _pack_block(values: NDArray[np.unsignedinteger[Any]], words: NDArray[Any], bits: int) -> None:
    """Writes values into zeroed words, one row of words a group of values."""
    per_group = _layout(bits)[0]
    columns = np.zeros((per_group, len(words)), dtype=np.uint64)
    whole = len(values) // per_group
    columns[:, :whole] = values[: whole * per_group].reshape(whole, per_group).T
    rest = values[whole * per_group :]
    columns[: len(rest), whole:] = rest[:, None]
    for i, column in enumerate(columns):
        word, shift = divmod(i * bits, 64)
        words[:, word] |= column << np.uint64(shift)
        if shift + bits > 64:
            words[:, word + 1] |= column >> np.uint64(64 - shift)


def unpack(data: bytes | bytearray | memoryview, count: int, bits: int) -> NDArray[np.uint64]:
    """The `(count,)` values that `pack` turns into these bytes.

    Raises `ValueError` if the length is not `packed_size(count, bits)` or padding is not zero.
    """
    check_bits(bits)
    raw = np.frombuffer(data, dtype=np.uint8)
    if len(raw) != packed_size(count, bits):
        raise ValueError(f"{len(raw)} bytes where {packed_size(count, bits)} are expected")
    used = count * bits % 8
    if used and raw[-1] >> used:
        raise ValueError("bits after the last value are not zero")
    if bits in _WHOLE:
        return raw.view(_WHOLE[bits]).astype(np.uint64)
    per_group, words_per_group = _layout(bits)
    out = np.empty(count, dtype=np.uint64)
    step = _BLOCK // per_group
    for first in range(0, -(-count // per_group), step):
        start = first * words_per_group * 8
        part = raw[start : start + step * words_per_group * 8]
        target = out[first * per_group : (first + step) * per_group]
        target[:] = _unpack_block(part, bits)[: len(target)]
    return out


def _unpack_block(raw: NDArray[np.uint8], bits: int) -> NDArray[np.uint64]:
    """The values of a block, and zeros up to the end of its last group."""
    per_group, words_per_group = _layout(bits)
    groups = -(-len(raw) // (words_per_group * 8))
    padded = np.zeros(groups * words_per_group * 8, dtype=np.uint8)
    padded[: len(raw)] = raw
    words = np.ascontiguousarray(padded.view("<u8").reshape(groups, words_per_group).T)
    columns = np.empty((per_group, groups), dtype=np.uint64)
    mask = np.uint64((1 << bits) - 1)
    for i in range(per_group):
        word, shift = divmod(i * bits, 64)
        columns[i] = words[word] >> np.uint64(shift)
        if shift + bits > 64:
            columns[i] |= words[word + 1] << np.uint64(64 - shift)
    columns &= mask
    return columns.T.reshape(-1)

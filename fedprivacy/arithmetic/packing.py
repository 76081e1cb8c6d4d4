"""Integers of a few bits each as a dense string of bits, and back.

Value i occupies bits [i * bits, (i + 1) * bits) of a little-endian bit string: bit k is bit k % 8
of byte k // 8. The bits after the last value are zero.

The work is done on rows, the shortest runs of values that fill whole bytes and more than one word.
Two values of up to 32 bits are first joined to one item of a 64-bit word.
"""

from __future__ import annotations

from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic.residues import check_bits

__all__ = ["WHOLE", "pack", "packed_size", "unpack"]

WHOLE = {8: "<u1", 16: "<u2", 32: "<u4"}
"""Widths at which packing is a cast, and the type to cast to."""

_BLOCK = 1 << 15  # values at a time: what is made of them on the way stays in the L2 cache
_WORD = 8  # bytes

_Words = NDArray[np.uint64]


def packed_size(count: int, bits: int) -> int:
    """The bytes that `count` values of `bits` bits take."""
    return (count * bits + 7) // 8


class _Layout(NamedTuple):
    """How a row of values lies in its bytes."""

    values: int
    items: int
    item_bits: int
    row_bytes: int

    @classmethod
    def of(cls, bits: int) -> _Layout:
        per_item = 2 if bits <= 32 else 1
        item_bits = per_item * bits
        items = 8 // gcd(item_bits, 8)
        # More than a word, so that no word that is written reaches into the next but one.
        while items * item_bits <= 64:
            items *= 2
        return cls(items * per_item, items, item_bits, items * item_bits // 8)

    @property
    def words(self) -> int:
        return -(-self.row_bytes // _WORD)

    def parts(self) -> list[list[tuple[int, int]]]:
        """Of each word, the items that lie in it, with their shifts; below 0, to the right."""
        found: list[list[tuple[int, int]]] = [[] for _ in range(self.words)]
        for item in range(self.items):
            word, shift = divmod(item * self.item_bits, 64)
            found[word].append((item, shift))
            if shift + self.item_bits > 64:
                found[word + 1].append((item, shift - 64))
        return found

    def column(self, buffer: NDArray[np.uint8], byte: int) -> _Words:
        """The word at `byte` of every row, in a buffer with a spare word at its end; unaligned."""
        rows = (len(buffer) - _WORD) // self.row_bytes
        return np.ndarray((rows,), "<u8", buffer, byte, (self.row_bytes,))


def pack(values: NDArray[np.unsignedinteger[Any]], bits: int) -> bytes:
    """The `packed_size(len(values), bits)` bytes of a `(count,)` array of any unsigned dtype.

    Raises `ValueError` for a value of 2**bits or more, and for bits outside [1, 62].
    """
    check_bits(bits)
    if len(values) and int(values.max()) >> bits:
        raise ValueError(f"a value does not fit {bits} bits")
    if bits in WHOLE:
        return values.astype(WHOLE[bits]).tobytes()
    layout = _Layout.of(bits)
    rows = -(-len(values) // layout.values)
    buffer = np.zeros(rows * layout.row_bytes + _WORD, dtype=np.uint8)
    step = max(1, _BLOCK // layout.values)
    for first in range(0, rows, step):
        part = values[first * layout.values : (first + step) * layout.values]
        end = min(first + step, rows) * layout.row_bytes + _WORD
        _pack_rows(_items(part, bits, layout), buffer[first * layout.row_bytes : end], layout)
    return buffer[: packed_size(len(values), bits)].tobytes()


def _items(values: NDArray[np.unsignedinteger[Any]], bits: int, layout: _Layout) -> _Words:
    """Whole rows of items, `(rows, items)`, the last row filled up with zeros."""
    rows = -(-len(values) // layout.values)
    dtype = "<u4" if bits <= 32 else "<u8"
    whole = np.ascontiguousarray(values, dtype=dtype)
    if len(values) < rows * layout.values:
        whole = np.zeros(rows * layout.values, dtype=dtype)
        whole[: len(values)] = values
    words: _Words = whole.view("<u8")
    if bits < 32:
        # The upper value of each pair moves down to where the lower one ends.
        joined = words >> np.uint64(32 - bits)
        joined &= np.uint64(((1 << bits) - 1) << bits)
        joined |= words & np.uint64((1 << bits) - 1)
        words = joined
    return words.reshape(rows, layout.items)


def _pack_rows(items: _Words, buffer: NDArray[np.uint8], layout: _Layout) -> None:
    # A row's last word reaches into the next row, whose first word then overwrites that.
    for word, parts in reversed(list(enumerate(layout.parts()))):
        (item, shift), *others = parts
        value = _shifted(items[:, item], shift)
        for item, shift in others:
            value |= _shifted(items[:, item], shift)
        layout.column(buffer, word * _WORD)[:] = value


def _shifted(column: _Words, shift: int) -> _Words:
    return column << np.uint64(shift) if shift >= 0 else column >> np.uint64(-shift)


def unpack(data: bytes | bytearray | memoryview, count: int, bits: int) -> NDArray[Any]:
    """The `(count,)` values that `pack` turns into these bytes: uint32 up to 32 bits, else uint64.

    Raises `ValueError` if the length is not `packed_size(count, bits)` or padding is not zero.
    """
    check_bits(bits)
    raw = np.frombuffer(data, dtype=np.uint8)
    if len(raw) != packed_size(count, bits):
        raise ValueError(f"{len(raw)} bytes where {packed_size(count, bits)} are expected")
    used = count * bits % 8
    if used and raw[-1] >> used:
        raise ValueError("bits after the last value are not zero")
    out = np.empty(count, dtype="<u4" if bits <= 32 else "<u8")
    if bits in WHOLE:
        out[:] = raw.view(WHOLE[bits])
        return out
    layout = _Layout.of(bits)
    step = max(1, _BLOCK // layout.values)
    for first in range(0, -(-count // layout.values), step):
        part = raw[first * layout.row_bytes : (first + step) * layout.row_bytes]
        target = out[first * layout.values : (first + step) * layout.values]
        target[:] = _unpack_rows(part, bits, layout)[: len(target)]
    return out


def _unpack_rows(raw: NDArray[np.uint8], bits: int, layout: _Layout) -> NDArray[Any]:
    """The values of some rows, and zeros up to the end of the last."""
    rows = -(-len(raw) // layout.row_bytes)
    buffer = np.zeros(rows * layout.row_bytes + _WORD, dtype=np.uint8)
    buffer[: len(raw)] = raw
    items = np.empty((rows, layout.items), dtype=np.uint64)
    for item in range(layout.items):
        byte, shift = divmod(item * layout.item_bits, 8)
        column = layout.column(buffer, byte).copy()
        column >>= np.uint64(shift)
        if shift + layout.item_bits > 64:
            column |= layout.column(buffer, byte + _WORD) << np.uint64(64 - shift)
        items[:, item] = column
    if bits > 32:
        items &= np.uint64((1 << bits) - 1)
        return items.reshape(-1)
    return _pairs(items.reshape(-1), bits)


def _pairs(items: _Words, bits: int) -> NDArray[Any]:
    """The two values of each item."""
    upper = items << np.uint64(32 - bits)
    upper &= np.uint64(((1 << bits) - 1) << 32)
    items &= np.uint64((1 << bits) - 1)
    items |= upper
    return items.view("<u4")

"""The Walsh-Hadamard transform, the rotation that spreads a vector over its coordinates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["hadamard_inflation", "walsh_hadamard"]

_FACTOR_BITS = 8  # butterflies done in one visit to the memory
_TILE = 1 << 15  # values worked on at a time: a quarter of a megabyte, and as much for differences

_Reals = NDArray[np.float64]


def walsh_hadamard(values: _Reals) -> None:
    """Replace each row, `(..., n)` with n a power of two, by H row / sqrt(n), in place.

    H[i, j] is -1 to the number of ones that i and j share in binary; the transform is its own
    inverse. O(n log n) additions, on this thread, in tiles that fit the cache. Raises `ValueError`
    for another length, dtype or layout.
    """
    length = values.shape[-1] if values.ndim else 0
    bits = length.bit_length() - 1
    if length != 1 << max(0, bits):
        raise ValueError(f"a length of {length} is not a power of two")
    if values.dtype != np.float64 or not values.flags.c_contiguous:
        raise ValueError("the transform takes contiguous float64")
    # H of n1 n2 is the tensor product of the two: one group of axes after the other.
    groups = max(1, -(-bits // _FACTOR_BITS))
    inner = 1
    for group in range(groups):
        factor = 1 << (bits // groups + (group < bits % groups))
        last = group == groups - 1
        _along(values.reshape(-1, factor, inner), 2.0 ** (-bits / 2) if last else 1.0)
        inner *= factor


def _along(values: _Reals, scale: float) -> None:
    """The transform along the middle axis, without the division by a root, times `scale`."""
    outer, factor, inner = values.shape
    if not values.size:
        return
    # Transposed tiles (factor, columns), so that each addition runs along many columns.
    if inner == 1:
        step = _TILE // factor
        for start in range(0, outer, step):
            _tile(values[start : start + step, :, 0].T, scale)
        return
    width = min(inner, _TILE // factor)
    for part in values:
        for start in range(0, inner, width):
            _tile(part[:, start : start + width], scale)


def _tile(columns: _Reals, scale: float) -> None:
    work = np.array(columns, order="C")
    factor, width = work.shape
    difference = np.empty(work.size // 2)
    half = 1
    while half < factor:
        pairs = work.reshape(factor // (2 * half), 2, half * width)
        first, second = pairs[:, 0], pairs[:, 1]
        apart = difference.reshape(first.shape)
        np.subtract(first, second, out=apart)
        first += second
        second[:] = apart
        half *= 2
    np.multiply(work, scale, out=columns)


def hadamard_inflation(length: int) -> float:
    """The factor by which rounding may lengthen a row in `walsh_hadamard`, or its inverse.

    With u = 2**-53, each of the log2(n) passes errs by at most u of its result's norm, and the
    scale and the product with it by less than 3 u; the factor is more than (1 + u)**(log2(n) + 3).
    """
    return 1 + (math.log2(length) + 4) * 2.0**-52

"""Shamir's sharing of byte strings over the prime field of 2**31 + 11 elements.

A secret is a big-endian integer, cut from its low end into limbs of 31 bits; the first limb is the
most significant. Each limb is the constant term of a polynomial of its own, of degree
threshold - 1, and the share of point x is the value of every polynomial at x. Source: Shamir,
"How to share a secret", CACM 22(11), 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import PeerError, Reason
from fedprivacy.randomness import Keystream, uniform_below

__all__ = [
    "PRIME",
    "combine",
    "lagrange_at_zero",
    "limbs_of",
    "parity_check",
    "reconstruct",
    "secret_from_limbs",
    "share_from_bytes",
    "share_to_bytes",
    "split",
    "split_elements",
]

PRIME = (1 << 31) + 11
_P = np.uint64(PRIME)
_LIMB_BITS = 31
_LIMB_MASK = (1 << _LIMB_BITS) - 1
_WORD = np.dtype(">u4")
_MOST_SHARES = 1 << 16


def limbs_of(length_bytes: int) -> int:
    """The field elements that a secret of so many bytes takes: 5 for 16 bytes, 9 for 32."""
    return -(-8 * length_bytes // _LIMB_BITS)


def _to_limbs(secret: bytes) -> list[int]:
    number = int.from_bytes(secret, "big")
    count = limbs_of(len(secret))
    return [number >> _LIMB_BITS * (count - 1 - i) & _LIMB_MASK for i in range(count)]


def _check_points(points: NDArray[np.uint64]) -> None:
    if points.size and (int(points.min()) == 0 or int(points.max()) >= PRIME):
        raise ValueError(f"a point is outside [1, {PRIME})")
    ordered = np.sort(points, axis=-1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise ValueError("two points are equal")


def split(
    secrets: Sequence[bytes], threshold: int, points: NDArray[np.uint64], *, stream: Keystream
) -> list[NDArray[np.uint64]]:
    """Shares of each secret, any `threshold` of which determine it and fewer tell nothing.

    Returns one `(len(points), limbs)` uint64 array per secret, in [0, `PRIME`). The points are
    distinct, in [1, `PRIME`). Coefficients are drawn from the stream by degree: those of x for all
    limbs of all secrets in order, then those of x**2, and so on.
    """
    limbs = np.array([limb for secret in secrets for limb in _to_limbs(secret)], dtype=np.uint64)
    shares = split_elements(limbs, threshold, points, stream=stream)
    ends = np.cumsum([limbs_of(len(secret)) for secret in secrets])
    return np.split(shares, ends[:-1], axis=1)


def split_elements(
    elements: NDArray[np.uint64], threshold: int, points: NDArray[np.uint64], *, stream: Keystream
) -> NDArray[np.uint64]:
    """Shares of `(count,)` field elements, `(len(points), count)`, drawn as `split` does."""
    _check_points(points)
    if not 1 <= threshold <= len(points):
        raise ValueError(f"a threshold of {threshold} is outside [1, {len(points)}]")
    drawn = uniform_below(PRIME, (threshold - 1) * len(elements), stream)
    coefficients = drawn.reshape(threshold - 1, len(elements))
    return _evaluate(np.vstack([elements, coefficients]), points)


def _evaluate(coefficients: NDArray[np.uint64], points: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The polynomials whose coefficients are the columns, lowest degree first, at each point."""
    # Limbs by points, so that the long axis is the inner one.
    values = np.zeros((coefficients.shape[1], len(points)), dtype=np.uint64)
    for row in coefficients[::-1]:
        # Horner's rule; no product plus coefficient reaches 2**63.
        values *= points
        values += row[:, None]
        values %= _P
    return np.ascontiguousarray(values.T)


def lagrange_at_zero(points: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The weights with which values at these points add up to the value at zero, mod p.

    `(..., t)` points, of as many sets as there are rows, give `(..., t)` weights. Raises
    `ValueError` for points of one set that are equal or outside [1, `PRIME`).
    """
    _check_points(points)
    # weight_j = product of x_i / (x_i - x_j) over all i != j
    #          = product of all x_i / (x_j * product of (x_i - x_j) over i != j).
    product = np.ones(points.shape[:-1], dtype=np.uint64)
    below = points.copy()
    for i in range(points.shape[-1]):
        x = points[..., i]
        product = product * x % _P
        factors = (x[..., None] + _P - points) % _P
        factors[..., i] = 1
        below *= factors
        below %= _P
    return _inverse(below) * product[..., None] % _P


def _inverse(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The inverses mod p: values to the power of p - 2 (Fermat), by squaring."""
    result = np.ones_like(values)
    for bit in f"{PRIME - 2:b}":
        result = result * result % _P
        if bit == "1":
            result = result * values % _P
    return result


def parity_check(points: NDArray[np.uint64], threshold: int) -> NDArray[np.uint64]:
    """`(r - t, r)` weights under which the values at r points of every polynomial of degree below t
    add up to zero, mod p.

    Source: MacWilliams and Sloane, "The Theory of Error-Correcting Codes", chapter 10, section 8:
    the dual of a generalised Reed-Solomon code.
    """
    _check_points(points)
    differences = (points[:, None] + _P - points) % _P
    np.fill_diagonal(differences, 1)
    below = np.ones_like(points)
    for column in differences.T:
        below = below * column % _P
    row = _inverse(below)
    rows = np.empty((max(len(points) - threshold, 0), len(points)), dtype=np.uint64)
    for at in range(len(rows)):
        rows[at] = row
        row = row * points % _P
    return rows


def combine(basis: NDArray[np.uint64], shares: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The value at zero: `(t,)` weights and `(..., t, limbs)` shares give `(..., limbs)`, mod p.

    `(m, t)` weights give m such sums of `(t, limbs)` shares. Raises `ValueError` for more than
    2**16 shares.
    """
    if basis.shape[-1] > _MOST_SHARES:
        raise ValueError(f"{basis.shape[-1]} shares where at most {_MOST_SHARES} are combined")
    # Halves of the shares keep every sum below 2**16 * 2**31 * 2**16 = 2**63 (and a little).
    half = np.uint64(16)
    low = np.matmul(basis, shares & np.uint64(0xFFFF))
    high = np.matmul(basis, shares >> half) % _P
    return np.asarray(((high << half) + low) % _P)


def reconstruct(points: NDArray[np.uint64], shares: NDArray[np.uint64], length_bytes: int) -> bytes:
    """The secret of `length_bytes` bytes from the `(t, limbs)` shares of t points.

    Raises `ValueError` when the shares do not lead to such a secret; which of them is wrong, the
    shares alone cannot tell.
    """
    if shares.shape != (len(points), limbs_of(length_bytes)):
        raise ValueError(f"shares of shape {shares.shape} for {len(points)} points")
    return secret_from_limbs(combine(lagrange_at_zero(points), shares), length_bytes)


def secret_from_limbs(limbs: NDArray[np.uint64], length_bytes: int) -> bytes:
    """The secret of `length_bytes` bytes whose `(limbs,)` these are.

    Raises `ValueError` when they are not the limbs of any such secret.
    """
    if int(limbs.max(initial=0)) > _LIMB_MASK:
        raise ValueError("a limb has more than 31 bits")
    number = 0
    for limb in limbs:
        number = number << _LIMB_BITS | int(limb)
    if number >> 8 * length_bytes:
        raise ValueError(f"the limbs hold more than {length_bytes} bytes")
    return number.to_bytes(length_bytes, "big")


def share_to_bytes(share: NDArray[np.uint64]) -> bytes:
    """One point's `(limbs,)` share as big-endian words of four bytes."""
    return share.astype(_WORD).tobytes()


def share_from_bytes(data: bytes, limbs: int) -> NDArray[np.uint64]:
    """The `(limbs,)` share that `share_to_bytes` turns into these bytes.

    Raises `PeerError` (`MALFORMED`) for another length or a word that is no field element.
    """
    if len(data) != limbs * _WORD.itemsize:
        raise PeerError(Reason.MALFORMED, f"a share of {len(data)} bytes, not of {limbs} words")
    share: NDArray[Any] = np.frombuffer(data, dtype=_WORD)
    if limbs and int(share.max()) >= PRIME:
        raise PeerError(Reason.MALFORMED, "a share's word is not below the prime")
    return share.astype(np.uint64)

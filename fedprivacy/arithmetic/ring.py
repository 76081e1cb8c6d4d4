"""Products in Z[X] / (X**N + 1) modulo 2**bits, of many polynomials with one of small coefficients.

By floating-point transforms, and exact all the same. Both factors are cut into limbs of centred
digits; each product of two limbs is computed in double precision and rounded to integers, which are
shifted to their place and added mod 2**64. A real polynomial p is folded into the N/2 complex
numbers p[j] + i p[j + N/2], twisted by exp(i pi j / N) and transformed: that evaluates it at the
roots of X**(N/2) = i, one of each conjugate pair of roots of X**N = -1.

Why the rounding is right. Let u = 2**-53, M = N/2, and all norms be of the folded vectors.

- A product of complex numbers has a relative error of at most sqrt(5) u (Brent, Percival and
  Zimmermann, Math. Comp. 76, 2007), a sum of u, a root of unity here of at most 4.7 u (of the
  twist) and 2 u (inside the transform). A level of a radix-2 transform is unitary but for a factor,
  so it adds at most (sqrt(5) + 2 + 1) u < 7 u to the relative error in the 2-norm (Higham,
  "Accuracy and Stability of Numerical Algorithms", 2nd edition, theorem 24.2, gives 6.7 u); levels
  that are done two or three at a time do no more operations. log2(M) levels and the twist:
  epsilon = 7 log2(N) u. The way back has the same, scaled by a power of two.
- Let X and Y be the transforms of a limb x of one factor and a limb y of the other:
  |X| = sqrt(M) |x|, and max |Y| <= sqrt(M) |y|. The errors of X and of Y move the product, divided
  by sqrt(M), by at most epsilon sqrt(M) |x| |y| each; multiplying and the way back by
  (epsilon + sqrt(5) u) sqrt(M) |x| |y|. Together, with what is of second order, below
  4 epsilon sqrt(M) |x| |y|; no coefficient's error exceeds the 2-norm.
- A limb of w bits has |x| <= sqrt(N) 2**(w - 1); that of the fixed factor is measured.

So no coefficient is off by more than `rounding_bound`, and the limbs are as few as keep that below
1/4, where 1/2 would do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic.residues import check_bits

__all__ = ["FixedFactor", "Limbs", "choose_limbs", "rounding_bound"]

_MOST_ERROR = 0.25
_MOST_LIMBS = 8  # a side: enough for every factor of less than 2**31 in rings up to 2**16
_MOST_FACTOR_BITS = 31
_BLOCK_BYTES = 1 << 18  # of a limb of some polynomials: what is made on the way stays in the cache

# A double of 2**52 + k has the bits of 2**52 plus k; one of 3 * 2**51 + k, also for k < 0.
_TWO_52 = 2.0**52
_TWO_52_BITS = np.uint64(0x4330 << 48)
_ROUNDER = 3 * 2.0**51
_ROUNDER_BITS = 0x4338 << 48
_MOST_ROUNDED = 2.0**51

_Words = NDArray[np.uint64]
_Complexes = NDArray[np.complex128]


def rounding_bound(degree: int, limb_bits: int, norm: float) -> float:
    """How far a coefficient may be from its integer before it is rounded; see the module.

    Of the product of a limb of `limb_bits` bits with one of 2-norm `norm`, N = `degree`.
    """
    epsilon = 7 * math.log2(degree) * 2.0**-53
    return 4 * epsilon * math.sqrt(degree / 2) * math.sqrt(degree) * 2.0 ** (limb_bits - 1) * norm


class Limbs(NamedTuple):
    """How the two factors of a product are cut: into so many limbs of so many bits.

    The last limb of either has what is left.
    """

    number: int
    """Of the polynomials that come."""
    bits: int
    factor_number: int
    factor_bits: int


def choose_limbs(factor: NDArray[np.int64], bits: int) -> Limbs:
    """The cut with the fewest transforms whose rounding is right.

    Raises `ValueError` for a coefficient of 2**31 or more.
    """
    largest = int(np.abs(factor).max())
    if largest >> _MOST_FACTOR_BITS:
        raise ValueError(f"a coefficient of {largest} is not below 2**{_MOST_FACTOR_BITS}")
    width = largest.bit_length() + 1
    cuts = []
    for factor_number in range(1, _MOST_LIMBS + 1):
        factor_bits = -(-width // factor_number)
        norm = max(_norm(limb) for limb in _centred_limbs(factor, factor_number, factor_bits))
        for number in range(1, _MOST_LIMBS + 1):
            limb_bits = -(-bits // number)
            if _is_right(len(factor), limb_bits, norm):
                cuts.append(Limbs(number, limb_bits, factor_number, factor_bits))
                break
    return min(cuts, key=lambda cut: cut.number * (1 + cut.factor_number))


def _is_right(degree: int, limb_bits: int, norm: float) -> bool:
    """Whether every coefficient of a product of such limbs is rounded to its integer."""
    largest = math.sqrt(degree) * 2.0 ** (limb_bits - 1) * norm
    return rounding_bound(degree, limb_bits, norm) < _MOST_ERROR and largest < _MOST_ROUNDED


def _norm(limb: NDArray[np.int64]) -> float:
    return float(np.linalg.norm(limb.astype(np.float64)))


def _centred_limbs(factor: NDArray[np.int64], number: int, bits: int) -> list[NDArray[np.int64]]:
    """Digits in [-2**(bits-1), 2**(bits-1)), lowest first; the last limb takes what is left."""
    limbs, rest, half = [], factor, 1 << (bits - 1)
    for _ in range(number - 1):
        digits = ((rest + half) & ((1 << bits) - 1)) - half
        limbs.append(digits)
        rest = (rest - digits) >> bits
    return [*limbs, rest]


@dataclass(frozen=True, slots=True)
class _Transform:
    """The folded, twisted transform of N real coefficients, N a power of two."""

    twist: _Complexes
    untwist: _Complexes

    @classmethod
    def of(cls, degree: int) -> _Transform:
        twist = np.exp(1j * np.pi * np.arange(degree // 2) / degree)
        return cls(twist, twist.conj())

    def forward(self, folded: _Complexes) -> None:
        """In place."""
        folded *= self.twist
        np.fft.fft(folded, axis=-1, out=folded)

    def back(self, values: _Complexes) -> None:
        """In place."""
        np.fft.ifft(values, axis=-1, out=values)
        values *= self.untwist


@dataclass(frozen=True, slots=True)
class _Room:
    """What is made of a block of polynomials on the way; fresh memory would cost as much."""

    folded: _Words
    """`(block, N/2, 2)`: coefficient j beside coefficient j + N/2."""
    total: _Words
    limb: _Words
    product: _Complexes

    @classmethod
    def of(cls, count: int, degree: int) -> _Room:
        shape = (count, degree // 2)
        folded, total, limb = (np.empty((*shape, 2), dtype=np.uint64) for _ in range(3))
        return cls(folded, total, limb, np.empty(shape, dtype=np.complex128))

    def first(self, count: int) -> _Room:
        """The same memory for fewer polynomials."""
        return _Room(
            self.folded[:count], self.total[:count], self.limb[:count], self.product[:count]
        )


@dataclass(frozen=True, slots=True)
class FixedFactor:
    """A polynomial with small coefficients, ready to be multiplied with many others.

    It is kept transformed, and is as secret as the polynomial.
    """

    degree: int
    bits: int
    limbs: Limbs
    _transform: _Transform = field(repr=False)
    _factors: tuple[_Complexes, ...] = field(repr=False)

    @classmethod
    def of(cls, factor: NDArray[np.int64], bits: int) -> FixedFactor:
        """The factor `(N,)`, for products mod 2**bits; N is a power of two, at least 4.

        Raises `ValueError` for another N, and for coefficients that are not small enough.
        """
        check_bits(bits)
        degree = len(factor)
        if degree < 4 or degree & (degree - 1):
            raise ValueError(f"a ring of degree {degree}: it is a power of two, at least 4")
        limbs = choose_limbs(factor, bits)
        transform = _Transform.of(degree)
        factors = []
        for digits in _centred_limbs(factor, limbs.factor_number, limbs.factor_bits):
            values = digits[: degree // 2] + 1j * digits[degree // 2 :]
            transform.forward(values)
            factors.append(values)
        return cls(degree, bits, limbs, transform, tuple(factors))

    def times(self, polynomials: _Words) -> _Words:
        """The products with `(count, N)` polynomials, in [0, 2**bits).

        Bits of the coefficients above 2**bits do not count.
        """
        out = np.empty(polynomials.shape, dtype=np.uint64)
        step = max(1, _BLOCK_BYTES // (8 * self.degree))
        room = _Room.of(min(step, len(polynomials)), self.degree)
        for first in range(0, len(polynomials), step):
            part = polynomials[first : first + step]
            self._times(part, room.first(len(part)), out[first : first + step])
        return out

    def _times(self, polynomials: _Words, room: _Room, out: _Words) -> None:
        half, bits, factor_bits = self.degree // 2, self.limbs.bits, self.limbs.factor_bits
        places = [(i * bits, min(bits, self.bits - i * bits)) for i in range(self.limbs.number)]
        folded, total, product = room.folded, room.total, room.product
        folded[..., 0] = polynomials[:, :half]
        folded[..., 1] = polynomials[:, half:]
        # With half of every digit's range added, digits from below are the centred ones.
        folded += np.uint64(sum(1 << (shift + width - 1) for shift, width in places))
        total[:] = 0
        above = 0
        for shift, width in places:
            values = _centred_digits(room, shift, width)
            self._transform.forward(values)
            for j, factor in enumerate(self._factors):
                at = shift + j * factor_bits
                if at >= self.bits:
                    continue
                np.multiply(values, factor, out=product)
                self._transform.back(product)
                _add_rounded(total, product, at)
                above += _ROUNDER_BITS << at
        # What the rounding left above the integers is taken off at once.
        total -= np.uint64(above % (1 << 64))
        total &= np.uint64((1 << self.bits) - 1)
        out[:, :half] = total[..., 0]
        out[:, half:] = total[..., 1]

    def erase(self) -> None:
        """Overwrite what is kept; the factor's digits, on the way to it, are only let go."""
        for factor in self._factors:
            factor[:] = 0


def _add_rounded(total: _Words, product: _Complexes, shift: int) -> None:
    """Add the nearest integers times 2**shift, and the rounder's own bits; uses up `product`."""
    doubles = product.view(np.float64)
    doubles += _ROUNDER
    words = doubles.view(np.uint64).reshape(total.shape)
    words <<= np.uint64(shift)
    total += words


def _centred_digits(room: _Room, shift: int, width: int) -> _Complexes:
    """The digits of `width` bits at `shift`, less half their range, folded: `(block, N/2)`."""
    words = room.limb
    np.right_shift(room.folded, np.uint64(shift), out=words)
    words &= np.uint64((1 << width) - 1)
    words |= _TWO_52_BITS
    digits = words.view(np.float64)
    digits -= _TWO_52 + 2.0 ** (width - 1)
    numbers: _Complexes = digits.view(np.complex128)[..., 0]
    return numbers

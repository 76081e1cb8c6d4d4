"""The discrete Gaussian beyond a table's range: a coarse table, and exact rejection within a step.

The rejection of Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy" (2020),
in integers only, with a proposal that is nearly always accepted in the place of their discrete
Laplace: the split of a magnitude into a multiple of a power of two and a rest is that of Ducas,
Durmus, Lepoint, Lyubashevsky, "Lattice signatures and bimodal Gaussians" (2013), section 6.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.dp.sampling.alias import AliasTable, Stream
from fedprivacy.dp.sampling.masses import discrete_gaussian_masses, exp_minus
from fedprivacy.dp.sampling.samplers import CHUNK, negate, rounded, total_variation

__all__ = ["MAX_VARIANCE", "WideGaussian"]

MAX_VARIANCE = 1 << 60
"""Products of a step and a magnitude stay below 2**62."""

_STEPS = 1 << 9  # steps in a standard deviation: at least so many, fewer than twice as many
_COIN = 40  # bits of a uniform that nearly always decide
_PRODUCT = 31  # bits of each factor, so that their product fits a word

_Bits = NDArray[np.int64]


class WideGaussian:
    """exp(-x**2 / (2 variance)) for a variance above 2**20, up to `MAX_VARIANCE`.

    A candidate is sign (h B + l): B a power of two, h from a table of exp(-(h B)**2 / (2 variance))
    over h >= 0, l uniform in [0, B). It stays with probability exp(-g), where
    g = l (2 h B + l) / (2 variance) < 0.06; a zero with the sign stays never. About one in a
    thousand is drawn again, one in a million is decided with more bits of the same uniform.

    The number of words drawn depends on the candidates, as it does for the original.
    """

    def __init__(self, variance: Fraction) -> None:
        self._step_bits = max(0, math.isqrt(int(variance)).bit_length() - _STEPS.bit_length())
        self._twice = 2 * variance
        masses = discrete_gaussian_masses(variance / (1 << 2 * self._step_bits))
        self._table = AliasTable(rounded(masses.least))
        self.most = (len(masses.least) << self._step_bits) - 1
        # More than half of the candidates stay, so that the distance grows less than fourfold.
        apart = total_variation(self._table.weights, masses.least, masses)
        self.total_variation = 4 * apart
        self._fractions = _Fractions(self._twice, self.most, self._step_bits)

    def fill(self, out: NDArray[np.int64], stream: Stream) -> None:
        filled = 0
        while filled < len(out):
            kept = self._candidates(min(CHUNK, len(out) - filled), stream)
            out[filled : filled + len(kept)] = kept
            filled += len(kept)

    def _candidates(self, count: int, stream: Stream) -> NDArray[np.int64]:
        """Up to `count` draws, those that stay."""
        words, more = np.empty((2, count), dtype="<u8")
        stream.fill(words)
        stream.fill(more)
        values = np.empty(count, dtype=np.int64)
        self._table.look_up(words, values, stream)
        values <<= self._step_bits
        rest = (more & np.uint64((1 << self._step_bits) - 1)).view(np.int64)
        products = rest * (2 * values + rest)
        values += rest
        stays = self._stays(products, (more >> np.uint64(64 - _COIN)).view(np.int64), stream)
        stays &= (values > 0) | (words & np.uint64(1) == 0)
        negate(values, words)
        return values[stays]

    def _stays(self, products: _Bits, coins: _Bits, stream: Stream) -> NDArray[np.bool_]:
        """Whether a uniform, whose leading bits are the coin, is at least 1 - exp(-g)."""
        least, most = self._fractions.of(products)
        # The probability lies between g less half its square, and g.
        half_square = (((most >> 8) + 1) ** 2 >> _COIN - 15) + 1
        stays: NDArray[np.bool_] = coins >= most
        open_ = ~stays & (coins >= least - half_square)
        for i in np.flatnonzero(open_).tolist():
            stays[i] = self.decide(int(products[i]), int(coins[i]), stream)
        return stays

    def decide(self, product: int, coin: int, stream: Stream) -> bool:
        """Whether a uniform, whose leading bits are the coin, is at least 1 - exp(-g), exactly.

        Takes words of the stream until it is settled. A uniform of n bits, at least u, lies below
        u + 1; the probability, in the same units, between 2**n - e - 3 and 2**n - e.
        """
        if product == 0:
            return True
        bits, word = _COIN, np.empty(1, dtype="<u8")
        while True:
            stream.fill(word)
            coin, bits = coin << 64 | int(word[0]), bits + 64
            leaves = (1 << bits) - exp_minus(product / self._twice, bits)
            if coin >= leaves:
                return True
            if coin + 1 <= leaves - 3:
                return False

    def __repr__(self) -> str:
        return f"WideGaussian({self.most})"


class _Fractions:
    """Bounds of product / divisor in units of 2**-`_COIN`, by one multiplication of words."""

    def __init__(self, divisor: Fraction, most: int, step_bits: int) -> None:
        largest = 2 * most << step_bits
        self._drop = max(0, largest.bit_length() - _PRODUCT)
        # reciprocal / 2**shift is 2**(drop + _COIN) / divisor, rounded down to 31 bits.
        exact = Fraction(1 << self._drop + _COIN) / divisor
        self._shift = max(0, _PRODUCT - int(exact).bit_length())
        self._reciprocal = int(exact * (1 << self._shift))

    def of(self, products: NDArray[Any]) -> tuple[_Bits, _Bits]:
        """Lower and upper bounds."""
        leading = products >> self._drop
        least = leading * self._reciprocal
        most = least + leading + self._reciprocal + 1  # (leading + 1) (reciprocal + 1)
        return least >> self._shift, (most >> self._shift) + 1

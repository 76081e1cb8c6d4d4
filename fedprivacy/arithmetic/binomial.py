"""Centred binomial numbers: the small secrets and errors of lattice schemes.

The number is how many of 84 uniform bits are set, less 42: the sum of two differences of 21 bits
each, with variance 21 and standard deviation 4.58. As a sum of 84 independent halves of either sign
its tails are below those of the Gaussian of that variance (Hoeffding, JASA 58, 1963).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedprivacy.randomness import Keystream

__all__ = ["BINOMIAL_BOUND", "BINOMIAL_VARIANCE", "centred_binomial", "sum_tail"]

BINOMIAL_BOUND = 42
"""No number is larger, in absolute value."""
BINOMIAL_VARIANCE = 21

_WORDS, _WORD_BITS = 3, 28


def centred_binomial(count: int, stream: Keystream) -> NDArray[np.int8]:
    """The next `(count,)` numbers of a stream.

    Each takes 12 bytes: three little-endian words, of which the low 28 bits count.
    """
    words = np.empty((count, _WORDS), dtype="<u4")
    stream.fill(words)
    words &= np.uint32((1 << _WORD_BITS) - 1)
    ones = np.bitwise_count(words).view(np.int8)
    numbers = ones[:, 0] + ones[:, 1]
    numbers += ones[:, 2]
    numbers -= np.int8(BINOMIAL_BOUND)
    return numbers


def sum_tail(terms: int, numbers: int, failure_bits: int) -> int:
    """What none of so many independent sums of `terms` numbers exceeds in absolute value.

    But with probability 2**-failure_bits. Source: Hoeffding's bound for sub-Gaussian sums,
    P[|X| >= z] <= 2 exp(-z**2 / (2 * 21 * terms)), and the union bound.
    """
    exponent = (failure_bits + 1) * math.log(2) + math.log(numbers)
    tail = math.ceil(math.sqrt(2 * BINOMIAL_VARIANCE * terms * exponent))
    return min(tail, BINOMIAL_BOUND * terms)

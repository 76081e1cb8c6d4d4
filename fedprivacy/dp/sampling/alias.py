"""Draws from a finite distribution whose probabilities are whole multiples of 2**-127.

The alias method of Walker, "An efficient method for generating discrete random variables with
general distributions" (1977), built as in Vose, "A linear algorithm for generating random numbers
with a given distribution" (1991), in integers throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError

__all__ = ["MAX_COLUMN_BITS", "TOTAL_BITS", "AliasTable", "Stream"]

TOTAL_BITS = 127
"""The weights of a table add up to 2**127: two words less the lowest bit of the first."""

MAX_COLUMN_BITS = 20

_WORD = 64
_WORD_MASK = (1 << _WORD) - 1

_Words = NDArray[np.uint64]


class Stream(Protocol):
    """Where uniform bytes come from: a `Keystream`."""

    def fill(self, out: NDArray[Any]) -> None:
        """Overwrite the array with the next bytes."""
        ...


class AliasTable:
    """Outcome i, 0 <= i < len(weights), has probability weights[i] / 2**127, exactly.

    There are 2**k columns of the same mass. Of each, a threshold gives a part to the outcome that
    the column is named after, and the rest to one other outcome, its alias. A draw takes one 64-bit
    word. Its top k bits are the column; the bits below, less the lowest one, are compared with the
    leading bits of the threshold; only if they are equal does a second word decide. The lowest bit
    of each word is left to the caller, as an independent fair coin.

    A draw has no loop, so that its course does not depend on the outcome, but for the second word,
    whose probability is 2**(k-63), and for what the processor's caches tell.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        """Raises `ConfigurationError` for weights that are negative, too many, or no whole."""
        bits = max(1, (len(weights) - 1).bit_length())
        if not weights or bits > MAX_COLUMN_BITS or min(weights) < 0:
            raise ConfigurationError(
                f"weights of {len(weights)} outcomes where 1 to {1 << MAX_COLUMN_BITS} of zero or "
                "more are wanted: choose a narrower distribution"
            )
        if sum(weights) != 1 << TOTAL_BITS:
            raise ConfigurationError(
                f"the weights add up to {sum(weights)} where 2**{TOTAL_BITS} is the whole: round "
                "them so that they do"
            )
        self.column_bits = bits
        self.outcomes = len(weights)
        thresholds, aliases = _columns(weights, bits)
        # One comparison finds both the side and a tie, if the column stands in the threshold, too.
        leading = [c << _WORD - bits | t >> _WORD << 1 for c, t in enumerate(thresholds)]
        self._leading = np.array(leading, dtype=np.uint64)
        self._trailing = np.array([t & _WORD_MASK for t in thresholds], dtype=np.uint64)
        own = np.arange(1 << bits, dtype=np.int32)
        self._change = np.array(aliases, dtype=np.int32) ^ own

    @property
    def weights(self) -> list[int]:
        """The weight of each outcome, summed up from what the columns really hold."""
        capacity = 1 << TOTAL_BITS - self.column_bits
        held = [0] * (1 << self.column_bits)
        columns = zip(
            self._leading.tolist(), self._trailing.tolist(), self._change.tolist(), strict=True
        )
        below = (1 << _WORD - self.column_bits) - 1
        for column, (leading, trailing, change) in enumerate(columns):
            threshold = (leading & below) >> 1 << _WORD | trailing
            held[column] += threshold
            held[column ^ change] += capacity - threshold
        return held[: self.outcomes]

    def look_up(self, words: _Words, out: NDArray[np.int64], stream: Stream) -> None:
        """The outcomes of some uniform words, `(count,)` both, into `out`.

        `stream` gives the second words, in the order of the draws that need them.
        """
        shift = np.uint64(_WORD - self.column_bits)
        np.right_shift(words, shift, out=out.view(np.uint64))
        columns = out
        # Both begin with the column, so that the difference fits a signed word.
        above: NDArray[np.int64] = self._leading.take(columns, mode="wrap").view(np.int64)
        np.subtract(words.view(np.int64), above, out=above)
        tied = above.view(np.uint64) <= 1
        change = self._change.take(columns, mode="wrap")
        if tied.any():
            self._break_ties(columns, above, tied, stream)
        change *= above >= 0
        out ^= change

    def _break_ties(
        self,
        columns: NDArray[np.int64],
        above: NDArray[np.int64],
        tied: NDArray[np.bool_],
        stream: Stream,
    ) -> None:
        """Where the leading bits are those of the threshold, the trailing ones decide."""
        second = np.empty(int(tied.sum()), dtype="<u8")
        stream.fill(second)
        own = second < self._trailing[columns[tied]]
        above[tied] = np.where(own, -1, 0)


def _columns(weights: Sequence[int], bits: int) -> tuple[list[int], list[int]]:
    """Thresholds below the columns' capacity, and aliases; a full column is its own alias."""
    capacity = 1 << TOTAL_BITS - bits
    left = [*weights, *[0] * ((1 << bits) - len(weights))]
    thresholds, aliases = [0] * len(left), list(range(len(left)))
    small = [c for c, weight in enumerate(left) if weight < capacity]
    large = [c for c, weight in enumerate(left) if weight > capacity]
    while small:
        column = small.pop()
        giver = large[-1]
        thresholds[column], aliases[column] = left[column], giver
        left[giver] -= capacity - left[column]
        if left[giver] <= capacity:
            large.pop()
            if left[giver] < capacity:
                small.append(giver)
    return thresholds, aliases

"""Integer noise by table: the discrete Gaussian and the symmetric Skellam distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedprivacy.dp.sampling.alias import TOTAL_BITS, AliasTable, Stream
from fedprivacy.dp.sampling.masses import Masses

__all__ = ["CHUNK", "NoiseTable", "Sampler", "Summed", "draw", "total_variation"]

CHUNK = 1 << 13
"""Values drawn at a time: words, thresholds and outcomes stay in the cache beside the table."""


class Sampler(Protocol):
    """Independent integers of one distribution.

    `most` is the largest magnitude that comes out. `total_variation` is an upper bound, for each
    draw, of the distance between what is drawn, from uniform bytes, and the distribution named.
    """

    @property
    def most(self) -> int: ...
    @property
    def total_variation(self) -> float: ...

    def fill(self, out: NDArray[np.int64], stream: Stream) -> None:
        """Overwrite `(count,)` int64 with fresh draws."""
        ...


def draw(sampler: Sampler, count: int, stream: Stream) -> NDArray[np.int64]:
    """`(count,)` int64 independent draws."""
    out = np.empty(count, dtype=np.int64)
    sampler.fill(out, stream)
    return out


class NoiseTable:
    """A symmetric distribution from a table of its magnitudes and one more bit for the sign.

    A draw takes one 64-bit word of the stream, in order, and with probability below 2**-43 a second
    one after the words of its chunk: draws in parts are otherwise the draws at once.
    """

    def __init__(self, masses: Masses) -> None:
        twice = [masses.least[0], *(2 * mass for mass in masses.least[1:])]
        self.table = AliasTable(rounded(twice))
        self.most = len(masses.least) - 1
        self.total_variation = total_variation(self.table.weights, twice, masses)

    def fill(self, out: NDArray[np.int64], stream: Stream) -> None:
        words = np.empty(min(CHUNK, len(out)), dtype="<u8")
        for start in range(0, len(out), CHUNK):
            part = out[start : start + CHUNK]
            taken = words[: len(part)]
            stream.fill(taken)
            self.table.look_up(taken, part, stream)
            negate(part, taken)

    def __repr__(self) -> str:
        return f"NoiseTable({self.most})"


def negate(values: NDArray[np.int64], words: NDArray[np.uint64]) -> None:
    """Turn the sign of each value whose word, which is overwritten, has its lowest bit set."""
    words &= np.uint64(1)
    signs = words.view(np.int64)
    np.negative(signs, out=signs)
    values ^= signs
    values -= signs


def rounded(masses: list[int]) -> list[int]:
    """Whole weights that add up to 2**`TOTAL_BITS`: each the nearest, the first takes the rest."""
    whole = sum(masses)
    others = [((mass << TOTAL_BITS + 1) + whole) // (2 * whole) for mass in masses[1:]]
    return [(1 << TOTAL_BITS) - sum(others), *others]


def total_variation(weights: list[int], least: list[int], masses: Masses) -> float:
    """No less than the distance between a table of magnitudes and what `masses` encloses.

    `least` are the magnitudes' masses: those of `masses`, or twice that for each after the first.
    With Z their sum, z the true one, S all the slack and t the tail, both signs counted: a true
    probability m / z differs from least / Z by at most (its slack + m (z - Z) / z) / Z, which adds
    up to (2 S + t) / Z since z - Z <= S + t; the tail, which no weight stands for, adds t / Z.
    """
    whole, one = sum(least), 1 << TOTAL_BITS
    apart = sum(
        abs(weight * whole - (mass << TOTAL_BITS))
        for weight, mass in zip(weights, least, strict=True)
    )
    unknown = 2 * (2 * masses.slack * len(least)) + 2 * (2 * masses.tail)
    bound = Fraction(apart + unknown * one, 2 * whole * one)
    return math.nextafter(float(bound), math.inf)


@dataclass(frozen=True, slots=True)
class Summed:
    """The sum of `terms` independent draws."""

    term: Sampler
    terms: int

    @property
    def most(self) -> int:
        return self.terms * self.term.most

    @property
    def total_variation(self) -> float:
        return math.nextafter(self.terms * self.term.total_variation, math.inf)

    def fill(self, out: NDArray[np.int64], stream: Stream) -> None:
        self.term.fill(out, stream)
        more = np.empty_like(out[:CHUNK])
        for _ in range(self.terms - 1):
            for start in range(0, len(out), CHUNK):
                part = out[start : start + CHUNK]
                self.term.fill(more[: len(part)], stream)
                part += more[: len(part)]

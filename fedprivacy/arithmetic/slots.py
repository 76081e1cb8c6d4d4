"""Several small numbers in one: digits in a base that no sum of them reaches.

Numbers in [-bound, bound] are moved to digits in [0, 2 * bound]; up to `terms` such numbers may be
summed, whose digits add up to at most 2 * bound * terms, below the base: no slot ever runs over
into the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Slots"]


@dataclass(frozen=True, slots=True)
class Slots:
    """How numbers are joined: `count` of them, of absolute value up to `bound`, `terms` summed."""

    bound: int
    terms: int
    count: int

    @property
    def base(self) -> int:
        return 2 * self.bound * self.terms + 1

    @property
    def range(self) -> int:
        """Every sum of joined numbers is below it."""
        return int(self.base**self.count)

    @classmethod
    def fill(cls, bound: int, terms: int, limit: int) -> Slots:
        """As many slots as stay within a range of `limit`; there may be none."""
        count, base = 0, 2 * bound * terms + 1
        while base ** (count + 1) <= limit:
            count += 1
        return cls(bound, terms, count)

    def join(self, values: NDArray[Any]) -> NDArray[np.uint64]:
        """`(..., count, width)` signed integers as `(..., width)` joined numbers.

        Raises `ValueError` for a value beyond the bound.
        """
        if values.size and max(int(values.max()), -int(values.min())) > self.bound:
            raise ValueError(f"a value is outside [-{self.bound}, {self.bound}]")
        joined = values[..., -1, :].astype(np.int64)
        for slot in range(self.count - 2, -1, -1):
            joined *= self.base
            joined += values[..., slot, :]
        # The digits' offsets, all at once.
        joined += self.bound * sum(self.base**slot for slot in range(self.count))
        return joined.view(np.uint64)

    def separate(self, sums: NDArray[np.uint64], terms: int) -> NDArray[np.int64]:
        """`(..., width)` sums of so many joined numbers as `(..., count, width)` signed sums.

        Raises `ValueError` for what no such sum can be: a number of `range` or more, or a digit
        beyond 2 * bound * terms.
        """
        out = np.empty((*sums.shape[:-1], self.count, sums.shape[-1]), dtype=np.int64)
        rest, base = sums, np.uint64(self.base)
        for slot in range(self.count - 1):
            above = np.floor_divide(rest, base)
            np.subtract(rest, above * base, out=out[..., slot, :].view(np.uint64))
            rest = above
        out[..., -1, :] = rest.view(np.int64)
        offset = self.bound * terms
        if out.size and int(out.view(np.uint64).max()) > 2 * offset:
            raise ValueError("a sum is out of the range that its terms can reach")
        out -= offset
        return out

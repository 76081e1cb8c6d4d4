"""From real numbers to integers that sums keep exact: weighting and stochastic rounding."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES, Keystream, Rng
from fedprivacy.vector.spec import (
    BLOCK_VALUES,
    Lazy,
    Repeatable,
    Update,
    VectorSpec,
    check_whole,
)

__all__ = ["FixedPoint", "Rounding", "Weigh"]

_EXACT = 1 << 53  # integers up to here are exact in float64
_POINT = 32  # bits behind the point while a value is rounded
_ONE = float(1 << _POINT)
_ATTEMPTS = 256  # of which each succeeds with probability above 0.39: all fail below 2**-180


@dataclass(frozen=True, slots=True)
class Weigh:
    """Multiply the client's vector by its weight, a whole number in [0, max_weight]."""

    max_weight: int

    def __post_init__(self) -> None:
        check_whole("Weigh.max_weight", self.max_weight, 1, _EXACT)

    def admit(self, spec: VectorSpec) -> VectorSpec:
        if spec.integer:
            raise ConfigurationError("Weigh needs real values: put it before FixedPoint")
        if spec.per_unit:
            raise ConfigurationError("Weigh: in PerUnit each unit counts one: leave Weigh out")
        if spec.max_weight != 1:
            raise ConfigurationError("Weigh: the vector is weighted already: leave one Weigh out")
        if not math.isfinite(spec.bound):
            raise ConfigurationError("Weigh needs a bounded vector: put Clip before it")
        # Rounding is monotone: |value| <= bound gives fl(|value| w) <= fl(bound max_weight).
        return dataclasses.replace(
            spec,
            bound=spec.bound * self.max_weight,
            l2=None if spec.l2 is None else spec.l2 * self.max_weight,
            max_weight=self.max_weight,
        )

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        check_whole("update.weight", update.weight, 0, self.max_weight)
        if update.weight == 1:
            return update
        values, weight = update.values, float(update.weight)
        weighted = Repeatable(
            values.shape, lambda part: np.multiply(values[..., part], weight, dtype=np.float64)
        )
        return Update(weighted, update.weight)

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        return values  # the sum of weighted vectors is what is wanted; the mean divides it


class _Scratch:
    """Room for one block after another: fresh memory would cost more than what is computed."""

    def __init__(self) -> None:
        self._scaled = np.empty(0)
        self._words = np.empty(0, dtype="<u4")

    def of(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
        """Scaled values and random words of this shape, their contents unknown."""
        size = math.prod(shape)
        if len(self._words) < size:
            self._scaled, self._words = np.empty(size), np.empty(size, dtype="<u4")
        return self._scaled[:size].reshape(shape), self._words[:size].reshape(shape)


class Rounding(enum.Enum):
    """What is known of the norm of a rounded vector of d coordinates and norm c, in steps."""

    UNBIASED = "unbiased"
    """Each coordinate on its own: the norm is below c + sqrt(d)."""
    CONDITIONAL = "conditional"
    """Again, until the norm is at most the square root of c**2 + d/4 + c + sqrt(d)/2."""


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Scale to signed integers of `value_bits` bits, rounded up or down at random.

    A real x in [-bound, bound] becomes y = x scale with scale = (2**(value_bits-1) - 1) / bound,
    and then floor(y) + 1 with probability y - floor(y), else floor(y). So

    - |integer| <= 2**(value_bits-1) - 1 whatever x is: y is clipped to it, and a y that is whole
      is never moved;
    - |integer - y| < 1;
    - the mean over the rounding is y, up to 2**-33: y is taken to the nearest multiple of 2**-32,
      and the uniform that decides has 32 bits.

    Each row draws one 32-byte seed from `rng`, rows in order, and one little-endian 32-bit word a
    value from the keystream of its seed: a row's integers do not depend on the rows that it is
    encoded together with.

    Conditional rounding draws new seeds for the rows whose integers are longer than the bound that
    `admit` states, and reads its input again for it. The norm then holds whatever came in: it is
    compared in integers, and a row that is too long `_ATTEMPTS` times, as none within the admitted
    norm is but with probability 2**-180, becomes zeros. The price is a bias: if the bound rejects a
    vector with probability r <= exp(-1/2), the mean over the rounding is off by at most
    r sqrt(d) / (1 - r) steps in L2 norm; r is near 0 unless the norm is near the admitted one. The
    time that it takes depends on the vector, through r.

    Source: Kairouz, Liu, Steinke, "The distributed discrete Gaussian mechanism for federated
    learning with secure aggregation" (2021), section 4.2, with beta = exp(-1/2); the unbiased
    rounding is theirs without the condition.
    """

    value_bits: int
    rounding: Rounding = Rounding.UNBIASED

    def __post_init__(self) -> None:
        check_whole("FixedPoint.value_bits", self.value_bits, 2, 32)

    @property
    def limit(self) -> int:
        """The largest magnitude of a rounded value."""
        return (1 << (self.value_bits - 1)) - 1

    def _scale(self, spec: VectorSpec) -> float:
        return self.limit / spec.bound

    def admit(self, spec: VectorSpec) -> VectorSpec:
        if spec.integer:
            raise ConfigurationError("FixedPoint: values are whole already: leave one of them out")
        if not math.isfinite(spec.bound):
            raise ConfigurationError("FixedPoint needs a bounded vector: put Clip before it")
        if self.rounding is Rounding.CONDITIONAL and spec.l2 is None:
            raise ConfigurationError("conditional rounding needs a norm: put Clip before it")
        l2 = self._norm(spec)
        return dataclasses.replace(
            spec,
            integer=True,
            bound=self.limit,
            l2=l2,
            scale=self._scale(spec),
            unit_l2=l2,
            # No integer is larger than its square; the root is that of Cauchy and Schwarz.
            unit_l1=l2 * min(math.sqrt(spec.length), l2) * (1 + 2.0**-50),
        )

    def _norm(self, spec: VectorSpec) -> float:
        """The largest L2 norm of a rounded vector.

        Each coordinate moves by less than 1, so the vector by less than sqrt(length); the last
        factor covers float64 rounding of the product and of this line.
        """
        root = math.sqrt(spec.length)
        most = self.limit * root
        if spec.l2 is not None:
            before = spec.l2 * self._scale(spec)
            most = min(most, before + root)
            if self.rounding is Rounding.CONDITIONAL:
                most = min(most, math.sqrt(before * before + spec.length / 4 + before + root / 2))
        return most * (1 + 2.0**-50)

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        values = update.values
        count = math.prod(values.shape[:-1])
        if self.rounding is Rounding.CONDITIONAL:
            if isinstance(values, Lazy) and not isinstance(values, Repeatable):
                values = np.asarray(values)
            seeds = self._accepted(values, spec, rng)
        else:
            seeds = [rng.bytes(SEED_BYTES) for _ in range(count)]
        return Update(Lazy(values.shape, self._rounded(values, spec, seeds)), update.weight)

    def _rounded(
        self, values: NDArray[Any] | Lazy, spec: VectorSpec, seeds: list[bytes]
    ) -> Callable[[slice], NDArray[np.int64]]:
        """Columns of the rounded rows, one after the other; a row with an empty seed is zeros."""
        scale, scratch = self._scale(spec), _Scratch()
        streams = [Keystream(seed) if seed else None for seed in seeds]

        def rounded(part: slice) -> NDArray[np.int64]:
            given = values[..., part]
            scaled, words = scratch.of(given.shape)
            np.multiply(given, scale, out=scaled, dtype=np.float64)
            rows = zip(
                scaled.reshape(len(seeds), -1), words.reshape(len(seeds), -1), streams, strict=True
            )
            for row, uniform, stream in rows:
                if stream is None:
                    row[:], uniform[:] = 0.0, 0
                else:
                    stream.fill(uniform)
            return self._round(scaled, words)

        return rounded

    def _accepted(self, values: NDArray[Any] | Lazy, spec: VectorSpec, rng: Rng) -> list[bytes]:
        """For each row, a seed that rounds it to no more than the norm, or nothing."""
        norm = self._norm(spec)
        # Not above the square of the float that is stated.
        most = int(Fraction(norm) ** 2)
        seeds = [b""] * math.prod(values.shape[:-1])
        long = set(range(len(seeds)))
        for _ in range(_ATTEMPTS):
            if not long:
                return seeds
            drawn = [rng.bytes(SEED_BYTES) if row in long else b"" for row in range(len(seeds))]
            squares = _squares(values.shape, self._rounded(values, spec, drawn))
            seeds = [new or old for new, old in zip(drawn, seeds, strict=True)]
            long = {row for row in long if squares[row] > most}
        return [b"" if row in long else seed for row, seed in enumerate(seeds)]

    def _round(self, scaled: NDArray[np.float64], words: NDArray[np.uint32]) -> NDArray[np.int64]:
        """`scaled` is overwritten. In float64, y + u could carry a whole y upwards."""
        np.clip(scaled, -self.limit, self.limit, out=scaled)
        scaled *= _ONE
        np.rint(scaled, out=scaled)
        # Below 2**63: a whole number of at most 2**31 - 1, and 32 bits behind the point.
        rounded: NDArray[np.int64] = scaled.astype(np.int64)
        rounded += words
        rounded >>= _POINT
        return rounded

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        real: NDArray[np.float64] = values / self._scale(spec)
        return real


def _squares(shape: tuple[int, ...], make: Callable[[slice], NDArray[np.int64]]) -> list[int]:
    """Each row's sum of squares, exactly, of integers of magnitude below 2**31."""
    totals = [0] * math.prod(shape[:-1])
    width = max(1, BLOCK_VALUES // max(1, len(totals)))
    for start in range(0, shape[-1], width):
        block = np.abs(make(slice(start, min(start + width, shape[-1])))).reshape(len(totals), -1)
        # In two halves of 16 bits, whose products of 2**16 and more values fit a word.
        high, low = block >> 16, block & 0xFFFF
        for i, parts in enumerate(
            zip(*map(_dots, (high, high, low), (high, low, low)), strict=True)
        ):
            totals[i] += (parts[0] << 32) + (parts[1] << 17) + parts[2]
    return totals


def _dots(left: NDArray[np.int64], right: NDArray[np.int64]) -> list[int]:
    products: list[int] = np.einsum("ij,ij->i", left, right).tolist()
    return products

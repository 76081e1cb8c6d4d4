"""From real numbers to integers that sums keep exact: weighting and stochastic rounding."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES, Keystream, Rng
from fedprivacy.vector.spec import Lazy, Update, VectorSpec, check_whole

__all__ = ["FixedPoint", "Weigh"]

_EXACT = 1 << 53  # integers up to here are exact in float64
_POINT = 32  # bits behind the point while a value is rounded
_ONE = float(1 << _POINT)


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
        weighted = Lazy(
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


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Scale to signed integers of `value_bits` bits, rounded up or down at random, unbiased.

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
    Source: the rounding of Kairouz, Liu, Steinke, "The distributed discrete Gaussian mechanism
    for federated learning with secure aggregation" (2021), section 4.2, without its condition.
    """

    value_bits: int

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
        scale = self._scale(spec)
        # Each coordinate moves by less than 1, so the vector by less than sqrt(length); the last
        # factor covers float64 rounding of the product and of this line.
        root = math.sqrt(spec.length)
        rounded = self.limit * root if spec.l2 is None else spec.l2 * scale + root
        return dataclasses.replace(
            spec,
            integer=True,
            bound=self.limit,
            l2=min(rounded, self.limit * root) * (1 + 2.0**-50),
            scale=scale,
        )

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        values, scale = update.values, self._scale(spec)
        count = math.prod(values.shape[:-1])
        streams = [Keystream(rng.bytes(SEED_BYTES)) for _ in range(count)]
        scratch = _Scratch()

        def rounded(part: slice) -> NDArray[np.int64]:
            given = values[..., part]
            scaled, words = scratch.of(given.shape)
            np.multiply(given, scale, out=scaled, dtype=np.float64)
            for row, stream in zip(words.reshape(count, -1), streams, strict=True):
                stream.fill(row)
            return self._round(scaled, words)

        return Update(Lazy(values.shape, rounded), update.weight)

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

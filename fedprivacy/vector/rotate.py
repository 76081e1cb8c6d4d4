"""A random rotation, the same for every client: no coordinate stands out after it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import hadamard_inflation, walsh_hadamard
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES, Keystream, Rng
from fedprivacy.vector.spec import BLOCK_VALUES, Update, VectorSpec

__all__ = ["Rotate"]


@dataclass(frozen=True, slots=True)
class Rotate:
    """Multiply by random signs and by a Walsh-Hadamard matrix; inside `PerUnit`, each unit's row.

    `seed`, 32 bytes, is public, and the same for all who take part in a round. The vector grows to
    the next power of two by zeros, and comes back in its own length. Its L2 norm is kept, but for
    float64 rounding, which the admitted `l2` includes.

    No coordinate is larger than the norm. Of a vector of n coordinates that was chosen before the
    seed, none is larger than norm sqrt(2 ln(2 n / p) / n), but for a probability of p: each is a
    sum of independent signs (Hoeffding 1963, theorem 2). Where `tail`, this p, is above zero, that
    is the bound that is admitted, and a coordinate beyond it is cut to it, which shortens the
    vector: what is proved of its norm holds whatever came in, and only the cut one's sum is off.

    Every coordinate depends on all: encoding needs the whole vector in memory, as float64, and
    does not work lazily; nor does decoding.
    Source: Kairouz, Liu, Steinke, "The distributed discrete Gaussian mechanism for federated
    learning with secure aggregation" (2021), section 4.1.
    """

    seed: bytes = field(repr=False)
    tail: float = 0.0
    mixes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not _is_seed(self.seed):
            raise ConfigurationError(
                f"Rotate.seed is not {SEED_BYTES} bytes: derive it from the round's identifier"
            )
        if isinstance(self.tail, bool) or not 0 <= self.tail < 1:
            raise ConfigurationError(
                f"Rotate.tail = {self.tail} is no probability: 2**-40 is usual"
            )

    def admit(self, spec: VectorSpec) -> VectorSpec:
        if spec.integer:
            raise ConfigurationError("Rotate needs real values: put it before FixedPoint")
        if spec.l2 is None:
            raise ConfigurationError("Rotate needs a bounded norm: put Clip before it")
        length = _padded(spec.length)
        l2 = spec.l2 * hadamard_inflation(length)
        return dataclasses.replace(spec, length=length, bound=l2 * self._share(length), l2=l2)

    def _share(self, length: int) -> float:
        """The largest coordinate that is let through / the norm."""
        if not self.tail:
            return 1.0
        return min(1.0, math.sqrt(2 * math.log(2 * length / self.tail) / length))

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        given = update.values
        rotated = np.zeros((*given.shape[:-1], _padded(spec.length)))
        for start in range(0, spec.length, BLOCK_VALUES):
            part = slice(start, min(start + BLOCK_VALUES, spec.length))
            rotated[..., part] = given[..., part]
        self._sign(rotated)
        walsh_hadamard(rotated)
        if self.tail:
            most = self.admit(spec).bound
            np.clip(rotated, -most, most, out=rotated)
        return Update(rotated, update.weight)

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        restored = np.array(values, dtype=np.float64, order="C")
        walsh_hadamard(restored)
        restored = restored[..., : spec.length]
        self._sign(restored)
        return restored

    def _sign(self, values: NDArray[np.float64]) -> None:
        """Coordinate i changes its sign if bit i % 8 of the i // 8th byte of the stream is set."""
        key = hashlib.sha256(b"fedprivacy/rotation" + self.seed).digest()
        stream = Keystream(key)
        for start in range(0, values.shape[-1], BLOCK_VALUES):
            part = values[..., start : start + BLOCK_VALUES]
            taken = np.frombuffer(stream.read(BLOCK_VALUES // 8), dtype=np.uint8)
            bits = np.unpackbits(taken, count=part.shape[-1], bitorder="little")
            part *= 1.0 - 2.0 * bits


def _is_seed(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == SEED_BYTES


def _padded(length: int) -> int:
    return 1 << (length - 1).bit_length()

"""Random numbers for attacks and their stages, from an `Rng`; no protection hangs on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fedprivacy.randomness import SEED_BYTES, Keystream, Rng, uniform_below

__all__ = ["Draw"]

Floats = NDArray[np.float64]
_FRACTION = 1 << 53


class Draw:
    """Numpy's usual draws from one keystream, in the order in which they are asked for."""

    def __init__(self, rng: Rng) -> None:
        self._stream = Keystream(rng.bytes(SEED_BYTES))

    def below(self, bound: int, count: int) -> NDArray[np.int64]:
        """`count` uniform whole numbers in [0, bound)."""
        return uniform_below(bound, count, self._stream).astype(np.int64)

    def fractions(self, *shape: int) -> Floats:
        """Uniform in (0, 1), float64 of this shape."""
        whole = self.below(_FRACTION, int(np.prod(shape))).reshape(shape)
        return (whole + 0.5) / _FRACTION

    def normals(self, *shape: int) -> Floats:
        """Independent normals of mean 0 and deviation 1, by inversion."""
        drawn: Floats = ndtri(self.fractions(*shape))
        return drawn

    def coins(self, count: int, rate: float = 0.5) -> NDArray[np.bool_]:
        """Each true with probability `rate`."""
        return self.fractions(count) < rate

    def permutation(self, count: int) -> NDArray[np.int64]:
        """The whole numbers below `count` in random order."""
        return np.argsort(self.below(1 << 62, count), kind="stable")

    def halves(self, count: int) -> NDArray[np.bool_]:
        """`count` places of which half, rounded down, are true."""
        chosen = np.zeros(count, dtype=bool)
        chosen[self.permutation(count)[: count // 2]] = True
        return chosen

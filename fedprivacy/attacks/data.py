"""What attacks are run on: handwritten digits, dealt by a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.drawing import Draw
from fedprivacy.errors import ConfigurationError, MissingExtra

__all__ = ["Digits", "digits"]

CLASSES = 10
SIDE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """Images `(examples, 64)` in [0, 1] and what they show, `(examples,)` from 0 to 9."""

    images: NDArray[np.float64] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.integer] | slice) -> Digits:
        return Digits(self.images[indices], self.labels[indices])

    def split(self, *sizes: int) -> tuple[Digits, ...]:
        """The first so many, the next so many, and so on; raises where there are not so many."""
        if sum(sizes) > len(self):
            raise ConfigurationError(f"{sum(sizes)} images where there are {len(self)}: take fewer")
        edges = np.cumsum([0, *sizes])
        return tuple(self.take(slice(int(a), int(b))) for a, b in pairwise(edges))


def digits(draw: Draw) -> Digits:
    """Scikit-learn's 1,797 images of 8 x 8 in random order; raises `MissingExtra` without it."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtra("demo", "the attacks' images") from None
    data = load_digits()
    order = draw.permutation(len(data.target))
    return Digits(data.data[order] / 16.0, data.target[order].astype(np.int64))

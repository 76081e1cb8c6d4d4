"""Data that is dealt to clients: what every example's data set has in common.

All of it is a function of the job's seed. Features are scaled by public constants and never by a
client's own statistics: one unit moves a local mean, and with it everyone's gradient, outside any
bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Keystream, Rng, uniform_below

__all__ = [
    "FRACTION",
    "Examples",
    "FeatureScale",
    "Population",
    "blurred",
    "check_scales",
    "held_back",
    "permutation",
    "stream",
    "taken",
]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FRACTION = 1 << 53
"""Uniform fractions are whole numbers below this one."""


class FeatureScale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A feature's public constants: it enters the model as (value - centre) / spread."""

    name: str
    centre: float
    spread: float


def check_scales(scales: tuple[FeatureScale, ...]) -> None:
    """Raise `ConfigurationError` for constants that scale nothing."""
    for scale in scales:
        if not (math.isfinite(scale.centre) and math.isfinite(scale.spread) and scale.spread > 0):
            raise ConfigurationError(
                f"data.features: {scale.name} has centre {scale.centre} and spread {scale.spread}; "
                "both must be finite and the spread above zero"
            )


@dataclass(frozen=True, slots=True)
class Examples:
    """Scaled features `(examples, features)` and labels `(examples,)` of 0.0 and 1.0; float64."""

    features: Floats = field(repr=False)
    labels: Floats = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def majority(self) -> float:
        """What always naming the commoner class would score."""
        positive = float(np.mean(self.labels))
        return max(positive, 1.0 - positive)


@dataclass(frozen=True, slots=True)
class Population:
    """Every client's own examples, by the client's name, and those that none trains on."""

    clients: dict[str, Examples]
    held_out: Examples


def taken(everyone: Examples, indices: Indices) -> Examples:
    """The examples at these places."""
    return Examples(everyone.features[indices], everyone.labels[indices])


def stream(rng: Rng, purpose: str) -> Keystream:
    """A source for one purpose, which hangs on no other's."""
    return Keystream(rng.child(purpose).bytes(32))


def permutation(count: int, source: Keystream) -> Indices:
    """The whole numbers below `count` in random order."""
    return np.argsort(uniform_below(1 << 63, count, source), kind="stable")


def held_back(
    kinds: NDArray[np.number], share: float, source: Keystream
) -> tuple[Indices, Indices]:
    """The indices kept back, ceil(share * n) evenly spaced by kind, and the others.

    Raises `ConfigurationError` for a share outside (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise ConfigurationError(
            f"data.held_out = {share} is outside (0, 1): it is a share of the data"
        )
    shuffled = permutation(len(kinds), source)
    by_kind = shuffled[np.argsort(kinds[shuffled], kind="stable")]
    chosen = np.diff(np.ceil(share * np.arange(len(kinds) + 1))) > 0
    return by_kind[chosen], by_kind[~chosen]


def blurred(indices: Indices, kinds: NDArray[np.number], blur: float, source: Keystream) -> Indices:
    """The indices sorted by kind, each kind first moved up by a uniform part of the blur.

    Cut in runs, the first clients hold the least kind only, the last the greatest only, and those
    between a mixture, the more so the larger the blur.
    """
    moved = uniform_below(FRACTION, len(indices), source).astype(np.float64) / FRACTION
    return indices[np.argsort(kinds[indices] + blur * moved, kind="stable")]

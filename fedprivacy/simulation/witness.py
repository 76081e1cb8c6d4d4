"""What only a simulation knows of the noise in a sum: it saw the seeds that it was drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedprivacy.randomness import Rng
from fedprivacy.rounds import RoundPlan
from fedprivacy.rounds.record import NoiseRecord
from fedprivacy.rounds.rules import Trust

__all__ = ["Noise", "Witness"]

_DRAWS_NOISE = ("encoding", "noise")
"""The purposes for which clients and server ask, as the last thing, for the seed of their noise."""


@dataclass(slots=True)
class _Watched:
    """A source whose last seed is remembered."""

    inner: Rng
    seeds: dict[str, bytes] = field(repr=False)
    name: str
    remembers: bool = False

    def bytes(self, count: int) -> bytes:
        drawn = self.inner.bytes(count)
        if self.remembers:
            self.seeds[self.name] = drawn
        return drawn

    def child(self, purpose: str) -> _Watched:
        inner = self.inner.child(purpose)
        return _Watched(inner, self.seeds, self.name, purpose in _DRAWS_NOISE)


@dataclass(slots=True)
class _Fixed:
    """The one seed once more."""

    seed: bytes = field(repr=False)

    def bytes(self, count: int) -> bytes:
        return self.seed[:count]

    def child(self, purpose: str) -> _Fixed:
        return self


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise in one decoded sum, `(length,)` real, and what the record says of it."""

    values: NDArray[np.float64]
    record: NoiseRecord | None


@dataclass(slots=True)
class Witness:
    """Watches one attempt: the sources of all parties, for the seeds of their noise."""

    _seeds: dict[str, bytes] = field(default_factory=dict, repr=False)

    def watched(self, name: str, rng: Rng) -> Rng:
        """The source for one party; the server's name is empty."""
        return _Watched(rng, self._seeds, name)

    def noise(self, frozen: RoundPlan, survivors: Iterable[str]) -> Noise:
        """The noise in the sum over the survivors: drawn again."""
        plan, pipeline = frozen.plan, frozen.pipeline
        if plan.noise.trust is Trust.NONE:
            return Noise(np.zeros(frozen.length), None)
        stage, at_server = plan.noise_stage(frozen.cohort_size), plan.noise.trust is Trust.SERVER
        before = pipeline.specs[-1 if at_server else -2]
        total = np.zeros(before.length, dtype=np.int64)
        for name in [""] if at_server else survivors:
            total = stage.added(before, rng=_Fixed(self._seeds[name]))(total)
        real = total.astype(np.float64)
        for part, spec in reversed(list(zip(pipeline.stages, pipeline.specs, strict=False))):
            real = part.decode(real, spec)
        planned = math.sqrt(stage.local_variance(before) * stage.shares)
        deviation = float(np.sqrt(np.mean(np.square(total.astype(np.float64)))))
        return Noise(real, NoiseRecord(deviation=deviation, planned=planned))

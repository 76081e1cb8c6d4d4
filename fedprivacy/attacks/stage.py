"""What a trial is given: the plan under attack, sizes, a seed; and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.federation import Attempt, Federation
from fedprivacy.attacks.result import Measured, Picture
from fedprivacy.attacks.threats import ThreatModel
from fedprivacy.attacks.worlds import OwnWorld
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng, Rng
from fedprivacy.rounds import Plan

__all__ = ["Attack", "Stage", "Stopped", "Trial", "broadcast_of", "stopped"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stopped:
    """There was nothing to attack: clients declined, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One seed's world. Everything in it follows from the seed: it protects nobody."""

    plan: Plan
    clients: int
    seed: int
    options: Mapping[str, float] = field(default_factory=dict)
    world: OwnWorld | None = None
    """A user's own model and data, in place of what ships."""

    @property
    def rng(self) -> Rng:
        return InsecureTestRng(f"attack/{self.seed}".encode())

    def draw(self, purpose: str) -> Draw:
        return Draw(self.rng.child(purpose))

    def federation(self) -> Federation:
        return Federation.of(self.plan, self.clients, rng=self.rng.child("federation"))

    def whole(self, name: str) -> int:
        """An option that counts something."""
        value = self.options[name]
        if value != int(value) or value < 0:
            raise ConfigurationError(f"options.{name} = {value} is no whole number: give one")
        return int(value)

    def measured(
        self,
        target: float,
        control: float,
        *,
        bound: float | None = None,
        details: Mapping[str, float] | None = None,
        roc: tuple[tuple[float, float], ...] = (),
        pictures: tuple[Picture, ...] = (),
    ) -> Measured:
        return Measured(
            seed=self.seed,
            target=target,
            control=control,
            bound=bound,
            details=dict(details or {}),
            roc=roc,
            pictures=pictures,
        )


Trial = Callable[[Stage], Measured | Stopped]


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack by its name: what it measures, who it takes, and a trial with its control."""

    name: str
    about: str
    metric: str
    needs: ThreatModel
    trial: Trial = field(repr=False)
    options: Mapping[str, float] = field(default_factory=dict)
    """With their defaults."""
    extra: str = ""
    """Of the package, that it needs besides `demo`."""
    takes_model: bool = False
    """Whether a user's own torch module can be attacked with it."""
    averages: bool = False
    """Whether clients send how far they trained: an update of a client, and of no smaller unit."""


def broadcast_of(weights: Floats) -> bytes:
    """Weights as a server sends them: little-endian float64."""
    return weights.astype("<f8").tobytes()


def stopped(attempt: Attempt) -> Stopped | None:
    """Why an attempt ended without a sum; None with one."""
    return Stopped(attempt.stopped) if attempt.stopped else None

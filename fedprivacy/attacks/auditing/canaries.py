"""Canaries in real runs of the round loop: vectors as large as one unit may have, in or out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedprivacy.accounting import epsilon_of
from fedprivacy.arithmetic import walsh_hadamard
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.federation import Federation, Trainer
from fedprivacy.attacks.view import CanaryScores, RoundView, View
from fedprivacy.errors import ConfigurationError, RoundAborted
from fedprivacy.randomness import Rng
from fedprivacy.rounds import Plan
from fedprivacy.rounds.privacy import release_of, round_event

__all__ = ["CanaryRun", "Observation", "claimed_epsilon", "room", "scored"]

Floats = NDArray[np.float64]
_LENGTH = 1024
"""Values of an update, at least: enough for the cosine of two directions to be nearly normal."""


def scored(view: View, canaries: Floats) -> Floats:
    """How far each canary, a row of `(canaries, length)`, lies in the sum of all rounds seen."""
    scores: Floats = canaries @ view.sums.sum(axis=0)
    return scores


def claimed_epsilon(plan: Plan, cohort: int, length: int, delta: float, rounds: int = 1) -> float:
    """What the accountant says of so many rounds at this delta; of a plan with noise."""
    event = round_event(plan, cohort, length)
    if event is None:
        raise ConfigurationError("plan.noise.trust = none claims nothing to audit: add noise")
    released = release_of(plan, event, rounds)
    return epsilon_of([released], delta, plan.dataset.adjacency).epsilon


def room(plan: Plan, clients: int, silent: int) -> int:
    """How many units honest clients hold at most."""
    each = plan.update.max_units_per_client if plan.protects_units else 1
    return each * (clients - silent)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What the server saw of all canaries, and the cosines of its sum with those that were in."""

    scores: CanaryScores
    cosines: Floats


@dataclass(frozen=True, slots=True)
class CanaryRun:
    """Some rounds of `clients`, of whom `silent` are the server's own and leave out their noise.

    Canary i is row i of a Hadamard matrix, `strength` times as long as the clip. No coordinate is
    large, so that it is the clip and nothing after it that bounds a longer one; and no canary shows
    in another's score. Each is a unit of its own, and in or out by a fair coin, in every round
    alike: where the plan's unit is smaller than a client, the gradient of one at an honest client,
    or at nobody; where it is the client, all that an honest client sends, or a vector of zeros.
    """

    plan: Plan
    clients: int
    canaries: int
    silent: int = 0
    strength: float = 1.0
    rounds: int = 1

    def __post_init__(self) -> None:
        if self.canaries < 2:
            raise ConfigurationError(f"canaries = {self.canaries}: at least 2")
        if self.rounds < 1 or not 0 <= self.silent < self.clients:
            raise ConfigurationError(
                f"rounds = {self.rounds}, clients = {self.clients}, silent = {self.silent}: at "
                "least one round, and one client that is not silent"
            )
        allowed = self.plan.noise.rounds
        if self.rounds > max(allowed, 1):
            raise ConfigurationError(
                f"rounds = {self.rounds} where plan.noise.rounds = {allowed}: clients refuse more"
            )
        most = room(self.plan, self.clients, self.silent)
        if self.canaries > most:
            raise ConfigurationError(
                f"canaries = {self.canaries} where {self.clients - self.silent} clients hold "
                f"{most} units: take fewer"
            )

    @property
    def length(self) -> int:
        """Of the update: a power of two."""
        return max(_LENGTH, 1 << (self.canaries - 1).bit_length())

    def epsilon(self, delta: float) -> float:
        """What is claimed of these rounds."""
        return claimed_epsilon(self.plan, self.clients, self.length, delta, self.rounds)

    def scores(self, *, rng: Rng) -> CanaryScores:
        """Run the rounds, and score each canary by their sums alone; raises `RoundAborted`."""
        return self.observed(rng=rng).scores

    def observed(self, *, rng: Rng) -> Observation:
        """The same, with the cosines of the canaries that were in."""
        included = Draw(rng.child("coins")).coins(self.canaries)
        rows = self._rows()
        federation = Federation.of(
            self.plan, self.clients, rng=rng.child("federation"), silent=self.silent
        )
        honest = len(federation.names) - self.silent
        places = {name: i for i, name in enumerate(federation.names)}

        def trainer(name: str, _: bytes) -> Floats:
            mine = np.arange(self.canaries) % honest == places[name]
            held: Floats = rows[mine & included] * self.plan.update.clip * self.strength
            return held if self.plan.protects_units else held.sum(axis=0)

        with federation:
            view = View(tuple(self._round(federation, n, trainer) for n in self._numbers))
        scores = CanaryScores(scored(view, rows), included)
        norm = float(np.linalg.norm(view.sums.sum(axis=0)))
        return Observation(scores, scores.of_included / max(norm, 1e-300))

    @property
    def _numbers(self) -> range:
        return range(1, self.rounds + 1)

    def _round(self, federation: Federation, number: int, trainer: Trainer) -> RoundView:
        broadcast = b"audit, round %d" % number
        attempt = federation.round(number, trainer, broadcast=broadcast, length=self.length)
        if attempt.outcome.error is not None:
            error: RoundAborted = attempt.outcome.error
            raise error
        return attempt.view

    def _rows(self) -> Floats:
        rows = np.eye(self.length)
        walsh_hadamard(rows)
        return rows[: self.canaries]

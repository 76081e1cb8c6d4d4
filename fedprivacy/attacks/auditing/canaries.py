"""Canaries in real runs of the round loop: gradients as large as one unit may have, in or out."""

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

__all__ = ["CanaryRun", "claimed_epsilon", "scored"]

Floats = NDArray[np.float64]


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


@dataclass(frozen=True, slots=True)
class CanaryRun:
    """Some rounds of `clients`, of whom `silent` are the server's own and leave out their noise.

    `canaries`, a power of two, is the length of the update as well: canary i is row i of a Hadamard
    matrix, `strength` times as long as the clip. No coordinate is large, so that it is the clip and
    nothing after it that bounds a longer one; and no canary shows in another's score. Each is a
    unit of its own, at an honest client, or at nobody, by a fair coin, and in every round alike.
    """

    plan: Plan
    clients: int
    canaries: int
    silent: int = 0
    strength: float = 1.0
    rounds: int = 1

    def __post_init__(self) -> None:
        rules = self.plan.update
        if not self.plan.protects_units:
            raise ConfigurationError(
                "plan.dataset.unit = client holds one canary a client: name a smaller unit"
            )
        if self.canaries < 2 or self.canaries & (self.canaries - 1):
            raise ConfigurationError(f"canaries = {self.canaries} is no power of two: choose one")
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
        most = rules.max_units_per_client * (self.clients - self.silent)
        if self.canaries > most:
            raise ConfigurationError(
                f"canaries = {self.canaries} where {self.clients - self.silent} clients hold "
                f"{most} units: raise plan.update.max_units_per_client"
            )

    def epsilon(self, delta: float) -> float:
        """What is claimed of these rounds."""
        return claimed_epsilon(self.plan, self.clients, self.canaries, delta, self.rounds)

    def scores(self, *, rng: Rng) -> CanaryScores:
        """Run the rounds, and score each canary by their sums alone; raises `RoundAborted`."""
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
            return held

        with federation:
            seen = [self._round(federation, number, trainer) for number in self._numbers]
        return CanaryScores(scored(View(tuple(seen)), rows), included)

    @property
    def _numbers(self) -> range:
        return range(1, self.rounds + 1)

    def _round(self, federation: Federation, number: int, trainer: Trainer) -> RoundView:
        broadcast = b"audit, round %d" % number
        attempt = federation.round(number, trainer, broadcast=broadcast, length=self.canaries)
        if attempt.outcome.error is not None:
            error: RoundAborted = attempt.outcome.error
            raise error
        return attempt.view

    def _rows(self) -> Floats:
        rows = np.eye(self.canaries)
        walsh_hadamard(rows)
        return rows

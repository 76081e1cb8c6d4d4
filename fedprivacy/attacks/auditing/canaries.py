"""Canaries in real runs of the round loop: gradients as large as one unit may have, in or out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedprivacy.accounting import epsilon_of
from fedprivacy.arithmetic import walsh_hadamard
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.federation import Federation
from fedprivacy.attacks.view import CanaryScores, View
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


def claimed_epsilon(plan: Plan, cohort: int, length: int, delta: float) -> float:
    """What the accountant says of one round at this delta; of a plan with noise."""
    event = round_event(plan, cohort, length)
    if event is None:
        raise ConfigurationError("plan.noise.trust = none claims nothing to audit: add noise")
    return epsilon_of([release_of(plan, event)], delta, plan.dataset.adjacency).epsilon


@dataclass(frozen=True, slots=True)
class CanaryRun:
    """One round of `clients`, of whom `silent` are the server's own and leave out their noise.

    `canaries`, a power of two, is the length of the update as well: canary i is row i of a Hadamard
    matrix, `strength` times as long as the clip. No coordinate is large, so that it is the clip and
    nothing after it that bounds a longer one; and no canary shows in another's score. Each is a
    unit of its own, at an honest client, or at nobody, by a fair coin.
    """

    plan: Plan
    clients: int
    canaries: int
    silent: int = 0
    strength: float = 1.0

    def __post_init__(self) -> None:
        rules = self.plan.update
        if not self.plan.protects_units:
            raise ConfigurationError(
                "plan.dataset.unit = client holds one canary a client: name a smaller unit"
            )
        if self.canaries < 2 or self.canaries & (self.canaries - 1):
            raise ConfigurationError(f"canaries = {self.canaries} is no power of two: choose one")
        most = rules.max_units_per_client * (self.clients - self.silent)
        if self.canaries > most:
            raise ConfigurationError(
                f"canaries = {self.canaries} where {self.clients - self.silent} clients hold "
                f"{most} units: raise plan.update.max_units_per_client"
            )

    def epsilon(self, delta: float) -> float:
        """What is claimed of this round."""
        return claimed_epsilon(self.plan, self.clients, self.canaries, delta)

    def scores(self, *, rng: Rng) -> CanaryScores:
        """Run the round, and score each canary by the sum alone; raises `RoundAborted`."""
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
            attempt = federation.round(1, trainer, broadcast=b"audit", length=self.canaries)
        if attempt.outcome.error is not None:
            error: RoundAborted = attempt.outcome.error
            raise error
        return CanaryScores(scored(View((attempt.view,)), rows), included)

    def _rows(self) -> Floats:
        rows = np.eye(self.canaries)
        walsh_hadamard(rows)
        return rows
